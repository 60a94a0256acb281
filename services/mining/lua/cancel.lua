-- Takes a cancelled job's waiting tasks out of the queues. ARGV: job, most tasks. Answers how many it took.
local job, most = ARGV[1], tonumber(ARGV[2])
redis.call('SADD', P .. 'cancelled', job)
local taken = 0
for kind = 1, 6 do
  for _, id in ipairs(redis.call('ZRANGE', P .. 'queue:job=' .. job .. ':' .. kind, 0, most - taken - 1)) do
    local task = load(id)
    dequeue(task)
    redis.call('HSET', task_key(id), 'state', 'cancelled')
    taken = taken + 1
  end
  if taken >= most then
    break
  end
end
return taken
