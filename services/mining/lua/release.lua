-- ARGV: now, id, lease id, holder ('' any), skip (0 or 1). Answers 'ok' or the reason why the lease is lost.
local id, lease, holder = ARGV[2], ARGV[3], ARGV[4]
expire(ARGV[1])
local task = load(id)
if task.state ~= 'leased' or task.lease ~= lease then
  return task.state == '' and 'unknown' or task.state
end
if holder ~= '' and task.holder ~= holder then
  return 'holder'
end
if ARGV[5] == '1' then
  redis.call('SADD', P .. 'skipped:' .. id, task.holder)
end
give_back(task)
return 'ok'
