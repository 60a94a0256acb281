-- Shared by every script. KEYS[1] is the tenant's prefix, "tercet:mining:{<tenant>}:"; every other key starts with it,
-- so that all keys of a tenant share a cluster slot.
--
-- task:<id>            hash: the task, its state (waiting, leased, decided, cancelled), its lease, its decision
-- queue:<scope>:<type> zset: waiting tasks by priority; scopes: all, job=, phrase=, job=&phrase=
-- near:<job>:<image>   set: waiting tasks of one image
-- leases               zset: held tasks by the end of their lease
-- people:<job>:<image> hash of a gold image: annotator -> copying, copied or saw
-- skipped:<id>         set: annotators who gave the task back for good
-- counts:<scope>       hash: "<type>:<state>" and "reason:<kind>" (of waiting tasks) -> number; scopes: all, job=
-- handled:<phrase>     hash: decided, corrected
-- cancelled            set of jobs
local P = KEYS[1]

local FIELDS = {'state', 'type', 'job', 'image', 'phrase', 'priority', 'reasons', 'gold', 'excluded',
                'lease', 'holder', 'expires', 'decision', 'annotator', 'digest', 'offset', 'pending', 'pending_until'}

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
  if task.gold == '1' and redis.call('HGET', people_key(task), task.holder) == 'copying' and task.type == '1' then
    redis.call('HDEL', people_key(task), task.holder)
  end
  count(task, 'leased', -1)
end

-- A held task goes back to the queue, or out of it when its job was cancelled meanwhile.
local function give_back(task)
  unhold(task)
  if redis.call('SISMEMBER', P .. 'cancelled', task.job) == 1 then
    redis.call('HSET', task_key(task.id), 'state', 'cancelled')
  else
    enqueue(task)
  end
end

-- Leases that ended by `now` go back.
local function expire(now)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', now, 'LIMIT', 0, 1000)) do
    give_back(load(id))
  end
end
