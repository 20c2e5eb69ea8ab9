#!/bin/sh
# SPDX-License-Identifier: MIT
# reloads: HUP replaces the workers one by one at 300 requests a second; not one request fails.
. "$(dirname "$0")/lib.sh"
reloads=4
test $long = no || reloads=50

with_mariadb
with_memcached
write_settings "workers = 4"
make_site
serve
serve_nginx
await "parley is ready" curl -fsS "$URL/readyz"

workers()
{
	pgrep -P "$(pid_of parley)" | sort | tr '\n' ' '
}

# Whether none of the processes that were there is left, and as many others are.
is_replaced()
{
	for child in $before; do
		! kill -0 "$child" 2>/dev/null || return 1
	done
	# shellcheck disable=SC2046,SC2086 # counting words
	test "$(set -- $(workers); echo $#)" = "$(set -- $before; echo $#)"
}

node "$here/chaos.mjs" reloads --seconds 1200 --rate 300 --strict >"$dir/chaos.tap" 2>&1 &
chaos=$!
sleep 1
done_reloads=0
while test $done_reloads -lt $reloads; do
	before=$(workers)
	kill -s HUP "$(pid_of parley)"
	await "reload $done_reloads is done" is_replaced
	done_reloads=$((done_reloads + 1))
	sleep 0.2
done
ok "$done_reloads reloads replaced every process"
sleep 0.5
kill "$chaos"
wait "$chaos" || failures=$((failures + 1))
cat "$dir/chaos.tap"

# A stream that runs is finished by the old worker.
with_stub
write_settings "workers = 4"
make_slow()
{
	parley provider add stub --base-url "http://127.0.0.1:$stub_port/v1" && parley agent add e2e slow --provider stub --model slow:300
}
check "a slow agent is made" make_slow
before=$(workers)
kill -s HUP "$(pid_of parley)"
await "the settings are read" is_replaced
curl -sSN "$URL/v1/chat/slow/message" -H "Authorization: Bearer $SK" -H 'Content-Type: application/json' \
	-d '{"message":"one two three","stream":true}' >"$dir/stream" 2>&1 &
stream=$!
sleep 0.8
kill -s HUP "$(pid_of parley)"
wait $stream
check "a stream outlives a reload" grep -q '^event: *done' "$dir/stream"
