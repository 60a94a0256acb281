-- ARGV: now, id, lease id, skip (0 or 1). Answers 'ok' or the reason why the lease is lost.
local id, lease = ARGV[2], ARGV[3]
expire(ARGV[1])
local task = load(id)
if task.state ~= 'leased' or task.lease ~= lease then
  return task.state == '' and 'unknown' or task.state
end
if ARGV[4] == '1' then
  redis.call('SADD', P .. 'skipped:' .. id, task.holder)
end
give_back(task)
return 'ok'
