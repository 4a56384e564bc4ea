-- Puts absolute scores on a board, and on its next build while one is under way. Repeating or reordering calls
-- changes nothing: only a later version of a player's score is taken (I5).
-- KEYS  ranking, players, meta, next:ranking, next:players, next:meta
-- ARGV  ttl seconds, then for each player: user id (16 bytes), place (score and time, 16 bytes), score as the
--       double that sorts, version (8 bytes, big-endian), name
-- A player's value in `players` is place .. version .. name; the member of `ranking` is place .. user id. A player who
-- is hidden comes without a place: the value stays, so that no earlier version comes back, with HIDDEN as its place and
-- no member. The field '' of `players` counts those.
-- Returns {board version or false when the board is missing, how many scores changed}
local HIDDEN = string.rep('\255', 16)

local function put(ranking, players)
  local changed = 0
  for i = 2, #ARGV, 5 do
    local user, place, version = ARGV[i], ARGV[i + 1], ARGV[i + 3]
    local held = redis.call('HGET', players, user)
    if not held or struct.unpack('>I8', held, 17) < struct.unpack('>I8', version) then
      local heldPlace = held and string.sub(held, 1, 16)
      if place == '' then place = HIDDEN end
      if heldPlace ~= place then
        if heldPlace == HIDDEN then redis.call('HINCRBY', players, '', -1)
        elseif heldPlace then redis.call('ZREM', ranking, heldPlace .. user) end
        if place == HIDDEN then redis.call('HINCRBY', players, '', 1)
        else redis.call('ZADD', ranking, ARGV[i + 2], place .. user) end
      end
      redis.call('HSET', players, user, place .. version .. ARGV[i + 4])
      changed = changed + 1
    end
  end
  return changed
end

if redis.call('EXISTS', KEYS[6]) == 1 then put(KEYS[4], KEYS[5]) end
local version, adopts = version_of(KEYS[3])
local hidden = redis.call('HGET', KEYS[2], '')
local values = redis.call('HLEN', KEYS[2]) - (hidden and hidden + 1 or 0)
if not version or redis.call('ZCARD', KEYS[1]) ~= values then return {false, 0} end
local changed = put(KEYS[1], KEYS[2])
if adopts then redis.call('HSET', KEYS[3], 'home', home) end
if changed > 0 then version = redis.call('HINCRBY', KEYS[3], 'version', 1) end
for key = 1, 3 do redis.call('EXPIRE', KEYS[key], ARGV[1]) end
return {tonumber(version), changed}
