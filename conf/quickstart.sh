#!/bin/sh
# SPDX-License-Identifier: MIT
# quickstart.sh: builds parley and serves it with a demo page on this machine, everything of its own under ./var/.
set -eu

usage()
{
	cat <<'END'
Usage: sh conf/quickstart.sh [--port N] [--mariadb] [--detach]
       sh conf/quickstart.sh --stop

Installs what is missing from Debian's packages, builds in ./build/ and serves on http://127.0.0.1:8080 with private copies of
every server, which keep all they have in ./var/. Ctrl-C stops them; the next start finds its data again.

  --port N     another port than 8080
  --mariadb    a private MariaDB and memcached, instead of one file of SQLite
  --detach     go on in the background
  --stop       stop what runs in the background
  --var DIR    another directory than ./var
  --binary F   a parley that is already built

Lines of var/extra.conf are added to parley's settings (see conf/parley.conf).
END
}

fail()
{
	echo "quickstart: $*" >&2
	exit 1
}

cd "$(dirname "$0")/.."
root=$(pwd -P)
var=$root/var
port=8080
backend=sqlite
detach=no
stop=no
binary=
while test $# -gt 0; do
	case $1 in
	--port) test $# -ge 2 || fail "--port needs a number"; port=$2; shift ;;
	--var) test $# -ge 2 || fail "--var needs a directory"; var=$2; shift ;;
	--binary) test $# -ge 2 || fail "--binary needs a file"; binary=$2; shift ;;
	--mariadb) backend=mariadb ;;
	--detach) detach=yes ;;
	--stop) stop=yes ;;
	--help|-h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done
case $port in ''|*[!0-9]*|??????*) fail "--port needs a number, not '$port'" ;; esac
if test "$port" -lt 1 || test "$port" -gt 65535; then
	fail "--port needs a number from 1 to 65535"
fi

