-- In a cluster, at the accounts: take slots for a task whose lease was just seen, or stand in line. ARGV[4] {partition,
-- run, path, epoch} and [5] limits, as MessagePack. Answer: {} or {delay, note}. Of those in line all count: whose row is
-- gone is found when it is called.

local given = cmsgpack.unpack(ARGV[4])
local delay, note = take_slots(cmsgpack.unpack(ARGV[5]), slot_key(given[1], given[2], given[3]), given[4],
  function() return true end)
if delay then return {delay, note} end
return {}
