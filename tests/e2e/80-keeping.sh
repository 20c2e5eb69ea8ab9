#!/bin/sh
# SPDX-License-Identifier: MIT
# keeping: what the operator says of a site's times and templates holds for its sessions, and the janitor of a running master acts on it.
. "$(dirname "$0")/lib.sh"

# says PATTERN COMMAND...: whether its output has it.
says()
{
	_pattern=$1
	shift
	"$@" 2>&1 | tee "$dir/said" | grep -q -- "$_pattern" || { cat "$dir/said"; return 1; }
}

fails()
{
	! "$@" >/dev/null 2>&1
}

# ask METHOD PATH [BODY]: the answer's body, then its status on a line of its own.
ask()
{
	curl -sS -X "$1" -H "Authorization: Bearer $SK" -w '\n%{http_code}\n' ${3:+-H "Content-Type: application/json" --data "$3"} "$URL$2"
}

session()
{
	ask POST /v1/sessions "{\"agent\":\"echo\"$1}" | grep -o 'ses_[0-9a-z]*' | head -n 1
}

keeps()
{
	check "$1: a site's times are set" parley site set e2e --ttl session=3s --ttl history=5s --ttl memory=0 --title "Our shop"
	check "$1: and shown" says "ttl session *3s" parley site show e2e
	check "$1: in JSON as well" says '"ttl":{"session":3,"memory":0,"knowledge":604800,"history":5}' parley --json site show e2e
	check "$1: a time without a unit is refused" fails parley site set e2e --ttl session=12
	check "$1: an unknown class is refused" fails parley site set e2e --ttl sessions=12h
	check "$1: a template is made" parley template add e2e support --preset task_oriented --require customer --category orders
	check "$1: once" fails parley template add e2e support
	check "$1: or found" parley template add e2e support --if-absent
	check "$1: and listed" says '"required_context":\["customer"\]' parley --json template list e2e

	serve
	serve_nginx
	check "$1: the site knows its times" says '"session":3,' ask GET /v1/site
	check "$1: a required value that is missing is named" says 'state.customer' ask POST /v1/sessions '{"agent":"echo","template":"support"}'
	persistent=$(session '')
	ephemeral=$(session ',"template":"support","state":{"customer":7}')
	lasting=$(session ',"ttl":0')
	check "$1: a message is stored" says '^201$' ask POST "/v1/sessions/$persistent/messages" '{"role":"user","content":"hello"}'
	await "the janitor ends the idle session" says '"status":"ended"' ask GET "/v1/sessions/$persistent"
	check "$1: an ended session takes no message" says session_ended ask POST "/v1/sessions/$persistent/messages" '{"role":"user","content":"late"}'
	check "$1: and still has its own" says '"content":"hello"' ask GET "/v1/sessions/$persistent/messages"
	await "the janitor removes the ephemeral session" says '^404$' ask GET "/v1/sessions/$ephemeral"
	await "the janitor removes the ended session" says '^404$' ask GET "/v1/sessions/$persistent"
	check "$1: what has no time stays" says '"status":"active"' ask GET "/v1/sessions/$lasting"
	check "$1: stats count it" says '"site":"e2e","active":1,"ended":0,"archived":0,"due":0,"users":1,"conversations":1,"messages":0' parley --json stats --site e2e
	halt nginx
	halt parley
	check "$1: a sweep by hand says how much it did" says '^0$' parley sweep
	check "$1: and the next need not wait" says '"total":0,"kinds":{' parley --json sweep
	check "$1: the template is deleted" parley template delete e2e support
	check "$1: once" fails parley template delete e2e support
}

write_settings "sweep_interval = 500ms" "database_timeout = 1s"
make_site
keeps SQLite

with_mariadb
with_memcached
write_settings "sweep_interval = 500ms" "database_timeout = 1s"
make_site
keeps "MariaDB and memcached"
