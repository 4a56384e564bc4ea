-- wrk's script: sends the requests of a file, each once, in order; from the beginning again when there are no more.
-- REQUESTS names the file; a request is its length in decimals, a new line, and its bytes.
local file = assert(io.open(os.getenv("REQUESTS"), "rb"))

function request()
  local length = file:read("*l")
  if not length then
    file:seek("set")
    length = file:read("*l")
  end
  return file:read(tonumber(length))
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "microseconds": %d, "bytes": %d, "failed": %d, "refused": %d, "p50_ms": %.3f, "p90_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f}\n',
    summary.requests, summary.duration, summary.bytes, e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50) / 1000, latency:percentile(90) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
