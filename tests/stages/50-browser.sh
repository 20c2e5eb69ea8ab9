# SPDX-License-Identifier: MIT
# browser: the demo page in Chromium, served by the quickstart itself.
# shellcheck shell=sh disable=SC2154
dir=$(mktemp -d "${TMPDIR:-/tmp}/parley-browser-XXXXXX")
stop()
{
	sh conf/quickstart.sh --var "$dir" --stop
	rm -rf "$dir"
}
trap stop EXIT
port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
sh conf/quickstart.sh --binary "$PARLEY" --var "$dir" --port "$port" --detach || exit 1
set -a
. "$dir/quickstart.env"
set +a
cd "$root/tests/browser" || exit 1
if test -e package-lock.json; then
	npm ci --no-audit --no-fund || exit 1
fi
node --test --test-reporter=spec >"$work/log/browser.node" 2>&1
status=$?
cat "$work/log/browser.node"
count_node "$work/log/browser.node"
cd "$root" || exit 1
exit $status
