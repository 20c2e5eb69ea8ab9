# SPDX-License-Identifier: MIT
# mariadb: the API tests once more, on a private MariaDB and memcached.
# shellcheck shell=sh disable=SC2046,SC2154
dir=$(mktemp -d "${TMPDIR:-/tmp}/parley-mariadb-XXXXXX")
stop()
{
	sh tests/support/memcached.sh stop "$dir/memcached"
	sh tests/support/mariadb.sh stop "$dir/mariadb"
	rm -rf "$dir"
}
trap stop EXIT
mkdir "$dir/mariadb" "$dir/memcached"
PARLEY_TEST_MARIADB=$(sh tests/support/mariadb.sh start "$dir/mariadb") || exit 1
PARLEY_TEST_CACHE=$(sh tests/support/memcached.sh start "$dir/memcached") || exit 1
export PARLEY_TEST_MARIADB PARLEY_TEST_CACHE
run_programs gcc $(test_programs gcc | tr ' ' '\n' | grep -E 'test_(app|db)$')
