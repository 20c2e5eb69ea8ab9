# SPDX-License-Identifier: MIT
# measure.sh: sourced; runs wrk and writes $dir/results: kind, what, mode, clients, program, round, rate, errors, median in us.
# shellcheck shell=sh disable=SC2154
#
# Modes: plain (clients keep their connections, nginx opens one to the program for each request: the samples), kept (nginx keeps
# those too), closed (neither is kept).

# wrk_run KIND WHAT MODE CLIENTS PROGRAM ROUND PATHS: one measurement.
wrk_run()
{
	_port=$port
	test "$3" != kept || _port=$port_kept
	_threads=2
	test "$4" -gt 1 || _threads=1
	_close=0
	test "$3" != closed || _close=1
	_result=$(BENCH_PATHS="$dir/$7" BENCH_THREADS=$_threads BENCH_CLOSE=$_close BENCH_METHOD="$method" wrk -t $_threads -c "$4" -d "$seconds" --timeout 10 \
		-s "$here/requests.lua" "http://127.0.0.1:$_port" 2>&1 | sed -n 's/^result\t//p')
	test -n "$_result" || { echo "bench: wrk failed for $2 $5" >&2; exit 1; }
	printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$5" "$6" "$_result" >>"$dir/results"
}

# The method, body and credential that wrk sends.
for_reads()
{
	method=GET
	unset BENCH_BODY
}

for_appends()
{
	method=POST
	export BENCH_BODY="$message"
}

as()
{
	BENCH_BEARER=$(cat "$dir/$1.key")
	export BENCH_BEARER
}

# Which clients in which mode: with --short the modes that are no sample are measured less.
clients_of()
{
	case $seconds.$1 in
	1.kept) echo 8 32 128 ;;
	1.closed) echo 32 ;;
	*) echo 1 8 32 128 ;;
	esac
}

measure_rates()
{
	read_programs="null null_memcached php"
	append_programs=php
	if test "$with_parley" = yes; then
		read_programs="$read_programs parley"
		append_programs="php parley"
		as bench
	fi
	round=1
	while test $round -le "$rounds"; do
		for mode in plain kept closed; do
			for clients in $(clients_of $mode); do
				for_reads
				for program in $read_programs; do
					wrk_run rate read $mode "$clients" "$program" $round "$program.paths"
				done
				for_appends
				for program in $append_programs; do
					wrk_run rate append $mode "$clients" "$program" $round "$program.append.paths"
				done
			done
		done
		echo "Round $round of $rounds done" >&2
		round=$((round + 1))
	done
}

for_making()
{
	method=POST
	export BENCH_BODY="$1"
}

# 10, 1,000 and 100,000, side by side, by one client: what a request costs, not how many fit side by side.
measure_growth()
{
	seed_growth
	round=0
	# Round 0 warms up and is left out of the medians.
	while test $round -le "$rounds"; do
		for size in few mid many; do
			as bench
			for_appends
			wrk_run growth append plain 1 $size $round append_$size.paths
			for_making '{"active":false}'
			wrk_run growth branch plain 1 $size $round branch_$size.paths
			for_making '{}'
			wrk_run growth clone plain 1 $size $round clone_$size.paths
			for_reads
			wrk_run growth read20 plain 1 $size $round read20_$size.paths
			wrk_run growth context plain 1 $size $round context_$size.paths
			as bench-$size
			wrk_run growth list plain 1 $size $round list.paths
			wrk_run growth list_tag plain 1 $size $round list_tag.paths
			wrk_run growth list_user plain 1 $size $round list_user.paths
		done
		as bench
		wrk_run search search plain 1 parley $round search.paths
		round=$((round + 1))
	done
}

# The workers are those children of the master that have the threads; after all that load, at rest.
measure_memory()
{
	sleep 1
	for status in /proc/[0-9]*/status; do
		pid=${status#/proc/}
		pid=${pid%/status}
		grep -q "$dir/parley.conf" "/proc/$pid/cmdline" 2>/dev/null || continue
		test "$(sed -n 's/^Threads:[[:space:]]*//p' "$status")" -ge $threads || continue
		awk '/^Pss:/ { pss = $2 } /^Rss:/ { rss = $2 } END { printf "memory\t%s\t%s\n", pss, rss }' "/proc/$pid/smaps_rollup" >>"$dir/results"
	done
}
