-- Free due rows by queue. ARGV[4] partitions as MessagePack. Answer: {queue, rows, ...}.

local counts, answer = {}, {}
for _, p in ipairs(cmsgpack.unpack(ARGV[4])) do
  for _, queue in ipairs(redis.call('SMEMBERS', part(p, 'queues'))) do
    local ready = redis.call('ZCARD', part(p, 'ready:' .. queue))
    local due = redis.call('ZCOUNT', part(p, 'delayed:' .. queue), '-inf', string.format('%d', now))
    counts[queue] = (counts[queue] or 0) + ready + due
  end
end
for queue, count in pairs(counts) do
  if count > 0 then answer[#answer + 1], answer[#answer + 2] = queue, count end
end
return answer
