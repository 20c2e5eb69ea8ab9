#!/bin/sh
# SPDX-License-Identifier: MIT
# chat: `parley chat` from a script, straight on the store and against a server behind nginx; the same lines do the same either way.
. "$(dirname "$0")/lib.sh"

# talk LINES COMMAND...: what the command prints on either output when it reads these lines; they are a format of printf.
talk()
{
	_lines=$1
	shift
	# shellcheck disable=SC2059 # lines with \n
	printf "$_lines" | "$@" 2>&1
}

# says PATTERN LINES COMMAND...: whether the chat succeeds and its output has a line that is the pattern.
says()
{
	_pattern=$1
	shift
	talk "$@" >"$dir/said" || { cat "$dir/said"; echo "status $?"; return 1; }
	grep -qx -- "$_pattern" "$dir/said" || { cat "$dir/said"; return 1; }
}

# ends STATUS PATTERN LINES COMMAND...: the same for a chat that ends with another status.
ends()
{
	_status=$1
	_pattern=$2
	shift 2
	_got=0
	talk "$@" >"$dir/said" || _got=$?
	test $_got = "$_status" || { cat "$dir/said"; echo "status $_got"; return 1; }
	grep -q -- "$_pattern" "$dir/said" || { cat "$dir/said"; return 1; }
}

lacks_escapes()
{
	! talk "$@" | grep -q "$(printf '\033')"
}

private()
{
	test "$(stat -c %a "$1")" = 600
}

# converses WAY COMMAND...: a whole conversation, in sessions named after the way.
converses()
{
	_way=$1
	shift
	check "$_way: a message is answered" says 'You said: hello there' 'hello there\n/exit\n' "$@"
	check "$_way: the end of the input ends the chat" says 'You said: bye' 'bye' "$@"
	check "$_way: a line goes on behind a backslash" says 'You said: one' 'one\\\ntwo\n' "$@"
	check "$_way: with the line behind it" says 'two' 'one\\\ntwo\n' "$@"
	check "$_way: two slashes say one" says 'You said: /etc' '//etc\n' "$@"
	check "$_way: nothing was said, nothing is there" says '0 messages in this conversation, 0 conversations' '/count\n/history\n/clear\n/new\n' "$@"

	check "$_way: an own id makes a session" says 'You said: first' 'first\n' "$@" --session "own-$_way" --title "A talk"
	check "$_way: which is found again" says 'You said: second' 'second\n' "$@" --session "own-$_way"
	check "$_way: with its messages" says ' *2  assistant: You said: first' '/history\n' "$@" --session "own-$_way"
	check "$_way: the newest on request" says ' *4  assistant: You said: second' '/history 1\n' "$@" --session "own-$_way"
	check "$_way: they are counted" says '4 messages in this conversation, 1 conversation' '/count\n' "$@" --session "own-$_way"
	check "$_way: a branch shares what is before it" says 'a branch that shares 2 messages' '/branch 2\n' "$@" --session "own-$_way"
	check "$_way: and the session goes on in it" says '2 messages in this conversation, 2 conversations' '/count\n' "$@" --session "own-$_way"
	check "$_way: an answer is made anew" says 'You said: first' '/regenerate\n' "$@" --session "own-$_way"
	check "$_way: on a branch too" says '2 messages in this conversation, 3 conversations' '/count\n' "$@" --session "own-$_way"
	check "$_way: its usage is shown" says 'its session: 3 turns, .* tokens in, .* out' '/usage\n' "$@" --session "own-$_way"
	check "$_way: a new conversation is empty" says '0 messages in this conversation, 4 conversations' '/new\n/count\n' "$@" --session "own-$_way"
	check "$_way: clearing clears all" says '0 messages in this conversation, 1 conversation' 'again\n/clear\n/count\n' "$@" --session "own-$_way"
	check "$_way: the title is the session's" says '.*own-.*A talk' '' parley session list --site e2e --user ann

	check "$_way: an unknown command is refused" ends 1 'there is no command /nope' '/nope\n' "$@"
	check "$_way: and the chat goes on" ends 1 'You said: still here' '/nope\nstill here\n' "$@"
	check "$_way: a branch behind what is not there is refused" ends 1 'the newest message is 2' 'x\n/branch 7\n' "$@"
	check "$_way: a session that is not there is named" ends 1 'no such session' 'x\n' "$@" --session ses_00000000000000000000000000
	check "$_way: events are JSON for scripts" says '{"event":"delta","id":"trn_.*","data":{"text":"You "}}' 'hi\n' "$@" --json
	check "$_way: and so is what is asked for" says '{"event":"count","data":{.*"message_count":2,.*}' 'hi\n/count\n' "$@" --json
	check "$_way: escapes of an answer stay off the terminal" lacks_escapes 'a\033[31mb\n/history\n' "$@"
}

