-- Claims: who saw an event first. ARGV: life in ms; MessagePack of {claims {key, origin}, forgotten
-- {key}}.
-- Answers only those that another origin holds: {place, its origin, place, its origin, ...}.
local ttl = ARGV[1]
local claims, forgotten = unpack(cmsgpack.unpack(ARGV[2]))
local call, taken, n = redis.call, {}, 0

for i = 1, #forgotten do
  call('DEL', 'tidings:first:' .. forgotten[i])
end

for place = 1, #claims do
  local claim = claims[place]
  local held = call('SET', 'tidings:first:' .. claim[1], claim[2], 'NX', 'GET', 'PX', ttl)
  if held and held ~= claim[2] then
    taken[n + 1], taken[n + 2], n = place, held, n + 2
  end
end

return taken
