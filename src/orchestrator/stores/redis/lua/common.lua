#!lua
-- What every function of the store begins with. Each is put together from such parts (scripts.py) and is one server-side
-- step: it checks first and writes last, since a script that fails keeps what it wrote. The first line makes the server
-- refuse it before it starts when it may not write, and refuse keys of another slot in a cluster.
--
-- KEYS[1]  any key of the slot, so that a cluster can route the call
-- ARGV[1]  what all keys begin with     ARGV[2]  'c' in a cluster, else 's': all slots may be touched
-- ARGV[3]  the time in microseconds, for tests; empty: the server's clock
--
-- Keys of a partition, after `<base>{p<number>}:`
--   meta            hash: inc (incarnation: it changes when the server may have lost writes), epoch (counter of leases),
--                   replid and process of the server, rolled_us (when it may have lost writes last)
--   r:<run>         hash of a run: h (head: seq, held, namespace, workflow, live, whose turn, until when, the last commit ids), i (index row), x (what
--                   lists know of it), t (text to search in), s (summary), c:<commit id> (answer), q:<path> (queue row)
--   j:<run>         list, the journal          n:<run>  hash, the snapshot          b:<run>  hash, blobs
--   ready:<queue>   zset, score -priority      delayed:<queue>  zset, score due time; members see `member_of`
--   queues          set of names               feed     list, one entry a commit with events
--   workers         zset worker -> end of registration       info  hash worker -> seen, info
--   l:<worker>      hash run NUL path -> epoch, its leases
--   cache:<ns>NUL<key>  hash, a cached output: the only keys that expire
--   x:<ns>NUL<what> zset run -> created_us, for lists        live:<ns>  hash workflow -> live runs
--   ended           list, in a cluster: slots whose lease ended, for the accounts' slot to hear of
--
-- A Lua number is a double: microseconds are exact, but `..` prints 14 digits. Print with %d. No TTL on what is truth.

local base, in_cluster = ARGV[1], ARGV[2] == 'c'
local now
if ARGV[3] ~= '' then
  now = tonumber(ARGV[3])
else
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local SLICE = 1000 -- unpack() overflows Lua's stack at about 8,000 values

local function part(p, name) return base .. '{p' .. p .. '}:' .. name end

-- A command with any number of arguments; their number is a multiple of `step`.
local function each_slice(command, key, list)
  for from = 1, #list, SLICE do
    redis.call(command, key, unpack(list, from, math.min(from + SLICE - 1, #list)))
  end
end

local function get_fields(key, fields)
  if #fields <= SLICE then return redis.call('HMGET', key, unpack(fields)) end
  local found = {}
  for from = 1, #fields, SLICE do
    local some = redis.call('HMGET', key, unpack(fields, from, math.min(from + SLICE - 1, #fields)))
    for i = 1, #some do found[#found + 1] = some[i] end
  end
  return found
end
