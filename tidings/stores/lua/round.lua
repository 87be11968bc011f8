-- Leases and marks of sends, one lane's whole batch.
--
-- ARGV: now, when new leases end, how long a lease's key lives, how long a mark's lives (all ms);
-- MessagePack of {leases {id, origin, holder [, newest, thing, since]}, marks {id, holder, answer},
-- done {id}, released {id, holder}}.
--
-- A send's key holds  L<ends at>\31<holder>\31<origin>   a lease
--                     S<answer>                          sent
--                     D<answer>                          sent, and its outcome is confirmed
-- tidings:newest:<name> holds <since, 15 digits><thing>, the highest that was asked with.
-- Answers only the leases that were not given: {place, B<holder>, N or the key's value, ...}.
local now, ends_at, lease_life, mark_life = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local leases, marks, done, released = unpack(cmsgpack.unpack(ARGV[5]))
local call, sub, match = redis.call, string.sub, string.match
local key = 'tidings:send:'

for i = 1, #marks do
  local mark = marks[i]
  local id = key .. mark[1]
  local old = call('SET', id, 'S' .. mark[3], 'GET', 'PX', mark_life)
  if old and sub(old, 1, 1) ~= 'L' then
    call('SET', id, old, 'PX', mark_life) -- the first answer stands
  end
end

for i = 1, #done do
  local id = key .. done[i]
  local state = call('GETRANGE', id, 0, 0)
  if state == 'S' then
    call('SETRANGE', id, 0, 'D')
  elseif state ~= 'D' then
    call('SET', id, 'D', 'PX', mark_life)
  end
end

for i = 1, #released do
  local id = key .. released[i][1]
  local old = call('GET', id)
  if old and match(old, '^L%d+\31(.*)\31') == released[i][2] then
    call('DEL', id)
  end
end

local refused, n = {}, 0
local lease_start = 'L' .. ends_at .. '\31'

local function is_newest(name, thing, since)
  local place = 'tidings:newest:' .. name
  local held = call('GET', place)
  local rank = string.format('%015d', since) .. thing
  if not held or (since > 0 and held < rank) then
    if since > 0 then
      call('SET', place, rank, 'PX', mark_life)
    end
    return true
  end
  return sub(held, 16) == thing
end

for place = 1, #leases do
  local lease = leases[place]
  local id = key .. lease[1]
  local who = lease[3] .. '\31' .. lease[2]
  local name = lease[4] or ''
  local newest = name == '' or is_newest(name, lease[5], lease[6] or 0)
  local old
  if newest then
    old = call('SET', id, lease_start .. who, 'NX', 'GET', 'PX', lease_life)
  else
    old = call('GET', id) or 'N'
    local ends, holder = match(old, '^L(%d+)\31(.*)$')
    if ends and (holder == who or tonumber(ends) <= now) then
      old = 'N' -- its own lease, or one that has ended, keeps it from nobody
    end
  end
  if old then
    local ends, holder = match(old, '^L(%d+)\31(.*)$')
    if not ends then
      refused[n + 1], refused[n + 2], n = place, old, n + 2
    elseif holder == who or tonumber(ends) <= now then
      call('SET', id, lease_start .. who, 'PX', lease_life)
    else
      refused[n + 1], refused[n + 2], n = place, 'B' .. match(holder, '^(.*)\31'), n + 2
    end
  end
end

return refused
