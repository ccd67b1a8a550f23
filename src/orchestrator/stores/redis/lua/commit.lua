-- Applies commits, each to one run; in a cluster all of one partition. A refused one leaves nothing.
--
-- ARGV[4]   the commits as MessagePack (commits.py: `_encode`). Opaque bytes aren't in it: Redis's cmsgpack has no `bin`
-- ARGV[5..] what is opaque, commit by commit: events, payloads, blobs, index row and its search text, snapshot, summary
-- Answer: {answers as MessagePack, what ended (accounts.lua)}, or the error STALE: the server may have lost writes
-- since the caller loaded its runs; nothing was done.

local commits = cmsgpack.unpack(ARGV[4])
local opaque = 5
local REMEMBERED = 8 -- COMMITS_REMEMBERED
local TURN_US = 1000000
local OK, CONFLICT, FENCED = 0, 1, 2
local NOTHING = {}

for _, c in ipairs(commits) do
  if partition(c[1]).inc ~= c[2] then return redis.error_reply('STALE ' .. c[1]) end
end

local function apply(c)
  local p, run, id, ns, expected, worker = c[1], c[3], c[4], c[5], c[6], c[7]
  local events, stands_on, withdraw, hold, enqueue = c[8], c[9], c[10], c[11], c[12]
  local blobs, index, has_snapshot, has_summary = c[13], c[14], c[15], c[16]
  local turn = c[18]
  local first = opaque
  opaque = opaque + c[17]

  local key = part(p, 'r:' .. run)
  local fields, paths = {'h', 'c:' .. id, 'x'}, {}
  local function want(path)
    if paths[path] == nil then
      paths[path] = #fields + 1
      fields[#fields + 1] = 'q:' .. path
    end
  end
  for i = 1, #stands_on, 3 do want(stands_on[i]) end
  for _, path in ipairs(withdraw) do want(path) end
  for _, e in ipairs(enqueue) do want(e[1]) end
  local found = get_fields(key, fields)
  local head = found[1] and cmsgpack.unpack(found[1])
  local exists = head and head[HEAD_NAMESPACE] == ns
  local seq = exists and head[SEQ] or 0

  -- Check. First the id: the repeat of a commit finds its own lease finished and its own events in the journal.
  if exists and found[2] then
    local before = cmsgpack.unpack(found[2])
    return {OK, before[1], before[2], '', NOTHING, false}
  end
  local rows = {}
  for path, at in pairs(paths) do rows[path] = exists and found[at] and cmsgpack.unpack(found[at]) or false end
  local lost = {}
  for i = 1, #stands_on, 3 do
    local row = rows[stands_on[i]]
    if not (row and row[WORKER] and row[EPOCH] == stands_on[i + 1]) then lost[#lost + 1] = stands_on[i] end
  end
  if #lost > 0 then return {FENCED, seq, lost, '', NOTHING, false} end
  if exists then
    if expected >= 0 then
      local taken = head[TURN_UNTIL] > now
      if expected == 0 or expected ~= seq then
        if turn ~= '' and not taken then
          head[TURN], head[TURN_UNTIL] = turn, now + TURN_US
          redis.call('HSET', key, 'h', cmsgpack.pack(head))
        end
        return {CONFLICT, seq, NOTHING, '', NOTHING, false}
      end
      if taken and turn ~= head[TURN] then return {CONFLICT, seq, NOTHING, '', NOTHING, false} end
      if turn ~= '' and turn == head[TURN] then head[TURN_UNTIL] = 0 end
    end
  elseif head or expected ~= 0 or not index then
    return {CONFLICT, 0, NOTHING, '', NOTHING, false}
  end

  -- Write. From here on nothing is asked and nothing can be refused.
  if not exists then head = {0, 0, ns, '', 0, '', 0} end
  local held = head[HELD] == 1
  local dirty, set, gone = {}, {}, {}
  local function end_row(path)
    local row = rows[path]
    if not row then return end
    if row[WORKER] then
      set_free(p, row, run, path)
    elseif not held then
      take_out(p, row)
    end
    rows[path], dirty[path] = false, true
  end
  for i = 1, #stands_on, 3 do
    local path = stands_on[i]
    if stands_on[i + 2] == 1 then
      end_row(path)
    elseif rows[path] and rows[path][LOST] > 0 then
      rows[path][LOST], dirty[path] = 0, true
    end
  end
  for _, path in ipairs(withdraw) do end_row(path) end
  local queues = {}
  if hold ~= 0 then
    local all = redis.call('HGETALL', key)
    for i = 1, #all, 2 do
      if string.sub(all[i], 1, 2) == 'q:' then
        local path = string.sub(all[i], 3)
        if rows[path] == nil then rows[path] = cmsgpack.unpack(all[i + 1]) end
      end
    end
    for path, row in pairs(rows) do
      if row and not row[WORKER] then
        if hold == 1 and not held then take_out(p, row) end
        if hold == 2 then
          if held then
            put(p, row, run, path)
            dirty[path] = true
          end
          queues[row[QUEUE]] = true
        end
      end
    end
    held = hold == 1
  end
  local granted = {}
  local payload_at = first + events
  for i, e in ipairs(enqueue) do
    local path, old = e[1], rows[e[1]]
    local payload = ''
    if e[7] then
      payload = ARGV[payload_at]
      payload_at = payload_at + 1
    end
    if not (old and old[WORKER]) then
      if old and not held then take_out(p, old) end
      local row = {e[2], e[3], e[4], now, now + e[5], 0, '', payload, false, 0, false, '', false, ns, i}
      if e[6] and not held and registered(p, worker) then
        lease(p, row, worker, run, path)
        granted[#granted + 1], granted[#granted + 2] = path, row[EPOCH]
      elseif not held then
        put(p, row, run, path)
        queues[row[QUEUE]] = true
      end
      rows[path], dirty[path] = row, true
    end
  end
  for path in pairs(dirty) do
    if rows[path] then
      set[#set + 1], set[#set + 2] = 'q:' .. path, cmsgpack.pack(rows[path])
    else
      gone[#gone + 1] = 'q:' .. path
    end
  end

  for from = first, first + events - 1, SLICE do
    redis.call('RPUSH', part(p, 'j:' .. run), unpack(ARGV, from, math.min(from + SLICE, first + events) - 1))
  end
  local at = payload_at
  for i = 1, #blobs, 2 do
    if redis.call('HSETNX', part(p, 'b:' .. run), 'd' .. blobs[i], ARGV[at]) == 1 then
      redis.call('HSET', part(p, 'b:' .. run), 'c' .. blobs[i], blobs[i + 1])
    end
    at = at + 1
  end
  if index then
    update_lists(p, run, ns, found[3] and cmsgpack.unpack(found[3]), index)
    head[WORKFLOW], head[LIVE] = index[1], index[2] and 1 or 0
    local n = #set
    set[n + 1], set[n + 2], set[n + 3], set[n + 4] = 'i', ARGV[at], 't', ARGV[at + 1]
    set[n + 5], set[n + 6] = 'x', cmsgpack.pack(index)
    at = at + 2
  end
  if has_snapshot then
    redis.call('HSET', part(p, 'n:' .. run), 'seq', seq + events, 'data', ARGV[at])
    at = at + 1
  end
  if has_summary then set[#set + 1], set[#set + 2] = 's', ARGV[at] end

  head[SEQ], head[HELD] = seq + events, held and 1 or 0
  head[#head + 1] = id
  if #head >= IDS + REMEMBERED then gone[#gone + 1] = 'c:' .. table.remove(head, IDS) end
  local n = #set
  set[n + 1], set[n + 2] = 'h', cmsgpack.pack(head)
  set[n + 3], set[n + 4] = 'c:' .. id, cmsgpack.pack({seq + events, granted})
  each_slice('HDEL', key, gone)
  each_slice('HSET', key, set)
  if events > 0 then
    local feed = partition(p).feed
    feed[#feed + 1] = cmsgpack.pack({run, seq, events, head[WORKFLOW], ns})
  end
  local names = {}
  for name in pairs(queues) do names[#names + 1] = name end
  table.sort(names)
  return {OK, seq + events, granted, head[WORKFLOW], names, events > 0 or hold ~= 0}
end

local answers = {}
for i, c in ipairs(commits) do answers[i] = apply(c) end
flush()
local ended = sweep_slots()
return {cmsgpack.pack({now, answers, woken_queues()}), ended}
