-- One task that is asked for by name. ARGV: now, id, annotator, lease id, expires, then the types that the annotator may
-- have. Answers 'ok' and the lease id (the present one where the annotator holds it already), or why not.
local now, id, annotator, lease, expires = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
expire(now)
local task = load(id)
if task.state == '' then
  return {'unknown', ''}
end
local allowed = false
for i = 6, #ARGV do
  allowed = allowed or ARGV[i] == task.type
end
if not allowed then
  return {'type', ''}
end
if task.state == 'leased' and task.holder == annotator then
  if tonumber(task.expires) < tonumber(expires) then
    redis.call('HSET', task_key(id), 'expires', expires)
    redis.call('ZADD', P .. 'leases', expires, id)
  end
  return {'ok', task.lease}
end
if task.state ~= 'waiting' then
  return {task.state, ''}
end
local why = against(task, annotator)
if why ~= '' then
  return {why, ''}
end
if is_blocked(task, now) then
  return {'leased', ''}
end
dequeue(task)
redis.call('SREM', P .. 'skipped:' .. id, annotator)
hold(task, annotator, lease, expires)
return {'ok', lease}
