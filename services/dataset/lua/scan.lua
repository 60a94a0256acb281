-- Rows of a job's gallery (see say.lua) that fit, in order of phrase and image.
-- ARGV: job, phrase ('' any), the row before the first, most rows that fit, most rows looked at, then filters, '' for
-- any: p or n; a, r or x; least score; largest score; model; annotator.
-- Answers the last row looked at ('' when there is no more), then row, value, ...
local job, phrase, after, wanted, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local polarity, code, least, largest, model, annotator = ARGV[6], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]),
  ARGV[10], ARGV[11]
local from, to = '-', '+'
if phrase ~= '' then
  from, to = '[' .. phrase .. '\31', '(' .. phrase .. '\32'
end
if after ~= '' then
  from = '(' .. after
end
local rows = redis.call('ZRANGEBYLEX', P .. 'gallery:' .. job, from, to, 'LIMIT', 0, most)
if #rows == 0 then
  return {''}
end
local values = redis.call('HMGET', P .. 'gallery_row:' .. job, unpack(rows))
local found, last = {''}, nil
for i, row in ipairs(rows) do
  if (#found - 1) / 2 >= wanted then
    found[1] = last
    return found
  end
  last = row
  local is, sign, score, tokens = string.match(values[i], '^[^\31]*\31(%a)\31[^\31]*\31(%a)\31([^\31]*)\31(.*)$')
  score = tonumber(score)
  if (polarity == '' or sign == polarity) and (code == '' or is == code)
    and (not least or score >= least) and (not largest or score <= largest)
    and (model == '' or string.find(tokens, ';m:' .. model .. ';', 1, true))
    and (annotator == '' or string.find(tokens, ';a:' .. annotator .. ';', 1, true)) then
    found[#found + 1] = row
    found[#found + 1] = values[i]
  end
end
if #rows == most then
  found[1] = last
end
return found
