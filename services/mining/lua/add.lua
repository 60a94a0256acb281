-- A task of the log. ARGV: id, then field, value, ... A known task stays as it is.
local id = ARGV[1]
if redis.call('HEXISTS', task_key(id), 'type') == 1 then
  return 0
end
redis.call('HSET', task_key(id), unpack(ARGV, 2))
local task = load(id)
if task.state == 'withdrawn' then -- the decision that it follows from was undone before it came
  redis.call('HDEL', task_key(id), 'record')
elseif is_cancelled(task.job) then
  redis.call('HSET', task_key(id), 'state', 'cancelled')
else
  enqueue(task)
end
return 1
