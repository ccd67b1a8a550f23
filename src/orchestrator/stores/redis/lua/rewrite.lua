-- Other bytes in the place of events. ARGV[4] partition, [5] run, [6] expected seq, [7] after, [8] how many events,
-- [9] {rest, has a snapshot, what lists know} as MessagePack, [10..] the events, then of the rest: snapshot, summary, index
-- row, search text. Answer: 'ok', 'no' (not at that seq), or 'range'.

local p, run, expected, after, count = ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local rest, has_snapshot, index = unpack(cmsgpack.unpack(ARGV[9]))
local key = part(p, 'r:' .. run)
local found = redis.call('HMGET', key, 'h', 'x')
local head = found[1] and cmsgpack.unpack(found[1])
if not head or head[SEQ] ~= expected then return 'no' end
if after < 0 or after + count > expected then return 'range' end
for i = 1, count do redis.call('LSET', part(p, 'j:' .. run), after + i - 1, ARGV[9 + i]) end
if rest then
  local at = 10 + count
  redis.call('DEL', part(p, 'b:' .. run), part(p, 'n:' .. run))
  if has_snapshot then redis.call('HSET', part(p, 'n:' .. run), 'seq', expected, 'data', ARGV[at]) end
  update_lists(p, run, head[HEAD_NAMESPACE], found[2] and cmsgpack.unpack(found[2]), index)
  head[WORKFLOW], head[LIVE] = index[1], index[2] and 1 or 0
  redis.call('HSET', key, 'h', cmsgpack.pack(head), 's', ARGV[at + 1], 'i', ARGV[at + 2], 't', ARGV[at + 3], 'x',
    cmsgpack.pack(index))
end
return 'ok'
