#!/bin/sh
# SPDX-License-Identifier: MIT
# quickstart: starts, says so when the port is taken, stops, and finds its data and keys again; from a path with spaces.
. "$(dirname "$0")/lib.sh"
tree="$dir/a tree with spaces"
mkdir "$tree"
ln -s "$root/conf" "$tree/conf"
ln -s "$root/htdocs" "$tree/htdocs"

quickstart()
{
	sh "$root/conf/quickstart.sh" --binary "$PARLEY" --var "$tree/var" "$@"
}

# One conversation as a newcomer has it: the very command that was printed.
printed_curl()
{
	sed -n '/^  curl/,/^$/p' "$dir/out" >"$dir/curl.sh"
	sh "$dir/curl.sh" | tee "$dir/answer" | grep -q '"success": *true'
}

for backend in sqlite mariadb; do
	flag=
	test $backend = sqlite || flag=--mariadb
	port=$(free_port)
	check "$backend: it starts" sh -c 'sh "$@" >'"$dir/out"' 2>&1 || { cat '"$dir/out"'; exit 1; }' sh "$root/conf/quickstart.sh" \
		--binary "$PARLEY" --var "$tree/var" --port "$port" --detach $flag
	. "$tree/var/quickstart.env"
	first_key=$PARLEY_SK
	check "$backend: the environment file is private" test "$(stat -c %a "$tree/var/quickstart.env")" = 600
	check "$backend: the printed command works" printed_curl
	check "$backend: the demo page is there" curl -fsS -o /dev/null "$PARLEY_URL/demo/"
	check "$backend: it names two sites" sh -c 'curl -fsS "$1/demo/config.json" | grep -c "\"key\": \"pk_" | grep -qx 2' sh "$PARLEY_URL"
	check "$backend: a session is kept" curl -fsS -o /dev/null "$PARLEY_URL/v1/sessions" -H "Authorization: Bearer $PARLEY_SK" \
		-H 'Content-Type: application/json' -d '{"agent":"'"$PARLEY_AGENT"'","id":"kept"}'
	quickstart --detach --port "$port" $flag >"$dir/out" 2>&1
	check "$backend: a second one says that it runs" grep -q 'runs already' "$dir/out"
	check "$backend: it stops" quickstart --stop
	check "$backend: nothing answers then" sh -c '! curl -s "$1/healthz"' sh "$PARLEY_URL"
	other=$(free_port)
	check "$backend: it starts again on another port" sh -c 'sh "$@" >'"$dir/out"' 2>&1 || { cat '"$dir/out"'; exit 1; }' sh "$root/conf/quickstart.sh" \
		--binary "$PARLEY" --var "$tree/var" --port "$other" --detach $flag
	. "$tree/var/quickstart.env"
	check "$backend: with the same keys" test "$PARLEY_SK" = "$first_key"
	check "$backend: and its data" curl -fsS -o /dev/null "$PARLEY_URL/v1/sessions/kept" -H "Authorization: Bearer $PARLEY_SK"
	check "$backend: the demo's origin holds on the new port" curl -fsS -o /dev/null "$PARLEY_URL/v1/sessions" -H "Authorization: Bearer $PARLEY_PK" \
		-H "Origin: $PARLEY_URL" -H 'Content-Type: application/json' -d '{"agent":"'"$PARLEY_AGENT"'"}'
	check "$backend: it stops again" quickstart --stop
done

port=$(free_port)
launch squatter node -e "require('net').createServer().listen($port, '127.0.0.1')"
sleep 0.5
quickstart --port "$port" --detach >"$dir/out" 2>&1
check "a taken port is named" grep -q "port $port is taken" "$dir/out"
quickstart --port nonsense >"$dir/out" 2>&1
check "nonsense is refused" grep -q 'needs a number' "$dir/out"
