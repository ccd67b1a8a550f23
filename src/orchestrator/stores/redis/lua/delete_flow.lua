-- Hides a workflow. ARGV[4] namespace, [5] name. Answer: 1, or 0 if there is none.

local key = base .. '{flows}:v:' .. ARGV[4] .. '\0' .. ARGV[5]
local flow = redis.call('HMGET', key, 'current', 'deleted')
if not flow[1] or flow[2] == '1' then return 0 end
redis.call('HSET', key, 'deleted', 1)
redis.call('ZREM', base .. '{flows}:names:' .. ARGV[4], ARGV[5])
return 1
