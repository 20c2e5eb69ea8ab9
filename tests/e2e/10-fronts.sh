#!/bin/sh
# SPDX-License-Identifier: MIT
# fronts: the same checks behind nginx, both Apache modules, spawn-fcgi and as plain CGI, with the samples of conf/.
. "$(dirname "$0")/lib.sh"

# A sample with this machine's paths.
sample()
{
	sed -e "s|/run/parley/parley.sock|$dir/parley.sock|g" -e "s|/usr/bin/parley|$PARLEY|" -e "s|/etc/parley/parley.conf|$dir/parley.conf|" \
		-e "s|/usr/share/parley/htdocs|$root/htdocs|" "$root/conf/$1" >"$dir/site.conf"
	echo "$dir/site.conf"
}

# Whether Apache's user reaches the program: the tree may be in a closed home.
can_www_data_run()
{
	test "$(id -u)" != 0 || runuser -u www-data -- test -x "$PARLEY" 2>/dev/null
}

with_stub
write_settings "shared_file = $dir/shared"
make_site

serve
serve_nginx
checks node "$here/front.mjs" nginx
halt nginx
halt parley

# spawn-fcgi makes the socket, the program finds it as descriptor 0.
rm -f "$dir/parley.sock"
PARLEY_CONFIG=$dir/parley.conf launch spawn spawn-fcgi -n -s "$dir/parley.sock" -M 0666 -- "$PARLEY"
await "spawn-fcgi listens" test -S "$dir/parley.sock"
serve_nginx
checks node "$here/front.mjs" spawn-fcgi
halt nginx
halt spawn

# Apache's processes run as another user when this is root, and from here on everything in the directory is theirs.
rm -f "$dir/parley.sock"
serve
sample apache-proxy-fcgi.conf >/dev/null
serve_apache "$dir/site.conf"
chmod 666 "$dir/parley.sock"
checks node "$here/front.mjs" mod_proxy_fcgi
halt apache
halt parley

if ! can_www_data_run; then
	cp "$PARLEY" "$dir/parley"
	PARLEY=$dir/parley
	chmod 755 "$dir/parley"
fi
sample apache-fcgid.conf >/dev/null
serve_apache "$dir/site.conf"
checks node "$here/front.mjs" mod_fcgid
halt apache

cat >"$dir/site.conf" <<END
SetEnv PARLEY_CONFIG $dir/parley.conf
AllowEncodedSlashes NoDecode
ScriptAlias "/v1" "$PARLEY"
ScriptAlias "/healthz" "$PARLEY"
ScriptAlias "/readyz" "$PARLEY"
<Directory "$(dirname "$PARLEY")">
	CGIPassAuth On
	Require all granted
</Directory>
END
serve_apache "$dir/site.conf"
checks node "$here/front.mjs" cgi
