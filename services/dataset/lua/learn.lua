-- Something about an image. ARGV: job, image, then what is known, by name:
-- name; step (1..5); requested; expected: tasks opened first; done: the second when the models had finished;
-- tally: "<field>=<n> ..." added to the job once; failure: "<step>|<topic>|<offset>" with topic, error, reason, attempts;
-- record: "models" or a task id, with order, opened and pairs: "<pair>\t<p, n or x>\n...".
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
if known.record then
  local records = P .. 'records:' .. job .. ':' .. image
  local before = redis.call('HGET', records, known.record)
  if not before then
    if known.record == 'models' then
      row.result = '1'
      row.expected = known.opened
    else
      row.decided = tostring(number(row.decided) + 1)
      row.opened = tostring(number(row.opened) + number(known.opened))
    end
    local pairs_key = P .. 'pairs:' .. job .. ':' .. image
    local sums = {p = 'accepted_positives', n = 'accepted_negatives'}
    for pair, code in string.gmatch(known.pairs, '([^\t\n]+)\t(%a)\n') do
      local old = redis.call('HGET', pairs_key, pair) or ''
      local order, old_code = string.match(old, '^(%d+)|(%a)$')
      if not order or known.order > order then
        if old_code and sums[old_code] then
          add_to(job_key, sums[old_code], -1)
        end
        if sums[code] then
          add_to(job_key, sums[code], 1)
        end
        redis.call('HSET', pairs_key, pair, known.order .. '|' .. code)
      end
    end
  end
  if not before or known.order < before then
    redis.call('HSET', records, known.record, known.order)
  end
end
settle(job, image, row, is_cancelled(job))
changed(job)
return 1
