-- The queue rows of a run, without payloads. ARGV[4] partition, [5] run. Answer: {held, rows} as MessagePack, or nil.

local all = redis.call('HGETALL', part(ARGV[4], 'r:' .. ARGV[5]))
local rows, held = {}, 0
for i = 1, #all, 2 do
  if all[i] == 'h' then
    held = cmsgpack.unpack(all[i + 1])[HELD]
  elseif string.sub(all[i], 1, 2) == 'q:' then
    local row = cmsgpack.unpack(all[i + 1])
    rows[#rows + 1] = {string.sub(all[i], 3), row[KIND], row[QUEUE], row[PRIORITY], row[QUEUED], row[DUE], row[WORKER],
      row[EPOCH], row[LEASED], row[LOST], row[NOTE]}
  end
end
return cmsgpack.pack({held, rows})
