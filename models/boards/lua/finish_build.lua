-- Puts a whole build in the board's place at one moment, so that nobody ever sees half a board.
-- KEYS  ranking, players, meta, next:ranking, next:players, next:meta
-- ARGV  build id, first version of this build, ttl seconds
-- Returns the board's version, or false when the build is no longer this caller's
if redis.call('GET', KEYS[6]) ~= ARGV[1] .. ' ' .. home then return false end
local held = redis.call('HGET', KEYS[3], 'version')
local version = math.max(tonumber(ARGV[2]), held and tonumber(held) + 1 or 0)
for key = 1, 2 do
  redis.call('UNLINK', KEYS[key])
  if redis.call('EXISTS', KEYS[key + 3]) == 1 then redis.call('RENAME', KEYS[key + 3], KEYS[key]) end
end
redis.call('DEL', KEYS[6])
redis.call('HSET', KEYS[3], 'version', string.format('%.0f', version), 'home', home)
for key = 1, 3 do redis.call('EXPIRE', KEYS[key], ARGV[3]) end
return version
