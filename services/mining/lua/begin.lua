-- Before a decision is written to the log. ARGV: now, id, lease id, annotator, decision id, held until. Answers 'ok'
-- (the lease then lasts at least as long as the writing may), 'repeated', or the reason why not.
local now, id, lease, annotator, decision, until_ = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
expire(ARGV[1])
local task = load(id)
if task.state == 'decided' then
  return task.decision == decision and 'repeated' or 'decided'
end
if task.state ~= 'leased' or task.lease ~= lease then
  return task.state == '' and 'unknown' or task.state
end
if task.holder ~= annotator then
  return 'holder'
end
if task.pending ~= '' and task.pending ~= decision and tonumber(task.pending_until) > now then
  return 'busy'
end
redis.call('HSET', task_key(id), 'pending', decision, 'pending_until', until_)
if tonumber(task.expires) < tonumber(until_) then
  redis.call('HSET', task_key(id), 'expires', until_)
  redis.call('ZADD', P .. 'leases', until_, id)
end
return 'ok'
