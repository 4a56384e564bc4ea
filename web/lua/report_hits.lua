-- Adds hits that processes have let in on credit to sliding windows, and says which of those windows are full.
-- The windows are those of the `limits` package's sliding-window counter (acquire_sliding_window.lua there): a counter
-- of the current window that lives for two, renamed to the previous one when its own is over.
-- KEYS  processes (but not where ARGV[1] is ''), then for each window: previous, current
-- ARGV  this process or '', seconds after which a silent process counts no more, then for each window: hits, limit,
--       expiry (s)
-- Returns {how many processes there are or 0, full (0 or 1) of each window}
local answer, first = {0}, 0
if ARGV[1] ~= '' then
  local now = redis.call('TIME')
  local seconds = tonumber(now[1]) + tonumber(now[2]) / 1e6
  redis.call('ZADD', KEYS[1], seconds, ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', seconds - tonumber(ARGV[2]))
  redis.call('EXPIRE', KEYS[1], 60)
  answer[1], first = redis.call('ZCARD', KEYS[1]), 1
end

for window = 1, (#KEYS - first) / 2 do
  local previous, current = KEYS[first + 2 * window - 1], KEYS[first + 2 * window]
  local hits, limit = tonumber(ARGV[3 * window]), tonumber(ARGV[3 * window + 1])
  local expiry = 1000 * tonumber(ARGV[3 * window + 2])
  local left = redis.call('PTTL', current)
  if left > 0 and left < expiry then
    redis.call('RENAME', current, previous)
    redis.call('SET', current, 0, 'PX', left + expiry)
  end
  local count
  if left > 0 then
    count = redis.call('INCRBY', current, hits)
  else
    redis.call('SET', current, hits, 'PX', 2 * expiry)
    count = hits
  end
  local before = tonumber(redis.call('GET', previous)) or 0
  local weight = math.max(0, redis.call('PTTL', previous)) / expiry
  answer[window + 1] = math.floor(before * weight) + count >= limit and 1 or 0
end
return answer
