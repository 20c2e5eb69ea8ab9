#!/bin/sh
# SPDX-License-Identifier: MIT
# mariadb.sh: starts and stops a private MariaDB for tests, on a Unix socket only.
#
#   mariadb.sh start DIR [mariadbd arguments]   makes DIR/data when absent, starts the server, prints a DSN
#   mariadb.sh stop DIR                         stops it and waits until it is gone; DIR stays
#
# Small and quick, but durable as in production: the log is flushed at each commit. A second start finds its data again.
set -eu

usage()
{
	echo "usage: mariadb.sh start DIR [mariadbd arguments] | stop DIR" >&2
	exit 2
}

fail()
{
	echo "mariadb.sh: $*" >&2
	for log in install.log error.log; do
		[ ! -f "$dir/$log" ] || tail -n 30 "$dir/$log" >&2
	done
	exit 1
}

is_running()
{
	[ -s "$dir/pid" ] && kill -0 "$(cat "$dir/pid")" 2>/dev/null
}

# Each server has a folder for temporary tables of its own: one that starts removes every #sql* file it finds there, its neighbours' too.
install_data()
{
	[ ! -d "$dir/data/mysql" ] || return 0
	mariadb-install-db --no-defaults --user="$user" --datadir="$dir/data" --tmpdir="$dir/tmp" --auth-root-authentication-method=normal \
		--skip-test-db --skip-name-resolve --innodb-log-file-size=16M >"$dir/install.log" 2>&1 ||
		fail "mariadb-install-db failed"
}

start()
{
	mkdir -p "$dir/tmp"
	! is_running || fail "already running in $dir"
	install_data
	rm -f "$dir/pid" "$dir/sock"
	mariadbd --no-defaults --user="$user" --datadir="$dir/data" --tmpdir="$dir/tmp" --socket="$dir/sock" --pid-file="$dir/pid" \
		--log-error="$dir/error.log" --skip-networking --skip-name-resolve --skip-log-bin --performance-schema=0 \
		--innodb-flush-log-at-trx-commit=1 --innodb-buffer-pool-size=48M --innodb-log-file-size=16M \
		--innodb-log-buffer-size=4M --key-buffer-size=1M --aria-pagecache-buffer-size=1M --max-connections=300 \
		--table-open-cache=400 "$@" </dev/null >/dev/null 2>&1 &
	server=$!
	tries=0
	until mariadb --no-defaults --user=root --socket="$dir/sock" -e 'CREATE DATABASE IF NOT EXISTS parley' 2>/dev/null; do
		kill -0 "$server" 2>/dev/null || fail "the server ended at once"
		tries=$((tries + 1))
		[ "$tries" -lt 300 ] || fail "no answer after 30 s"
		sleep 0.1
	done
	echo "mariadb://root@/parley?socket=$dir/sock"
}

stop()
{
	is_running || return 0
	pid=$(cat "$dir/pid")
	kill -CONT "$pid" 2>/dev/null || :
	kill -TERM "$pid"
	tries=0
	while kill -0 "$pid" 2>/dev/null; do
		tries=$((tries + 1))
		[ "$tries" -ne 300 ] || kill -KILL "$pid"
		sleep 0.1
	done
	rm -f "$dir/pid" "$dir/sock"
}

[ $# -ge 2 ] || usage
command=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
shift 2
user=$(id -un)
# A Unix socket's path has at most 107 bytes.
[ "${#dir}" -le 100 ] || { echo "mariadb.sh: the path of $dir is too long for a socket" >&2; exit 1; }

case $command in
start) start "$@" ;;
stop) stop ;;
*) usage ;;
esac
