-- Before an undo is written to the log. ARGV: now, id, annotator, undo id, decision id, lease id for the time after it,
-- held until, then the tasks that follow from the decision. Answers 'ok' (nobody is offered those tasks until then),
-- 'repeated' (undone by this very undo, and held), or why not.
local now, id, annotator, undo, decision = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local lease, until_ = ARGV[6], ARGV[7]
expire(now)
local task = load(id)
if task.state == '' then
  return 'unknown'
end
if task.undo == undo then
  if task.undid ~= decision or task.undoer ~= annotator then
    return 'reused'
  end
  if task.state == 'leased' and task.holder == annotator then
    return 'repeated'
  end
  return task.state
end
if is_cancelled(task.job) then
  return 'cancelled'
end
if task.state ~= 'decided' then
  return task.undid == decision and task.undoer == annotator and 'undone' or 'open'
end
if task.annotator ~= annotator then
  return 'foreign'
end
if task.decision ~= decision then
  return 'another'
end
if redis.call('HEXISTS', task_key(id), 'standing') == 0 then
  return 'late'
end
if task.gold == '1' and task.type == ANNOTATE then
  if redis.call('HGET', people_key(task), annotator) == 'both' then
    return 'seen'
  end
  if redis.call('HEXISTS', gold_key(task), 'adjudicated') == 1 then
    return 'built'
  end
end
for i = 8, #ARGV do
  local follows = load(ARGV[i])
  if follows.state == 'leased' then
    return 'building'
  end
  if follows.state == 'decided' then
    return 'built'
  end
end
if task.pending ~= '' and task.pending ~= 'u:' .. undo and tonumber(task.pending_until) > tonumber(now) then
  return 'busy'
end
redis.call('HSET', task_key(id), 'pending', 'u:' .. undo, 'pending_until', until_, 'pending_lease', lease)
for i = 8, #ARGV do
  redis.call('HSET', task_key(ARGV[i]), 'blocked', until_)
end
return 'ok'
