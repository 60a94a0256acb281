-- Rows again, after a change of their job. ARGV: job, last image done ('' from the start), most rows. Answers the last
-- image that was done now, '' when there is no more.
local job = ARGV[1]
local from = ARGV[2] == '' and '-' or '(' .. ARGV[2]
local images = redis.call('ZRANGEBYLEX', P .. 'rows:' .. job, from, '+', 'LIMIT', 0, ARGV[3])
local cancelled = is_cancelled(job)
for _, image in ipairs(images) do
  settle(job, image, load_row(job, image), cancelled)
end
changed(job)
return images[#images] or ''
