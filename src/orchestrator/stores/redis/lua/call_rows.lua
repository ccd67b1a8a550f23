-- In a cluster, at a row: its task is next in line, and falls due. ARGV[4] key, [5] '1': only look.
-- Answer: {'called', 'no' or 'gone', queues to wake as MessagePack}.

local became = call_row(ARGV[4], ARGV[5] == '1')
return {became, cmsgpack.pack(woken_queues())}
