-- What a record says of an image's pairs, for the gallery and the phrases. Any order, any repetition.
-- ARGV: job, image, record (its name), rank, order in the log, withdrawn ('1' or ''), then for each pair: phrase, slot,
-- code, attributes ("<p or n>\x1f<score>\x1f;<token>;<token>;").
-- rank 0: the models' verdicts (code r or x), what people have yet to decide; 1: a person's decision (code a, x, or g:
-- the phrase became another; attributes "a:<annotator>"); 2: annotations of record (code a or x). A higher rank counts
-- before a lower one. Slot: '' or, of gold, whose version it is.
--
-- said:<job>:<image>    hash: 'o<rank><record>' -> order, the smallest; '-<record>': withdrawn;
--                       'p<phrase>' -> statements "<rank><record>\x1e<order>\x1e<slot>\x1e<code>\x1e<attributes>\x1d..."
-- gallery:<job>         zset of rows "<phrase>\x1f<image>\x1f<slot>", by phrase
-- gallery_row:<job>     hash: row -> "<record>\x1f<a, r or x>\x1f<1: waits>\x1f<attributes>"
-- phrases               zset: phrase -> the tenant's rows with it that are not rejected
-- words                 zset of "<the phrase from a word on>\x1f<phrase>", to find phrases by the beginning of any word
local job, image, record, rank, order = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local key, name = P .. 'said:' .. job .. ':' .. image, ARGV[4] .. ARGV[3]
local US, RS, GS = '\31', '\30', '\29'

local said = {}
do
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    said[all[i]] = all[i + 1]
  end
end

local function parsed(text)
  local found = {}
  for source, at, slot, code, attributes in
    string.gmatch(text, '([^\30\29]*)\30([^\30\29]*)\30([^\30\29]*)\30([^\30\29]*)\30([^\29]*)\29') do
    found[#found + 1] = {source = source, rank = string.sub(source, 1, 1), record = string.sub(source, 2),
                         order = at, slot = slot, code = code, attributes = attributes}
  end
  return found
end

-- The later of two statements of a rank.
local function later(one, other)
  if not one or other.order > one.order or (other.order == one.order and other.source > one.source) then
    return other
  end
  return one
end

-- The rows that follow for a phrase from its statements: row -> value.
local function rows_of(phrase, text)
  local waiting, decided, accepted, content, people = nil, nil, {}, {}, {}
  local any = false
  for _, one in ipairs(parsed(text)) do
    if not said['-' .. one.record] then
      if one.rank == '0' then
        waiting = later(waiting, one)
      elseif one.rank == '1' then
        decided = later(decided, one)
        people[#people + 1] = one.attributes
      else
        any = true
        accepted[one.slot] = later(accepted[one.slot], one)
        if one.code ~= 'x' then
          content[one.slot] = later(content[one.slot], one)
        end
      end
    end
  end
  local rows = {}
  local function add(shown, slot, code, waits)
    local attributes = shown.attributes
    if slot == '' then
      table.sort(people)
      for _, token in ipairs(people) do
        if not string.find(attributes, ';' .. token .. ';', 1, true) then
          attributes = attributes .. token .. ';'
        end
      end
    end
    rows[phrase .. US .. image .. US .. slot] = table.concat({shown.record, code, waits, attributes}, US)
  end
  if any then
    for slot, one in pairs(accepted) do
      add(one.code == 'x' and (content[slot] or waiting or one) or one, slot, one.code, '')
    end
  elseif waiting and not (decided and decided.code ~= 'a') then
    add(waiting, '', waiting.code, '1')
  elseif waiting and decided.code == 'x' then
    add(waiting, '', 'x', '')
  end
  return rows
end

local function rows_of_image()
  local rows = {}
  for field, text in pairs(said) do
    if string.sub(field, 1, 1) == 'p' then
      for row, value in pairs(rows_of(string.sub(field, 2), text)) do
        rows[row] = value
      end
    end
  end
  return rows
end

local function counts(value)
  return value and string.match(value, '^[^\31]*\31(%a)') ~= 'x'
end

-- One row more or less has the phrase; its words are there from the first row to the last.
local function use(phrase, by)
  local rows = tonumber(redis.call('ZINCRBY', P .. 'phrases', by, phrase))
  if rows > 1 or (rows == 1 and by < 0) then
    return
  end
  if rows <= 0 then
    redis.call('ZREM', P .. 'phrases', phrase)
  end
  local from = 1
  while from do
    local word = string.sub(phrase, from) .. US .. phrase
    if rows > 0 then
      redis.call('ZADD', P .. 'words', 0, word)
    else
      redis.call('ZREM', P .. 'words', word)
    end
    local space = string.find(phrase, ' ', from, true)
    from = space and space + 1
  end
end

local before = rows_of_image()
if ARGV[6] == '1' then
  if said['-' .. record] then
    return 0
  end
  said['-' .. record] = '1'
  redis.call('HSET', key, '-' .. record, '1')
else
  local first = said['o' .. name]
  if first and first <= order then
    return 0
  end
  if first then -- what a later record of the name had said is no longer so
    for field, text in pairs(said) do
      if string.sub(field, 1, 1) == 'p' then
        local left = {}
        for _, one in ipairs(parsed(text)) do
          if one.source ~= name then
            left[#left + 1] = table.concat({one.source, one.order, one.slot, one.code, one.attributes}, RS) .. GS
          end
        end
        said[field] = table.concat(left)
        if #left == 0 then
          redis.call('HDEL', key, field)
        else
          redis.call('HSET', key, field, said[field])
        end
      end
    end
  end
  said['o' .. name] = order
  redis.call('HSET', key, 'o' .. name, order)
  for i = 7, #ARGV, 4 do
    local field = 'p' .. ARGV[i]
    local all = {table.concat({name, order, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]}, RS) .. GS}
    for one in string.gmatch(said[field] or '', '[^\29]*\29') do
      all[#all + 1] = one
    end
    table.sort(all)
    said[field] = table.concat(all)
    redis.call('HSET', key, field, said[field])
  end
end
local after = rows_of_image()
for row, value in pairs(before) do
  if not after[row] then
    redis.call('ZREM', P .. 'gallery:' .. job, row)
    redis.call('HDEL', P .. 'gallery_row:' .. job, row)
  end
  if counts(value) and not counts(after[row]) then
    use(string.match(row, '^[^\31]*'), -1)
  end
end
for row, value in pairs(after) do
  if not before[row] then
    redis.call('ZADD', P .. 'gallery:' .. job, 0, row)
  end
  if before[row] ~= value then
    redis.call('HSET', P .. 'gallery_row:' .. job, row, value)
  end
  if counts(value) and not counts(before[row]) then
    use(string.match(row, '^[^\31]*'), 1)
  end
end
return 1
