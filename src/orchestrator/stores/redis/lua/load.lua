-- What is needed to go on with a run. ARGV[4] partition, [5] run, [6] the seq that the caller knows, or empty.
-- Answer: nil, or {head, index, summary, seq of the snapshot, the snapshot or nothing, events ...}.

local p, run = ARGV[4], ARGV[5]
local found = redis.call('HMGET', part(p, 'r:' .. run), 'h', 'i', 's')
if not found[1] then return false end
local answer = {found[1], found[2], found[3] or '', 0, ''}
local after = tonumber(ARGV[6])
if not after then
  local snapshot = redis.call('HMGET', part(p, 'n:' .. run), 'seq', 'data')
  after = tonumber(snapshot[1] or 0)
  answer[4], answer[5] = after, snapshot[2] or ''
end
local events = redis.call('LRANGE', part(p, 'j:' .. run), after, -1)
for i = 1, #events do answer[5 + i] = events[i] end
return answer
