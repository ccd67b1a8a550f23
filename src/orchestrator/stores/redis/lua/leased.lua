-- What became of queue rows. ARGV[4] partition, [5] worker or empty, [6] {run, path, epoch, ...} as MessagePack.
-- Answer for each: 1 leased so (to the worker, if one is named), 0 there, -1 gone.

local p, worker, rows, answer = ARGV[4], ARGV[5], cmsgpack.unpack(ARGV[6]), {}
for i = 1, #rows, 3 do
  local _, row = head_and_row(p, rows[i], rows[i + 1])
  local so = row and row[WORKER] and row[EPOCH] == rows[i + 2] and (worker == '' or row[WORKER] == worker)
  answer[#answer + 1] = so and 1 or row and 0 or -1
end
return answer
