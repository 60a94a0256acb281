-- Something about an image. ARGV: job, image, then what is known, by name:
-- name; step (1..5); requested; expected: tasks opened first; done: the second when the models had finished;
-- tally: "<field>=<n> ..." added to the job once; failure: "<step>|<topic>|<offset>" with topic, error, reason, attempts;
-- record: its name, with order, opened and pairs: "<pair>\t<p, n or x>\n..."; or with withdrawn: the record no longer
-- stands, and the tasks that it had opened are gone; with the record perhaps agreement: "<annotator>=<0..1>;..." of the
-- image's three gold versions, and versions: "<record>,..." that it is about.
local job, image = ARGV[1], ARGV[2]
local known = named(3)
local row, job_key = load_row(job, image), P .. 'job:' .. job
row.name = better_name(row.name, known.name)
if number(known.step) > number(row.step) then
  row.step = known.step
end
if known.requested then
  row.requested = '1'
end
if known.expected and row.expected == '' then
  row.expected = known.expected
end
if known.done and row.done == '' then
  row.done = '1'
  count_rate(job, tonumber(known.done))
end
if known.tally and row.tallied == '' then
  row.tallied = '1'
  for field, n in string.gmatch(known.tally, '(%S+)=(%d+)') do
    add_to(job_key, field, tonumber(n))
  end
end
if known.failure and known.failure > row.failure then
  row.failure = known.failure
  redis.call('HSET', P .. 'row:' .. job .. ':' .. image, 'topic', known.topic, 'error', known.error,
             'reason', known.reason, 'attempts', known.attempts)
end
local SUMS = {p = 'accepted_positives', n = 'accepted_negatives'}

-- What stands of a pair by the records that say something of it: the code of the latest.
local function standing(said)
  local latest, code = '', nil
  for order, one in string.gmatch(said, '(%d+)|(%a)|[^;]+;') do
    if order > latest then
      latest, code = order, one
    end
  end
  return SUMS[code]
end

-- What is said, and this; in the log's order, whichever came first.
local function with(said, more)
  local all = {more}
  for one in string.gmatch(said, '[^;]+;') do
    all[#all + 1] = one
  end
  table.sort(all)
  return table.concat(all)
end

-- What is said of a pair becomes something else.
local function say(key, pair, before, after)
  if standing(before) then
    add_to(job_key, standing(before), -1)
  end
  if standing(after) then
    add_to(job_key, standing(after), 1)
  end
  if after == '' then
    redis.call('HDEL', key, pair)
  else
    redis.call('HSET', key, pair, after)
  end
end

if known.record then
  local records, pairs_key = P .. 'records:' .. job .. ':' .. image, P .. 'pairs:' .. job .. ':' .. image
  local gone = '-' .. known.record
  local name = known.withdrawn and gone or known.record
  local before = redis.call('HGET', records, name)
  if not before and known.withdrawn then
    row.decided = tostring(number(row.decided) - 1)
    row.opened = tostring(number(row.opened) - number(known.opened))
    local said = redis.call('HGETALL', pairs_key)
    for i = 1, #said, 2 do
      local left = ''
      for order, code, record in string.gmatch(said[i + 1], '(%d+)|(%a)|([^;]+);') do
        if record ~= known.record then
          left = left .. order .. '|' .. code .. '|' .. record .. ';'
        end
      end
      if left ~= said[i + 1] then
        say(pairs_key, said[i], said[i + 1], left)
      end
    end
    local decisions = P .. 'decisions:' .. job
    local decision = redis.call('HGET', decisions, known.record)
    redis.call('HSET', decisions, gone, '1')
    if decision then -- the time was spent, the decision is none
      add_to(job_key, 'decisions', -1)
      add_to(job_key, 'corrections', -tonumber(string.match(decision, '|(%d)$')))
    end
    redis.call('HINCRBY', job_key, 'undone', 1)
    local agreed = redis.call('HGET', P .. 'agreement:' .. job, image)
    if agreed and string.find(',' .. string.match(agreed, '|([^|]*)|') .. ',', ',' .. known.record .. ',', 1, true) then
      redis.call('HDEL', P .. 'agreement:' .. job, image)
    end
  elseif not before then
    if known.record == 'models' then
      row.result = '1'
      row.expected = known.opened
    else
      row.decided = tostring(number(row.decided) + 1)
      row.opened = tostring(number(row.opened) + number(known.opened))
    end
    if redis.call('HEXISTS', records, gone) == 0 then
      for pair, code in string.gmatch(known.pairs, '([^\t\n]+)\t(%a)\n') do
        local said = redis.call('HGET', pairs_key, pair) or ''
        say(pairs_key, pair, said, with(said, known.order .. '|' .. code .. '|' .. known.record .. ';'))
      end
    end
  end
  if known.agreement then
    local stands = true
    for version in string.gmatch(known.versions, '[^,]+') do
      stands = stands and redis.call('HEXISTS', records, '-' .. version) == 0
    end
    local agreed = redis.call('HGET', P .. 'agreement:' .. job, image)
    if stands and (not agreed or string.match(agreed, '^%d+') < known.order) then
      redis.call('HSET', P .. 'agreement:' .. job, image,
                 known.order .. '|' .. known.versions .. '|' .. known.agreement)
    end
  end
  if not before or known.order < before then
    redis.call('HSET', records, name, known.order)
  end
end
settle(job, image, row, is_cancelled(job))
changed(job)
return 1
