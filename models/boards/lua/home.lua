-- Comes before each of the other scripts: says whether a board is the one that was built on this very server.
-- A server that was a replica until its master died has copies, and may lack the last of what the master was told:
-- scores that players have seen, and versions that stand for something else by now. So a board names its home, the id
-- of the history of writes it was built in (a replica that is promoted, or a server that is started, begins another),
-- and a board from elsewhere counts as missing: it is rebuilt, under versions above all before (I5, I6).
local home = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')

-- The version of a board, false when it is missing; and whether it has no home yet, as one of the last release.
local function version_of(meta)
  local held = redis.call('HMGET', meta, 'version', 'home')
  if not held[1] or held[2] and held[2] ~= home then return false, false end
  return held[1], not held[2]
end

