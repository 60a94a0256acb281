-- The job was cancelled. ARGV: job, milliseconds.
local key = P .. 'job:' .. ARGV[1]
local before = redis.call('HGET', key, 'cancelled')
if not before or tonumber(ARGV[2]) < tonumber(before) then
  redis.call('HSET', key, 'cancelled', ARGV[2])
end
changed(ARGV[1])
return 1
