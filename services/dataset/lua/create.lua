-- A job. ARGV: job, submitted (seconds), created (bytes), number of images.
local job = ARGV[1]
if redis.call('HSETNX', P .. 'job:' .. job, 'created', ARGV[3]) == 1 then
  redis.call('HSET', P .. 'job:' .. job, 'total', ARGV[4])
  redis.call('ZADD', P .. 'jobs', ARGV[2], job)
  changed(job)
end
return 1
