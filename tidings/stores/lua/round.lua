-- Leases and marks of sends, one lane's whole batch.
--
-- ARGV: now, when new leases end, how long a lease's key lives, a mark's, a sent turn's (all ms);
-- MessagePack of {leases {id, origin, holder [, newest, thing, since, turn]}, marks {id, holder,
-- answer [, turn]}, done {id}, released {id, holder}, ends {turn, words [, holder]}}.
--
-- A send's key holds  L<ends at>\31<holder>\31<origin>   a lease
--                     S<answer>                          sent
--                     D<answer>                          sent, and its outcome is confirmed
-- tidings:newest:<name> holds <since, 15 digits><thing>, the highest that was asked with.
-- tidings:turn:<turn> holds S<send id>, the first that went out, or O<words>, how it ended else.
-- tidings:going:<turn> holds <ends at>\31<holder>, the turn's latest lease.
-- Answers only the leases that were not given: {place, B<holder>, N, O or the key's value, ...}; and,
-- at the places behind them, the ends that were not the first: O<words>, B<holder>, or what the key
-- of the send holds, \30 and its id.
local now, ends_at, lease_life, mark_life = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local turn_life = ARGV[5]
local leases, marks, done, released, ends = unpack(cmsgpack.unpack(ARGV[6]))
local call, sub, match = redis.call, string.sub, string.match
local key, turn_key, going_key = 'tidings:send:', 'tidings:turn:', 'tidings:going:'

for i = 1, #marks do
  local mark = marks[i]
  local id = key .. mark[1]
  local old = call('SET', id, 'S' .. mark[3], 'GET', 'PX', mark_life)
  if old and sub(old, 1, 1) ~= 'L' then
    call('SET', id, old, 'PX', mark_life) -- the first answer stands
  end
  if mark[4] then
    call('SET', turn_key .. mark[4], 'S' .. mark[1], 'NX', 'PX', turn_life)
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

for i = 1, #ends do
  local end_ = ends[i]
  local old = call('GET', turn_key .. end_[1])
  local going = not old and call('GET', going_key .. end_[1])
  local until_, holder = match(going or '', '^(%d+)\31(.*)$')
  if holder and holder ~= (end_[3] or '') and tonumber(until_) > now then
    old = 'B' .. holder
  elseif not old then
    call('SET', turn_key .. end_[1], 'O' .. end_[2], 'PX', mark_life)
  end
  if old then
    if sub(old, 1, 1) == 'S' then
      local sent = sub(old, 2)
      old = (call('GET', key .. sent) or 'D') .. '\30' .. sent
    end
    refused[n + 1], refused[n + 2], n = #leases + i, old, n + 2
  end
end

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

local function going(lease)
  if lease[7] then
    call('SET', going_key .. lease[7], ends_at .. '\31' .. lease[3], 'PX', lease_life)
  end
end

for place = 1, #leases do
  local lease = leases[place]
  local id = key .. lease[1]
  local who = lease[3] .. '\31' .. lease[2]
  local name = lease[4] or ''
  local turn = lease[7]
  local against
  if name ~= '' and not is_newest(name, lease[5], lease[6] or 0) then
    against = 'N'
  end
  if turn and call('GETRANGE', turn_key .. turn, 0, 0) == 'O' then
    against = 'O'
  end
  local old
  if not against then
    old = call('SET', id, lease_start .. who, 'NX', 'GET', 'PX', lease_life)
  else
    old = call('GET', id) or against
    local ends, holder = match(old, '^L(%d+)\31(.*)$')
    if ends and (holder == who or tonumber(ends) <= now) then
      old = against -- its own lease, or one that has ended, keeps it from nobody
    end
  end
  if old then
    local ends, holder = match(old, '^L(%d+)\31(.*)$')
    if not ends then
      refused[n + 1], refused[n + 2], n = place, old, n + 2
    elseif holder == who or tonumber(ends) <= now then
      call('SET', id, lease_start .. who, 'PX', lease_life)
      going(lease)
    else
      refused[n + 1], refused[n + 2], n = place, 'B' .. match(holder, '^(.*)\31'), n + 2
    end
  else
    going(lease)
  end
end

return refused
