-- Queue rows: the row in the run's hash is the truth, the sets `ready` and `delayed` and the workers' hashes of leases
-- are derived from it. Rows of a held run are in neither set, so a held run costs a claim nothing.

local KIND, QUEUE, PRIORITY, QUEUED, DUE, LOST, NOTE, PAYLOAD = 1, 2, 3, 4, 5, 6, 7, 8
local WORKER, EPOCH, LEASED, MEMBER, ACCOUNTS, NAMESPACE, PLACE = 9, 10, 11, 12, 13, 14, 15
local SEQ, HELD, HEAD_NAMESPACE, WORKFLOW, LIVE, TURN, TURN_UNTIL, IDS = 1, 2, 3, 4, 5, 6, 7, 8

-- Equal scores sort by member: by due time, then by when the row was written, then by its place in that commit. (A
-- priority and a due time don't fit one double together.)
local function member_of(row, run, path)
  return string.format('%016d|%016d|%05d|%d|', row[DUE], row[QUEUED], row[PLACE], row[PRIORITY]) .. run .. '\0' .. path
end

local function split_key(key) -- run NUL path
  local at = string.find(key, '\0', 1, true)
  return string.sub(key, 1, at - 1), string.sub(key, at + 1)
end

local woken = {} -- queues that have a row more
local function wake(queue) woken[queue] = true end
local function woken_queues()
  local names = {}
  for name in pairs(woken) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function put(p, row, run, path)
  row[MEMBER] = member_of(row, run, path)
  if row[DUE] <= now then
    redis.call('ZADD', part(p, 'ready:' .. row[QUEUE]), 0 - row[PRIORITY], row[MEMBER])
  else
    redis.call('ZADD', part(p, 'delayed:' .. row[QUEUE]), row[DUE], row[MEMBER])
  end
  redis.call('SADD', part(p, 'queues'), row[QUEUE])
end

-- The caller writes the row after `put`, which notes there where it is. A row that has fallen due may be in either set: claim promotes without touching the row.
local function take_out(p, row)
  redis.call('ZREM', part(p, 'ready:' .. row[QUEUE]), row[MEMBER])
  redis.call('ZREM', part(p, 'delayed:' .. row[QUEUE]), row[MEMBER])
end

-- A partition as this call knows it; what concerns leases is gathered and written once, by `flush`.
local known = {}
local function partition(p)
  local it = known[p]
  if not it then
    local meta = redis.call('HMGET', part(p, 'meta'), 'inc', 'epoch', 'rolled_us')
    it = {inc = meta[1], epoch = tonumber(meta[2] or 0), rolled_us = tonumber(meta[3] or 0), workers = {}, leases = {},
      feed = {}}
    it.epoch_before = it.epoch
    known[p] = it
  end
  return it
end

local function registered(p, worker)
  local workers = partition(p).workers
  if workers[worker] == nil then
    workers[worker] = worker ~= '' and redis.call('ZSCORE', part(p, 'workers'), worker) and true or false
  end
  return workers[worker]
end

local function note_lease(p, worker, run, path, epoch)
  local leases = partition(p).leases
  if not leases[worker] then leases[worker] = {} end
  leases[worker][run .. '\0' .. path] = epoch
end

local function lease(p, row, worker, run, path)
  local it = partition(p)
  it.epoch = it.epoch + 1
  row[WORKER], row[EPOCH], row[LEASED], row[NOTE] = worker, it.epoch, now, ''
  note_lease(p, worker, run, path, it.epoch)
end

local function flush()
  for p, it in pairs(known) do
    if it.epoch ~= it.epoch_before then
      redis.call('HSET', part(p, 'meta'), 'epoch', string.format('%d', it.epoch))
    end
    for worker, leases in pairs(it.leases) do
      local set, gone = {}, {}
      for key, epoch in pairs(leases) do
        if epoch then
          set[#set + 1], set[#set + 2] = key, string.format('%d', epoch)
        else
          gone[#gone + 1] = key
        end
      end
      each_slice('HDEL', part(p, 'l:' .. worker), gone)
      each_slice('HSET', part(p, 'l:' .. worker), set)
    end
    each_slice('RPUSH', part(p, 'feed'), it.feed)
  end
end

-- Slots of accounts end with the lease that they were taken with, whatever ends it.
local freed = {} -- of {account, partition, run, path, epoch}
local function end_slots(p, row, run, path)
  if row[ACCOUNTS] then
    for _, account in ipairs(row[ACCOUNTS]) do freed[#freed + 1] = {account, p, run, path, row[EPOCH]} end
    row[ACCOUNTS] = false
  end
end

-- Take the lease away; the caller writes the row, and puts it back into the sets if the run isn't held.
local function set_free(p, row, run, path)
  note_lease(p, row[WORKER], run, path, false)
  end_slots(p, row, run, path)
  row[WORKER], row[LEASED] = false, false
end

local function head_and_row(p, run, path)
  local found = redis.call('HMGET', part(p, 'r:' .. run), 'h', 'q:' .. path)
  return found[1] and cmsgpack.unpack(found[1]), found[2] and cmsgpack.unpack(found[2])
end

local function save_row(p, run, path, row)
  redis.call('HSET', part(p, 'r:' .. run), 'q:' .. path, cmsgpack.pack(row))
end
