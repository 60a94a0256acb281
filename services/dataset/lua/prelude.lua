-- Shared by every script. KEYS[1] is the tenant's prefix, "tercet:dataset:{<tenant>}:"; every other key starts with it.
-- A row's state is worked out from what is known of the image, and what is known only grows: records may come in any
-- order and any number of times, and the view ends the same. An undo, too, is something more that is known: the name of
-- the record that no longer stands, with a '-' before it.
--
-- jobs                  zset: job -> when it was submitted
-- job:<job>             hash: created, total, cancelled, sums, finished:<status>
-- rows:<job>            zset of the job's images, by id
-- row:<job>:<image>     hash: name, step, failure, expected, opened, decided, state, ...
-- state:<job>:<state>   zset of images in a state, by id
-- rate:<job>            hash: second -> images that the models finished
-- pairs:<job>:<image>   hash: pair -> "<order>|<p, n or x>|<record>;..." of the records that stand; the latest counts
-- records:<job>:<image> hash: record -> order in the log; "-<record>" -> order of what withdrew it
-- decisions:<job>       hash: record -> "<order>|<milliseconds>|<0 or 1: a correction>"; "-<record>" -> "1"
--                       (a record is named "models", or by its task: "<task>", from the second round "<task>.<round>")
-- agreement:<job>       hash: gold image -> "<order>|<records of the three versions>|<annotator>=<0..1>;..."
-- picture:<image>       hash: image, order; jobs:<image> zset: job -> when it was submitted
-- changes:<job>         number that grows with every change
local P = KEYS[1]
local ROW = {'name', 'step', 'requested', 'expected', 'opened', 'decided', 'result', 'done', 'tallied',
             'failure', 'state', 'open'}
local STEPS = {[0] = 'submitted', 'submitted', 'proposed', 'segmented', 'verified', 'verified'}
local RATE_SECONDS = 120

local function named(from)
  local values = {}
  for i = from, #ARGV, 2 do
    values[ARGV[i]] = ARGV[i + 1]
  end
  return values
end

local function add_to(key, field, by)
  if by ~= 0 and redis.call('HINCRBY', key, field, by) == 0 then
    redis.call('HDEL', key, field)
  end
end

local function changed(job)
  redis.call('INCR', P .. 'changes:' .. job)
end

local function load_row(job, image)
  local values = redis.call('HMGET', P .. 'row:' .. job .. ':' .. image, unpack(ROW))
  local row = {}
  for i, name in ipairs(ROW) do
    row[name] = values[i] or ''
  end
  return row
end

local function number(text)
  return tonumber(text) or 0
end

-- The state that follows from what is known. Complete: as many tasks decided as were ever opened. Failed: a dead letter
-- at the step that the image has reached, not yet overtaken by a replay.
local function derive(row, cancelled)
  local expected = row.expected ~= '' and number(row.expected) + number(row.opened)
  if expected and number(row.decided) >= expected then
    return 'complete'
  end
  if row.failure ~= '' and number(string.sub(row.failure, 1, 1)) >= number(row.step) then
    return 'failed'
  end
  if cancelled then
    return 'cancelled'
  end
  if expected and (row.result == '1' or row.requested == '1' or number(row.decided) > 0) then
    return 'in_review'
  end
  return STEPS[number(row.step)]
end

-- Puts the row where it belongs now.
local function settle(job, image, row, cancelled)
  local state = derive(row, cancelled)
  local open = 0
  if row.expected ~= '' and state ~= 'cancelled' then
    open = math.max(0, number(row.expected) + number(row.opened) - number(row.decided))
  end
  add_to(P .. 'job:' .. job, 'open', open - number(row.open))
  row.open = tostring(open)
  if state ~= row.state then
    if row.state ~= '' then
      redis.call('ZREM', P .. 'state:' .. job .. ':' .. row.state, image)
    else
      redis.call('ZADD', P .. 'rows:' .. job, 0, image)
    end
    redis.call('ZADD', P .. 'state:' .. job .. ':' .. state, 0, image)
    row.state = state
  end
  local values = {}
  for _, name in ipairs(ROW) do
    if row[name] ~= '' then
      values[#values + 1] = name
      values[#values + 1] = row[name]
    end
  end
  redis.call('HSET', P .. 'row:' .. job .. ':' .. image, unpack(values))
end

local function is_cancelled(job)
  return redis.call('HEXISTS', P .. 'job:' .. job, 'cancelled') == 1
end

-- One more image that the models finished, at a second; only the last two minutes of activity are kept.
local function count_rate(job, second)
  local key, job_key = P .. 'rate:' .. job, P .. 'job:' .. job
  local bounds = redis.call('HMGET', job_key, 'first_done', 'last_done')
  local first, last = tonumber(bounds[1] or second), tonumber(bounds[2] or second)
  redis.call('HSET', job_key, 'first_done', string.format('%.0f', math.min(first, second)),
             'last_done', string.format('%.0f', math.max(last, second)))
  if second > last - RATE_SECONDS then
    redis.call('HINCRBY', key, string.format('%.0f', second), 1)
  end
  if second > last then
    for _, old in ipairs(redis.call('HKEYS', key)) do
      if tonumber(old) <= second - RATE_SECONDS then
        redis.call('HDEL', key, old)
      end
    end
  end
end

-- A name for an image listed under several: the first by alphabet, whichever comes first.
local function better_name(old, new)
  if new == nil or new == '' or (old ~= '' and old <= new) then
    return old
  end
  return new
end
