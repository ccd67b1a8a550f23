-- Runs of one partition, newest first: which fulfil a filter, as far as one call looks.
--
-- ARGV[4] partition, [5] name of the list to walk, [6] the filter as MessagePack: {statuses, workflow, live (1, 2; 0:
-- any), parent, labels, after, before, text}, [7] limit, [8] how many to look at, [9] created and [10] run of where to
-- go on (empty: from the newest).
-- Answer: {{run, created, ...}, {created, run} of the last one looked at, or nothing at the end of the list}.

local p, list, filter, limit, budget = ARGV[4], ARGV[5], cmsgpack.unpack(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local key = part(p, 'x:' .. list)
local top, last = ARGV[9], ARGV[10]
local statuses, plain = {}, filter[9]
for _, status in ipairs(filter[1]) do statuses[status] = true end

local function fulfils(run)
  if plain then return true end
  local found = redis.call('HMGET', part(p, 'r:' .. run), 'x', 't')
  if not found[1] then return false end
  local x = cmsgpack.unpack(found[1])
  if #filter[1] > 0 and not statuses[x[3]] then return false end
  if filter[2] and x[1] ~= filter[2] then return false end
  if filter[3] == 1 and not x[2] or filter[3] == 2 and x[2] then return false end
  if filter[4] and x[5] ~= filter[4] then return false end
  for i = 1, #filter[5], 2 do
    local there = false
    for j = 1, #x[6], 2 do
      if x[6][j] == filter[5][i] and x[6][j + 1] == filter[5][i + 1] then there = true end
    end
    if not there then return false end
  end
  return filter[8] == '' or string.find(found[2] or '', filter[8], 1, true) ~= nil
end

local answer, looked, at = {}, 0, nil
local bound = top == '' and '+inf' or top
if filter[7] and (bound == '+inf' or filter[7] <= tonumber(bound)) then
  bound = '(' .. string.format('%d', filter[7])
end
local bottom = filter[6] and '(' .. string.format('%d', filter[6]) or '-inf'
local from = 0
while looked < budget and #answer < 2 * limit do
  local some = redis.call('ZRANGE', key, bound, bottom, 'BYSCORE', 'REV', 'LIMIT', from, 100, 'WITHSCORES')
  if #some == 0 then return {answer} end
  for i = 1, #some, 2 do
    from = from + 1
    local created = tonumber(some[i + 1])
    -- Of the same moment, those before the cursor were shown.
    if top == '' or created < tonumber(top) or some[i] < last then
      looked = looked + 1
      at = {string.format('%d', created), some[i]}
      if fulfils(some[i]) then
        answer[#answer + 1], answer[#answer + 2] = some[i], string.format('%d', created)
        if #answer >= 2 * limit then break end
      end
      if looked >= budget then break end
    end
  end
end
return {answer, at}
