-- Accounts over all runs: slots, lines of those who wait for one, rates. They live in a slot of their own.
--
-- Keys after `<base>{acc}:`
--   names            set of accounts that may be in use      turn  counter of places in line
--   slots:<account>  hash key -> epoch                       line:<account>  zset key -> turn
--   called:<account> zset key -> when it was called          most:<account>  hash key -> how many may have a slot
--   bucket:<account> hash: full, line
-- A key is `<partition> NUL <run> NUL <path>`.

local CALL = 2000000 -- SLOT_CALL_US
local WAIT = 5000000 -- SLOT_WAIT_US
local function acc(name) return base .. '{acc}:' .. name end
local function slot_key(p, run, path) return p .. '\0' .. run .. '\0' .. path end
local function split_slot(key)
  local at = string.find(key, '\0', 1, true)
  return tonumber(string.sub(key, 1, at - 1)), split_key(string.sub(key, at + 1))
end
local function row_exists(key)
  local p, run, path = split_slot(key)
  return redis.call('HEXISTS', part(p, 'r:' .. run), 'q:' .. path) == 1
end
local function leave_line(account, key)
  redis.call('ZREM', acc('line:' .. account), key)
  redis.call('ZREM', acc('called:' .. account), key)
  redis.call('HDEL', acc('most:' .. account), key)
end
local function called_since(account)
  return redis.call('ZRANGE', acc('called:' .. account), string.format('(%d', now - CALL), '+inf', 'BYSCORE')
end
local function forget_empty(account)
  if redis.call('EXISTS', acc('slots:' .. account), acc('line:' .. account)) == 0 then
    redis.call('SREM', acc('names'), account)
  end
end

