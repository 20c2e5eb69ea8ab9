#!/bin/sh
# SPDX-License-Identifier: MIT
# database: gone and back. Writes get 503 and Retry-After, cached reads go on and are marked, then all is as before.
. "$(dirname "$0")/lib.sh"

with_mariadb
with_memcached
write_settings "workers = 2" "database_connect_timeout = 500" "database_timeout = 1000"
make_site
serve
serve_nginx
await "parley is ready" curl -fsS "$URL/readyz"

# api METHOD PATH [BODY]: headers and body of the answer in $dir/answer, its status printed.
api()
{
	curl -sS -i -o "$dir/answer" -w '%{http_code}' -X "$1" "$URL$2" -H "Authorization: Bearer $SK" -H 'Content-Type: application/json' ${3:+-d "$3"}
}

answers()
{
	_expected=$1
	shift
	_got=$(api "$@")
	test "$_got" = "$_expected" || { echo "$_got"; cat "$dir/answer"; return 1; }
}

has()
{
	grep -qi "$1" "$dir/answer" || { cat "$dir/answer"; return 1; }
}

read_path='/v1/sessions/kept?messages=20'
check "a session is made" answers 201 POST /v1/sessions '{"agent":"echo","id":"kept"}'
check "a message is stored" answers 201 POST /v1/sessions/kept/messages '{"role":"user","content":"before"}'
check "it is read" answers 200 GET "$read_path"
check "and again, from the cache" answers 200 GET "$read_path"
# Every worker has seen the key.
for _ in $(seq 60); do
	curl -sS -o /dev/null "$URL$read_path" -H "Authorization: Bearer $SK" &
done
sleep 1

kill -9 "$(cat "$dir/mariadb/pid")"
sleep 3
check "without the database a cached read goes on" answers 200 GET "$read_path"
check "and is marked" has '^x-parley-stale'
check "with the message" has '"before"'
check "a write gets 503" answers 503 POST /v1/sessions/kept/messages '{"role":"user","content":"during"}'
check "with Retry-After" has '^retry-after: [1-9]'
check "as a problem that says so" has '"code": *"unavailable"'
check "a cached read goes on behind it" answers 200 GET "$read_path"
check "what is not cached gets 503" answers 503 GET '/v1/sessions/other'
check "health goes on" answers 200 GET /healthz
check "readiness says no" answers 503 GET /readyz

rm -f "$dir/mariadb/pid"
sh "$root/tests/support/mariadb.sh" start "$dir/mariadb" >/dev/null || give_up "MariaDB starts again"
await "parley finds it again" curl -fsS "$URL/readyz"
check "writes go on" answers 201 POST /v1/sessions/kept/messages '{"role":"user","content":"after"}'
check "reads show them" answers 200 GET "$read_path"
check "with what was acknowledged" has '"after"'
check "without what was refused" sh -c '! grep -q "\"during\"" "$1"' sh "$dir/answer"
check "and unmarked" sh -c '! grep -qi "^x-parley-stale" "$1"' sh "$dir/answer"

# A master that starts without its database waits for it.
halt nginx
halt parley
sh "$root/tests/support/mariadb.sh" stop "$dir/mariadb"
serve
serve_nginx
check "started without the database it answers 503" answers 503 GET '/v1/sessions/none'
sh "$root/tests/support/mariadb.sh" start "$dir/mariadb" >/dev/null || give_up "MariaDB starts again"
await "parley finds it" curl -fsS "$URL/readyz"
check "and serves when it comes" answers 200 GET "$read_path"
