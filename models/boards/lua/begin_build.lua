-- Begins a build of a board unless one is under way: from now on refreshes also reach the build.
-- KEYS  ranking, players, meta, next:ranking, next:players, next:meta
-- ARGV  build id, seconds a build may stand still, '1' to build only a board that is missing: who found it missing
--       may come here after somebody else's build has ended
-- Returns 1 when this caller is to build
local under_way = redis.call('GET', KEYS[6])  -- id, space, home; one from elsewhere may lack a part, and is begun anew
if under_way and (home == '' or not string.find(under_way, ' .') or string.sub(under_way, -#home) == home) then
  return 0
end
local hidden = redis.call('HGET', KEYS[2], '')
local values = redis.call('HLEN', KEYS[2]) - (hidden and hidden + 1 or 0)
if ARGV[3] == '1' and version_of(KEYS[3])
  and redis.call('ZCARD', KEYS[1]) == values then return 0 end
redis.call('UNLINK', KEYS[4], KEYS[5])
redis.call('SET', KEYS[6], ARGV[1] .. ' ' .. home, 'EX', ARGV[2])
return 1
