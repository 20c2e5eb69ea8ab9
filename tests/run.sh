#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh: installs what is missing, builds out of tree and runs every test; the last line counts them all.
#
#   sh tests/run.sh [--long] [STAGE...]     a stage is a file of tests/stages without its number: build, unit, ...
set -u

cd "$(dirname "$0")/.." || exit 1
root=$(pwd -P)
long=no
chosen=
for argument in "$@"; do
	case $argument in
	--long) long=yes ;;
	--help|-h|-*) sed -n 's/^# \{0,3\}//p' "$0" | sed -n 2,4p; exit 2 ;;
	*) chosen="$chosen $argument" ;;
	esac
done

. "$root/conf/packages.sh"
. "$root/tests/packages.sh"
# shellcheck disable=SC2086,SC2154 # lists of names
packages_install $packages_build $packages_serve $packages_mariadb $packages_tests || exit 1

work=$root/build-test
mkdir -p "$work/log"
rm -f "$work/log"/*.count
PATH=$PATH:/usr/sbin:/sbin
PARLEY=$work/gcc/parley
export root work long PATH PARLEY

total_passed=0 total_failed=0 total_skipped=0
began=$(date +%s)
for file in "$root"/tests/stages/[0-9]*.sh; do
	stage=$(basename "$file" .sh | sed 's/^[0-9]*-//')
	case " $chosen " in *" $stage "*|"  ") ;; *) continue ;; esac
	log=$work/log/$stage.log
	count=$work/log/$stage.count
	: >"$count"
	at=$(date +%s)
	stage=$stage count=$count sh -c '. "$root/tests/stages/lib.sh"; . "$1"' sh "$file" >"$log" 2>&1
	status=$?
	# shellcheck disable=SC2046 # three numbers
	set -- $(awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }' "$count")
	failed=$2
	# A stage that breaks off, or counts nothing, has failed whatever it counted.
	if test "$failed" = 0 && { test "$status" != 0 || test "$1" = 0; }; then
		failed=1
	fi
	printf '%-10s %5d passed, %d failed, %d skipped in %d s\n' "$stage" "$1" "$failed" "$3" $(($(date +%s) - at))
	if test "$failed" != 0; then
		echo "---- the end of $log"
		tail -n 60 "$log"
		echo "----"
	fi
	total_passed=$((total_passed + $1))
	total_failed=$((total_failed + failed))
	total_skipped=$((total_skipped + $3))
	test "$stage" != build || test -x "$PARLEY" || break
done

echo "Took $(($(date +%s) - began)) s; the logs are in $work/log."
skipped=
test "$total_skipped" = 0 || skipped=", $total_skipped skipped"
echo "parley: $total_passed passed, $total_failed failed$skipped"
test "$total_failed" = 0 && test "$total_passed" -gt 0
