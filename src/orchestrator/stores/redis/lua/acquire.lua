-- Slots for a task, or the task back in line; only where one server has all keys (acquire_*.lua: a cluster).
-- ARGV[4] worker, [5] {partition, run, path, epoch} and [6] limits, both as MessagePack.
-- Answer: {'granted', 'waits' or 'fenced', queues to wake as MessagePack}.

local worker, lease_given, limits = ARGV[4], cmsgpack.unpack(ARGV[5]), cmsgpack.unpack(ARGV[6])
local p, run, path, epoch = unpack(lease_given)
local head, row = head_and_row(p, run, path)
if not (row and row[WORKER] == worker and row[EPOCH] == epoch) then return {'fenced', cmsgpack.pack({})} end
local delay, note = take_slots(limits, slot_key(p, run, path), epoch, row_exists)
if not delay then
  local names = {}
  for i, limit in ipairs(limits) do names[i] = limit[1] end
  mark_slots(row, names)
  save_row(p, run, path, row)
  return {'granted', cmsgpack.pack({})}
end
set_free(p, row, run, path)
row[DUE], row[NOTE] = now + delay, note
if head[HELD] ~= 1 then
  put(p, row, run, path)
  wake(row[QUEUE])
end
save_row(p, run, path, row)
flush()
sweep_slots()
return {'waits', cmsgpack.pack(woken_queues())}
