#!lua
-- Leases up to `limit` due tasks of one partition to a worker. Keys are described in commit.lua.
--
-- KEYS[1]  `<prefix>workers`
-- ARGV[1]  the partition's prefix      ARGV[2]  worker
-- ARGV[3]  limit                       ARGV[4..] queues
-- Answer: [ClaimAnswer as MessagePack, payload of each claim ...].
--
-- Rows of a held run are in neither set, so nothing is filtered here and a held run costs a claim nothing.

local prefix, worker, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local PROMOTED = 1000 -- at most this many rows a queue change sets in one call: a mass wake-up must not stop the server

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local registered_until = redis.call('ZSCORE', KEYS[1], worker)
if not registered_until or tonumber(registered_until) <= now then
  return {cmsgpack.pack({claims = {}, now_us = now})}
end

-- Delayed rows that have fallen due become ready before anything is chosen, so that priority holds among all of them.
local next_due
local candidates = {}
for i = 4, #ARGV do
  local ready, delayed = prefix .. 'ready:' .. ARGV[i], prefix .. 'delayed:' .. ARGV[i]
  local due = redis.call('ZRANGE', delayed, '-inf', string.format('%d', now), 'BYSCORE', 'LIMIT', 0, PROMOTED,
    'WITHSCORES')
  for j = 1, #due, 2 do
    local priority, row = string.match(due[j], '^(-?%d+)|(.*)$')
    redis.call('ZADD', ready, -tonumber(priority), string.format('%016d|%s', tonumber(due[j + 1]), row))
    redis.call('ZREM', delayed, due[j])
  end
  local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  if first[2] and (not next_due or tonumber(first[2]) < next_due) then next_due = tonumber(first[2]) end

  local best = redis.call('ZRANGE', ready, 0, limit - 1, 'WITHSCORES')
  for j = 1, #best, 2 do
    candidates[#candidates + 1] = {ready = ready, member = best[j], score = tonumber(best[j + 1])}
  end
end
table.sort(candidates, function(a, b)
  if a.score ~= b.score then return a.score < b.score end
  return a.member < b.member
end)

local claims, payloads = {}, {}
for i = 1, math.min(limit, #candidates) do
  local candidate = candidates[i]
  local run, path = string.match(candidate.member, '^%d+|([^|]*)|(.*)$')
  local rows_key = prefix .. 'rows:' .. run
  local packed = redis.call('HGET', rows_key, path)
  redis.call('ZREM', candidate.ready, candidate.member)
  -- The row is the truth and the sets are derived from it: an entry without a free row just goes.
  local row = packed and cmsgpack.unpack(packed)
  if row and not row.worker then
    row.worker, row.leased_us, row.epoch = worker, now, redis.call('INCR', prefix .. 'epoch')
    redis.call('HSET', rows_key, path, cmsgpack.pack(row))
    redis.call('HSET', prefix .. 'leases:' .. worker, run .. '|' .. path, row.epoch)
    claims[#claims + 1] = {
      namespace = row.namespace, run_id = run, path = path, kind = row.kind, queue = row.queue,
      priority = row.priority, epoch = row.epoch, queued_us = row.queued_us, due_us = row.due_us, lost = row.lost,
    }
    payloads[#payloads + 1] = row.payload
  end
end
-- unpack() holds some 8,000 values: `limit` must stay below that.
return {cmsgpack.pack({claims = claims, now_us = now, next_due_us = next_due}), unpack(payloads)}