umask 077
mkdir -p "$var"
var=$(cd "$var" && pwd -P)
run=$var/run
data=$var/$backend
log=$var/log
case $root$var in
*[\"\'\\\$\;\#\?\&%,]*) fail "the path $var has characters that mean something in settings files; use another" ;;
esac
test "$(printf %s "$run/memcached.sock" | wc -c)" -le 100 || fail "the path $var is too long for a Unix socket; use a shorter one"
mkdir -p "$run" "$data" "$log" "$var/keys" "$var/nginx"
chmod 700 "$var" "$run" "$data" "$log" "$var/keys" "$var/nginx"

# Whether the server of that name, started from here, still runs; its process id is then in $pid.
is_running()
{
	pid=$(cat "$run/$1.pid" 2>/dev/null) && test -n "$pid" || return 1
	tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$var"
}

# Stops servers one by one, each with its own gentle signal, and waits for them.
stop_servers()
{
	for server in nginx parley memcached mariadb; do
		is_running "$server" || { rm -f "$run/$server.pid"; continue; }
		signal=TERM
		test "$server" != nginx || signal=QUIT
		kill -s "$signal" "$pid" 2>/dev/null || true
		tries=0
		while is_running "$server"; do
			tries=$((tries + 1))
			test "$tries" != 100 || kill -s TERM "$pid" 2>/dev/null || true
			test "$tries" != 400 || { kill -s KILL "$pid" 2>/dev/null || true; break; }
			sleep 0.1
		done
		rm -f "$run/$server.pid"
	done
}

if test "$stop" = yes; then
	if is_running nginx || is_running parley || is_running memcached || is_running mariadb; then
		stop_servers
		echo "Stopped."
	else
		echo "Nothing runs from $var."
	fi
	exit 0
fi

# One start at a time; the servers do not inherit the lock.
exec 9>"$run/lock"
flock -n 9 || fail "another quickstart runs in $var; \`sh conf/quickstart.sh --stop\` ends what it started"
if is_running parley || is_running nginx; then
	fail "it runs already ($(sed -n 's/^PARLEY_URL=//p' "$var/quickstart.env" 2>/dev/null)); \`sh conf/quickstart.sh --stop\` ends it"
fi

# A listener in the kernel's own table: no tool to install, no connection to make.
port_is_taken()
{
	hex=$(printf ':%04X' "$port")
	cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v hex="$hex" '
		$4 == "0A" && substr($2, length($2) - 4) == hex { found = 1 } END { exit !found }'
}
if port_is_taken; then
	fail "port $port is taken by another program; choose one with --port N"
fi

. "$root/conf/packages.sh"
needed="$packages_serve"
test -n "$binary" || needed="$packages_build $needed"
test "$backend" = sqlite || needed="$needed $packages_mariadb"
# shellcheck disable=SC2086 # lists of names
packages_install $needed
PATH=$PATH:/usr/sbin:/sbin

# Builds when sources are newer than the binary; make knows.
build()
{
	if ! test -e configure || test -n "$(find configure.ac Makefile.am -newer configure)"; then
		echo "Preparing the build"
		autoreconf -fi >"$log/build.log" 2>&1 || { tail -n 20 "$log/build.log" >&2; fail "autoreconf failed; see $log/build.log"; }
	fi
	mkdir -p build
	cd build
	if ! test -e config.status || test -n "$(find ../configure -newer config.status)"; then
		echo "Configuring"
		../configure --disable-maintainer-mode >"$log/build.log" 2>&1 || { tail -n 20 "$log/build.log" >&2; fail "configure failed; see $log/build.log"; }
	fi
	echo "Building"
	make -j"$(nproc)" >"$log/build.log" 2>&1 || { tail -n 30 "$log/build.log" >&2; fail "make failed; see $log/build.log"; }
	cd "$root"
	binary=$root/build/parley
}
if test -z "$binary"; then
	# Built files are no secret, and a tree built by one user may be used by another.
	umask 022
	build
	umask 077
fi

# Starts a server in a session of its own, so that Ctrl-C reaches this script alone and the order of stopping is ours.
start()
{
	name=$1
	shift
	setsid "$@" >>"$log/$name.log" 2>&1 </dev/null 9>&- &
	echo $! >"$run/$name.pid"
}

# Gives up, showing the end of a log.
abandon()
{
	tail -n 15 "$log/$1.log" >&2 2>/dev/null || true
	shift
	fail "$*"
}

# Waits until a command succeeds, as long as its server runs, at most half a minute.
await()
{
	name=$1
	shift
	tries=0
	until "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		is_running "$name" || sleep 0.3
		is_running "$name" || abandon "$name" "$name ended; its log is $log/$name.log"
		test "$tries" -lt 300 || abandon "$name" "$name does not answer; its log is $log/$name.log"
		sleep 0.1
	done
}

# Whatever ends this script ends the servers, until it has let them go. What an earlier one left behind goes first.
stop_servers
trap stop_servers EXIT
trap 'exit 1' HUP INT TERM

random_password()
{
	od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

start_mariadb()
{
	# A temporary folder of its own: a server that starts removes every temporary table it finds there, another server's as well.
	mkdir -p "$data/tmp"
	if ! test -d "$data/mysql/mysql"; then
		echo "Making a MariaDB"
		# From inside, since this program splits a path at its spaces.
		(cd "$data" && TMPDIR="$data/tmp" mariadb-install-db --no-defaults --user="$(id -un)" --datadir=./mysql --auth-root-authentication-method=normal \
			--skip-test-db) >"$log/mariadb.log" 2>&1 || {
			rm -rf "$data/mysql"
			abandon mariadb "mariadb-install-db failed"
		}
	fi
	test -e "$data/password" || random_password >"$data/password"
	start mariadb mariadbd --no-defaults --user="$(id -un)" --datadir="$data/mysql" --tmpdir="$data/tmp" --socket="$run/mariadb.sock" \
		--skip-networking --pid-file="$data/mysql/mariadbd.pid" --character-set-server=utf8mb4 --innodb-flush-log-at-trx-commit=1 \
		--innodb-buffer-pool-size=128M --max-connections=400
	await mariadb mariadb --no-defaults --user=root --socket="$run/mariadb.sock" -e 'SELECT 1'
	mariadb --no-defaults --user=root --socket="$run/mariadb.sock" <<END || abandon mariadb "the database could not be made"
CREATE DATABASE IF NOT EXISTS parley CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE USER IF NOT EXISTS parley@localhost IDENTIFIED BY '$(cat "$data/password")';
GRANT ALL ON parley.* TO parley@localhost;
END
	start memcached memcached -u "$(id -un)" -s "$run/memcached.sock" -a 0700 -m 64
}

# parley's settings, nginx's, and the secret that signs tokens.
write_settings()
{
	test -s "$var/secret" || "$binary" secret >"$var/secret"
	{
		echo "# Written by conf/quickstart.sh at every start."
		if test "$backend" = mariadb; then
			echo "database = mariadb://parley@/parley?socket=$run/mariadb.sock"
			echo "database_password_file = $data/password"
			echo "cache = unix:$run/memcached.sock"
		else
			echo "database = sqlite:$data/parley.db"
		fi
		echo "listen = unix:$run/parley.sock"
		echo "secret_file = $var/secret"
		echo "provider_key_dir = $var/keys"
		test ! -e "$var/extra.conf" || cat "$var/extra.conf"
	} >"$var/parley.conf"

	user=
	test "$(id -u)" != 0 || user="user root;"
	cat >"$var/nginx.conf" <<END
# Written by conf/quickstart.sh at every start.
$user
daemon off;
worker_processes auto;
pid "$run/nginx.master.pid";
error_log "$log/nginx.log" warn;
events { worker_connections 1024; }
http {
	include /etc/nginx/mime.types;
	access_log off;
	sendfile on;
	client_body_temp_path "$var/nginx/body";
	fastcgi_temp_path "$var/nginx/fastcgi";
	proxy_temp_path "$var/nginx/proxy";
	scgi_temp_path "$var/nginx/scgi";
	uwsgi_temp_path "$var/nginx/uwsgi";
	upstream parley { server "unix:$run/parley.sock"; }
	server {
		listen 127.0.0.1:$port;
		root "$root/htdocs";
		client_max_body_size 2m;
		include "$root/conf/parley_fastcgi_params";
		fastcgi_next_upstream off;
		fastcgi_read_timeout 90s;
		location / { try_files \$uri \$uri/index.html =404; }
		location = / { return 302 /demo/; }
		location = /demo { return 302 /demo/; }
		location = /demo/config.json { alias "$var/demo.json"; add_header Cache-Control no-store; }
		location /v1/ { fastcgi_pass parley; }
		location ~ ^/(healthz|readyz|metrics)\$ { fastcgi_pass parley; }
	}
}
END
}

# The demo's two sites, their agents and keys; each is made once and found again.
parley()
{
	"$binary" -c "$var/parley.conf" "$@"
}

make_site()
{
	parley site add "$1" --title "$2" --origin "$url" --origin "http://localhost:$port" --if-absent >/dev/null
	parley agent add "$1" "$3" --title "$4" --provider echo --if-absent >/dev/null
}

make_key()
{
	test -s "$data/$1-$2.key" && return 0
	key=$(parley key add "$1" --kind "$2" --label quickstart) || return 1
	printf '%s\n' "$key" >"$data/$1-$2.key"
}

make_demo()
{
	parley migrate >/dev/null &&
	make_site bakery "Corner Bakery" baker "Baker" &&
	make_site library "Town Library" librarian "Librarian" &&
	make_key bakery secret && make_key bakery publishable && make_key library publishable
}

write_demo()
{
	sk=$(cat "$data/bakery-secret.key")
	pk=$(cat "$data/bakery-publishable.key")
	cat >"$var/demo.json" <<END
{"sites": [
	{"title": "Corner Bakery", "name": "bakery", "key": "$pk", "agent": "baker", "agent_title": "Baker", "base": ""},
	{"title": "Town Library", "name": "library", "key": "$(cat "$data/library-publishable.key")", "agent": "librarian", "agent_title": "Librarian", "base": ""}
]}
END
	cat >"$var/quickstart.env" <<END
PARLEY_URL=$url
PARLEY_SITE=bakery
PARLEY_SK=$sk
PARLEY_PK=$pk
PARLEY_AGENT=baker
END
}

url=http://127.0.0.1:$port
test "$backend" = sqlite || start_mariadb
write_settings
make_demo 2>>"$log/parley.log" || abandon parley "the demo's sites could not be made; see $log/parley.log"
write_demo
start parley "$binary" -c "$var/parley.conf" serve
await parley test -S "$run/parley.sock"
start nginx nginx -p "$var/nginx" -c "$var/nginx.conf" -e "$log/nginx.log"
await nginx curl -fsS "$url/readyz"

cat <<END

parley serves $url with $backend.

  Demo page         $url/demo/
  Secret key        $sk
  Publishable key   $pk
  Data, logs, keys  $var

  curl -s $url/v1/chat/baker/message -H 'Authorization: Bearer $sk' \\
    -H 'Content-Type: application/json' -d '{"message": "Good morning"}'

END

if test "$detach" = yes; then
	trap - EXIT
	echo "It runs in the background; \`sh conf/quickstart.sh --stop\` ends it."
	exit 0
fi
echo "Ctrl-C stops it."
trap 'echo; echo "Stopping"; exit 0' HUP INT TERM
while :; do
	for server in parley nginx $(test "$backend" = sqlite || echo memcached mariadb); do
		is_running "$server" || abandon "$server" "$server ended; its log is $log/$server.log"
	done
	sleep 1 9>&- &
	wait $! || true
done
