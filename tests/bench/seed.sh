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

# searched N: N sessions of one user with 100 messages each, of words that occur seldom and often.
seed_searched()
{
	awk -v base="$base" -v key="$key" -v n="$1" -v dir="$dir" 'BEGIN {
		split("table window booking refund invoice delivery garden summer bicycle repair museum ticket garage holiday teacher pancake", word, " ")
		srand(20)
		for (i = 1; i <= n; i++) {
			file = dir "/searched-" i ".json"
			printf "{\"messages\":[" > file
			for (m = 0; m < 100; m++) {
				text = "Message " m " of " i ":"
				for (w = 0; w < 40; w++)
					text = text " " word[1 + int(rand() * rand() * 16)] (rand() < 0.3 ? int(rand() * 1000) : "")
				printf "%s{\"role\":\"%s\",\"content\":\"%s.\"}", m ? "," : "", m % 2 ? "assistant" : "user", text >> file
			}
			printf "]}" >> file
			close(file)
			printf "%surl = \"%s/v1/sessions\"\nheader = \"Authorization: Bearer %s\"\nheader = \"Content-Type: application/json\"\n", sep, base, key
			printf "data = \"{\\\"agent\\\":\\\"echo\\\",\\\"id\\\":\\\"searched-%d\\\",\\\"user\\\":\\\"searcher\\\"}\"\noutput = /dev/null\n", i
			printf "next\nurl = \"%s/v1/sessions/searched-%d/messages\"\nheader = \"Authorization: Bearer %s\"\n", base, i, key
			printf "header = \"Content-Type: application/json\"\ndata = \"@%s\"\noutput = /dev/null\n", file
			sep = "next\n"
		}
	}' >"$dir/searched.curl"
	curl -sS --fail-early -f -K "$dir/searched.curl" || { echo "bench: what is searched could not be made" >&2; exit 1; }
}

# conversation ID: the active conversation of a session of the site bench.
conversation()
{
	call "$key" GET "/v1/sessions/$1" | sed 's/.*"conversation_id":"\([^"]*\)".*/\1/'
}

# paths SIZE FORMAT N: what is asked of N sessions of a size. Ten messages fill the context's budget, so that each size gives the same.
paths()
{
	numbered "/v1/sessions/$2/messages" "$3" >"$dir/append_$1.paths"
	numbered "/v1/sessions/$2/messages?order=desc&limit=20" "$3" >"$dir/read20_$1.paths"
	numbered "/v1/sessions/$2/context?tokens=200" "$3" >"$dir/context_$1.paths"
	numbered "/v1/sessions/$2/clone" "$3" >"$dir/clone_$1.paths"
	for _id in $(numbered "$2" "$3"); do
		echo "/v1/sessions/$_id/conversations/$(conversation "$_id")/branch"
	done >"$dir/branch_$1.paths"
}

# make_sessions SITE N: N more sessions of a site, made in the database from one that parley wrote itself. Ids grow with time, as UUIDv7 does.
make_sessions()
{
	sql parley <<-END >/dev/null || exit 1
		CREATE TEMPORARY TABLE model SELECT s.* FROM sessions s JOIN sites t ON t.id = s.site WHERE t.name = '$1' AND s.own_id = 's-1';
		CREATE TEMPORARY TABLE made (id BINARY(16), conversation BINARY(16), n BIGINT);
		INSERT INTO made SELECT UNHEX(CONCAT(LPAD(HEX(created_at - 200000 + n.seq), 12, '0'), '7000', LPAD(HEX(n.seq), 16, '8'))),
			UNHEX(CONCAT(LPAD(HEX(created_at - 200000 + n.seq), 12, '0'), '7001', LPAD(HEX(n.seq), 16, '8'))), n.seq
			FROM model JOIN seq_1_to_$2 n;
		INSERT INTO sessions (id, site, own_id, name, agent, agent_name, user_id, client_type, context, title, status, tags, metadata, state, config,
			conversation, website_domain, ip_address, version, created_at, updated_at, active_at, ended_at, expires_at, flags, idle_ttl)
			SELECT made.id, site, NULL, CONCAT(name, '-', made.n), agent, agent_name, user_id, client_type, context, title, status, tags, metadata,
			state, config, made.conversation, website_domain, ip_address, version, created_at - 200000 + made.n, updated_at - 200000 + made.n,
			active_at - 200000 + made.n, ended_at, expires_at, flags, idle_ttl FROM model JOIN made;
		INSERT INTO session_tags (site, tag, created_at, session)
			SELECT t.site, t.tag, model.created_at - 200000 + made.n, made.id FROM model JOIN session_tags t ON t.session = model.id JOIN made;
		INSERT INTO conversations (id, site, session, parent, base_seq, title, created_at)
			SELECT made.conversation, model.site, made.id, NULL, 0, '', model.created_at - 200000 + made.n FROM model JOIN made;
	END
}

# make_messages ID N: N more messages in a session of one, generated from that one.
make_messages()
{
	sql parley <<-END >/dev/null || exit 1
		INSERT INTO messages (conversation, seq, id, site, role, content, metadata, extra, turn, created_at, tokens)
		SELECT m.conversation, n.seq + 1, UNHEX(CONCAT(LEFT(HEX(m.id), 16), LPAD(HEX(n.seq), 16, '0'))), m.site, m.role, m.content,
			m.metadata, m.extra, m.turn, m.created_at + n.seq, m.tokens
		FROM messages m JOIN sessions s ON s.conversation = m.conversation JOIN seq_1_to_$2 n WHERE s.own_id = '$1' AND m.seq = 1;
	END
	# These rows came from behind parley's back: a write through it removes what the cache holds of the session.
	call "$key" PATCH "/v1/sessions/$1" '{"title":"many"}' >/dev/null
	call "$key" GET "/v1/sessions/$1?messages=20" >/dev/null
}

# Sessions with 10, 1,000 and 100,000 messages; sites with 10, 1,000 and 100,000 sessions; a user with 5,000 messages.
seed_growth()
{
	seed_sessions "$key" few-%d $small_sessions 10
	seed_sessions "$key" mid-%d 10 1
	seed_sessions "$key" many-%d 1 1
	for i in 1 2 3 4 5 6 7 8 9 10; do
		make_messages mid-$i 999
	done
	make_messages many-1 99999
	for size in few mid many; do
		body='{"agent":"echo","id":"s-1","user":"ann","tags":["vip"]}'
		call "$(cat "$dir/bench-$size.key")" POST /v1/sessions "$body" >/dev/null
	done
	make_sessions bench-few 9
	make_sessions bench-mid 999
	make_sessions bench-many 99999
	sql parley -e "ANALYZE TABLE messages, sessions, conversations, session_tags" >/dev/null
	seed_searched 50
	paths few few-%d $small_sessions
	paths mid mid-%d 10
	paths many many-%d 1
	echo '/v1/sessions?limit=10' >"$dir/list.paths"
	echo '/v1/sessions?limit=10&tag=vip' >"$dir/list_tag.paths"
	echo '/v1/sessions?limit=10&user=ann&status=active' >"$dir/list_user.paths"
	for q in refund%20invoice 'pancake' '%22summer%20garden%22' holi; do
		echo "/v1/search?user=searcher&q=$q"
	done >"$dir/search.paths"
}
