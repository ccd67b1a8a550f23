-- In a cluster, at the accounts: who was called, and who is gone. ARGV[4] {account, key, was called, ...} as MessagePack.

local told = cmsgpack.unpack(ARGV[4])
for i = 1, #told, 3 do
  if told[i + 2] then
    redis.call('ZADD', acc('called:' .. told[i]), string.format('%d', now), told[i + 1])
  else
    leave_line(told[i], told[i + 1])
    forget_empty(told[i])
  end
end
return 1
