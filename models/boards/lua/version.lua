-- Reads a board's version.
-- KEYS  meta
-- Returns the version, false when the board is missing
local version = version_of(KEYS[1])
return version and tonumber(version)
