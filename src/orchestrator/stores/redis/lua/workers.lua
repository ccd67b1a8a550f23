-- Registered workers. ARGV[4] partitions as MessagePack. Answer: {name, seen, expires, leases, info, ...}, each name as
-- often as it is registered.

local answer = {}
for _, p in ipairs(cmsgpack.unpack(ARGV[4])) do
  local found = redis.call('ZRANGE', part(p, 'workers'), 0, -1, 'WITHSCORES')
  for i = 1, #found, 2 do
    local about = redis.call('HMGET', part(p, 'info'), 's' .. found[i], 'i' .. found[i])
    local n = #answer
    answer[n + 1], answer[n + 2], answer[n + 3] = found[i], tonumber(about[1] or 0), tonumber(found[i + 1])
    answer[n + 4], answer[n + 5] = redis.call('HLEN', part(p, 'l:' .. found[i])), about[2] or ''
  end
end
return answer
