-- Comes before each of the other scripts where another server may take the place of the one that has a board.
-- A server that was a replica until its master died has copies, and may lack the last of what the master was told:
-- scores that players have seen, and versions that stand for something else by now. So a board names its home, the id
-- of the history of writes it was built in (a replica that is promoted, or a server that is started, begins another),
-- and a board from elsewhere counts as missing: it is rebuilt, under versions above all before (I5, I6). It takes 3 µs.
local home = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')

-- The version of a board, false when it is missing; and whether it has no home yet: built by who knew of one server.
local function version_of(meta)
  local held = redis.call('HMGET', meta, 'version', 'home')
  local of = held[2] or ''
  if not held[1] or of ~= '' and of ~= home then return false, false end
  return held[1], of == ''
end

