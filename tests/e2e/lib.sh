# SPDX-License-Identifier: MIT
# lib.sh: sourced by each end-to-end script; private servers in a directory of its own, checks in TAP, everything stopped at the end.
# shellcheck shell=sh disable=SC2034
set -u
root=$(cd "$(dirname "$0")/../.." && pwd -P)
here=$root/tests/e2e
PARLEY=${PARLEY:-$root/build/parley}
whole=$PARLEY # also while another build is served
PATH=$PATH:/usr/sbin:/sbin
me=$(id -un)
long=no
for _argument in "$@"; do
	test "$_argument" != --long || long=yes
done

dir=$(mktemp -d "${TMPDIR:-/tmp}/parley-e2e-XXXXXX") || exit 1
mkdir "$dir/pids" "$dir/log" "$dir/keys"
trap finish EXIT
trap 'exit 1' HUP INT TERM PIPE
failures=0

ok()
{
	echo "ok - $*"
}

not_ok()
{
	echo "not ok - $*"
	failures=$((failures + 1))
}

# check WHAT COMMAND...
check()
{
	_what=$1
	shift
	if "$@" >"$dir/check.out" 2>&1; then
		ok "$_what"
	else
		not_ok "$_what"
		awk '{ print "# " $0 }' "$dir/check.out"
		return 1
	fi
}

# A program whose output is TAP itself; its checks count here too.
checks()
{
	"$@" || failures=$((failures + 1))
}

