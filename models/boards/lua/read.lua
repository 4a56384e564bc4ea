-- Reads a stretch of a board with its version and total, all at one moment.
-- KEYS  ranking, players, meta
-- ARGV  'top', first rank (0-based), last rank | 'around', user id, count | 'ranks', user id, user id, …
-- Returns false when the board is missing, else {version, total, {rank, member, name, …}}
local version = version_of(KEYS[3])
if not version then return false end
local total = redis.call('ZCARD', KEYS[1])
local hidden = redis.call('HGET', KEYS[2], '')
if total ~= redis.call('HLEN', KEYS[2]) - (hidden and hidden + 1 or 0) then return false end

local HIDDEN = string.rep('\255', 16)
local function member(user)
  local held = redis.call('HGET', KEYS[2], user)
  local place = held and string.sub(held, 1, 16)
  return place and place ~= HIDDEN and (place .. user)
end

local found = {}
local function add(rank, entry)
  local held = redis.call('HGET', KEYS[2], string.sub(entry, 17))
  found[#found + 1] = rank
  found[#found + 1] = entry
  found[#found + 1] = string.sub(held, 25)
end

if ARGV[1] == 'ranks' then
  for i = 2, #ARGV do
    local entry = member(ARGV[i])
    if entry then add(redis.call('ZRANK', KEYS[1], entry), entry) end
  end
else
  local first, last = tonumber(ARGV[2]), tonumber(ARGV[3])
  if ARGV[1] == 'around' then
    local entry = member(ARGV[2])
    if not entry then return {tonumber(version), total, {}} end
    local count = tonumber(ARGV[3])
    first = redis.call('ZRANK', KEYS[1], entry) - math.floor(count / 2)
    first = math.max(0, math.min(first, total - count))
    last = first + count - 1
  end
  local entries = redis.call('ZRANGE', KEYS[1], first, last)
  for i, entry in ipairs(entries) do add(first + i - 1, entry) end
end
return {tonumber(version), total, found}
