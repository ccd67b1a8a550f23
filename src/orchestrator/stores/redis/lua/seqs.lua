-- Where runs are. ARGV[4] {partition, run, ...} as MessagePack. Answer: a seq for each, 0 for none.

local runs, seqs = cmsgpack.unpack(ARGV[4]), {}
for i = 1, #runs, 2 do
  local head = redis.call('HGET', part(runs[i], 'r:' .. runs[i + 1]), 'h')
  seqs[#seqs + 1] = head and cmsgpack.unpack(head)[SEQ] or 0
end
return seqs