# Breaks off: nothing after this could be judged.
give_up()
{
	not_ok "$*"
	for _log in "$dir"/log/*; do
		echo "# $_log"
		tail -n 10 "$_log" | cut -c 1-300 | sed 's/^/#   /'
	done
	exit 1
}

# launch NAME COMMAND...: in the background, its output in log/NAME, its process id in pids/NAME.
launch()
{
	_name=$1
	shift
	"$@" >>"$dir/log/$_name" 2>&1 </dev/null &
	echo $! >"$dir/pids/$_name"
}

pid_of()
{
	cat "$dir/pids/$1" 2>/dev/null
}

# halt NAME [SIGNAL]: ends a server and waits until it is gone.
halt()
{
	_pid=$(pid_of "$1") || return 0
	rm -f "$dir/pids/$1"
	kill -s CONT "$_pid" 2>/dev/null
	kill -s "${2:-TERM}" "$_pid" 2>/dev/null || return 0
	_tries=0
	while kill -0 "$_pid" 2>/dev/null; do
		_tries=$((_tries + 1))
		test $_tries -lt 600 || { kill -s KILL "$_pid"; break; }
		sleep 0.05
	done
	wait "$_pid" 2>/dev/null
	return 0
}

finish()
{
	for _server in nginx apache parley stub $(ls "$dir/pids") ; do halt "$_server"; done
	if test -d "$dir/mariadb"; then sh "$root/tests/support/mariadb.sh" stop "$dir/mariadb"; fi
	if test -d "$dir/memcached"; then sh "$root/tests/support/memcached.sh" stop "$dir/memcached"; fi
	if test -n "${E2E_KEEP:-}"; then echo "# kept: $dir"; else rm -rf "$dir"; fi
	test $failures = 0 || exit 1
}

# await WHAT COMMAND...: until it succeeds, at most 20 s.
await()
{
	_what=$1
	shift
	_tries=0
	until "$@" >/dev/null 2>&1; do
		_tries=$((_tries + 1))
		test $_tries -lt 200 || give_up "$_what in time"
		sleep 0.1
	done
}

free_port()
{
	node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'
}

# The stores: settings `database` and `cache` follow.
database=sqlite:$dir/parley.db
cache=
with_mariadb()
{
	database=$(sh "$root/tests/support/mariadb.sh" start "$dir/mariadb") || give_up "MariaDB starts"
}

with_memcached()
{
	cache=$(sh "$root/tests/support/memcached.sh" start "$dir/memcached") || give_up "memcached starts"
}

# write_settings ["NAME = VALUE"]...: parley.conf; those given replace the ones below.
write_settings()
{
	test -s "$dir/secret" || (umask 077; "$PARLEY" secret >"$dir/secret")
	{
		printf '%s\n' "$@"
		for _line in "database = $database" "cache = $cache" "listen = unix:$dir/parley.sock" "secret_file = $dir/secret" \
			"provider_key_dir = $dir/keys" "workers = 2" "threads = 8" "turn_threads = 6" \
			${stub_port:+"provider_allow_hosts = 127.0.0.1:$stub_port"}; do
			printf '%s\n' "$@" | grep -q "^${_line%% *} =" || printf '%s\n' "$_line"
		done
	} >"$dir/parley.conf"
	chmod 600 "$dir/parley.conf"
}

parley()
{
	"$PARLEY" -c "$dir/parley.conf" "$@"
}

# A stub provider that pauses between words; the agent "slow" talks to it.
with_stub()
{
	launch stub node "$root/tests/support/stub-provider.mjs" --portfile "$dir/stub.port"
	await "the stub provider answers" test -s "$dir/stub.port"
	stub_port=$(cat "$dir/stub.port")
}

# The site "e2e" with its keys SK and PK, the agents "echo" and, with a stub, "slow".
make_site()
{
	parley migrate >>"$dir/log/setup" 2>&1 || give_up "the schema is made"
	parley site add e2e --origin http://shop.example >>"$dir/log/setup" 2>&1 || give_up "a site is made"
	parley agent add e2e echo --provider echo >>"$dir/log/setup" 2>&1 || give_up "an agent is made"
	if test -n "${stub_port:-}"; then
		parley provider add stub --base-url "http://127.0.0.1:$stub_port/v1" >>"$dir/log/setup" 2>&1 || give_up "a provider is made"
		parley agent add e2e slow --provider stub --model slow:150 >>"$dir/log/setup" 2>&1 || give_up "the slow agent is made"
	fi
	SK=$(parley key add e2e --kind secret 2>>"$dir/log/setup") || give_up "a secret key is made"
	PK=$(parley key add e2e --kind publishable 2>>"$dir/log/setup") || give_up "a publishable key is made"
	export SK PK
}

# build_with NAME FILE FROM TO: $dir/NAME, the program $PARLEY with one line of the sources changed to what it must not be (sed: FROM is a pattern).
build_with()
{
	_objects=$(dirname "$whole")
	sed "s|$3|$4|" "$root/src/$2" >"$dir/$1.c"
	! cmp -s "$root/src/$2" "$dir/$1.c" || give_up "$2 has the line that $1 changes"
	# shellcheck disable=SC2046 # lists of options
	${CC:-cc} -std=gnu11 -D_GNU_SOURCE -w -O1 -I"$root/src" $(made_with DEPS_CFLAGS) -c "$dir/$1.c" -o "$dir/$1.o" &&
		${CC:-cc} -o "$dir/$1" $(find "$_objects/src/main" -name '*.o' ! -name 'tests*') "$dir/$1.o" "$_objects/libparley.a" \
			$(made_with FCGI_LIBS) $(made_with DEPS_LIBS) -pthread -lm || give_up "parley with $1 is built"
}

# made_with NAME: a variable of the Makefile that made $PARLEY.
made_with()
{
	sed -n "s/^$1 = //p" "$(dirname "$whole")/Makefile"
}

# The master, until its socket takes connections.
serve()
{
	launch parley "$PARLEY" -c "$dir/parley.conf" serve
	await "parley listens" test -S "$dir/parley.sock"
}

# nginx on $URL, made from the sample: the same file with this machine's paths. $1: more directives for the upstream.
serve_nginx()
{
	_user=
	test "$(id -u)" != 0 || _user="user root;"
	_port=$(free_port)
	sed -e "s|unix:/run/parley/parley.sock;|unix:$dir/parley.sock; ${1:-}|" -e "s|listen 80;|listen 127.0.0.1:$_port;|" \
		-e "s|/usr/share/parley/htdocs|$root/htdocs|" -e "s|include parley_fastcgi_params|include $root/conf/parley_fastcgi_params|" \
		-e "s|fastcgi_keep_conn off;|fastcgi_keep_conn ${2:-off};|" "$root/conf/nginx.conf" >"$dir/site.conf"
	cat >"$dir/nginx.conf" <<END
$_user
daemon off;
worker_processes 1;
pid $dir/nginx.pid;
error_log $dir/log/nginx warn;
events { worker_connections 1024; }
http {
	include /etc/nginx/mime.types;
	access_log off;
	client_body_temp_path $dir/nginx-body; fastcgi_temp_path $dir/nginx-fastcgi; proxy_temp_path $dir/nginx-proxy;
	scgi_temp_path $dir/nginx-scgi; uwsgi_temp_path $dir/nginx-uwsgi;
	include $dir/site.conf;
}
END
	launch nginx nginx -p "$dir" -c "$dir/nginx.conf" -e "$dir/log/nginx"
	URL=http://127.0.0.1:$_port
	export URL
	await "nginx answers" curl -sS "$URL/healthz"
}

# Apache on $URL. $1: a file of its configuration, made from a sample or written by the caller.
serve_apache()
{
	_port=$(free_port)
	{
		echo "ServerRoot $dir"
		echo "ServerName 127.0.0.1"
		echo "Listen 127.0.0.1:$_port"
		echo "PidFile $dir/apache.pid"
		echo "ErrorLog $dir/log/apache"
		echo "Mutex file:$dir default"
		echo "User $me"
		echo "Group $(id -gn)"
		for _module in mpm_event authz_core authz_host mime alias headers dir env cgid fcgid proxy proxy_fcgi; do
			echo "LoadModule ${_module}_module /usr/lib/apache2/modules/mod_$_module.so"
		done
		echo "ScriptSock $dir/cgid.sock"
		echo "FcgidIPCDir $dir/fcgid"
		echo "FcgidProcessTableFile $dir/fcgid/table"
		echo "TypesConfig /etc/mime.types"
		echo "DocumentRoot $dir/www"
		echo "Include $1"
	} >"$dir/apache.conf"
	mkdir -p "$dir/fcgid" "$dir/www"
	# Debian's Apache refuses to run its children as root, so run them as the nobody of the machine there.
	if test "$(id -u)" = 0; then
		sed -i -e 's/^User .*/User www-data/' -e 's/^Group .*/Group www-data/' "$dir/apache.conf"
		chown -R www-data "$dir"
		chmod 755 "$dir"
	fi
	launch apache apache2 -f "$dir/apache.conf" -D FOREGROUND
	URL=http://127.0.0.1:$_port
	export URL
	await "Apache answers" curl -sS "$URL/healthz"
}
