#!/bin/sh
# SPDX-License-Identifier: MIT
# turns: workers are killed under turns whose clients hang up and ask again by the same key, and others watch: each key has one answer, one call of the
# provider that completed, and every viewer saw the stored text. A cancel and a closed tab reach the provider within a second, behind nginx and Apache.
. "$(dirname "$0")/lib.sh"
turns=40 kills=10 clients=12
test $long = no || { turns=240 kills=70; }
seed=${E2E_SEED:-$$}
TOKENS=40 LEASE=1000
export TOKENS LEASE
checks node "$here/turns.mjs" --self-test

with_mariadb
with_memcached
${CC:-cc} -std=gnu11 -D_GNU_SOURCE -O2 "$root/tests/support/stub_stream.c" -o "$dir/stub_stream" || give_up "the stub is built"
launch stub "$dir/stub_stream" --portfile "$dir/stub.port"
await "the stub answers" test -s "$dir/stub.port"
stub_port=$(cat "$dir/stub.port")
STUB=http://127.0.0.1:$stub_port
export STUB

write_settings "workers = 3" "threads = 48" "turn_threads = 40" "turn_lease = $LEASE" "log_level = warn"
make_site
parley agent add e2e marked --provider stub --model "rate:40:$TOKENS:marked" >>"$dir/log/setup" 2>&1 || give_up "an agent is made"
parley agent add e2e long --provider stub --model rate:20:600 >>"$dir/log/setup" 2>&1 || give_up "an agent is made"

# run_chaos TURNS KILLS [options]
run_chaos()
{
	_turns=$1
	_kills=$2
	shift 2
	MASTER=$(pid_of parley) node "$here/turns.mjs" chaos --turns "$_turns" --clients $clients --kills "$_kills" --seed "$seed" "$@"
}

serve
serve_nginx
await "parley is ready" curl -fsS "$URL/readyz"
checks node "$here/turns.mjs" stop nginx
run_chaos $turns $kills >"$dir/log/chaos" 2>&1 || failures=$((failures + 1))
cat "$dir/log/chaos"
check "the master still runs" kill -0 "$(pid_of parley)"

# finds WHAT WORDS KILLS [options]: the same judge says so, within a few runs, of clients or a program that are wrong in that way.
finds()
{
	_what=$1
	_words=$2
	_bug_kills=$3
	shift 3
	for _run in 1 2 3 4; do
		run_chaos $((12 + 6 * _bug_kills)) "$_bug_kills" --seed $((seed + _run)) --patience 4000 "$@" >"$dir/log/chaos" 2>&1
		if grep -q "^not ok - chaos: $_words" "$dir/log/chaos"; then
			ok "$_what: the judge finds it"
			return
		fi
	done
	not_ok "$_what: the judge finds it"
	sed 's/^/# /' "$dir/log/chaos"
}

# finds_build NAME FILE FROM TO WORDS KILLS
finds_build()
{
	build_with "$1" "$2" "$3" "$4"
	halt parley
	PARLEY=$dir/$1
	serve
	await "parley is ready" curl -fsS "$URL/readyz"
	finds "$1" "$5" "$6"
	PARLEY=$whole
}

if test $long = yes; then
	finds "a key that changes" 'exactly one stored answer' 0 --bug new-key
	finds "a key that changes" 'one call of the provider' 0 --bug new-key
	finds "a viewer that loses a delta" 'every viewer' 0 --bug lose
	finds "a viewer that takes up too early" 'every viewer' 0 --bug double
	finds_build unknown_keys app/turn_api.c 's->start.idem = &c->idem;' 'c->idem.is_active = false, &;' 'exactly one stored answer' 0
	finds_build early_place app/turn_view_api.c '[*]from_r = (size_t)at;' '*from_r = (size_t)at / 2;' 'every viewer' 0
	finds_build late_place app/turn_view_api.c '[*]from_r = (size_t)at;' '*from_r = (size_t)at + 4;' 'every viewer' 0
	finds_build endless_leases app/turn.c 'is_held && db_cell_int(r, 0, 1) >= stamp_now()' 'is_held' 'no lease is stuck' 6
	halt parley
	serve
fi

halt nginx
sed -e "s|/run/parley/parley.sock|$dir/parley.sock|g" -e "s|/usr/share/parley/htdocs|$root/htdocs|" "$root/conf/apache-proxy-fcgi.conf" >"$dir/site.conf"
serve_apache "$dir/site.conf"
chmod 666 "$dir/parley.sock"
checks node "$here/turns.mjs" stop Apache
