#!/bin/sh
# SPDX-License-Identifier: MIT
# smuggling: a request body made of FastCGI records must never become a request, whatever route or early exit it meets, with FastCGI
# connections kept and not. First the attack must succeed where a responder leaves bodies unread.
. "$(dirname "$0")/lib.sh"

${CC:-cc} -std=gnu11 -O1 "$here/naive.c" -o "$dir/naive" -lfcgi || give_up "the naive responder compiles"
launch naive "$dir/naive" "$dir/parley.sock" "$dir/naive.seen"
await "the naive responder listens" test -S "$dir/parley.sock"
serve_nginx "keepalive 1;" on
node "$here/smuggle.mjs" naive
check "the attack works where a body is left unread" grep -q '^/v1/sessions$' "$dir/naive.seen"
halt nginx
halt naive
rm -f "$dir/parley.sock"

for keep in yes no; do
	write_settings "workers = 1" "fcgi_keep_conn = $keep"
	test -n "${SK:-}" || make_site
	serve
	parley routes >"$dir/routes"
	serve_nginx "keepalive 1;" on
	checks node "$here/smuggle.mjs" parley "$dir/routes" "keep-$keep"
	halt nginx
	halt parley
done
