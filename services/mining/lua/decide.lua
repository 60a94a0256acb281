-- A decision or an undo. ARGV: id, number of named values, name, value, ..., then the task's field, value, ... for a task
-- that is not known yet. The names: kind ('decide' or 'undo'), id, annotator, round (of the task), position ("<partition>/
-- <offset>", '' while the log has not told), record (the task; of an undo in its next round), standing (the decision; of
-- an undo the one undone), now, keep_until (end of the time for an undo); of a decision digest, corrected (0 or 1); of an
-- undo undid (the decision's id), lease, expires, follow (tasks that follow from the decision, one a line); added
-- (phrases, one a line).
-- Answers 'first' for a decision that counts, 'undone' for such an undo, else 'later'. Of a gold copy '|<rounds>' follows
-- when all three are decided (of an undo: were, before it).
-- The log's order decides: what people did is shown at once, and stands only until the log says otherwise.
local id, named = ARGV[1], {}
local rest = 3 + 2 * tonumber(ARGV[2])
for i = 3, rest - 1, 2 do
  named[ARGV[i]] = ARGV[i + 1]
end
local key = task_key(id)
local undo = named.kind == 'undo'
local tag = (undo and 'u:' or 'd:') .. named.id
if redis.call('HEXISTS', key, 'type') == 0 then
  redis.call('HSET', key, unpack(ARGV, rest))
end
local task = load(id)
local round = tonumber(named.round)

local function lines(text)
  return string.gmatch(text or '', '[^\n]+')
end

local function leave_queue()
  if task.state == 'waiting' then
    dequeue(task)
  elseif task.state == 'leased' then
    unhold(task)
  elseif task.state == 'decided' then
    count(task, 'decided', -1)
  end
end

-- Kept for an undo while there is time; then nobody needs the task itself any more, for the log has it.
local function keep()
  if tonumber(named.keep_until) > tonumber(named.now) then
    redis.call('HSET', key, 'record', named.record, 'standing', named.standing)
    redis.call('ZADD', P .. 'undoable', named.keep_until, id)
  else
    redis.call('HDEL', key, 'record', 'standing')
    redis.call('ZREM', P .. 'undoable', id)
  end
end

local function show_decided(decision, annotator, digest)
  leave_queue()
  count(task, 'decided', 1)
  redis.call('HSET', key, 'state', 'decided', 'decision', decision, 'annotator', annotator, 'digest', digest)
  redis.call('HDEL', key, 'undone', 'pending', 'pending_until', 'pending_lease')
  redis.call('DEL', P .. 'skipped:' .. id)
  if task.gold == '1' then
    if task.type == ANNOTATE then
      redis.call('HSET', people_key(task), annotator, 'copied')
    else
      note_seen(task, annotator)
    end
  end
end

-- The task as it is after an undo: open in its next round, held under the lease where one is given.
local function show_open(lease, expires)
  leave_queue()
  redis.call('ZREM', P .. 'undoable', id)
  redis.call('HSET', key, 'round', string.format('%d', round + 1), 'record', named.record, 'undone', named.standing, 'undo', named.id,
             'undid', named.undid, 'undoer', named.annotator)
  redis.call('HDEL', key, 'decision', 'annotator', 'digest', 'standing', 'pending', 'pending_until', 'pending_lease')
  if task.gold == '1' and task.type == ANNOTATE and
     redis.call('HGET', people_key(task), named.annotator) == 'copied' then
    redis.call('HDEL', people_key(task), named.annotator)
  end
  if is_cancelled(task.job) then
    redis.call('HSET', key, 'state', 'cancelled')
  elseif lease then
    hold(task, named.annotator, lease, expires)
  else
    enqueue(task)
  end
end

local function set_ahead(text)
  if text == '' then
    redis.call('HDEL', key, 'ahead')
  else
    redis.call('HSET', key, 'ahead', text)
  end
end

if named.position == '' then
  if undo then
    if task.undo == named.id then -- the log was quicker
      if task.state == 'leased' and task.holder == named.annotator and task.lease == named.lease then
        redis.call('HSET', key, 'expires', named.expires)
        redis.call('ZADD', P .. 'leases', named.expires, id)
      end
      return 'undone'
    end
    if task.state ~= 'decided' or task.decision ~= named.undid or task.annotator ~= named.annotator then
      return 'later'
    end
    show_open(named.lease, named.expires)
    set_ahead(task.ahead .. tag .. '\n')
    return 'undone'
  end
  if task.state == 'decided' then
    return task.decision == named.id and 'first' or 'later'
  end
  if task.state == 'withdrawn' or (tonumber(task.round) or 0) ~= round then
    return 'later'
  end
  show_decided(named.id, named.annotator, named.digest)
  keep()
  set_ahead(task.ahead .. tag .. '\n')
  return 'first'
end

-- A record of the log. One that came before is answered as the first time: its transaction was not committed.
for position, answer in string.gmatch(task.history, '([^=;]+)=([^;]*);') do
  if position == named.position then
    return answer
  end
end
local partition, offset = string.match(named.position, '^(%d+)/(%d+)$')
local last_partition, last_offset = string.match(task.log, '^(%d+)/(%d+)$')
if partition == last_partition and tonumber(offset) <= tonumber(last_offset) then
  return 'later'
end

local gold_copy = task.gold == '1' and task.type == ANNOTATE
local counts = (tonumber(task.lround) or 0) == round
if undo then
  counts = counts and task.ldecision ~= '' and task.ldecision == named.undid and task.lannotator == named.annotator
  for follows in lines(named.follow) do
    counts = counts and redis.call('HEXISTS', task_key(follows), 'ldecision') == 0
  end
  if gold_copy then
    counts = counts and redis.call('HEXISTS', gold_key(task), 'adjudicated') == 0
  end
  redis.call('HSET', key, 'log', named.position) -- also where it does not count: what follows may change, it may not
else
  counts = counts and task.ldecision == '' and task.state ~= 'withdrawn'
end

if not counts then
  if string.find('\n' .. task.ahead, '\n' .. tag .. '\n', 1, true) then -- shown, and wrong
    set_ahead('')
    if task.ldecision ~= '' then
      show_decided(task.ldecision, task.lannotator, task.ldigest)
      redis.call('HDEL', key, 'record', 'standing')
      redis.call('ZREM', P .. 'undoable', id)
    end
  end
  return 'later'
end

local function rounds()
  local found = redis.call('HMGET', gold_key(task), '0', '1', '2')
  if gold_copy and found[1] and found[2] and found[3] then
    return '|' .. found[1] .. ',' .. found[2] .. ',' .. found[3]
  end
  return ''
end

local answer
local handled, added = P .. 'handled:' .. task.phrase, P .. 'added:' .. task.job .. ':' .. task.image
if undo then
  answer = 'undone' .. rounds()
  redis.call('HSET', key, 'lround', string.format('%d', round + 1))
  redis.call('HDEL', key, 'ldecision', 'lannotator', 'ldigest', 'lcorrected')
  if task.phrase ~= '' then
    redis.call('HINCRBY', handled, 'decided', -1)
    redis.call('HINCRBY', handled, 'corrected', 0 - tonumber(task.lcorrected)) -- 0 - 0: Redis takes no -0
  end
  if gold_copy then
    redis.call('HDEL', gold_key(task), task.copy)
  elseif task.type == ADJUDICATE then
    redis.call('HDEL', gold_key(task), 'adjudicated')
  end
  for phrase in lines(named.added) do
    if redis.call('HGET', added, phrase) == id then
      redis.call('HDEL', added, phrase)
    end
  end
else
  redis.call('HSET', key, 'lround', named.round, 'ldecision', named.id, 'lannotator', named.annotator, 'ldigest', named.digest,
             'lcorrected', named.corrected)
  if task.phrase ~= '' then
    redis.call('HINCRBY', handled, 'decided', 1)
    redis.call('HINCRBY', handled, 'corrected', named.corrected)
  end
  if gold_copy then
    redis.call('HSET', gold_key(task), task.copy, named.round)
  elseif task.type == ADJUDICATE then
    redis.call('HSET', gold_key(task), 'adjudicated', id)
  end
  for phrase in lines(named.added) do
    redis.call('HSETNX', added, phrase, id)
  end
  answer = 'first' .. rounds()
end
redis.call('HSET', key, 'log', named.position, 'history', task.history .. named.position .. '=' .. answer .. ';')

local first, others = string.match(task.ahead, '^([^\n]+)\n(.*)$')
if first == tag then
  set_ahead(others)
  if not undo and task.state == 'decided' and task.decision == named.id then
    keep()
  end
else
  set_ahead('')
  if undo then
    local asked = task.pending == tag and tonumber(task.pending_until) > tonumber(named.now)
    show_open(asked and task.pending_lease, asked and task.pending_until)
  else
    show_decided(named.id, named.annotator, named.digest)
    keep()
  end
end
return answer
