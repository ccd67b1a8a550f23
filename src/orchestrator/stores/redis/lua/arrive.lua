-- A connection to a server was made: is it the one that has what it acknowledged? ARGV[4] its replication id, [5] the id
-- of its process, [6] '1': it was a replica once, [7] '1': it syncs every write to its disk, [8] partitions as MessagePack.
-- Answer: {incarnation of each}.
--
-- Another replication id means a restart or a failover, which may have taken the newest writes back (or that a first
-- replica came: then the process is the same, and never was a replica). Then epochs go on above every epoch that was ever
-- given: the counter is set to the time in microseconds, and no server gives a million leases a second. Runs must be
-- loaded anew (inc), and what was due then may have been begun by somebody whose lease is forgotten (rolled_us). A
-- restart of a server that syncs every write takes nothing back.

local answer = {}
local was_replica, syncs = ARGV[6] == '1', ARGV[7] == '1'
for _, p in ipairs(cmsgpack.unpack(ARGV[8])) do
  local key = part(p, 'meta')
  local meta = redis.call('HMGET', key, 'inc', 'epoch', 'replid', 'process')
  local inc = meta[1]
  local same = meta[4] == ARGV[5] and (meta[3] == ARGV[4] or not was_replica)
  if not same then
    inc = string.format('%d', now)
    redis.call('HSET', key, 'inc', inc, 'epoch', string.format('%d', math.max(tonumber(meta[2] or 0), now)))
    if meta[3] and (was_replica or not syncs) then redis.call('HSET', key, 'rolled_us', string.format('%d', now)) end
  end
  if meta[3] ~= ARGV[4] or meta[4] ~= ARGV[5] then redis.call('HSET', key, 'replid', ARGV[4], 'process', ARGV[5]) end
  answer[#answer + 1] = inc
end
return answer
