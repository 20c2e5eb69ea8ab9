# SPDX-License-Identifier: MIT
# lib.sh: sourced before each stage; building a variant, and counting what test programs report.
# shellcheck shell=sh
# From run.sh: root (the tree), work (build directories and logs), count (this stage's file), long (yes or no), PARLEY (the binary).
set -u
: "${root:?}" "${work:?}" "${count:?}" "${long:?}" "${stage:?}"

jobs=$(nproc)

# Adds passed, failed and skipped to this stage's count.
counted()
{
	echo "$1 $2 ${3:-0}" >>"$count"
}

# One more check: its words, then a command that succeeds if it holds.
check()
{
	_what=$1
	shift
	if "$@"; then
		echo "ok - $_what"
		counted 1 0
	else
		echo "not ok - $_what"
		counted 0 1
	fi
}

# Writes configure when it is missing or older than what it is made from.
prepare()
{
	if ! test -e "$root/configure" || test -n "$(find "$root/configure.ac" "$root/Makefile.am" -newer "$root/configure")"; then
		(cd "$root" && autoreconf -fi) || return 1
	fi
}

# build VARIANT [VAR=value|--switch]...: configures $work/VARIANT once with these and brings the program up to date.
build()
{
	_dir=$work/$1
	shift
	prepare && mkdir -p "$_dir" && cd "$_dir" || return 1
	if ! test -e config.status || test -n "$(find "$root/configure" -newer config.status)" ||
	   test "$(cat .configured-with 2>/dev/null)" != "$*"; then
		../../configure --disable-maintainer-mode -q "$@" || return 1
		echo "$*" >.configured-with
	fi
	make -s -j"$jobs" || return 1
	cd "$root" || return 1
}

# The test programs of a built variant, as `make check` would run them.
test_programs()
{
	cd "$work/$1" || return 1
	printf 'include Makefile\nprint-tests:\n\t@echo $(TESTS)\n' | make -s -f - print-tests
	cd "$root" || return 1
}

# run_programs VARIANT PROGRAM...: builds and runs these tests of a variant, and counts what each reports. Programs that report
# nothing that can be counted are one check each.
run_programs()
{
	_variant=$1
	shift
	_status=0
	cd "$work/$_variant" || return 1
	make -s -j"$jobs" check TESTS="$*" VERBOSE=1 || _status=1
	for _program in "$@"; do
		_base=${_program%.sh}
		_result=$(sed -n 's/^:test-result: //p' "$_base.trs" 2>/dev/null | head -n 1)
		if grep -q 'Synthesis: Tested' "$_base.log" 2>/dev/null; then
			count_criterion "$_base.log"
			# Failed although every test passed: a leak found at exit, for one.
			if test "${_result%% *}" != PASS && ! grep -Eq 'Failing: [1-9]' "$_base.log"; then counted 0 1; fi
		else
			case $_result in
			PASS*) counted 1 0 ;;
			SKIP*) counted 0 0 1 ;;
			*) echo "not ok - $_program: ${_result:-did not run}"; counted 0 1 ;;
			esac
		fi
	done
	cd "$root" || return 1
	return $_status
}

# Criterion: "Synthesis: Tested: N | Passing: P | Failing: F | Crashing: C"; those that crash are among the failing.
count_criterion()
{
	# shellcheck disable=SC2046 # three numbers
	counted $(awk '
		/Synthesis: Tested/ { for (i = 1; i < NF; i++) { if ($i == "Passing:") p += $(i + 1); if ($i == "Failing:") f += $(i + 1) } }
		/^\[SKIP\]/ { s++ }
		END { print p + 0, f + 0, s + 0 }' "$@")
}

# TAP: "ok ..." and "not ok ..." at the start of a line, "# SKIP" behind.
count_tap()
{
	# shellcheck disable=SC2046 # three numbers
	counted $(awk '/^ok .*# SKIP/ { s++; next } /^ok / { p++ } /^not ok / { f++ } END { print p + 0, f + 0, s + 0 }' "$@")
}

# node --test, in its "spec" report.
count_node()
{
	# shellcheck disable=SC2046 # three numbers
	counted $(awk '$2 == "pass" { p += $3 } $2 == "fail" { f += $3 } $2 == "skipped" { s += $3 } END { print p + 0, f + 0, s + 0 }' "$@")
}

# Runs one script that reports in TAP, and counts it. A script that breaks off without a failed check is a failed check.
run_tap()
{
	_out=$work/log/$stage.tap
	"$@" >"$_out" 2>&1
	_status=$?
	cat "$_out"
	count_tap "$_out"
	if test $_status != 0 && ! grep -q '^not ok ' "$_out"; then
		echo "not ok - $* ended with $_status"
		counted 0 1
	fi
	return $_status
}
