-- SPDX-License-Identifier: MIT
-- requests.lua: for wrk; sends the same method, body and headers to each path of a file in turn. Threads share no path, if there are enough.
-- Environment: BENCH_PATHS (file), BENCH_THREADS, BENCH_METHOD, BENCH_BODY, BENCH_BEARER, BENCH_CLOSE (1: a connection for each request).

local requests, at = {}, 0
local threads = 0

function setup(thread)
	thread:set("number", threads)
	threads = threads + 1
end

function init()
	local headers = {}
	local bearer, body = os.getenv("BENCH_BEARER"), os.getenv("BENCH_BODY")
	if bearer then headers["Authorization"] = "Bearer " .. bearer end
	if body then headers["Content-Type"] = "application/json" end
	if os.getenv("BENCH_CLOSE") == "1" then headers["Connection"] = "close" end
	local paths, n = {}, tonumber(os.getenv("BENCH_THREADS"))
	for path in io.lines(os.getenv("BENCH_PATHS")) do
		paths[#paths + 1] = path
	end
	for i, path in ipairs(paths) do
		if #paths < n or i % n == number then
			requests[#requests + 1] = wrk.format(os.getenv("BENCH_METHOD") or "GET", path, headers, body)
		end
	end
end

function request()
	at = at % #requests + 1
	return requests[at]
end

function done(summary, latency)
	local errors = summary.errors
	io.write(string.format("result\t%.1f\t%d\t%.1f\n", summary.requests / summary.duration * 1e6,
		errors.connect + errors.read + errors.write + errors.status + errors.timeout, latency:percentile(50)))
end
