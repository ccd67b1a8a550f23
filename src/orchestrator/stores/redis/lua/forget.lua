-- Ends registrations. ARGV[4] worker, or empty: all whose time has come; [5] '1': as lost; [6] partitions as MessagePack.
-- Answer: {names, queues to wake, what ended}, the first two as MessagePack.

local lost, partitions = ARGV[5] == '1', cmsgpack.unpack(ARGV[6])
local ended, names = {}, {} -- name -> partitions
local function add(name, p)
  if not ended[name] then ended[name], names[#names + 1] = {}, name end
  table.insert(ended[name], p)
end
for _, p in ipairs(partitions) do
  if ARGV[4] ~= '' then
    if redis.call('ZSCORE', part(p, 'workers'), ARGV[4]) then add(ARGV[4], p) end
  else
    local due = redis.call('ZRANGE', part(p, 'workers'), '-inf', string.format('%d', now), 'BYSCORE')
    for _, name in ipairs(due) do add(name, p) end
  end
end
table.sort(names)

local told = {}
for _, worker in ipairs(names) do
  for _, p in ipairs(ended[worker]) do
    redis.call('ZREM', part(p, 'workers'), worker)
    redis.call('HDEL', part(p, 'info'), 's' .. worker, 'i' .. worker)
    local leases = redis.call('HGETALL', part(p, 'l:' .. worker))
    for i = 1, #leases, 2 do
      local run, path = split_key(leases[i])
      local head, row = head_and_row(p, run, path)
      if row and row[WORKER] == worker then
        set_free(p, row, run, path)
        if lost then row[LOST] = row[LOST] + 1 end
        if head[HELD] ~= 1 then
          put(p, row, run, path)
          wake(row[QUEUE])
        end
        save_row(p, run, path, row)
      end
    end
    redis.call('DEL', part(p, 'l:' .. worker))
    partition(p).leases[worker] = nil
  end
  for _, one in ipairs(sweep_slots()) do told[#told + 1] = one end
end
flush()
return {cmsgpack.pack(names), cmsgpack.pack(woken_queues()), told}
