-- A person's decision, for the report. ARGV: job, record (the name of what follows from it), order, milliseconds,
-- correction (0 or 1). The first in the log's order counts; of one that was undone, only the time.
local job, record, order = ARGV[1], ARGV[2], ARGV[3]
local key, job_key = P .. 'decisions:' .. job, P .. 'job:' .. job
local stands = redis.call('HEXISTS', key, '-' .. record) == 0
local before = redis.call('HGET', key, record)
if before then
  local old_order, old_ms, old_correction = string.match(before, '^(%d+)|(%d+)|(%d)$')
  if old_order <= order then
    return 0
  end
  add_to(job_key, 'active_ms', -tonumber(old_ms))
  if stands then
    add_to(job_key, 'corrections', -tonumber(old_correction))
  end
elseif stands then
  add_to(job_key, 'decisions', 1)
end
redis.call('HSET', key, record, order .. '|' .. ARGV[4] .. '|' .. ARGV[5])
add_to(job_key, 'active_ms', tonumber(ARGV[4]))
if stands then
  add_to(job_key, 'corrections', tonumber(ARGV[5]))
end
return 1
