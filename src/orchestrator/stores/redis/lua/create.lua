-- The store itself, at `<base>{store}`: created by whoever comes first. ARGV[4] format, [5] partitions, [6] a new id.
-- Answer: {format, partitions, id}, as it is.

local key = base .. '{store}'
if redis.call('EXISTS', key) == 0 then
  redis.call('HSET', key, 'format', ARGV[4], 'partitions', ARGV[5], 'id', ARGV[6], 'created_us', string.format('%d', now))
end
return redis.call('HMGET', key, 'format', 'partitions', 'id')
