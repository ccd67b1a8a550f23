-- Versions of a workflow. ARGV[4] namespace, [5] name, [6] a number, 'current' or 'all', [7] '1': of a deleted one too.
-- Answer: {version, meaning, created, saved, text, record, ...}, newest first.

local key = base .. '{flows}:v:' .. ARGV[4] .. '\0' .. ARGV[5]
local flow = redis.call('HMGET', key, 'current', 'versions', 'deleted')
local answer = {}
if not flow[1] or (flow[3] == '1' and ARGV[7] ~= '1') then return answer end
local first, last = tonumber(flow[2]), 1
if ARGV[6] ~= 'all' then
  first = tonumber(ARGV[6] == 'current' and flow[1] or ARGV[6])
  last = first
end
for n = first, last, -1 do
  local v = string.format('%d', n)
  local found = redis.call('HMGET', key, 'm' .. v, 'c' .. v, 's' .. v, 't' .. v, 'r' .. v)
  if found[1] then
    answer[#answer + 1] = v
    for i = 1, 5 do answer[#answer + 1] = found[i] end
  end
end
return answer
