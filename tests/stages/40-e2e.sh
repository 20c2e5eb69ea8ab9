# SPDX-License-Identifier: MIT
# e2e: real web servers, real kills; each script of tests/e2e by itself.
# shellcheck shell=sh disable=SC2154
arguments=
test "$long" = no || arguments=--long
for script in "$root"/tests/e2e/[0-9]*.sh; do
	echo "== $(basename "$script")"
	# shellcheck disable=SC2086 # one word or none
	run_tap sh "$script" $arguments
done
