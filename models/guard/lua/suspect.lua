-- Adds to scores that halve with time, by Redis' own clock, so that processes whose clocks differ agree.
-- KEYS  a subject's score each
-- ARGV  a score that is nothing, then for each subject: weight, events, half-life in seconds
-- Returns the scores, each as text (a number would lose what is behind the point) and with the events that made it
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local scores = {}
for i, key in ipairs(KEYS) do
  local weight, half = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i + 1])
  local held = redis.call('HMGET', key, 'score', 'at')
  local score = weight
  if held[1] and held[2] then
    local passed = math.max(0, now - tonumber(held[2]))
    score = score + tonumber(held[1]) * 2 ^ (-passed / half)
  end
  redis.call('HSET', key, 'score', string.format('%.17g', score), 'at', string.format('%.6f', now))
  local lasts = half * math.log(math.max(score / tonumber(ARGV[1]), 2)) / math.log(2)
  redis.call('PEXPIRE', key, math.ceil(lasts * 1000))
  scores[2 * i - 1] = string.format('%.17g', score)
  scores[2 * i] = redis.call('HINCRBY', key, 'events', ARGV[3 * i])
end
return scores
