-- A decision. ARGV: id, decision id, annotator, offset ('' while the log has not told), corrected (0 or 1), digest of
-- what was sent, then the task's field, value, ... for a task that is not known yet. Answers 'first', or 'later' when
-- another came before it.
-- The log's order decides: what a submitter has marked stands only until the log says otherwise.
local id, decision, annotator, offset, corrected, digest = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local task = load(id)
if task.state == '' then
  redis.call('HSET', task_key(id), unpack(ARGV, 7))
  task = load(id)
end
if task.state == 'decided' then
  if task.offset ~= '' then
    -- The same offset again is the same record, delivered again because its transaction was not committed.
    if (offset ~= '' and task.offset == offset) or (offset == '' and task.decision == decision) then
      return 'first'
    end
    return 'later'
  end
  if offset == '' then
    return task.decision == decision and 'first' or 'later'
  end
else
  if task.state == 'waiting' then
    dequeue(task)
  elseif task.state == 'leased' then
    unhold(task)
  end
  count(task, 'decided', 1)
end
redis.call('HSET', task_key(id), 'state', 'decided', 'decision', decision, 'annotator', annotator,
           'digest', digest)
redis.call('DEL', P .. 'skipped:' .. id)
if offset ~= '' then
  redis.call('HSET', task_key(id), 'offset', offset)
  redis.call('HDEL', task_key(id), 'record') -- nobody needs the task itself any more; the log has it
  if task.phrase ~= '' then
    redis.call('HINCRBY', P .. 'handled:' .. task.phrase, 'decided', 1)
    redis.call('HINCRBY', P .. 'handled:' .. task.phrase, 'corrected', corrected)
  end
  if task.gold == '1' then
    if task.type == '1' then
      redis.call('HSET', people_key(task), annotator, 'copied')
    else
      redis.call('HSETNX', people_key(task), annotator, 'saw')
    end
  end
end
return 'first'
