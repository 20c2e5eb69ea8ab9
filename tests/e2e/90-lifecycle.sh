#!/bin/sh
# SPDX-License-Identifier: MIT
# lifecycle: two writers, a deleter, readers and sweepers on the same sessions: no message is lost, doubled or resurrected, and at the end nothing is
# left behind. The same judge finds bugs that are put back on purpose.
. "$(dirname "$0")/lib.sh"
seconds=8
test $long = no || seconds=120
TTL=2000 KEEP=2500
export TTL KEEP
checks node "$here/lifecycle.mjs" --self-test

with_mariadb
with_memcached

# run_with BINARY SECONDS: served by that binary, swept all the time; what the client says is in log/lifecycle.
run_with()
{
	PARLEY=$1
	serve
	serve_nginx
	await "parley is ready" curl -fsS "$URL/readyz"
	while sleep 0.2; do "$PARLEY" -c "$dir/parley.conf" sweep; done >>"$dir/log/sweep" 2>&1 &
	sweeper=$!
	node "$here/lifecycle.mjs" --seconds "$2" >"$dir/log/lifecycle" 2>&1
	status=$?
	kill $sweeper 2>/dev/null
	wait $sweeper 2>/dev/null
	return $status
}

stop_serving()
{
	halt nginx
	halt parley
}

count_rows()
{
	for _table in sessions conversations messages deletions message_masks session_tags turns; do
		mariadb --no-defaults --user=root --socket="$dir/mariadb/sock" --batch --skip-column-names parley -e "SELECT '$_table', COUNT(*) FROM $_table"
	done
}

is_empty()
{
	count_rows | awk '$2 > 0 { print; left = 1 } END { exit left }'
}

write_settings "workers = 3" "sweep_interval = 500" "sweep_batch = 20" "ttl_history = $KEEP" "log_level = warn"
make_site
run_with "$whole" $seconds || failures=$((failures + 1))
cat "$dir/log/lifecycle"
# Everything is idle now: it ends, and then it goes.
tries=0
until is_empty >/dev/null || test $tries -ge 40; do
	tries=$((tries + 1))
	"$whole" -c "$dir/parley.conf" sweep >/dev/null 2>&1
	sleep 0.5
done
check "once all sessions have gone there is no row left" is_empty
stop_serving

# finds NAME WORDS: the judge names the bug, most often within the first run: it takes a read in the moment that the bug leaves open.
finds()
{
	_runs=0
	while test $_runs -lt 12; do
		_runs=$((_runs + 1))
		run_with "$dir/$1" 6
		stop_serving
		if grep -q "$2" "$dir/log/lifecycle"; then
			ok "$1 is found: $(grep -o "$2" "$dir/log/lifecycle" | head -n 1)"
			return
		fi
	done
	not_ok "$1 is found"
	sed 's/^/# /' "$dir/log/lifecycle"
}

build_with forgotten_descendants app/purge.c 'e ? 0 : db_cell_int(r, 0, 0)' '0'
finds forgotten_descendants 'a clone of'
build_with stale_clearing app/message_edit_api.c 'head_changed(c->task, c->app, .h->site, .h->session);' ';'
finds stale_clearing 'came back'
