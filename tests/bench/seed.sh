# SPDX-License-Identifier: MIT
# seed.sh: sourced; the sessions that are read and written, made through the API, and many more made in the database.
# shellcheck shell=sh disable=SC2154

# More sessions than clients, so that two that append at once seldom meet in one conversation.
sessions=512
small_sessions=100
base=http://127.0.0.1:$port
content="Could you find us a table for two near the window, at about eight?"
message='{"role":"user","content":"'$content'"}'

# call KEY METHOD PATH [BODY]: one API call, its answer printed.
call()
{
	curl -fsS -X "$2" "$base$3" -H "Authorization: Bearer $1" -H 'Content-Type: application/json' ${4:+-d "$4"} ||
		{ echo "bench: $2 $3 failed" >&2; exit 1; }
}

# batch N: a body that appends N messages.
batch()
{
	awk -v n="$1" -v m="$message" 'BEGIN { printf "{\"messages\":["; for (i = 0; i < n; i++) printf "%s%s", i ? "," : "", m; print "]}" }'
}

# seed_sessions KEY FORMAT N MESSAGES: N sessions with that many messages (0..100) each, and their cache entries warm; one connection.
seed_sessions()
{
	batch "$4" >"$dir/batch.json"
	awk -v base="$base" -v key="$1" -v format="$2" -v n="$3" -v messages="$4" -v batch="$dir/batch.json" '
		function call(method, path, data) {
			printf "%surl = \"%s%s\"\nheader = \"Authorization: Bearer %s\"\noutput = /dev/null\n", sep, base, path, key
			if (method == "POST")
				printf "header = \"Content-Type: application/json\"\ndata = \"%s\"\n", data
			sep = "next\n"
		}
		BEGIN {
			for (i = 1; i <= n; i++) {
				id = sprintf(format, i)
				call("POST", "/v1/sessions", "{\\\"agent\\\":\\\"echo\\\",\\\"id\\\":\\\"" id "\\\"}")
				if (messages > 0)
					call("POST", "/v1/sessions/" id "/messages", "@" batch)
				call("GET", "/v1/sessions/" id "?messages=20")
			}
		}' >"$dir/seed.curl"
	curl -sS --fail-early -f -K "$dir/seed.curl" || { echo "bench: sessions could not be made" >&2; exit 1; }
}

# numbered FORMAT N: the format with 1..N in it, one a line.
numbered()
{
	awk -v format="$1\n" -v n="$2" 'BEGIN { for (i = 1; i <= n; i++) printf format, i }'
}

echo /null >"$dir/null.paths"
echo /null_memcached >"$dir/null_memcached.paths"
numbered '/php?%d' $sessions >"$dir/php.paths"
awk -v base="$base" -v n=$sessions -v file="$dir/message.json" 'BEGIN {
	for (round = 0; round < 20; round++)
		for (i = 1; i <= n; i++)
			printf "%surl = \"%s/php?%d\"\ndata = \"@%s\"\noutput = /dev/null\n", (round + i > 1 ? "next\n" : ""), base, i, file
	}' >"$dir/seed.curl"
printf %s "$message" >"$dir/message.json"
curl -sS --fail-early -f -K "$dir/seed.curl" || { echo "bench: the PHP script fails" >&2; exit 1; }

if test "$with_parley" = yes; then
	bench_await parley curl -fsS "$base/readyz"
	key=$(cat "$dir/bench.key")
	seed_sessions "$key" bench-%d $sessions 20
	numbered '/v1/sessions/bench-%d?messages=20' $sessions >"$dir/parley.paths"
	numbered '/v1/sessions/bench-%d/messages' $sessions >"$dir/parley.append.paths"
	cp "$dir/php.paths" "$dir/php.append.paths"
	echo "A cached read answers with $(call "$key" GET '/v1/sessions/bench-1?messages=20' | wc -c) bytes from parley," \
		"$(curl -fsS "$base/php?1" | wc -c) from PHP, 4096 from null + memcached." >"$dir/sizes"
else
	cp "$dir/php.paths" "$dir/php.append.paths"
	echo "PHP answers with $(curl -fsS "$base/php?1" | wc -c) bytes" >"$dir/sizes"
fi

# 100,000 messages in one session, beside sessions with 10; 100,000 sessions in one site, beside a site with 10.
seed_growth()
{
	small=$(cat "$dir/bench-small.key")
	large=$(cat "$dir/bench-large.key")
	seed_sessions "$key" few-%d $small_sessions 10
	seed_sessions "$key" many 1 1
	seed_sessions "$small" s-%d 10 0
	seed_sessions "$large" s-%d 10 0
	# Generated from rows that parley wrote itself. Ids grow with time, as UUIDv7 does.
	sql parley <<-END >/dev/null || exit 1
		INSERT INTO messages (conversation, seq, id, site, role, content, metadata, extra, turn, created_at)
		SELECT m.conversation, n.seq + 1, UNHEX(CONCAT(LEFT(HEX(m.id), 16), LPAD(HEX(n.seq), 16, '0'))), m.site, m.role, m.content,
			m.metadata, m.extra, m.turn, m.created_at + n.seq
		FROM messages m JOIN sessions s ON s.conversation = m.conversation JOIN seq_1_to_99999 n WHERE s.own_id = 'many' AND m.seq = 1;
		CREATE TEMPORARY TABLE model SELECT s.* FROM sessions s JOIN sites t ON t.id = s.site WHERE t.name = 'bench-large' AND s.own_id = 's-1';
		CREATE TEMPORARY TABLE made (id BINARY(16), conversation BINARY(16), n BIGINT);
		INSERT INTO made SELECT UNHEX(CONCAT(LPAD(HEX(created_at - 200000 + n.seq), 12, '0'), '7000', LPAD(HEX(n.seq), 16, '8'))),
			UNHEX(CONCAT(LPAD(HEX(created_at - 200000 + n.seq), 12, '0'), '7001', LPAD(HEX(n.seq), 16, '8'))), n.seq
			FROM model JOIN seq_1_to_99990 n;
		UPDATE model SET own_id = NULL;
		ALTER TABLE model ADD COLUMN n BIGINT;
		INSERT INTO sessions SELECT made.id, site, NULL, CONCAT(name, '-', made.n), agent, agent_name, user_id, client_type, context, title,
			status, tags, metadata, state, config, made.conversation, website_domain, ip_address, version, created_at - 200000 + made.n,
			updated_at - 200000 + made.n, active_at - 200000 + made.n, ended_at, expires_at FROM model JOIN made;
		INSERT INTO conversations (id, site, session, parent, base_seq, title, created_at)
			SELECT made.conversation, model.site, made.id, NULL, 0, '', model.created_at - 200000 + made.n FROM model JOIN made;
		ANALYZE TABLE messages, sessions, conversations;
	END
	# These rows came from behind parley's back: a write through it removes what the cache holds of the session.
	call "$key" PATCH /v1/sessions/many '{"title":"many"}' >/dev/null
	call "$key" GET '/v1/sessions/many?messages=20' >/dev/null
	numbered '/v1/sessions/few-%d/messages' $small_sessions >"$dir/append_few.paths"
	echo '/v1/sessions/many/messages' >"$dir/append_many.paths"
	numbered '/v1/sessions/few-%d/messages?order=desc&limit=20' 10 >"$dir/read_few.paths"
	echo '/v1/sessions/many/messages?order=desc&limit=20' >"$dir/read_many.paths"
	echo '/v1/sessions?limit=10' >"$dir/list.paths"
}
