#!/bin/sh
# SPDX-License-Identifier: MIT
# memcached: stopped, continued, killed and started again under load; slower, never wrong, and no request fails.
. "$(dirname "$0")/lib.sh"
rounds=4
test $long = no || rounds=40

with_mariadb
with_memcached
write_settings "workers = 3"
make_site
serve
serve_nginx
await "parley is ready" curl -fsS "$URL/readyz"

memcached_pid()
{
	cat "$dir/memcached/memcached.pid"
}

node "$here/chaos.mjs" memcached --seconds 1200 --clients 12 --sessions 3 --strict >"$dir/chaos.tap" 2>&1 &
chaos=$!
sleep 1
round=0
while test $round -lt $rounds; do
	kill -s STOP "$(memcached_pid)"
	sleep 0.4
	kill -s CONT "$(memcached_pid)"
	sleep 0.4
	kill -s KILL "$(memcached_pid)"
	sleep 0.4
	sh "$root/tests/support/memcached.sh" start "$dir/memcached" >/dev/null
	sleep 0.6
	round=$((round + 1))
done
ok "memcached was stopped and killed $rounds times"
kill "$chaos"
wait "$chaos" || failures=$((failures + 1))
cat "$dir/chaos.tap"

hits()
{
	curl -fsS "$URL/metrics" | awk '$1 == "parley_cache_hits_total" { print $2 }'
}

# And it is used again.
uses_cache()
{
	_session=$(curl -fsS "$URL/v1/sessions" -H "Authorization: Bearer $SK" -H 'Content-Type: application/json' \
		-d '{"agent":"echo","id":"again","if_exists":"return"}' | sed 's/.*/again/')
	for _ in 1 2 3; do curl -fsS "$URL/v1/sessions/$_session?messages=5" -H "Authorization: Bearer $SK"; done
	test "$(hits)" -gt "$hits_before"
}
hits_before=$(hits)
await "the cache is used again" uses_cache
ok "the cache is used again"
