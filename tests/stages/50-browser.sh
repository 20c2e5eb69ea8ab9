# SPDX-License-Identifier: MIT
# browser: the widget in Chromium, once on a server that fails on demand and once on the quickstart's own, whose workers are killed.
# shellcheck shell=sh disable=SC2154
dir=$(mktemp -d "${TMPDIR:-/tmp}/parley-browser-XXXXXX")
stop()
{
	sh "$root/conf/quickstart.sh" --var "$dir" --stop
	rm -rf "$dir"
}
trap stop EXIT
port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
# A short lease, so that the turns of killed workers are free again soon.
PARLEY_TURN_LEASE=3000 sh conf/quickstart.sh --binary "$PARLEY" --var "$dir" --port "$port" --detach || exit 1
parley()
{
	"$PARLEY" -c "$dir/parley.conf" "$@"
}
parley agent add bakery slow --provider echo --model slow:150 || exit 1
parley provider add nowhere --base-url https://127.0.0.1:9/v1 || exit 1
parley agent add bakery broken --provider nowhere --model none || exit 1

cd "$root/tests/browser" || exit 1
if test -e package-lock.json; then
	npm ci --no-audit --no-fund || exit 1
fi
node --test --test-reporter=spec >"$work/log/browser-mock.node" 2>&1
status=$?
cat "$work/log/browser-mock.node"

set -a
. "$dir/quickstart.env"
PARLEY_BASE_URL=$PARLEY_URL
PARLEY_SLOW_AGENT=slow
PARLEY_BROKEN_AGENT=broken
# The workers are the master's children, each of the name that it gave itself. There may be none, when all were killed just now.
PARLEY_WORKERS_KILL="ps --ppid $(cat "$dir/run/parley.pid") -o pid=,comm= | awk '\$2 == \"parley-worker\" { print \$1 }' | xargs -r kill -KILL"
set +a
node --test --test-reporter=spec demo.test.mjs real.test.mjs >"$work/log/browser-real.node" 2>&1 || status=1
cat "$work/log/browser-real.node"
count_node "$work/log/browser-mock.node" "$work/log/browser-real.node"
cd "$root" || exit 1
exit $status
