-- In a cluster, at the accounts: these slots are free again. ARGV[4] {{account, partition, run, path, epoch}, ...} as
-- MessagePack. Answer, as MessagePack: for each account {account, slots taken, {key, most, ...} of who is next in line}.

local accounts, seen, answer = {}, {}, {}
for _, one in ipairs(cmsgpack.unpack(ARGV[4])) do
  drop_slot(one[1], slot_key(one[2], one[3], one[4]), one[5])
  if not seen[one[1]] then seen[one[1]], accounts[#accounts + 1] = true, one[1] end
end
table.sort(accounts)
for _, account in ipairs(accounts) do
  local taken, recent, line = redis.call('HLEN', acc('slots:' .. account)), {}, {}
  for _, key in ipairs(called_since(account)) do
    recent[key], taken = true, taken + 1
  end
  for _, key in ipairs(redis.call('ZRANGE', acc('line:' .. account), 0, 199)) do
    if not recent[key] then
      line[#line + 1], line[#line + 2] = key, tonumber(redis.call('HGET', acc('most:' .. account), key) or 0)
    end
  end
  forget_empty(account)
  answer[#answer + 1] = {account, taken, line}
end
return cmsgpack.pack(answer)
