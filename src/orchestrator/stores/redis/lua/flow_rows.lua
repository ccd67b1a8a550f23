-- Lines of workflows. ARGV[4] namespace, [5] names as MessagePack. Answer: {name, current, versions, created, saved,
-- record, ...} of those that are there.

local answer = {}
for _, name in ipairs(cmsgpack.unpack(ARGV[5])) do
  local key = base .. '{flows}:v:' .. ARGV[4] .. '\0' .. name
  local flow = redis.call('HMGET', key, 'current', 'versions', 'created', 'deleted')
  if flow[1] and flow[4] ~= '1' then
    local more = redis.call('HMGET', key, 's' .. flow[1], 'r' .. flow[1])
    local n = #answer
    answer[n + 1], answer[n + 2], answer[n + 3], answer[n + 4] = name, flow[1], flow[2], flow[3]
    answer[n + 5], answer[n + 6] = more[1], more[2]
  end
end
return answer
