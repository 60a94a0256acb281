-- Whether the record at hand is the one to say that the job is done with a status. ARGV: job, cause ("topic/partition/
-- offset" of the record), its milliseconds. Answers status, milliseconds, counts, decisions undone; or nothing. The cause
-- is remembered: when the record's transaction is not committed it comes again, and says so again, with the same words.
-- A complete job that an undo has opened says so again once it is complete.
local job, cause, at = ARGV[1], ARGV[2], ARGV[3]
local key = P .. 'job:' .. job
local total = redis.call('HGET', key, 'total')
if not total or is_cancelled(job) then
  return {}
end
for _, status in ipairs({'waiting_for_people', 'complete'}) do
  local told = redis.call('HMGET', key, 'finished:' .. status, 'finished_at:' .. status, 'finished_counts:' .. status)
  if told[1] == cause then
    return {status, told[2], told[3], redis.call('HGET', key, 'finished_undone:' .. status) or '0'}
  end
end
local counts, ended = {}, 0
for _, state in ipairs({'submitted', 'proposed', 'segmented', 'verified', 'in_review', 'complete', 'failed'}) do
  local n = redis.call('ZCARD', P .. 'state:' .. job .. ':' .. state)
  counts[state] = n
  if n > 0 then
    counts[#counts + 1] = state .. '=' .. n
  end
end
ended = counts.complete + counts.failed
local status
if ended >= tonumber(total) then
  status = 'complete'
elseif ended + counts.in_review >= tonumber(total) then
  status = 'waiting_for_people'
end
if not status then
  return {}
end
local undone = redis.call('HGET', key, 'undone') or '0'
if redis.call('HEXISTS', key, 'finished:' .. status) == 1 and
   (status ~= 'complete' or number(undone) <= number(redis.call('HGET', key, 'finished_undone:complete'))) then
  return {}
end
local text = table.concat(counts, ' ')
redis.call('HSET', key, 'finished:' .. status, cause, 'finished_at:' .. status, at, 'finished_counts:' .. status, text,
           'finished_undone:' .. status, undone)
changed(job)
return {status, at, text, undone}
