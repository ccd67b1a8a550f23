-- Registers a worker in partitions, or extends it. ARGV[4] worker, [5] lease_us, [6] info, [7] partitions as MessagePack.
-- Answer: {now, {run NUL path, epoch, ...} of what it owns}.

local worker, ends, info = ARGV[4], now + tonumber(ARGV[5]), ARGV[6]
local owned = {}
for _, p in ipairs(cmsgpack.unpack(ARGV[7])) do
  redis.call('ZADD', part(p, 'workers'), ends, worker)
  redis.call('HSET', part(p, 'info'), 's' .. worker, string.format('%d', now), 'i' .. worker, info)
  for _, value in ipairs(redis.call('HGETALL', part(p, 'l:' .. worker))) do owned[#owned + 1] = value end
end
return {now, owned}
