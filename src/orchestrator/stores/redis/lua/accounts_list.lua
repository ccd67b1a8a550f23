-- Accounts in use. Answer: MessagePack of {account, {key of each holder}, {key of each in line}}. In a cluster the
-- caller looks which of those in line still have a row.

local answer = {}
for _, account in ipairs(redis.call('SMEMBERS', acc('names'))) do
  local waiting = {}
  for _, key in ipairs(redis.call('ZRANGE', acc('line:' .. account), 0, -1)) do
    if in_cluster or row_exists(key) then waiting[#waiting + 1] = key end
  end
  local found = redis.call('HGETALL', acc('slots:' .. account))
  answer[#answer + 1] = {account, found, waiting}
end
return cmsgpack.pack(answer)
