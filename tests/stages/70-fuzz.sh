# SPDX-License-Identifier: MIT
# fuzz: every fuzzer for a few seconds; --long: a million inputs each.
# shellcheck shell=sh disable=SC2154
build fuzz CC=clang --enable-fuzz CFLAGS='-g -O1'
check "builds with libFuzzer" test $? = 0
for source in tests/fuzz/fuzz_*.c; do
	name=$(basename "$source" .c)
	fuzzer=$(find "$work/fuzz" -name "$name" -type f -perm -u+x | head -n 1)
	mkdir -p "$work/fuzz/artifacts"
	limits="-runs=50000 -max_total_time=6"
	test "$long" = no || limits="-runs=1000000"
	echo "== $name $limits"
	# shellcheck disable=SC2086 # options
	check "$name finds nothing" "${fuzzer:-false}" -seed=1 -max_len=4096 -rss_limit_mb=1024 $limits \
		-artifact_prefix="$work/fuzz/artifacts/" -verbosity=0 -print_final_stats=1
done
