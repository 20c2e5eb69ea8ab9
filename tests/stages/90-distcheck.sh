# SPDX-License-Identifier: MIT
# distcheck: the tarball builds, passes its own tests, installs, uninstalls and leaves nothing behind.
# shellcheck shell=sh disable=SC2154
make -s -j"$jobs" -C "$work/gcc" distcheck
_status=$?
test $_status = 0 || find "$work/gcc/parley-"*/ -name 'test_*.log' -exec grep -aHE '^\[(----|FAIL)' {} +
check "make distcheck" test $_status = 0
check "the tarball holds no built file" sh -c '! tar -tf "$1"/parley-*.tar.xz | grep -E "\.(o|a|trs|log)$"' sh "$work/gcc"
