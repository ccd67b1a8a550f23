-- Saves a version, or finds the one with the same meaning. ARGV[4] namespace, [5] name, [6] meaning, [7] text, [8] record.
-- Answer: {version, is it new (1), created, saved, record}. A workflow is the hash `<base>{flows}:v:<ns> NUL <name>`:
-- current, versions, deleted, created, and for each version m<n>, c<n>, s<n>, t<n>, r<n> and M<meaning> -> n.

local ns, name, meaning = ARGV[4], ARGV[5], ARGV[6]
local key = base .. '{flows}:v:' .. ns .. '\0' .. name
local time = string.format('%d', now)
local version, new, created, record = redis.call('HGET', key, 'M' .. meaning), 0, time, ARGV[8]
if version then
  local found = redis.call('HMGET', key, 'c' .. version, 'r' .. version)
  created, record = found[1], found[2]
else
  version, new = string.format('%d', redis.call('HINCRBY', key, 'versions', 1)), 1
  redis.call('HSET', key, 'M' .. meaning, version, 'm' .. version, meaning, 'c' .. version, time, 'r' .. version, record)
  redis.call('HSETNX', key, 'created', time)
end
redis.call('HSET', key, 't' .. version, ARGV[7], 's' .. version, time, 'current', version, 'deleted', 0)
redis.call('ZADD', base .. '{flows}:names:' .. ns, 0, name)
return {version, new, created, time, record}
