#!lua
-- Applies one Commit to one run of one partition. Nothing is written unless everything was checked.
--
-- KEYS[1]  the run's head, e.g. `ao:{7}:run:01JD...`; its hash tag is the partition
-- ARGV[1]  the partition's prefix, e.g. `ao:{7}:`
-- ARGV[2]  the Commit's structure, as MessagePack. Opaque bytes aren't in it: Redis's cmsgpack has no `bin` type, and a
--          string that isn't UTF-8 is refused by clients. Of the index it has `workflow`, `live`, `created_us`.
-- ARGV[3..] what is opaque, in this order: `events` of them (the structure has the number), one payload for each of
--          `enqueue`, one for each of `blobs`, then index, snapshot and summary as far as the structure names them
-- Answer: a CommitAnswer, as MessagePack.
--
-- The first line is not decoration: with it the server refuses the script before it starts if it may not write (out of
-- memory, read-only replica), and refuses a key of another slot in a cluster. A script that fails in the middle keeps
-- what it wrote, so after the line "Write." nothing may fail.
--
-- Keys of a partition (all under the prefix):
--   epoch            counter of leases; never goes back, so an epoch is new for every path, also after its row went
--   workers          zset worker -> end of registration
--   leases:<worker>  hash `run|path` -> epoch
--   run:<id>         head: namespace seq held ids summary snapshot snapshot_seq index workflow live
--   journal:<id>     list; element n-1 is the event with seq n
--   blobs:<id>       hash blob id -> [codec, data]
--   rows:<id>        hash path -> queue row; the truth, from which the next two can be rebuilt
--   ready:<queue>    zset, score -priority, member `due|run|path`: equal scores sort by member, so exactly by due time
--   delayed:<queue>  zset, score due time, member `priority|run|path`
--   created:<ns>     zset run -> created_us, for lists
--   live:<ns>        hash workflow -> live runs
--   feed             stream, one entry a commit: run, first and last seq, workflow, namespace
--
-- A Lua number is a double: microseconds are exact, but `..`, tostring() and cjson print 14 digits. Print with %d. An
-- empty table packs as an array, so maps of the caller's (labels) stay opaque.

local prefix, head_key = ARGV[1], KEYS[1]
local c = cmsgpack.unpack(ARGV[2])
local run = c.run_id
local rows_key = prefix .. 'rows:' .. run
local REMEMBERED = 8

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local head = redis.call('HMGET', head_key, 'seq', 'held', 'ids', 'workflow', 'live', 'namespace')
local exists, seq, was_held = head[1], tonumber(head[1] or 0), head[2] == '1'
local namespace = c.namespace or 'default'
local stands_on, enqueue, blobs, events = c.stands_on or {}, c.enqueue or {}, c.blobs or {}, c.events or 0
local payload_at, blob_at = 2 + events, 2 + events + #enqueue
local index_at = blob_at + #blobs + 1
local snapshot_at = index_at + (c.index and 1 or 0)
local summary_at = snapshot_at + (c.snapshot and 1 or 0)

local function refuse(outcome, lost)
  return cmsgpack.pack({outcome = outcome, seq = seq, lost = lost, now_us = now})
end

-- Check. A run of another namespace is as good as none.
if exists and head[6] ~= namespace then
  local asked = {}
  for i, lease in ipairs(stands_on) do asked[i] = lease.path end
  seq = 0
  if #asked > 0 then return refuse('fenced', asked) end
  return refuse('conflict')
end

-- First the id: the repeat of a commit finds its own lease finished and its own events in the journal.
local ids = head[3] and cmsgpack.unpack(head[3]) or {}
for i = 1, #ids, 2 do
  if ids[i] == c.commit_id then
    local answer = cmsgpack.unpack(ids[i + 1])
    answer.now_us = now
    return cmsgpack.pack(answer)
  end
end

local rows = {}
local function row_of(path)
  if rows[path] == nil then
    local packed = redis.call('HGET', rows_key, path)
    rows[path] = packed and cmsgpack.unpack(packed) or false
  end
  return rows[path]
end