-- Why this one can't have a slot now: nil, or the runs that have them. `exists` judges those who were called.
local function no_slot(limit, key, exists)
  local account, most = limit[1], limit[3]
  local others, busy = {}, 0
  for _, one in ipairs(redis.call('HKEYS', acc('slots:' .. account))) do
    if one ~= key then others[#others + 1] = one end
  end
  for _, one in ipairs(called_since(account)) do
    if one ~= key and exists(one) then busy = busy + 1 end
  end
  if #others + busy < most then return nil end
  return others
end

local function slot_note(limit, others)
  local seen, runs = {}, {}
  for _, one in ipairs(others) do
    local _, run = split_slot(one)
    if not seen[run] then seen[run], runs[#runs + 1] = true, run end
  end
  table.sort(runs)
  local note = 'slot of `' .. limit[2] .. '`: ' .. math.min(#others, limit[3]) .. ' of ' .. limit[3] .. ' in use'
  if #runs == 0 then return note end
  note = note .. ' by ' .. table.concat(runs, ', ', 1, math.min(3, #runs))
  if #runs > 3 then note = note .. ' and ' .. (#runs - 3) .. ' more' end
  return note
end

local function bucket_of(limit)
  local found = redis.call('HMGET', acc('bucket:' .. limit[1]), 'full', 'line')
  local rate, per = limit[4], limit[5]
  local interval = math.max(1, math.floor(per / rate))
  local full = tonumber(found[1] or 0)
  return {full = full, line = tonumber(found[2] or 0), interval = interval, earliest = full - (per - interval)}
end
local function save_bucket(limit, bucket)
  redis.call('HSET', acc('bucket:' .. limit[1]), 'full', string.format('%d', bucket.full), 'line',
    string.format('%d', bucket.line))
end

-- When the turn of this one comes, if not now.
local function no_turn(limit, key, exists)
  local account, bucket = limit[1], bucket_of(limit)
  local mine = redis.call('ZSCORE', acc('line:' .. account), key)
  if mine then
    local turn = math.max(tonumber(mine), bucket.earliest)
    if turn <= now then return nil end
    return turn
  end
  local others = false
  for _, one in ipairs(redis.call('ZRANGE', acc('line:' .. account), 0, -1)) do
    if exists(one) then
      others = true
      break
    end
    leave_line(account, one)
  end
  local turn = math.max(bucket.earliest, others and bucket.line or 0, now)
  if turn <= now then return nil end
  bucket.line = turn + bucket.interval
  save_bucket(limit, bucket)
  redis.call('SADD', acc('names'), account)
  redis.call('ZADD', acc('line:' .. account), turn, key)
  redis.call('HSET', acc('most:' .. account), key, 0)
  return turn
end

-- All of it (nil), or none: how long to wait, and what for. A limit is {account, name, concurrency or false, rate or
-- false, per_us, note of the rate}.
local function take_slots(limits, key, epoch, exists)
  local has = {}
  for i, limit in ipairs(limits) do
    has[i] = tonumber(redis.call('HGET', acc('slots:' .. limit[1]), key) or -1) == epoch
    if not has[i] then
      if limit[3] then
        local others = no_slot(limit, key, exists)
        if others then
          local line = acc('line:' .. limit[1])
          if not redis.call('ZSCORE', line, key) then
            redis.call('ZADD', line, redis.call('INCR', acc('turn')), key)
          end
          redis.call('HSET', acc('most:' .. limit[1]), key, limit[3])
          redis.call('ZREM', acc('called:' .. limit[1]), key)
          redis.call('SADD', acc('names'), limit[1])
          return WAIT, slot_note(limit, others)
        end
      else
        local turn = no_turn(limit, key, exists)
        if turn then return turn - now, limit[6] end
      end
    end
  end
  for i, limit in ipairs(limits) do
    if not has[i] and not limit[3] then
      local bucket = bucket_of(limit)
      bucket.full = math.max(bucket.full, now) + bucket.interval
      save_bucket(limit, bucket)
    end
    redis.call('HSET', acc('slots:' .. limit[1]), key, string.format('%d', epoch))
    redis.call('SADD', acc('names'), limit[1])
    leave_line(limit[1], key)
  end
  return nil
end

-- The row notes which accounts its lease has slots of.
local function mark_slots(row, names)
  local all, seen = row[ACCOUNTS] or {}, {}
  for _, name in ipairs(all) do seen[name] = true end
  for _, name in ipairs(names) do
    if not seen[name] then all[#all + 1] = name end
  end
  row[ACCOUNTS] = all
end

local function drop_slot(account, key, epoch)
  if tonumber(redis.call('HGET', acc('slots:' .. account), key) or -1) == epoch then
    redis.call('HDEL', acc('slots:' .. account), key)
  end
end

-- Call who is next in line while there is room: its row falls due. `call` says what became of it: 'called', 'no' (it
-- is held, or somebody has it) or 'gone'.
local function call_next(account, call)
  local line = acc('line:' .. account)
  local taken, recent = redis.call('HLEN', acc('slots:' .. account)), {}
  for _, one in ipairs(called_since(account)) do
    if call(one, true) == 'gone' then
      leave_line(account, one)
    else
      recent[one], taken = true, taken + 1
    end
  end
  local from = 0
  while true do
    local some = redis.call('ZRANGE', line, from, from + 49)
    if #some == 0 then break end
    for _, key in ipairs(some) do
      from = from + 1
      if not recent[key] then
        local most = tonumber(redis.call('HGET', acc('most:' .. account), key) or 0)
        local full = taken >= most
        local answer = call(key, full)
        if answer == 'gone' then
          leave_line(account, key)
          from = from - 1
        elseif answer ~= 'no' then
          if full then return forget_empty(account) end
          redis.call('ZADD', acc('called:' .. account), string.format('%d', now), key)
          taken = taken + 1
        end
      end
    end
  end
  forget_empty(account)
end

-- A row in line falls due, unless it is only asked (`look`).
local function call_row(key, look)
  local p, run, path = split_slot(key)
  local head, row = head_and_row(p, run, path)
  if not row then return 'gone' end
  if row[WORKER] or head[HELD] == 1 then return 'no' end
  if not look and row[DUE] > now then
    take_out(p, row)
    row[DUE] = now
    put(p, row, run, path)
    save_row(p, run, path, row)
  end
  if not look then wake(row[QUEUE]) end
  return 'called'
end

-- At the end of a call: the slots whose lease it ended are free. In a cluster the accounts are in another slot: what
-- ended is kept beside the rows until the accounts have heard of it, and the caller is told.
local function sweep_slots()
  local told = {}
  if in_cluster then
    for _, one in ipairs(freed) do
      local entry = cmsgpack.pack(one)
      redis.call('RPUSH', part(one[2], 'ended'), entry)
      told[#told + 1] = entry
    end
  else
    local accounts, seen = {}, {}
    for _, one in ipairs(freed) do
      drop_slot(one[1], slot_key(one[2], one[3], one[4]), one[5])
      if not seen[one[1]] then seen[one[1]], accounts[#accounts + 1] = true, one[1] end
    end
    table.sort(accounts)
    for _, account in ipairs(accounts) do call_next(account, call_row) end
  end
  freed = {}
  return told
end
