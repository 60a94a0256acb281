-- A task of the log. ARGV: id, then field, value, ... A known task stays as it is.
local id = ARGV[1]
if redis.call('HEXISTS', task_key(id), 'state') == 1 then
  return 0
end
redis.call('HSET', task_key(id), 'state', 'new', unpack(ARGV, 2))
local task = load(id)
if redis.call('SISMEMBER', P .. 'cancelled', task.job) == 1 then
  redis.call('HSET', task_key(id), 'state', 'cancelled')
else
  enqueue(task)
end
return 1
