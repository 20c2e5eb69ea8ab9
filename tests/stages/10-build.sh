# SPDX-License-Identifier: MIT
# build: gcc and clang, warnings as errors; all test programs compile under both.
# shellcheck shell=sh disable=SC2154
build gcc CC=gcc --enable-dev-warnings
check "gcc builds without a warning" test $? = 0
test -x "$PARLEY" || exit 1
build clang CC=clang --enable-dev-warnings && make -s -j"$jobs" -C "$work/clang" check TESTS=
check "clang builds without a warning, tests too" test $? = 0
check "shell scripts parse" sh -c 'for f in conf/*.sh tests/*.sh tests/*/*.sh; do sh -n "$f" || exit 1; done'
