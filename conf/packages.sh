# SPDX-License-Identifier: MIT
# packages.sh: sourced by scripts; what parley needs from Debian, by purpose, and how to install what is missing.
# shellcheck shell=sh disable=SC2034
#
# The "-core" and "-bin" packages carry a server without its system service. nginx and memcached have no such package: their
# services are kept from starting, and from being enabled, when it is this script that installs them.

packages_build="build-essential autoconf automake pkg-config libfcgi-dev libjson-c-dev libmemcached-dev libmariadb-dev
	libsqlite3-dev libcurl4-openssl-dev libsodium-dev libzstd-dev libutf8proc-dev libedit-dev"
packages_serve="nginx curl ca-certificates"
packages_mariadb="mariadb-server-core mariadb-client-core memcached"

# Prints those of the named packages that are not installed.
packages_missing()
{
	for _package in "$@"; do
		_state=$(dpkg-query -W -f='${db:Status-Status}' "$_package" 2>/dev/null) || _state=
		test "$_state" = installed || printf '%s ' "$_package"
	done
}

# Runs a command as root.
packages_as_root()
{
	if test "$(id -u)" = 0; then
		"$@"
	else
		sudo "$@"
	fi
}

# The body of the installation, as root, in a shell of its own: policy-rc.d keeps Debian from starting what it installs.
packages_installer='
	set -e
	export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
	policy=/usr/sbin/policy-rc.d
	if test ! -e $policy; then
		trap "rm -f $policy" EXIT
		trap "exit 1" HUP INT TERM
		printf "#!/bin/sh\nexit 101\n" >$policy
		chmod 755 $policy
	fi
	apt-get -q update || echo "packages: the package lists could not all be refreshed" >&2
	apt-get -q -y --no-install-recommends install "$@"
	for package in "$@"; do
		case $package in
		nginx|memcached|php*-fpm) deb-systemd-helper disable "$package.service" >/dev/null 2>&1 || true ;;
		esac
	done
'

# Installs those of the named packages that are missing. Fails with a message that names them.
packages_install()
{
	command -v dpkg-query >/dev/null 2>&1 || {
		echo "packages: this is not Debian, so nothing is installed; needed (by Debian's names):" "$@" >&2
		return 0
	}
	_missing=$(packages_missing "$@")
	test -n "$_missing" || return 0
	if test "$(id -u)" != 0 && ! command -v sudo >/dev/null 2>&1; then
		echo "packages: run this as root, or install these first: $_missing" >&2
		return 1
	fi
	echo "Installing: $_missing"
	_log=$(mktemp) || return 1
	# shellcheck disable=SC2086 # a list of names
	_status=0
	packages_as_root sh -c "$packages_installer" sh $_missing >"$_log" 2>&1 || _status=$?
	if test $_status != 0; then
		tail -n 20 "$_log" >&2
		echo "packages: could not install: $_missing" >&2
	fi
	rm -f "$_log"
	return $_status
}
