-- An image of the tenant. ARGV: image id, image (bytes), order (the smallest stays), job, submitted (seconds).
local key = P .. 'picture:' .. ARGV[1]
local before = redis.call('HGET', key, 'order')
if not before or ARGV[3] < before then
  redis.call('HSET', key, 'image', ARGV[2], 'order', ARGV[3])
end
redis.call('ZADD', P .. 'jobs:' .. ARGV[1], ARGV[5], ARGV[4])
return 1
