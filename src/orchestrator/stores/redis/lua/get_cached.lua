-- A cached output, or nil. ARGV[4] key.

local found = redis.call('HMGET', ARGV[4], 'until', 'value')
return found[1] and tonumber(found[1]) > now and found[2]
