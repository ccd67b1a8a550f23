-- The lists that a run is in (`x:` in common.lua), so that filters needn't look at every run.

-- Names of the lists that a run is in. `x` is {workflow, live, status, created, parent, labels}.
local function lists_of(ns, x)
  local names = {['a'] = true, ['w' .. x[1]] = true, ['s' .. x[3]] = true}
  if x[2] then names['l'] = true end
  if x[5] then names['p' .. x[5]] = true end
  for i = 1, #x[6], 2 do names['L' .. x[6][i] .. '\0' .. x[6][i + 1]] = true end
  return names
end

local function update_lists(p, run, ns, old, new)
  local before, after = old and lists_of(ns, old) or {}, lists_of(ns, new)
  local prefix = part(p, 'x:' .. ns .. '\0')
  local moved = not old or old[4] ~= new[4]
  for name in pairs(before) do
    if not after[name] then redis.call('ZREM', prefix .. name, run) end
  end
  for name in pairs(after) do
    if moved or not before[name] then redis.call('ZADD', prefix .. name, new[4], run) end
  end
  local live = part(p, 'live:' .. ns)
  if old and old[2] then redis.call('HINCRBY', live, old[1], -1) end
  if new[2] then redis.call('HINCRBY', live, new[1], 1) end
end

