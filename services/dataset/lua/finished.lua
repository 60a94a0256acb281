-- The log says that the job is done with a status. ARGV: job, status, milliseconds.
local key, status = P .. 'job:' .. ARGV[1], ARGV[2]
redis.call('HSET', key, 'finished:' .. status, 'log', 'finished_at:' .. status, ARGV[3])
redis.call('HDEL', key, 'finished_counts:' .. status)
changed(ARGV[1])
return 1
