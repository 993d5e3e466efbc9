-- For wrk: counts what a service under load answers, by status.
local threads = {}

function setup(thread)
   thread:set("statuses", "")
   table.insert(threads, thread)
end

function init(args)
   counts = {}
end

function response(status, headers, body)
   counts[status] = (counts[status] or 0) + 1
   local parts = {}
   for code, number in pairs(counts) do table.insert(parts, code .. "=" .. number) end
   statuses = table.concat(parts, " ")
end

function done(summary, latency, requests)
   for _, thread in ipairs(threads) do io.write("statuses " .. thread:get("statuses") .. "\n") end
   io.write(string.format("rate %.0f\n", summary.requests / summary.duration * 1e6))
   io.write(string.format("latency_us p50=%d p99=%d max=%d\n",
      latency:percentile(50), latency:percentile(99), latency.max))
   local e = summary.errors
   io.write(string.format("errors connect=%d read=%d write=%d timeout=%d\n",
      e.connect, e.read, e.write, e.timeout))
end
