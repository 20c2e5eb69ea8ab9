# SPDX-License-Identifier: MIT
# sanitize: unit and API tests under ASan and UBSan; served requests under TSan and under valgrind. (Criterion cannot run under TSan.)
# shellcheck shell=sh disable=SC2046,SC2154
ASAN_OPTIONS=abort_on_error=0:detect_leaks=1:allocator_may_return_null=1
UBSAN_OPTIONS=print_stacktrace=1
LSAN_OPTIONS=suppressions=$root/tests/stages/leaks.supp:print_suppressions=0
export ASAN_OPTIONS UBSAN_OPTIONS LSAN_OPTIONS
build asan CC=gcc --enable-dev-warnings --enable-sanitize=address,undefined CFLAGS='-g -O1'
check "builds with ASan and UBSan" test $? = 0
run_programs asan $(test_programs asan)
build tsan CC=gcc --enable-sanitize=thread CFLAGS='-g -O1'
check "builds with TSan" test $? = 0
PARLEY=$work/tsan/parley run_tap sh tests/e2e/sanitized.sh tsan
run_tap sh tests/e2e/sanitized.sh valgrind
