#!/bin/sh
# SPDX-License-Identifier: MIT
# move: SQLite to MariaDB and back by the command line: the same bytes, in time, in little memory, whatever is killed meanwhile.
. "$(dirname "$0")/lib.sh"
sessions=40
messages=20000
test "$long" = no || messages=100000

# in_store NAME COMMAND...: the command with the settings of that store.
in_store()
{
	_store=$1
	shift
	"$PARLEY" -c "$dir/$_store.conf" "$@"
}

# new_store NAME DATABASE: an empty site "shop" there.
new_store()
{
	database=$2
	write_settings
	mv "$dir/parley.conf" "$dir/$1.conf"
	in_store "$1" migrate >>"$dir/log/setup" 2>&1 && in_store "$1" site add shop >>"$dir/log/setup" 2>&1 || give_up "the store $1 is made"
}

# new_schema NAME: another database of the private server; its DSN printed.
new_schema()
{
	mariadb --no-defaults --user=root --socket="$dir/mariadb/sock" -e "CREATE DATABASE $1 CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" && echo "$maria" | sed "s|/parley?|/$1?|"
}

# timed STORE ARGUMENTS...: the command; it may take 20 s and 64 MB, where the machine can tell.
timed()
{
	_store=$1
	shift
	if test -x /usr/bin/time; then
		/usr/bin/time -o "$dir/time" -f '%e %M' "$PARLEY" -c "$dir/$_store.conf" "$@" || return 1
		awk -v what="$_store: $1" '{ printf "# %s: %s s, %d MB\n", what, $1, $2 / 1024; exit $1 > 20 || $2 > 65536 }' "$dir/time" >&3
	else
		in_store "$_store" "$@"
	fi
}

refuses()
{
	_text=$1
	shift
	"$@" >"$dir/refused" 2>&1 && { cat "$dir/refused"; return 1; }
	grep -q -- "$_text" "$dir/refused" || { cat "$dir/refused"; return 1; }
}

exec 3>&1

with_mariadb
maria=$database
new_store first "sqlite:$dir/first.db"
new_store second "$(new_schema second)"
new_store third "sqlite:$dir/third.db"

# The lines a program made, behind a header made by other means than parley's own.
node "$here/make-export.mjs" $sessions $messages >"$dir/lines"
{
	printf '{"parley_export":1,"scope":"site","site":"shop","sessions":%d,"conversations":%d,"messages":%d,"lines":%d,"checksum":"%s"}\n' \
		"$(grep -c '^{"type":"session"' "$dir/lines")" "$(grep -c '^{"type":"conversation"' "$dir/lines")" \
		"$(grep -c '^{"type":"message"' "$dir/lines")" "$(wc -l <"$dir/lines")" "$(b2sum -l 256 "$dir/lines" | cut -d ' ' -f 1)"
	cat "$dir/lines"
} >"$dir/made.jsonl"

file=$dir/made.jsonl

would_be()
{
	in_store first --json import "$file" --dry-run | grep -q "\"messages\":$messages," && in_store first export | head -n 1 | grep -q '"lines":0,'
}
check "a dry run says what would be, and changes nothing" would_be
check "$messages messages go into SQLite" timed first import "$file"
check "and out" timed first export --output "$dir/first.jsonl"
check "but for the header's width they are what was made" sh -c 'tail -n +2 "$1" | cmp - "$2"' sh "$dir/first.jsonl" "$dir/lines"
check "they go into MariaDB" timed second import "$dir/first.jsonl"
check "and out" timed second export --output "$dir/second.jsonl"
check "the same bytes" cmp "$dir/first.jsonl" "$dir/second.jsonl"
check "they go into SQLite again" timed third import "$dir/second.jsonl"
check "and out" timed third export --output "$dir/third.jsonl"
check "the same bytes" cmp "$dir/first.jsonl" "$dir/third.jsonl"
check "nothing is left beside the file" sh -c '! ls "$1"/*.part' sh "$dir"

# What is not in order, or was done.
check "twice is refused" refuses "imported already, at" in_store first import "$file"
head -c 1000000 "$file" >"$dir/cut.jsonl"
new_store fresh "sqlite:$dir/fresh.db"
check "a cut file is refused" refuses "cut off" in_store fresh import "$dir/cut.jsonl"
sed '100s/the window/the cellar/' "$file" >"$dir/edited.jsonl"
check "an edited file is refused" refuses "checksum is another" in_store fresh import "$dir/edited.jsonl"
check "what is there is named" refuses "line 3: the session ses_.* exists already" sh -c '"$1" -c "$2" import "$3" --map-user u1=u2' sh "$PARLEY" "$dir/first.conf" "$file"
check "or skipped" sh -c '"$1" -c "$2" import "$3" --skip-existing | grep -q "$4 sessions left out"' sh "$PARLEY" "$dir/first.conf" "$file" $sessions

# One user under another name, through pipes.
new_store piped "sqlite:$dir/piped.db"
through_pipes()
{
	echo '{"u1":"ann@new"}' >"$dir/users.json"
	in_store first export --user u1 2>/dev/null | in_store piped import - --map-users "$dir/users.json" &&
		in_store piped export --user ann@new 2>/dev/null | grep -q '"own_id":"own-1"' && ! in_store piped export 2>/dev/null | grep -q '"user":"u'
}
check "a user goes through a pipe and gets another name" through_pipes

# Killed at any moment: it goes on when it is repeated, and the end is the same.
killed()
{
	_kills=0
	for _pause in 0.03 0.05 0.07 0.09 0.12 0.15 0.2 0.3 0.5 0.7 0.9 1.2 1.5 2 3 4 6 10 20 40; do
		timeout -s KILL $_pause "$PARLEY" -c "$dir/$1.conf" import "$file" >"$dir/killed" 2>&1
		test $? = 137 || break
		_kills=$((_kills + 1))
	done
	cat "$dir/killed"
	grep -q 'messages imported\|imported already' "$dir/killed" && test $_kills -gt 0 &&
		in_store "$1" export --output "$dir/$1.jsonl" && cmp "$dir/first.jsonl" "$dir/$1.jsonl"
}
new_store killed_sqlite "sqlite:$dir/killed.db"
new_store killed_mariadb "$(new_schema killed)"
check "killed again and again, an import into SQLite comes to the same" killed killed_sqlite
check "and one into MariaDB" killed killed_mariadb

# Taken back: as if it had never begun.
taken_back()
{
	"$PARLEY" -c "$dir/back.conf" import "$file" >/dev/null 2>&1 &
	_pid=$!
	_tries=0
	until test "$(sqlite3 "$dir/back.db" 'SELECT COUNT(*) FROM messages' 2>/dev/null || echo 0)" -gt 0; do
		_tries=$((_tries + 1))
		test $_tries -lt 1000 || return 1
	done
	kill -9 $_pid
	wait $_pid 2>/dev/null
	in_store back import "$file" --discard && in_store back sweep &&
		for _table in sessions conversations messages session_tags imports; do
			test "$(sqlite3 "$dir/back.db" "SELECT COUNT(*) FROM $_table")" = 0 || { echo "$_table"; return 1; }
		done
	in_store back import "$file"
}
new_store back "sqlite:$dir/back.db"
check "an unfinished import is taken back whole, and can be made again" taken_back
