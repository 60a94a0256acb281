-- Before a decision is written to the log. ARGV: now, id, lease id, annotator, decision id, digest of what was sent,
-- held until. Answers 'ok' (the lease then lasts at least as long as the writing may), 'repeated', or why not.
local now, id, lease, annotator, decision = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local digest, until_ = ARGV[6], ARGV[7]
local pending = decision .. '\n' .. digest
expire(ARGV[1])
local task = load(id)
if task.state == 'decided' then
  if task.decision ~= decision or task.annotator ~= annotator then
    return 'decided'
  end
  return (task.digest == digest or task.digest == '') and 'repeated' or 'reused'
end
if task.state ~= 'leased' or task.lease ~= lease then
  return task.state == '' and 'unknown' or task.state
end
if task.holder ~= annotator then
  return 'holder'
end
if task.undid == decision then
  return 'reused'
end
if task.pending ~= '' and task.pending ~= pending and tonumber(task.pending_until) > now then
  return 'busy'
end
redis.call('HSET', task_key(id), 'pending', pending, 'pending_until', until_)
if tonumber(task.expires) < tonumber(until_) then
  redis.call('HSET', task_key(id), 'expires', until_)
  redis.call('ZADD', P .. 'leases', until_, id)
end
return 'ok'
