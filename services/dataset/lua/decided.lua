-- A person's decision, for the report. ARGV: job, task id, order, milliseconds, correction (0 or 1). The first in the
-- log's order counts.
local job, task, order = ARGV[1], ARGV[2], ARGV[3]
local key, job_key = P .. 'decisions:' .. job, P .. 'job:' .. job
local before = redis.call('HGET', key, task)
if before then
  local old_order, old_ms, old_correction = string.match(before, '^(%d+)|(%d+)|(%d)$')
  if old_order <= order then
    return 0
  end
  add_to(job_key, 'active_ms', -tonumber(old_ms))
  add_to(job_key, 'corrections', -tonumber(old_correction))
else
  add_to(job_key, 'decisions', 1)
end
redis.call('HSET', key, task, order .. '|' .. ARGV[4] .. '|' .. ARGV[5])
add_to(job_key, 'active_ms', tonumber(ARGV[4]))
add_to(job_key, 'corrections', tonumber(ARGV[5]))
return 1
