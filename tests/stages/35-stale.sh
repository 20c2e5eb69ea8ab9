# SPDX-License-Identifier: MIT
# stale: the checker of the cache's promise finds no stale read, and does find them when the fill is a plain set.
# shellcheck shell=sh disable=SC2154
seconds=5
test "$long" = no || seconds=60
checker=$(find "$work/gcc" -name check_stale -type f -perm -u+x | head -n 1)
test -n "$checker" || make -s -C "$work/gcc" check TESTS=
checker=$(find "$work/gcc" -name check_stale -type f -perm -u+x | head -n 1)
check "no read is stale while memcached and writers are stopped and killed" "${checker:-false}" --seconds $seconds
check "no read is stale in calm" "${checker:-false}" --seconds $seconds --calm
check "the checker finds the stale reads of a plain set" "${checker:-false}" --seconds $seconds --broken-fill
