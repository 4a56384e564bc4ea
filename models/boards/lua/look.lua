-- Looks at what a board holds part by part, to hold it against Postgres; unlike read.lua it takes no part's word.
-- KEYS  ranking, players, meta
-- ARGV  'players', user id, user id, … | 'stretch', first rank (0-based), last rank
-- Returns false when the board is missing, else {version, total, {user, value or '', member or '', double or '', …}}
local version = version_of(KEYS[3])
local total = redis.call('ZCARD', KEYS[1])
local hidden = redis.call('HGET', KEYS[2], '')
local values = redis.call('HLEN', KEYS[2]) - (hidden and hidden + 1 or 0)
if not version or total ~= values then return false end

local found = {}
local function add(user, value, member, double)
  for _, part in ipairs({user, value or '', member or '', double or ''}) do found[#found + 1] = part end
end

if ARGV[1] == 'players' then
  for i = 2, #ARGV do
    local value = redis.call('HGET', KEYS[2], ARGV[i])
    local member = value and (string.sub(value, 1, 16) .. ARGV[i])
    local double = member and redis.call('ZSCORE', KEYS[1], member)
    add(ARGV[i], value, double and member, double)
  end
else
  local members = redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[3], 'WITHSCORES')
  for i = 1, #members, 2 do
    local user = string.sub(members[i], 17)
    add(user, redis.call('HGET', KEYS[2], user), members[i], members[i + 1])
  end
end
return {tonumber(version), total, found}
