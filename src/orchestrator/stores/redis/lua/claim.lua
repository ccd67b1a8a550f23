-- Leases up to `limit` due rows to a worker: highest priority first, then longest due, over all partitions given.
--
-- ARGV[4] worker   ARGV[5] limit   ARGV[6] queues as MessagePack   ARGV[7] partitions as MessagePack
-- Answer: {claims as MessagePack, payload of each ...}; unpack() isn't used, so the limit may be any.

local worker, limit = ARGV[4], tonumber(ARGV[5])
local queues, partitions = cmsgpack.unpack(ARGV[6]), cmsgpack.unpack(ARGV[7])
local PROMOTED = 1000 -- at most so many rows of a queue change sets in one call: a mass wake-up must not stop the server
local AHEAD = 15

local next_due
-- Delayed rows that have fallen due become ready before anything is chosen, so that priority holds among all of them.
local function promote(p, queue)
  local delayed = part(p, 'delayed:' .. queue)
  local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  if not first[2] then return end
  if tonumber(first[2]) <= now then
    local due = redis.call('ZRANGE', delayed, '-inf', string.format('%d', now), 'BYSCORE', 'LIMIT', 0, PROMOTED)
    local add, gone = {}, {}
    for i, member in ipairs(due) do
      add[2 * i - 1], add[2 * i] = 0 - tonumber(string.match(member, '^%d+|%d+|%d+|(-?%d+)|')), member
    end
    each_slice('ZADD', part(p, 'ready:' .. queue), add)
    each_slice('ZREM', delayed, due)
    first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
    if not first[2] then return end
  end
  local due = tonumber(first[2])
  if not next_due or due < next_due then next_due = due end
end

-- Each source gives its best members one after another.
local sources = {}
local function refill(source)
  source.at, source.from = 1, (source.from or -AHEAD - 1) + AHEAD + 1
  source.some = redis.call('ZRANGE', source.key, source.from, source.from + AHEAD, 'WITHSCORES')
end
for _, p in ipairs(partitions) do
  if registered(p, worker) then
    for _, queue in ipairs(queues) do
      promote(p, queue)
      local source = {p = p, queue = queue, key = part(p, 'ready:' .. queue), gone = {}}
      refill(source)
      if source.some[1] then sources[#sources + 1] = source end
    end
  end
end

local function better(a, b)
  local one, two = tonumber(a.some[a.at + 1]), tonumber(b.some[b.at + 1])
  if one ~= two then return one < two end
  return a.some[a.at] < b.some[b.at]
end

local claims, payloads = {}, {}
while #claims < limit do
  local best
  for _, source in ipairs(sources) do
    if source.some[source.at] and (not best or better(source, best)) then best = source end
  end
  if not best then break end
  local member, p = best.some[best.at], best.p
  best.gone[#best.gone + 1] = member
  best.at = best.at + 2
  if not best.some[best.at] then refill(best) end
  local run, path = split_key(string.match(member, '^%d+|%d+|%d+|%-?%d+|(.*)$'))
  local packed = redis.call('HGET', part(p, 'r:' .. run), 'q:' .. path)
  local row = packed and cmsgpack.unpack(packed)
  -- The row is the truth and the sets are derived from it: an entry without its free row just goes.
  if row and not row[WORKER] and row[MEMBER] == member then
    lease(p, row, worker, run, path)
    save_row(p, run, path, row)
    local rolled_us = partition(p).rolled_us
    local doubtful = row[QUEUED] < rolled_us and row[DUE] <= rolled_us
    claims[#claims + 1] = {row[NAMESPACE], run, path, row[KIND], row[QUEUE], row[PRIORITY], row[EPOCH], row[QUEUED],
      row[DUE], row[LOST], doubtful}
    payloads[#payloads + 1] = row[PAYLOAD]
  end
end
for _, source in ipairs(sources) do each_slice('ZREM', source.key, source.gone) end
flush()
local answer = {cmsgpack.pack({now, next_due or 0, claims})}
for i, payload in ipairs(payloads) do answer[i + 1] = payload end
return answer
