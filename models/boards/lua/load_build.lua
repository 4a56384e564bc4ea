-- Adds scores to a build; like a refresh, the later version of a score stays.
-- KEYS  next:ranking, next:players, next:meta
-- ARGV  build id, seconds, then for each player the five of refresh.lua
-- Returns 0 when the build is no longer this caller's
if redis.call('GET', KEYS[3]) ~= ARGV[1] .. ' ' .. home then return 0 end
local HIDDEN = string.rep('\255', 16)
for i = 3, #ARGV, 5 do
  local user, place, version = ARGV[i], ARGV[i + 1], ARGV[i + 3]
  if place == '' then place = HIDDEN end
  local held = redis.call('HGET', KEYS[2], user)
  if not held or struct.unpack('>I8', held, 17) < struct.unpack('>I8', version) then
    local heldPlace = held and string.sub(held, 1, 16)
    if heldPlace == HIDDEN then redis.call('HINCRBY', KEYS[2], '', -1)
    elseif heldPlace then redis.call('ZREM', KEYS[1], heldPlace .. user) end
    if place == HIDDEN then redis.call('HINCRBY', KEYS[2], '', 1)
    else redis.call('ZADD', KEYS[1], ARGV[i + 2], place .. user) end
    redis.call('HSET', KEYS[2], user, place .. version .. ARGV[i + 4])
  end
end
for key = 1, 3 do redis.call('EXPIRE', KEYS[key], ARGV[2]) end
return 1
