-- A cached output. ARGV[4] key, [5] value, [6] ttl_us. The server drops it by its own clock; `until` is for get_cached.

local ttl = tonumber(ARGV[6])
if ttl == 0 then
  redis.call('DEL', ARGV[4])
else
  redis.call('HSET', ARGV[4], 'until', string.format('%d', now + ttl), 'value', ARGV[5])
  redis.call('PEXPIRE', ARGV[4], string.format('%d', math.ceil(ttl / 1000)))
end
return 1
