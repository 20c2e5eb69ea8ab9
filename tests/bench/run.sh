#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh: measures parley against programs that do less, behind one nginx, in rounds that interleave them, so that a machine that
# gets slower gets slower for all. Prints tables of medians, and one line for each ratio.
#
#   sh tests/bench/run.sh [--short] [--without-parley | --growth | --turns]      PARLEY=... names a built binary
#   --growth, --turns: only what grows, only turns
set -u

cd "$(dirname "$0")/../.." || exit 1
root=$(pwd -P)
here=$root/tests/bench
rounds=5 seconds=3 with_parley=yes with_rates=yes with_growth=yes with_turns=yes
for argument in "$@"; do
	case $argument in
	--short) rounds=3 seconds=1 ;;
	--without-parley) with_parley=no ;;
	--growth) with_rates=no with_turns=no ;;
	--turns) with_rates=no with_growth=no ;;
	*) sed -n 's/^# \{0,3\}//p' "$0" | sed -n 2,6p; exit 2 ;;
	esac
done

. "$root/conf/packages.sh"
. "$root/tests/packages.sh"
# shellcheck disable=SC2086,SC2154 # lists of names
packages_install $packages_build $packages_serve $packages_mariadb $packages_bench || exit 1
PATH=$PATH:/usr/sbin:/sbin
if test $with_parley = yes && test -z "${PARLEY:-}"; then
	echo "Building parley" >&2
	test -e configure || autoreconf -fi >/dev/null 2>&1 || exit 1
	(mkdir -p build-bench && cd build-bench && { test -e config.status || ../configure -q --disable-maintainer-mode; } &&
		make -s -j"$(nproc)" parley) >&2 || exit 1
	PARLEY=$root/build-bench/parley
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/parley-bench-XXXXXX") || exit 1
. "$here/stack.sh"
. "$here/turns.sh"
trap bench_stop EXIT
trap 'exit 1' HUP INT TERM PIPE
echo "Starting the servers" >&2
start_stores
start_null
start_php
test $with_parley = no || start_parley
test $with_parley = no || start_turns
port=$(free_port 18400)
port_kept=$(free_port $((port + 1)))
port_turns=$(free_port $((port_kept + 1)))
start_nginx "$port" "$port_kept" "$port_turns"

. "$here/seed.sh"
. "$here/measure.sh"
echo "Measuring" >&2
test $with_rates = no || measure_rates
test $with_parley = no || test $with_growth = no || measure_growth
test $with_parley = no || test $with_growth = no || measure_memory
test $with_parley = no || test $with_turns = no || measure_turns
cat "$dir/sizes"
awk -f "$here/report.awk" "$dir/results"
