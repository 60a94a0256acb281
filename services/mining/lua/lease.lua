-- The most urgent tasks that fit, held. ARGV: now, expires, annotator, scope, job ('' any), phrase ('' any), most tasks
-- to look at, number of types, the types, then a lease id for each task wanted. Answers id, lease id, ... of the held.
local now, expires, annotator, scope, job, phrase = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local looks, kinds = tonumber(ARGV[7]), tonumber(ARGV[8])
local types, wanted = {}, {}
for i = 9, 8 + kinds do
  types[#types + 1] = ARGV[i]
  wanted[ARGV[i]] = true
end
local lease_ids = {unpack(ARGV, 9 + kinds)}
local held = {}

-- Whether this annotator may have the task: not excluded, not skipped, and of a gold image either one's own copy alone
-- or, once that is done, the work of others.
local function may_have(task)
  if string.find(task.excluded, '\n' .. annotator .. '\n', 1, true) then
    return false
  end
  if redis.call('SISMEMBER', P .. 'skipped:' .. task.id, annotator) == 1 then
    return false
  end
  if task.gold == '1' then
    local role = redis.call('HGET', people_key(task), annotator)
    if task.type == '1' then
      return not role
    end
    return role ~= 'copying'
  end
  return true
end

local function hold(task)
  local lease = lease_ids[#held / 2 + 1]
  dequeue(task)
  redis.call('HSET', task_key(task.id), 'state', 'leased', 'lease', lease, 'holder', annotator, 'expires', expires)
  redis.call('ZADD', P .. 'leases', expires, task.id)
  count(task, 'leased', 1)
  if task.gold == '1' then
    if task.type == '1' then
      redis.call('HSET', people_key(task), annotator, 'copying')
    else
      redis.call('HSETNX', people_key(task), annotator, 'saw')
    end
  end
  held[#held + 1] = task.id
  held[#held + 1] = lease
end

local function more()
  return #held / 2 < #lease_ids
end

-- Further tasks of an image that is open on the annotator's screen already.
local function hold_near(first)
  local others = {}
  for _, id in ipairs(redis.call('SMEMBERS', near_key(first))) do
    local task = load(id)
    if wanted[task.type] and (phrase == '' or task.phrase == phrase) then
      others[#others + 1] = task
    end
  end
  table.sort(others, function(a, b)
    local x, y = tonumber(a.priority), tonumber(b.priority)
    if x ~= y then
      return x > y
    end
    return a.id > b.id
  end)
  for _, task in ipairs(others) do
    if more() and may_have(task) then
      hold(task)
    end
  end
end

expire(now)
local passed = {} -- by type: tasks at the head of the queue that this annotator may not have
while more() and looks > 0 do
  local best, best_type = nil, nil
  for _, kind in ipairs(types) do
    local at = passed[kind] or 0
    local head = redis.call('ZREVRANGE', P .. 'queue:' .. scope .. ':' .. kind, at, at, 'WITHSCORES')
    if head[1] and (best == nil or tonumber(head[2]) > best[2]) then
      best, best_type = {head[1], tonumber(head[2])}, kind
    end
  end
  if best == nil then
    break
  end
  looks = looks - 1
  local task = load(best[1])
  if may_have(task) then
    hold(task)
    hold_near(task)
  else
    passed[best_type] = (passed[best_type] or 0) + 1
  end
end
return held