write_settings "turn_lease = 2s"
make_site
parley agent add e2e slow --provider echo --model slow:150 >>"$dir/log/setup" 2>&1 || give_up "a slow agent is made"
parley agent add e2e other --provider echo >>"$dir/log/setup" 2>&1 || give_up "a second agent is made"
XDG_STATE_HOME=$dir/state
export XDG_STATE_HOME
(umask 077; printf '%s\n' "$SK" >"$dir/sk"; printf '%s' "$PK" >"$dir/pk"; echo nonsense >"$dir/nonsense")

parley agent add e2e clock --provider echo --tool current_time >>"$dir/log/setup" 2>&1 || give_up "an agent with a tool is made"
call='say\\\n/call current_time {}\n/history\n'
check "a tool's call is shown" says '-> current_time {}' "$call" parley chat e2e clock
check "and what it gave" says '<- current_time {"utc":.*} ([0-9]* ms)' "$call" parley chat e2e clock
check "and the answer" says 'The tool said: {"utc":.*}' "$call" parley chat e2e clock
check "and both in the history" says ' *3  tool: {"utc":.*}' "$call" parley chat e2e clock
converses store parley chat e2e echo --user ann
parley site add second >>"$dir/log/setup" 2>&1 && parley agent add second echo --provider echo >>"$dir/log/setup" 2>&1 || give_up "a second site is made"
foreign=$(parley --json session list --site e2e --user ann | grep -o '"id":"ses_[0-9a-z]*' | cut -d '"' -f 4 | head -n 1)
check "a session is there" says ' *1  user: .*' '/history\n' parley chat e2e echo --session "${foreign:?}"
check "another site's session is not there" ends 1 'no such session' '/history\n' parley chat second echo --session "$foreign"
check "an unknown site is named" ends 1 'site' 'x\n' parley chat nowhere echo
check "an unknown agent is named" ends 1 'agent' 'x\n' parley chat e2e nobody
check "another agent's session is refused" ends 1 'belongs to the agent' 'x\n' parley chat e2e other --session own-store
check "a missing agent is a wrong call" ends 64 usage '' parley chat e2e
check "a key without a server is one too" ends 64 usage '' parley chat e2e echo --key-file "$dir/sk"

serve
serve_nginx
converses server parley chat --url "$URL" --key-file "$dir/sk" echo --user ann
check "a publishable key starts a session, which goes on with its token" says ' *4  assistant: You said: two' 'one\ntwo\n/history\n' \
	parley chat --url "$URL/" --key-file "$dir/pk" --origin http://shop.example echo
check "from the site's origins alone" ends 1 'origin' 'one\n' parley chat --url "$URL" --key-file "$dir/pk" echo
curl -sS -H "Authorization: Bearer $SK" -H "Content-Type: application/json" --data '{"agent":"echo"}' "$URL/v1/sessions" |
	grep -o '"token":"[^"]*' | cut -d '"' -f 4 >"$dir/st"
check "a session's token goes on in its session" says 'You said: by token' 'by token\n' parley chat --url "$URL" --key-file "$dir/st" echo
check "again and again" says ' *2  assistant: You said: by token' 'more\n/history\n' parley chat --url "$URL" --key-file "$dir/st" echo
check "what is no key is refused" ends 64 'holds neither' '' parley chat --url "$URL" --key-file "$dir/nonsense" echo
check "plain http is for this machine alone" ends 64 'takes https' '' parley chat --url http://example.com --key-file "$dir/sk" echo

# slowly NAME LINES COMMAND...: a chat beside this script, whose output is in log/NAME; begins to answer before this returns.
slowly()
{
	_name=$1
	_lines=$2
	shift 2
	# shellcheck disable=SC2059 # lines with \n
	(printf "$_lines" | "$@"; echo "status $?") >"$dir/log/$_name" 2>&1 &
	await "an answer begins" grep -q 'You said: one two' "$dir/log/$_name"
}

ended()
{
	await "the chat ends" grep -q '^status' "$dir/log/$1"
	grep -v '^\[' "$dir/log/$1" | tr -d '\n'
}

is_whole()
{
	_said=$(ended "$1")
	test "$_said" = "$whole" || { cat "$dir/log/$1"; echo "instead of: $whole"; return 1; }
}

words="one two three four five six seven eight nine ten eleven twelve"
whole="You said: ${words}status 0"
chat="parley chat --url $URL --key-file $dir/sk slow"
slowly cut "$words\n" $chat
halt nginx
sleep 1
launch nginx nginx -p "$dir" -c "$dir/nginx.conf" -e "$dir/log/nginx"
check "an answer that a restart of the web server cut off is taken up again, whole and once" is_whole cut
check "and said so" grep -q 'taking it up again' "$dir/log/cut"

slowly dead "$words\\n/regenerate\\n" $chat
# shellcheck disable=SC2046 # a list of processes
kill -s KILL $(pgrep -P "$(pid_of parley)")
ended dead >/dev/null
check "a turn whose worker died is told" grep -q '^parley: .*regenerate asks again' "$dir/log/dead"
check "and answered anew on request" grep -qx "You said: $words" "$dir/log/dead"

halt nginx
check "a server that is not there is named" ends 1 'cannot be reached' '' parley chat --url "$URL" --key-file "$dir/sk" echo --session any
