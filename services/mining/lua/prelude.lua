-- Shared by every script. KEYS[1] is the tenant's prefix, "tercet:mining:{<tenant>}:"; every other key starts with it,
-- so that all keys of a tenant share a cluster slot.
--
-- task:<id>            hash: the task, its state (waiting, leased, decided, cancelled, withdrawn), its lease, its decision
-- queue:<scope>:<type> zset: waiting tasks by priority; scopes: all, job=, phrase=, job=&phrase=
-- near:<job>:<image>   set: waiting tasks of one image
-- leases               zset: held tasks by the end of their lease
-- people:<job>:<image> hash of a gold image: annotator -> copying, copied, saw or both (first copied, then saw)
-- gold:<job>:<image>   hash of a gold image, by the log: copy -> round of its decision; adjudicated: id of the task;
--                      opened:<rounds>: a task to adjudicate them was made
-- added:<job>:<image>  hash, by the log: phrase that a person added to the image -> id of the task
-- comments:<image>     hash, by the log: "<task>/<round>" -> what was written with its decision (mining.proto, Comment)
-- undoable             zset: decided tasks that are kept for an undo, by the end of its time
-- skipped:<id>         set: annotators who gave the task back for good
-- counts:<scope>       hash: "<type>:<state>" and "reason:<kind>" (of waiting tasks) -> number; scopes: all, job=
-- handled:<phrase>     hash: decided, corrected
-- cancelled            set of jobs
--
-- Of a task: what everyone sees is its state; what the log has said so far is in log (position of its last record),
-- lround, ldecision, lannotator, ldigest, lcorrected and history ("<position>=<answer>;..." of the records that counted).
-- What people did that the log has not told yet is in ahead, in order: "d:<decision>" and "u:<undo>", one a line.
local P = KEYS[1]

local FIELDS = {'state', 'type', 'job', 'image', 'phrase', 'priority', 'reasons', 'gold', 'copy', 'excluded', 'round',
                'lease', 'holder', 'expires', 'decision', 'annotator', 'digest', 'pending', 'pending_until',
                'pending_lease', 'blocked', 'undo', 'undid', 'undoer',
                'log', 'lround', 'ldecision', 'lannotator', 'ldigest', 'lcorrected', 'history', 'ahead'}
local ANNOTATE, ADJUDICATE = '1', '6'

local function task_key(id)
  return P .. 'task:' .. id
end

-- The task's fields, each a string ('' where absent); state is '' for an unknown task.
local function load(id)
  local values = redis.call('HMGET', task_key(id), unpack(FIELDS))
  local task = {id = id}
  for i, name in ipairs(FIELDS) do
    task[name] = values[i] or ''
  end
  return task
end

local function queues(task)
  local scopes = {'all', 'job=' .. task.job}
  if task.phrase ~= '' then
    scopes[3] = 'phrase=' .. task.phrase
    scopes[4] = 'job=' .. task.job .. '&phrase=' .. task.phrase
  end
  for i, scope in ipairs(scopes) do
    scopes[i] = P .. 'queue:' .. scope .. ':' .. task.type
  end
  return scopes
end

local function add_to(key, field, by)
  if redis.call('HINCRBY', key, field, by) == 0 then
    redis.call('HDEL', key, field)
  end
end

local function count(task, state, by)
  for _, scope in ipairs({'all', 'job=' .. task.job}) do
    local key = P .. 'counts:' .. scope
    add_to(key, task.type .. ':' .. state, by)
    if state == 'waiting' then
      for reason in string.gmatch(task.reasons, '[^\n]+') do
        add_to(key, 'reason:' .. reason, by)
      end
    end
  end
end

local function people_key(task)
  return P .. 'people:' .. task.job .. ':' .. task.image
end

local function gold_key(task)
  return P .. 'gold:' .. task.job .. ':' .. task.image
end

local function is_cancelled(job)
  return redis.call('SISMEMBER', P .. 'cancelled', job) == 1
end

-- An annotator has looked at what others made of a gold image.
local function note_seen(task, annotator)
  if redis.call('HSETNX', people_key(task), annotator, 'saw') == 0 and
     redis.call('HGET', people_key(task), annotator) == 'copied' then
    redis.call('HSET', people_key(task), annotator, 'both')
  end
end

local function near_key(task)
  return P .. 'near:' .. task.job .. ':' .. task.image
end

local function enqueue(task)
  redis.call('HSET', task_key(task.id), 'state', 'waiting')
  for _, key in ipairs(queues(task)) do
    redis.call('ZADD', key, task.priority, task.id)
  end
  redis.call('SADD', near_key(task), task.id)
  count(task, 'waiting', 1)
end

local function dequeue(task)
  for _, key in ipairs(queues(task)) do
    redis.call('ZREM', key, task.id)
  end
  redis.call('SREM', near_key(task), task.id)
  count(task, 'waiting', -1)
end

-- Takes the lease off a held task.
local function unhold(task)
  redis.call('ZREM', P .. 'leases', task.id)
  redis.call('HDEL', task_key(task.id), 'lease', 'holder', 'expires', 'pending', 'pending_until')
  if task.gold == '1' and task.type == ANNOTATE and
     redis.call('HGET', people_key(task), task.holder) == 'copying' then
    redis.call('HDEL', people_key(task), task.holder)
  end
  count(task, 'leased', -1)
end

-- A held task goes back to the queue, or out of it when its job was cancelled meanwhile.
local function give_back(task)
  unhold(task)
  if is_cancelled(task.job) then
    redis.call('HSET', task_key(task.id), 'state', 'cancelled')
  else
    enqueue(task)
  end
end

-- A task that is in no queue is held.
local function hold(task, annotator, lease, expires)
  redis.call('HSET', task_key(task.id), 'state', 'leased', 'lease', lease, 'holder', annotator, 'expires', expires)
  redis.call('ZADD', P .. 'leases', expires, task.id)
  count(task, 'leased', 1)
  if task.gold == '1' then
    if task.type == ANNOTATE then
      redis.call('HSET', people_key(task), annotator, 'copying')
    else
      note_seen(task, annotator)
    end
  end
end

-- Why an annotator may not have a task ('' where nothing is against it): it checks the annotator's own work; or of a gold
-- image, each has one copy and does it alone, and only then sees the work of others.
local function against(task, annotator)
  if string.find(task.excluded, '\n' .. annotator .. '\n', 1, true) then
    return 'own'
  end
  if task.gold == '1' then
    local role = redis.call('HGET', people_key(task), annotator)
    if (task.type == ANNOTATE and role) or (task.type ~= ANNOTATE and role == 'copying') then
      return 'alone'
    end
  end
  return ''
end

-- Whether an undo is being written that would take the task away.
local function is_blocked(task, now)
  return task.blocked ~= '' and tonumber(task.blocked) > tonumber(now)
end

-- Leases that ended by `now` go back; decisions that can no longer be undone are forgotten, for the log has them.
local function expire(now)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', now, 'LIMIT', 0, 1000)) do
    give_back(load(id))
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'undoable', '-inf', now, 'LIMIT', 0, 1000)) do
    redis.call('ZREM', P .. 'undoable', id)
    redis.call('HDEL', task_key(id), 'record', 'standing')
  end
end
