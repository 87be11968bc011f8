-- Rolling counts. ARGV: now in ms; MessagePack of {{key, id, at most, within ms, exempt, together},
-- ...}. A key is a sorted set of ids by the time they were counted. Answers the places of those that
-- may not pass; what is together with one of them is not counted. Two windows are remembered, so
-- that an asker whose clock is a window behind counts right, and the key a minute longer, should the
-- askers' clocks be slower than the server's.
local now, counts = tonumber(ARGV[1]), cmsgpack.unpack(ARGV[2])
local call, refused, n = redis.call, {}, 0
local new, size, room = {}, 0, true  -- of those that are together: what is to be counted

for place = 1, #counts do
  local key, id, at_most, within, exempt = unpack(counts[place])
  key = 'tidings:cap:' .. key
  local counted_at = call('ZSCORE', key, id)
  if not counted_at or tonumber(counted_at) <= now - 2 * within then
    if exempt or call('ZCOUNT', key, now - within + 1, '+inf') < at_most then
      size = size + 1
      new[size] = place
    else
      n, room = n + 1, false
      refused[n] = place
    end
  end
  if place == #counts or not counts[place + 1][6] then
    if room then
      for at = 1, size do
        key, id, at_most, within = unpack(counts[new[at]])
        key = 'tidings:cap:' .. key
        call('ZADD', key, now, id)
        call('ZREMRANGEBYSCORE', key, '-inf', now - 2 * within)
        call('PEXPIRE', key, 2 * within + 60000)
      end
    end
    size, room = 0, true
  end
end

return refused
