-- A connection to a server was made: is it the one that has what it acknowledged? ARGV[4] its replication id, [5] the
-- id that it had before (a promoted replica tells its former master's), [6] '1': it syncs every write to its disk,
-- [7] partitions as MessagePack. Answer: {incarnation of each}.
--
-- Another id means a restart or a failover, which may have taken the newest writes back. Then epochs go on above every
-- epoch that was ever given: the counter is set to the time in microseconds, and no server gives a million leases a
-- second. Runs must be loaded anew (the incarnation), and what was due then may have been begun by somebody whose lease
-- is forgotten (rolled_us). A restart of a server that syncs every write took nothing back.

local answer = {}
for _, p in ipairs(cmsgpack.unpack(ARGV[7])) do
  local key = part(p, 'meta')
  local meta = redis.call('HMGET', key, 'inc', 'epoch', 'replid')
  local inc = meta[1]
  if meta[3] ~= ARGV[4] then
    inc = string.format('%d', now)
    redis.call('HSET', key, 'inc', inc, 'replid', ARGV[4], 'epoch',
      string.format('%d', math.max(tonumber(meta[2] or 0), now)))
    local restarted = ARGV[6] == '1' and ARGV[5] ~= meta[3]
    if meta[3] and not restarted then redis.call('HSET', key, 'rolled_us', string.format('%d', now)) end
  end
  answer[#answer + 1] = inc
end
return answer
