-- Tasks that follow from a decision that the log has undone: nobody needs to decide them. ARGV: ids; a task may come
-- later. A decided one stays.
for _, id in ipairs(ARGV) do
  local task = load(id)
  if task.ldecision == '' then
    if task.state == 'waiting' then
      dequeue(task)
    elseif task.state == 'leased' then
      unhold(task)
    elseif task.state == 'decided' then
      count(task, 'decided', -1)
      redis.call('ZREM', P .. 'undoable', id)
    end
    redis.call('DEL', P .. 'skipped:' .. id)
    redis.call('HSET', task_key(id), 'state', 'withdrawn')
    redis.call('HDEL', task_key(id), 'record', 'standing', 'blocked', 'decision', 'annotator', 'digest', 'ahead')
  end
end
return 1
