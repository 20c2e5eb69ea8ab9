#!/bin/sh
# SPDX-License-Identifier: MIT
# kills: kill -9 of random processes of the master, under load by idempotent clients; nothing acknowledged is lost or doubled.
. "$(dirname "$0")/lib.sh"
kills=15
test $long = no || kills=100
checks node "$here/chaos.mjs" --self-test

with_mariadb
with_memcached
write_settings "workers = 4"
make_site
serve
serve_nginx
await "parley is ready" curl -fsS "$URL/readyz"

# One child of the master, chosen by chance.
victim()
{
	pgrep -P "$(pid_of parley)" | shuf -n 1
}

node "$here/chaos.mjs" kills --seconds 600 --clients 12 >"$dir/chaos.tap" 2>&1 &
chaos=$!
sleep 1
done_kills=0
tries=0
while test $done_kills -lt $kills && test $tries -lt $((kills * 20)); do
	tries=$((tries + 1))
	child=$(victim)
	if test -n "$child" && kill -9 "$child" 2>/dev/null; then done_kills=$((done_kills + 1)); fi
	sleep 0.$((1 + done_kills % 4))
done
check "$done_kills processes were killed" test "$done_kills" = "$kills"
# All of them at once, too.
pgrep -P "$(pid_of parley)" | xargs -r kill -9
sleep 2
kill "$chaos"
wait "$chaos" || failures=$((failures + 1))
cat "$dir/chaos.tap"
check "the master still runs" kill -0 "$(pid_of parley)"
check "and serves" curl -fsS "$URL/readyz"
