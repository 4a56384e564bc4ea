-- Begins a build of a board unless one is under way: from now on refreshes also reach the build.
-- KEYS  ranking, players, meta, next:ranking, next:players, next:meta
-- ARGV  build id, seconds a build may stand still, '1' to build only a board that is missing: who found it missing
--       may come here after somebody else's build has ended
-- Returns 1 when this caller is to build
if redis.call('EXISTS', KEYS[6]) == 1 then return 0 end
local hidden = redis.call('HGET', KEYS[2], '')
local values = redis.call('HLEN', KEYS[2]) - (hidden and hidden + 1 or 0)
if ARGV[3] == '1' and redis.call('HEXISTS', KEYS[3], 'version') == 1
  and redis.call('ZCARD', KEYS[1]) == values then return 0 end
redis.call('UNLINK', KEYS[4], KEYS[5])
redis.call('SET', KEYS[6], ARGV[1], 'EX', ARGV[2])
return 1
