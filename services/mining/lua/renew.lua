-- ARGV: now, id, lease id, holder ('' any), expires. Answers 'ok' or the reason why the lease is lost.
local now, id, lease, holder, expires = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], ARGV[5]
expire(ARGV[1])
local task = load(id)
if task.state ~= 'leased' or task.lease ~= lease then
  return task.state == '' and 'unknown' or task.state
end
if holder ~= '' and task.holder ~= holder then
  return 'holder'
end
redis.call('HSET', task_key(id), 'expires', expires)
redis.call('ZADD', P .. 'leases', expires, id)
return 'ok'
