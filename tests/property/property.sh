#!/bin/sh
# SPDX-License-Identifier: MIT
# property: requests made from the OpenAPI document, behind nginx, on both stores; every answer must be one that the document allows.
#   property.sh [--long]     PROPERTY_SEED: another first seed; PROPERTY_REQUESTS: so many on each store
. "$(dirname "$0")/../e2e/lib.sh"
here=$root/tests/property
requests=1000
test "$long" = no || requests=20000
requests=${PROPERTY_REQUESTS:-$requests}
seed=${PROPERTY_SEED:-20260102}

# A second site, whose things must stay out of reach.
make_other_site()
{
	parley site add other --origin http://other.example >>"$dir/log/setup" 2>&1 || give_up "another site is made"
	parley agent add other echo --provider echo >>"$dir/log/setup" 2>&1 || give_up "its agent is made"
	OTHER_SK=$(parley key add other --kind secret 2>>"$dir/log/setup") || give_up "its key is made"
	export OTHER_SK
}

# start NAME: both sites, parley and nginx on the stores of now.
start()
{
	write_settings "shared_file = $dir/shared-$1"
	make_site
	make_other_site
	rm -f "$dir/parley.sock"
	serve
	serve_nginx
}

start sqlite
curl -sS "$URL/v1/openapi.json" >"$dir/served.json"
parley routes --openapi >"$dir/printed.json"
check "the command line prints the very document that is served" cmp "$dir/served.json" "$dir/printed.json"
checks node "$here/client.mjs" sqlite --requests "$requests" --seed "$seed" ${PROPERTY_VERBOSE:+--verbose}
for kind in status failure member missing type foreign leak; do
	checks node "$here/client.mjs" sqlite --requests 600 --seed "$seed" --tamper $kind
done
halt nginx
halt parley

with_mariadb
with_memcached
start mariadb
checks node "$here/client.mjs" mariadb --requests "$requests" --seed "$seed" ${PROPERTY_VERBOSE:+--verbose}
