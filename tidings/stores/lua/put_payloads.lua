-- Keep payloads. ARGV: MessagePack of {{id, life in ms, body}, ...}. One that has ended goes.
local payloads = cmsgpack.unpack(ARGV[1])

for i = 1, #payloads do
  local id, life, body = unpack(payloads[i])
  if life > 0 then
    redis.call('SET', 'tidings:payload:' .. id, body, 'PX', life)
  else
    redis.call('DEL', 'tidings:payload:' .. id)
  end
end
