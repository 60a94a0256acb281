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

-- Whether this annotator is offered the task.
local function may_have(task)
  return against(task, annotator) == '' and not is_blocked(task, now) and
         redis.call('SISMEMBER', P .. 'skipped:' .. task.id, annotator) == 0
end

local function take(task)
  local lease = lease_ids[#held / 2 + 1]
  dequeue(task)
  hold(task, annotator, lease, expires)
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
      take(task)
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
    take(task)
    hold_near(task)
  else
    passed[best_type] = (passed[best_type] or 0) + 1
  end
end
return held
