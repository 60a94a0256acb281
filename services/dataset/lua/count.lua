-- What was done, for the statistics. Any order, any repetition.
-- ARGV: job, then either '-' and the name of an entry that no longer stands, or entries of six: name, order in the log
-- (the smallest counts), bucket (a minute since the epoch), annotator ('' the models), image, counters "<counter>=<n>,...".
-- Of an entry that does not stand only the counters of time count: ms, pms, nms.
--
-- done:<job>            hash: entry -> "<order>|<bucket>|<annotator>|<image>|<counters>"; "-<entry>" -> "1"
-- figures:<job>         hash: "<bucket>|<annotator>|<counter>" -> sum. Counter i is images: the models' own, those of all
--                       people (annotator '*'), each image once, at its first decision that stands, and each person's,
--                       each image once, at the person's own first decision that stands
-- decided_at:<job>      hash: image, or "<image>|<annotator>" -> "<entry>@<bucket>;..." of the decisions that stand
local job = ARGV[1]
local done, figures, touched = P .. 'done:' .. job, P .. 'figures:' .. job, P .. 'decided_at:' .. job
local TIME = {ms = true, pms = true, nms = true}

local function earliest(text)
  local first
  for bucket in string.gmatch(text, '@(%d+);') do
    if not first or tonumber(bucket) < tonumber(first) then
      first = bucket
    end
  end
  return first
end

-- The decision joins (sign 1) or leaves those that stand on an image, of a person or ('*') of all.
local function touch(field, annotator, name, bucket, sign)
  local before = redis.call('HGET', touched, field) or ''
  local all = {}
  for one in string.gmatch(before, '[^;]+;') do
    if string.match(one, '^(.*)@') ~= name then
      all[#all + 1] = one
    end
  end
  if sign > 0 then
    all[#all + 1] = name .. '@' .. bucket .. ';'
  end
  table.sort(all)
  local text = table.concat(all)
  local old, new = earliest(before), earliest(text)
  if old ~= new then
    if old then
      add_to(figures, old .. '|' .. annotator .. '|i', -1)
    end
    if new then
      add_to(figures, new .. '|' .. annotator .. '|i', 1)
    end
  end
  if text == '' then
    redis.call('HDEL', touched, field)
  else
    redis.call('HSET', touched, field, text)
  end
end

-- The entry is added, or with sign -1 taken away; of one that does not stand only its time.
local function add(name, entry, sign, stands)
  local bucket, annotator, image, counters = string.match(entry, '^%d+|(%d+)|([^|]*)|([^|]*)|(.*)$')
  for counter, n in string.gmatch(counters, '(%w+)=(%d+)') do
    if stands or TIME[counter] then
      add_to(figures, bucket .. '|' .. annotator .. '|' .. counter, sign * tonumber(n))
    end
  end
  if annotator ~= '' and stands then
    touch(image, '*', name, bucket, sign)
    touch(image .. '|' .. annotator, annotator, name, bucket, sign)
  end
end

if ARGV[2] == '-' then
  if redis.call('HSETNX', done, '-' .. ARGV[3], '1') == 1 then
    local entry = redis.call('HGET', done, ARGV[3])
    if entry then
      add(ARGV[3], entry, -1, true)
      add(ARGV[3], entry, 1, false)
    end
  end
  return 1
end
for i = 2, #ARGV, 6 do
  local name, order = ARGV[i], ARGV[i + 1]
  local stands = redis.call('HEXISTS', done, '-' .. name) == 0
  local before = redis.call('HGET', done, name)
  if not before or order < string.match(before, '^%d+') then
    if before then
      add(name, before, -1, stands)
    end
    local entry = table.concat({order, ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]}, '|')
    redis.call('HSET', done, name, entry)
    add(name, entry, 1, stands)
  end
end
return 1
