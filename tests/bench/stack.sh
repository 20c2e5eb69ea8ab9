# SPDX-License-Identifier: MIT
# stack.sh: sourced; starts the private servers of the benchmark in $dir, all of them behind one nginx, and stops them.
# shellcheck shell=sh disable=SC2154

workers=${BENCH_WORKERS:-$(($(nproc) * 2))}
threads=${BENCH_THREADS:-16}

# bench_start NAME COMMAND...
bench_start()
{
	_name=$1
	shift
	"$@" >"$dir/$_name.log" 2>&1 </dev/null &
	echo $! >>"$dir/pids"
}

bench_stop()
{
	test -e "$dir/pids" || return 0
	# Last started, first stopped; the database comes last and gets its time.
	for _pid in $(sort -rn "$dir/pids"); do
		kill "$_pid" 2>/dev/null || continue
		_tries=0
		while kill -0 "$_pid" 2>/dev/null && test $_tries -lt 100; do
			_tries=$((_tries + 1))
			sleep 0.1
		done
		kill -9 "$_pid" 2>/dev/null
	done
	test -n "${BENCH_KEEP:-}" || rm -rf "$dir"
}

# bench_await WHAT COMMAND...
bench_await()
{
	_what=$1
	shift
	_tries=0
	until "$@" >/dev/null 2>&1; do
		_tries=$((_tries + 1))
		test $_tries -lt 200 || { echo "bench: $_what does not answer" >&2; tail -n 20 "$dir"/*.log >&2; exit 1; }
		sleep 0.1
	done
}

free_port()
{
	_port=$1
	while grep -qi "$(printf ':%04X 0' "$_port")" /proc/net/tcp; do
		_port=$((_port + 1))
	done
	echo "$_port"
}

sql()
{
	mariadb --no-defaults --user=root --socket="$dir/mariadb.sock" --batch --skip-column-names "$@"
}

start_stores()
{
	mkdir "$dir/mysql.tmp"
	mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$dir/mysql" --tmpdir="$dir/mysql.tmp" --auth-root-authentication-method=normal \
		--skip-test-db >"$dir/mariadb-install.log" 2>&1 || { cat "$dir/mariadb-install.log" >&2; exit 1; }
	bench_start mariadb mariadbd --no-defaults --user="$(id -un)" --datadir="$dir/mysql" --tmpdir="$dir/mysql.tmp" --socket="$dir/mariadb.sock" \
		--skip-networking --character-set-server=utf8mb4 --max-connections=500 --innodb-buffer-pool-size=512M \
		--innodb-log-file-size=512M --innodb-flush-log-at-trx-commit=1 --skip-log-bin ${BENCH_MARIADB:-}
	bench_start memcached memcached -u "$(id -un)" -s "$dir/memcached.sock" -m 256 -c 2048
	bench_await MariaDB sql -e 'SELECT 1'
	sql -e "CREATE DATABASE parley CHARACTER SET utf8mb4 COLLATE utf8mb4_bin; CREATE DATABASE php CHARACTER SET utf8mb4;
		CREATE TABLE php.message (id BIGINT AUTO_INCREMENT PRIMARY KEY, conversation BIGINT NOT NULL, role VARCHAR(16) NOT NULL,
		content LONGTEXT NOT NULL, created_at DATETIME(3) NOT NULL, KEY (conversation)) ENGINE=InnoDB"
}

start_null()
{
	flags="-std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra"
	for program in null null_memcached; do
		# shellcheck disable=SC2086 # options
		${CC:-cc} $flags "$here/$program.c" "$here/serve.c" -o "$dir/$program" -lfcgi -lmemcached -pthread || exit 1
		bench_start $program "$dir/$program" "$dir/$program.sock" $workers $threads 1 "$dir/memcached.sock"
	done
}

start_php()
{
	cat >"$dir/php-fpm.conf" <<END
[global]
daemonize = no
error_log = $dir/php-fpm.log
[bench]
user = $(id -un)
group = $(id -gn)
listen = $dir/php.sock
listen.backlog = 4096
listen.mode = 0666
pm = static
pm.max_children = ${BENCH_PHP_CHILDREN:-$((workers * threads))}
env[BENCH_MEMCACHED] = $dir/memcached.sock
env[BENCH_MARIADB] = $dir/mariadb.sock
php_admin_value[opcache.enable] = 1
php_admin_value[opcache.validate_timestamps] = 0
END
	root_flag=
	test "$(id -u)" != 0 || root_flag=-R
	fpm=$(find /usr/sbin -name 'php-fpm*' | sort | tail -n 1)
	bench_start php "$fpm" -y "$dir/php-fpm.conf" -F $root_flag
	bench_await PHP-FPM test -S "$dir/php.sock"
}

parley()
{
	"$PARLEY" -c "$dir/parley.conf" "$@"
}

start_parley()
{
	(umask 077; "$PARLEY" secret >"$dir/secret")
	cat >"$dir/parley.conf" <<END
database = mariadb://root@/parley?socket=$dir/mariadb.sock
cache = unix:$dir/memcached.sock
listen = unix:$dir/parley.sock
secret_file = $dir/secret
workers = $workers
threads = $threads
fcgi_keep_conn = yes
log_level = ${BENCH_LOG_LEVEL:-warn}
${BENCH_SETTINGS:-}
END
	parley migrate >/dev/null || exit 1
	for site in bench bench-few bench-mid bench-many; do
		parley site add "$site" >/dev/null && parley agent add "$site" echo --provider echo >/dev/null || exit 1
		parley key add "$site" --kind secret >"$dir/$site.key" || exit 1
	done
	bench_start parley "$PARLEY" -c "$dir/parley.conf" serve
}

# Port $1 closes each FastCGI connection, port $2 keeps them, port $3 is for turns.
start_nginx()
{
	user=
	test "$(id -u)" != 0 || user="user root;"
	cat >"$dir/nginx.conf" <<END
$user
daemon off;
worker_processes $(nproc);
pid $dir/nginx.pid;
error_log $dir/nginx.error.log warn;
worker_rlimit_nofile 16384;
events { worker_connections 8192; }
http {
	access_log off;
	keepalive_requests 1000000;
	fastcgi_next_upstream off;
	client_body_temp_path $dir/nginx-body; fastcgi_temp_path $dir/nginx-fastcgi; proxy_temp_path $dir/nginx-proxy;
	scgi_temp_path $dir/nginx-scgi; uwsgi_temp_path $dir/nginx-uwsgi;
END
	for program in null null_memcached php parley; do
		cat >>"$dir/nginx.conf" <<END
	upstream $program { server unix:$dir/$program.sock; }
	upstream ${program}_kept { server unix:$dir/$program.sock; keepalive 16; keepalive_timeout 1s; keepalive_requests 1000000; }
END
	done
	for kept in "" _kept; do
		listen=$1
		keep=off
		test -z "$kept" || { listen=$2; keep=on; }
		cat >>"$dir/nginx.conf" <<END
	server {
		listen 127.0.0.1:$listen backlog=4096;
		include $root/conf/parley_fastcgi_params;
		fastcgi_keep_conn $keep;
		location = /null { fastcgi_pass null$kept; }
		location = /null_memcached { fastcgi_pass null_memcached$kept; }
		location = /php {
			include $root/conf/parley_fastcgi_params;
			fastcgi_param SCRIPT_FILENAME $here/session.php;
			fastcgi_pass php$kept;
		}
		location / { fastcgi_pass parley$kept; }
	}
END
	done
	test "$with_parley" = no || cat >>"$dir/nginx.conf" <<END
	server {
		listen 127.0.0.1:$3 backlog=4096;
		include $root/conf/parley_fastcgi_params;
		location / { fastcgi_pass unix:$dir/turns.sock; fastcgi_read_timeout 90s; }
		location /direct/ { proxy_pass http://127.0.0.1:$stub_port/; proxy_buffering off; }
	}
END
	echo "}" >>"$dir/nginx.conf"
	bench_start nginx nginx -p "$dir" -c "$dir/nginx.conf" -e "$dir/nginx.error.log"
	bench_await nginx curl -fsS "http://127.0.0.1:$1/null"
}
