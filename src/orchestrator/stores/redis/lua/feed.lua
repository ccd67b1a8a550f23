-- Events of one partition's feed. ARGV[4] partition, [5] and [6] position: entry, and events of it that were shown;
-- [7] limit, [8] run or empty, [9] workflow or empty, [10] namespace.
-- Answer: {entry, shown (where to go on), {run, workflow, entry, shown of the event, event, ...}}.

local p, entry, shown, limit = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local LOOKED = 500
local items, count = {}, 0
local some = redis.call('LRANGE', part(p, 'feed'), entry, entry + LOOKED - 1)
for _, packed in ipairs(some) do
  local one = cmsgpack.unpack(packed)
  local run, before, events, workflow = one[1], one[2], one[3], one[4]
  if one[5] == ARGV[10] and (ARGV[8] == '' or run == ARGV[8]) and (ARGV[9] == '' or workflow == ARGV[9]) then
    local found = redis.call('LRANGE', part(p, 'j:' .. run), before + shown,
      before + math.min(events, shown + limit - count) - 1)
    for _, event in ipairs(found) do
      shown, count = shown + 1, count + 1
      local n = #items
      items[n + 1], items[n + 2], items[n + 3], items[n + 4], items[n + 5] = run, workflow, entry, shown, event
      if shown == events then items[n + 3], items[n + 4] = entry + 1, 0 end
    end
    if shown < events then return {entry, shown, items} end
  end
  entry, shown = entry + 1, 0
  if count >= limit then break end
end
return {entry, shown, items}
