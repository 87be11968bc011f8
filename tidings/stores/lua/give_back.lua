-- Uncount. ARGV: MessagePack of {{key, id}, ...}.
local counts = cmsgpack.unpack(ARGV[1])

for i = 1, #counts do
  redis.call('ZREM', 'tidings:cap:' .. counts[i][1], counts[i][2])
end
