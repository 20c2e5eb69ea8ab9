#!/bin/sh
# SPDX-License-Identifier: MIT
# sanitized: served requests under a checker. sh sanitized.sh tsan (PARLEY is a TSan build) | valgrind
. "$(dirname "$0")/lib.sh"
kind=$1
seconds=5

with_mariadb
with_memcached
with_stub
write_settings "workers = 1" "threads = 8" "turn_threads = 4" "drain_ms = 20000" "database_timeout = 30000" "cache_timeout = 500" "sweep_interval = 1000"
make_site
case $kind in
tsan)
	TSAN_OPTIONS="log_path=$dir/report exitcode=66 halt_on_error=0"
	export TSAN_OPTIONS
	serve
	;;
valgrind)
	seconds=3
	launch parley valgrind --quiet --trace-children=yes --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
		--error-exitcode=66 --log-file="$dir/report.%p" "$PARLEY" -c "$dir/parley.conf" serve
	await "parley listens" test -S "$dir/parley.sock"
	;;
*) give_up "tsan or valgrind" ;;
esac
serve_nginx
await "parley is ready" curl -fsS "$URL/readyz"
checks node "$here/front.mjs" "$kind"
checks node "$here/chaos.mjs" "$kind" --seconds $seconds --clients 8
kill -s HUP "$(pid_of parley)"
sleep 3
check "$kind: serves after a reload" curl -fsS "$URL/readyz"
halt nginx
halt parley
# An empty file is a process without a report.
no_reports()
{
	for report in "$dir"/report*; do
		test ! -s "$report" || { head -n 60 "$report"; return 1; }
	done
}
check "$kind: reports nothing" no_reports
