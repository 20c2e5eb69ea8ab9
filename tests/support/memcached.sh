#!/bin/sh
# SPDX-License-Identifier: MIT
# memcached.sh start DIR [ARGS]: starts a private memcached on DIR/memcached.sock and prints the value of the setting `cache`.
# memcached.sh stop DIR: ends it.
set -eu

usage() {
	echo "usage: memcached.sh start DIR [ARGS] | stop DIR" >&2
	exit 2
}

start() {
	dir=$1
	shift
	command -v memcached >/dev/null || { echo "memcached.sh: memcached is not installed" >&2; exit 77; }
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	rm -f "$dir/memcached.sock"
	memcached -s "$dir/memcached.sock" -a 0600 -u "$(id -un)" -c 4096 "$@" >"$dir/memcached.log" 2>&1 </dev/null &
	pid=$!
	echo "$pid" >"$dir/memcached.pid"
	tries=0
	until [ -S "$dir/memcached.sock" ]; do
		tries=$((tries + 1))
		if [ "$tries" -gt 200 ] || ! kill -0 "$pid" 2>/dev/null; then
			cat "$dir/memcached.log" >&2
			exit 1
		fi
		sleep 0.02
	done
	echo "unix:$dir/memcached.sock"
}

stop() {
	pid=$(cat "$1/memcached.pid" 2>/dev/null) || exit 0
	kill -CONT "$pid" 2>/dev/null || true
	kill "$pid" 2>/dev/null || true
	tries=0
	while kill -0 "$pid" 2>/dev/null; do
		tries=$((tries + 1))
		[ "$tries" -le 100 ] || kill -KILL "$pid" 2>/dev/null || true
		sleep 0.02
	done
	rm -f "$1/memcached.pid" "$1/memcached.sock"
}

[ $# -ge 2 ] || usage
command=$1
shift
case $command in
start | stop) "$command" "$@" ;;
*) usage ;;
esac
