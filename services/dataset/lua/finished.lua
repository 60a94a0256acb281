-- The log says that the job is done with a status. ARGV: job, status, milliseconds, decisions undone until then. What an
-- earlier end says is no news.
local key, status, undone = P .. 'job:' .. ARGV[1], ARGV[2], ARGV[4]
if number(undone) < number(redis.call('HGET', key, 'finished_undone:' .. status)) then
  return 0
end
redis.call('HSET', key, 'finished:' .. status, 'log', 'finished_at:' .. status, ARGV[3], 'finished_undone:' .. status,
           undone)
redis.call('HDEL', key, 'finished_counts:' .. status)
changed(ARGV[1])
return 1
