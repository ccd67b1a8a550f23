-- Gives leases back. ARGV[4] worker, [5] delay, [6] note, [7] {partition, run, path, epoch, ...} as MessagePack.
-- Answer: {queues to wake as MessagePack, what ended}.

local worker, delay, note, leases = ARGV[4], tonumber(ARGV[5]), ARGV[6], cmsgpack.unpack(ARGV[7])
for i = 1, #leases, 4 do
  local p, run, path, epoch = leases[i], leases[i + 1], leases[i + 2], leases[i + 3]
  local head, row = head_and_row(p, run, path)
  if row and row[WORKER] == worker and row[EPOCH] == epoch then
    set_free(p, row, run, path)
    row[DUE], row[NOTE] = now + delay, note
    if head[HELD] ~= 1 then
      put(p, row, run, path)
      wake(row[QUEUE])
    end
    save_row(p, run, path, row)
  end
end
flush()
local ended = sweep_slots()
return {cmsgpack.pack(woken_queues()), ended}
