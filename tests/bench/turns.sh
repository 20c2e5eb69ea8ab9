# SPDX-License-Identifier: MIT
# turns.sh: sourced; streamed turns through parley against the direct call to the same stub behind the same nginx, and a thousand of them at once.
# shellcheck shell=sh disable=SC2154
#
# The settings for a thousand: see README, Sizing.
turn_workers=${BENCH_TURN_WORKERS:-4}
turn_threads=${BENCH_TURN_THREADS:-300}
turn_streams=${BENCH_TURN_STREAMS:-1000}
turn_tokens=240
pace=

turns_conf()
{
	cat <<END
database = mariadb://root@/parley?socket=$dir/mariadb.sock
cache = unix:$dir/memcached.sock
listen = unix:$dir/turns.sock
secret_file = $dir/secret
provider_allow_hosts = 127.0.0.1:$stub_port
workers = $turn_workers
threads = $((turn_threads + 16))
turn_threads = $turn_threads
log_level = ${BENCH_LOG_LEVEL:-warn}
${BENCH_TURN_SETTINGS:-}
END
}

# A second master with room for many turns, on the same stores, the stub and the tool that loads them.
start_turns()
{
	flags="-std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra"
	# shellcheck disable=SC2086 # options
	${CC:-cc} $flags "$root/tests/support/stub_stream.c" -o "$dir/stub_stream" && ${CC:-cc} $flags "$here/turns.c" -o "$dir/turns_load" -lm || exit 1
	# The provider and the clients are other machines in life: they get what the servers leave.
	bench_start stub_stream nice -n 19 "$dir/stub_stream" --portfile "$dir/stub.port"
	bench_await "the stub" test -s "$dir/stub.port"
	stub_port=$(cat "$dir/stub.port")
	turns_conf >"$dir/turns.conf"
	parley provider add stub --base-url "http://127.0.0.1:$stub_port/v1" >/dev/null || exit 1
	for model in rate:1000:3 rate:50:100 rate:0:20000 rate:20:$turn_tokens; do
		parley agent add bench "$(echo "$model" | tr : -)" --provider stub --model "$model" >/dev/null || exit 1
	done
	bench_start turns "$PARLEY" -c "$dir/turns.conf" serve
	turns_master=$!
	bench_await "parley for turns" test -S "$dir/turns.sock"
}

# turns MODE RATE TOKENS [options]: one run of the tool.
turns()
{
	_mode=$1
	_model=rate:$2:$3
	_tokens=$3
	shift 3
	SK=$(cat "$dir/bench.key") $pace "$dir/turns_load" "$_mode" --port "$port_turns" --agent "$(echo "$_model" | tr : -)" --model "$_model" --tokens "$_tokens" "$@"
}

# noted NAME: lines "name value" as results.
noted()
{
	awk -v name="$1" '{ printf "turns\t%s\t%s\t%s\n", name, $1, $2 }' >>"$dir/results"
}

# The workers' share of memory, in kB.
turns_pss()
{
	_sum=0
	for _pid in $(pgrep -P "$turns_master"); do
		_sum=$((_sum + $(awk '/^Pss:/ { print $2 }' "/proc/$_pid/smaps_rollup")))
	done
	echo "$_sum"
}

# reads TAG SECONDS: what a reader sees.
reads()
{
	SK=$(cat "$dir/bench.key") "$dir/turns_load" read --port "$port_turns" --path '/v1/sessions/bench-1?messages=20' --clients 4 --think 10 --seconds "$2" | noted "$1"
}

# A thousand at once: reads beside them, and the memory they take.
measure_many()
{
	reads warm 1
	for _ in 1 2 3; do
		reads unloaded 1
	done
	turns stream 1000 3 --turns 8 --clients 1 --run "warm" >/dev/null
	rm -f "$dir/speaking"
	pace="nice -n 19"
	# The ramp is no multiple of what lies between two tokens: a thousand people do not speak in step.
	turns stream 20 $turn_tokens --turns "$turn_streams" --clients "$turn_streams" --ramp 4031 --run "crowd" --tell "$dir/speaking" >"$dir/many.out" 2>"$dir/many.err" &
	_many=$!
	pace=
	_tries=0
	until test -e "$dir/speaking" || test $_tries -ge 300 || ! kill -0 $_many 2>/dev/null; do
		sleep 0.1
		_tries=$((_tries + 1))
	done
	for _ in 1 2 3 4 5; do
		reads loaded 1
	done
	echo "memory_kb $((($(turns_pss) - turns_rest) / turn_streams))" | noted many
	wait $_many
	cat "$dir/many.err" >&2
	noted many <"$dir/many.out"
}

measure_turns()
{
	reads warm 1
	turns_rest=$(turns_pss) # before any turn: a thread keeps some memory from one to the next
	round=1
	while test $round -le "$rounds"; do
		turns pairs 1000 3 --turns $((seconds * 600)) --run "pairs-$round" --sessions 8 | noted pairs
		for mode in direct stream; do
			turns $mode 50 100 --turns 8 --clients 8 --run "rate-$round" | noted rate
			turns $mode 0 20000 --turns 4 --run "full-$round" | noted full
		done
		round=$((round + 1))
	done
	measure_many
}
