# SPDX-License-Identifier: MIT
# packages.sh: sourced after conf/packages.sh; what the tests and the benchmark need beside what parley needs.
# shellcheck shell=sh disable=SC2034

packages_tests="libcriterion-dev apache2-bin libapache2-mod-fcgid mariadb-client spawn-fcgi sqlite3 chromium valgrind clang
	libclang-rt-dev xz-utils procps"
packages_bench="wrk php-fpm php-memcached php-mysql"

# Another origin than Debian is as good.
command -v node >/dev/null 2>&1 || packages_tests="$packages_tests nodejs"
command -v npm >/dev/null 2>&1 || packages_tests="$packages_tests npm"
