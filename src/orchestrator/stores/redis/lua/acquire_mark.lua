-- In a cluster, at the row: write down which slots its lease has, or give it back to wait. ARGV[4] worker, [5] {partition,
-- run, path, epoch} and [6] names of accounts, as MessagePack, [7] delay or empty, [8] note.
-- Answer: {'ok' or 'fenced', queues to wake as MessagePack, what ended}.

local given = cmsgpack.unpack(ARGV[5])
local p, run, path, epoch = unpack(given)
local head, row = head_and_row(p, run, path)
if not (row and row[WORKER] == ARGV[4] and row[EPOCH] == epoch) then return {'fenced', cmsgpack.pack({}), {}} end
if ARGV[7] == '' then
  mark_slots(row, cmsgpack.unpack(ARGV[6]))
  save_row(p, run, path, row)
  return {'ok', cmsgpack.pack({}), {}}
end
set_free(p, row, run, path)
row[DUE], row[NOTE] = now + tonumber(ARGV[7]), ARGV[8]
if head[HELD] ~= 1 then
  put(p, row, run, path)
  wake(row[QUEUE])
end
save_row(p, run, path, row)
flush()
return {'ok', cmsgpack.pack(woken_queues()), sweep_slots()}
