-- Comes before each of the other scripts where there is one server and nobody takes its place: see home.lua.
local home = ''

local function version_of(meta)
  return redis.call('HGET', meta, 'version'), false
end