local lost = {}
for _, lease in ipairs(stands_on) do
  local row = row_of(lease.path)
  if not (row and row.worker and row.epoch == lease.epoch) then lost[#lost + 1] = lease.path end
end
if #lost > 0 then return refuse('fenced', lost) end

if c.expected == nil then
  if not exists then return refuse('conflict') end
  if events > 0 then return redis.error_reply('USAGE events need `expected`') end
elseif c.expected == 0 then
  if exists then return refuse('conflict') end
  if not c.index or events == 0 then return redis.error_reply('USAGE a new run needs `index` and events') end
elseif c.expected ~= seq then
  return refuse('conflict')
end

-- A lease needs a registered owner, or nothing would ever end it.
local worker = c.worker or ''
local registered_until = redis.call('ZSCORE', prefix .. 'workers', worker)
local may_lease = registered_until and tonumber(registered_until) > now

-- Write. From here on nothing is asked and nothing can be refused.
local held = was_held
if c.hold ~= nil then held = c.hold end

local function ready_member(path, row) return string.format('%016d|%s|%s', row.due_us, run, path) end
local function delayed_member(path, row) return string.format('%d|%s|%s', row.priority, run, path) end

local function place(path, row)
  if row.due_us <= now then
    redis.call('ZADD', prefix .. 'ready:' .. row.queue, -row.priority, ready_member(path, row))
  else
    redis.call('ZADD', prefix .. 'delayed:' .. row.queue, row.due_us, delayed_member(path, row))
  end
end

local function unplace(path, row)
  if row.worker then
    redis.call('HDEL', prefix .. 'leases:' .. row.worker, run .. '|' .. path)
  elseif not was_held then
    -- A row that has fallen due is in either set: claim promotes without touching the row.
    if row.due_us <= now then redis.call('ZREM', prefix .. 'ready:' .. row.queue, ready_member(path, row)) end
    redis.call('ZREM', prefix .. 'delayed:' .. row.queue, delayed_member(path, row))
  end
end

local function end_row(path)
  local row = row_of(path)
  if row then
    unplace(path, row)
    redis.call('HDEL', rows_key, path)
    rows[path] = false
  end
end

for _, lease in ipairs(stands_on) do
  if lease.finish ~= false then
    end_row(lease.path)
  else
    local row = row_of(lease.path)
    if row.lost > 0 then
      row.lost = 0
      redis.call('HSET', rows_key, lease.path, cmsgpack.pack(row))
    end
  end
end
for _, path in ipairs(c.withdraw or {}) do end_row(path) end

if held ~= was_held then
  local all = redis.call('HGETALL', rows_key)
  for i = 1, #all, 2 do
    local path, row = all[i], cmsgpack.unpack(all[i + 1])
    if not row.worker then
      if held then unplace(path, row) else place(path, row) end
    end
  end
  was_held = held
end

local granted = {}
for i, e in ipairs(enqueue) do
  local old = row_of(e.path)
  if not (old and old.worker) then
    if old then unplace(e.path, old) end
    local row = {
      namespace = namespace, kind = e.kind or 'execute', queue = e.queue or 'default', priority = e.priority or 0,
      queued_us = now, due_us = now + (e.delay_us or 0), epoch = 0, lost = 0, payload = ARGV[payload_at + i],
    }
    if e.leased and may_lease and not held then
      row.worker, row.leased_us, row.epoch = worker, now, redis.call('INCR', prefix .. 'epoch')
      redis.call('HSET', prefix .. 'leases:' .. worker, run .. '|' .. e.path, row.epoch)
      granted[#granted + 1] = {run_id = run, path = e.path, epoch = row.epoch}
    elseif not held then
      place(e.path, row)
    end
    rows[e.path] = row
    redis.call('HSET', rows_key, e.path, cmsgpack.pack(row))
  end
end

-- One by one: unpack() of a long list overflows Lua's stack (about 8,000 values).
for i = 3, 2 + events do redis.call('RPUSH', prefix .. 'journal:' .. run, ARGV[i]) end
for i, blob in ipairs(blobs) do
  redis.call('HSETNX', prefix .. 'blobs:' .. run, blob.blob_id, cmsgpack.pack({blob.codec, ARGV[blob_at + i]}))
end
local new_seq = seq + events

local workflow, live = head[4], head[5] == '1'
if c.index then
  local live_key = prefix .. 'live:' .. namespace
  if live then redis.call('HINCRBY', live_key, workflow, -1) end
  workflow, live = c.index.workflow, c.index.live
  if live then redis.call('HINCRBY', live_key, workflow, 1) end
  redis.call('HSET', head_key, 'index', ARGV[index_at], 'workflow', workflow, 'live', live and '1' or '0')
  if not exists then redis.call('ZADD', prefix .. 'created:' .. namespace, c.index.created_us or 0, run) end
end
if c.summary then redis.call('HSET', head_key, 'summary', ARGV[summary_at]) end
if c.snapshot then redis.call('HSET', head_key, 'snapshot', ARGV[snapshot_at], 'snapshot_seq', new_seq) end

local answer = cmsgpack.pack({outcome = 'ok', seq = new_seq, leases = granted, now_us = now})
ids[#ids + 1], ids[#ids + 2] = c.commit_id, answer
while #ids > 2 * REMEMBERED do table.remove(ids, 1) end
redis.call('HSET', head_key, 'seq', new_seq, 'held', held and '1' or '0', 'ids', cmsgpack.pack(ids),
  'namespace', namespace)
if events > 0 then
  redis.call('XADD', prefix .. 'feed', '*', 'run', run, 'first', seq + 1, 'last', new_seq, 'workflow', workflow,
    'namespace', namespace)
end
return answer
