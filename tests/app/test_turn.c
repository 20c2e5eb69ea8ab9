/* SPDX-License-Identifier: MIT */
/* test_turn: a message is sent and answered, at once or as a stream; whatever fails, the user's message stays and nothing hangs. */
#include "harness.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/turn_run.h"

static int64_t count_messages(struct api *h)
{
	return sql_int(h, "SELECT COUNT(*) FROM messages WHERE site = ?", DB_ARGS(db_ident(&h->home.id)));
}

static int64_t count_leases(struct api *h)
{
	return sql_int(h, "SELECT COUNT(*) FROM turn_leases WHERE site = ?", DB_ARGS(db_ident(&h->home.id)));
}

/* An agent that pauses so many milliseconds before each word. */
static void add_slow_agent(struct api *h, int ms)
{
	struct answer a = api_post(h, h->sk, api_text(h, "{\"name\":\"slow\",\"model\":\"slow:%d\"}", ms), "/v1/agents");
	must_be(a, 201);
}

/* An agent whose provider nobody answers for. */
static void add_broken_agent(struct api *h)
{
	struct provider p = { BYTES("nowhere"), BYTES("openai"), BYTES("http://127.0.0.1:1/v1"), BYTES("") };
	enum err e = provider_create(&h->task, h->app, &p);
	cr_assert(e == ERR_OK || e == ERR_CONFLICT, "%s", h->task.fault.detail); /* providers are the install's */
	struct answer a = api_post(h, h->sk, "{\"name\":\"broken\",\"provider\":\"nowhere\"}", "/v1/agents");
	must_be(a, 201);
}

static void allow_local(struct conf *c)
{
	c->provider_allow_hosts = "127.0.0.1";
}

Test(turn, answers_with_message_text_and_usage)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer a = api_post(h, h->sk, "{\"message\":\"Good day to you\",\"metadata\":{\"page\":3},\"client_id\":\"c1\"}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	assert_str(a, "session_id", id);
	cr_assert(strncmp(str_at(&a, "turn_id"), "trn_", 4) == 0);
	assert_str(a, "result", "You said: Good day to you");
	cr_assert(bool_at(&a, "success"));
	assert_str(a, "message.content", "You said: Good day to you");
	assert_str(a, "message.role", "assistant");
	assert_int(a, "message.seq", 2);
	assert_str(a, "message.turn_id", str_at(&a, "turn_id"));
	assert_int(a, "user_message.seq", 1);
	assert_int(a, "user_message.metadata.page", 3);
	assert_str(a, "user_message.client_id", "c1");
	assert_str(a, "user_message.turn_id", str_at(&a, "turn_id"));
	assert_int(a, "usage.input_tokens", 4);
	assert_int(a, "usage.output_tokens", 6);
	assert_int(a, "usage.total_tokens", 10);
	cr_assert_eq(count_at(&a, "steps"), 0);
	cr_assert(raw_at(&a, "token").p == NULL);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert(bytes_equal(raw_at(&list, "data[0]"), raw_at(&a, "user_message")));
	cr_assert(bytes_equal(raw_at(&list, "data[1]"), raw_at(&a, "message")));
	cr_assert_eq(count_leases(h), 0);
	api_close(&h);
}

Test(turn, can_be_read_back)
{
	struct api *h = api_open();
	const char *token;
	const char *id = new_session(h, h->sk, NULL, &token), *other = new_session(h, h->sk, NULL, NULL);
	struct answer a = api_post(h, token, "{\"message\":\"Hi\"}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	struct answer t = api_get(h, token, "/v1/sessions/%s/turns/%s", id, str_at(&a, "turn_id"));
	must_be(t, 200);
	assert_str(t, "id", str_at(&a, "turn_id"));
	assert_str(t, "status", "done");
	assert_str(t, "result", "You said: Hi");
	assert_str(t, "session_id", id);
	assert_int(t, "user_seq", 1);
	assert_int(t, "answer_seq", 2);
	cr_assert(is_null_at(&t, "error"));
	cr_assert(bytes_equal(raw_at(&t, "usage"), raw_at(&a, "usage")));
	cr_assert_leq(strcmp(str_at(&t, "created_at"), str_at(&t, "ended_at")), 0);
	struct answer elsewhere = api_get(h, h->sk, "/v1/sessions/%s/turns/%s", other, str_at(&a, "turn_id"));
	assert_code(elsewhere, 404, "not_found");
	static const char *const bad[] = { "trn_00000000000000000000000000", "x", "msg_00000000000000000000000000", "trn_" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer n = api_get(h, h->sk, "/v1/sessions/%s/turns/%s", id, bad[i]);
		assert_code(n, 404, "not_found");
		cr_assert_str_eq(masked(&n), masked(&elsewhere));
	}
	api_close(&h);
}

Test(turn, takes_parts_and_says_what_is_wrong)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer parts = api_post(h, h->sk, "{\"message\":[{\"type\":\"text\",\"text\":\"one\"},{\"type\":\"image\",\"url\":\"x\"},{\"type\":\"text\",\"text\":\"two\"}]}",
				       "/v1/sessions/%s/turns", id);
	must_be(parts, 200);
	assert_str(parts, "result", "You said: one\ntwo");
	static const struct {
		const char *body, *field;
	} bad[] = {
		{ "{}", "message" }, { "{\"message\":\"\"}", "message" }, { "{\"message\":[]}", "message" }, { "{\"message\":1}", "message" },
		{ "{\"message\":\"x\",\"stream\":\"yes\"}", "stream" }, { "{\"message\":\"x\",\"role\":\"system\"}", "role" },
		{ "{\"message\":\"x\",\"metadata\":7}", "metadata" }, { "{\"message\":\"x\",\"client_id\":\"\"}", "client_id" },
		{ "{\"message\":\"x\",\"session_id\":\"y\"}", "session_id" },
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_post(h, h->sk, bad[i].body, "/v1/sessions/%s/turns", id);
		assert_code(a, 400, "invalid_request");
		cr_assert(blames(&a, bad[i].field, NULL), "%s: %s", bad[i].body, a.body.p);
	}
	cr_assert_eq(count_messages(h), 2);
	api_close(&h);
}

/* ---- streams ---- */

/* Checks the order of a whole stream and returns the text of its deltas. */
static const char *check_stream(struct api *h, const struct answer *a, const char *turn, const char *last)
{
	struct buf text;
	buf_init(&text, h->arena, 256);
	must_be(*a, 200);
	cr_assert_str_eq(header_of(a, "Content-Type"), "text/event-stream");
	cr_assert_str_eq(header_of(a, "X-Accel-Buffering"), "no");
	cr_assert_str_eq(header_of(a, "Cache-Control"), "no-store");
	cr_assert_geq(a->n_events, 2);
	cr_assert_geq(a->n_flushes, (int)a->n_events);
	for (size_t i = 0; i < a->n_events; i++) {
		const struct event *e = &a->events[i];
		struct jsonx_flaw flaw;
		cr_assert(jsonx_check_strict(a->arena, e->data, &flaw), "%s", e->data.p);
		cr_assert_str_eq(e->event, i == 0 ? "turn" : i + 1 < a->n_events ? "delta" : last);
		if (strcmp(e->event, "delta") == 0)
			buf_add_bytes(&text, jsonx_string(a->arena, json_at(e->data, "text")));
		cr_assert_str_eq(e->id, api_text(h, "%s:%zu", turn, text.n)); /* the position behind it */
	}
	return buf_bytes(&text).p;
}

static const char *turn_of(struct api *h, const struct answer *a)
{
	cr_assert_gt(a->n_events, 0);
	struct bytes id = jsonx_string(a->arena, json_at(a->events[0].data, "turn_id"));
	return api_text(h, "%.*s", (int)id.n, id.p);
}

Test(turn, streams_turn_deltas_and_done)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer a = api_post(h, h->sk, "{\"message\":\"one two\\nthree \\u00e9\",\"stream\":true}", "/v1/sessions/%s/turns", id);
	const char *turn = turn_of(h, &a), *text = check_stream(h, &a, turn, "done");
	struct bytes done = a.events[a.n_events - 1].data, user = json_at(a.events[0].data, "user_message");
	cr_assert_geq(a.n_events, 5, "word by word");
	cr_assert_str_eq(text, "You said: one two\nthree \xc3\xa9");
	struct bytes result = jsonx_string(a.arena, json_at(done, "result"));
	cr_assert(bytes_equal(result, bytes_of(text)));
	cr_assert(bytes_equal(json_at(done, "user_message"), user));
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert(bytes_equal(raw_at(&list, "data[0]"), user));
	cr_assert(bytes_equal(raw_at(&list, "data[1]"), json_at(done, "message")));
	api_close(&h);
}

Test(turn, the_tokens_of_a_chat_stream_are_its_sessions)
{
	struct api *h = api_open();
	struct answer a = ask(h, .method = "POST", .to = "/v1/chat/guide/message", .key = h->pk, .origin = ORIGIN, .body = "{\"message\":\"hi\",\"stream\":true}");
	check_stream(h, &a, turn_of(h, &a), "done");
	for (size_t i = 0; i < a.n_events; i += a.n_events - 1) {
		struct bytes token = jsonx_string(a.arena, json_at(a.events[i].data, "token")), id = jsonx_string(a.arena, json_at(a.events[i].data, "session_id"));
		struct answer s = api_get(h, api_text(h, "%.*s", (int)token.n, token.p), "/v1/sessions/%.*s", (int)id.n, id.p);
		must_be(s, 200);
	}
	cr_assert_str_eq(header_of(&a, "Access-Control-Allow-Origin"), ORIGIN);
	api_close(&h);
}

/* MSG-10: a finished turn replays in the form that is asked for. */
Test(turn, replays_its_answer_streamed_or_not)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	const char *plain = "{\"message\":\"hi you\"}", *streamed = "{\"message\":\"hi you\",\"stream\":true}";
	struct answer a = api_post_once(h, h->sk, "p", plain, "/v1/sessions/%s/turns", id), b = api_post_once(h, h->sk, "p", plain, "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	must_be(b, 200);
	cr_assert_str_eq(a.body.p, b.body.p);
	cr_assert_str_eq(header_of(&b, "Idempotent-Replayed"), "true");
	struct answer c = api_post_once(h, h->sk, "s", streamed, "/v1/sessions/%s/turns", id), d = api_post_once(h, h->sk, "s", streamed, "/v1/sessions/%s/turns", id);
	const char *turn = turn_of(h, &c);
	const char *first = check_stream(h, &c, turn, "done"), *again = check_stream(h, &d, turn, "done");
	cr_assert_str_eq(first, again);
	cr_assert(bytes_equal(c.events[c.n_events - 1].data, d.events[d.n_events - 1].data));
	cr_assert(bytes_equal(c.events[0].data, d.events[0].data));
	cr_assert_str_eq(header_of(&d, "Idempotent-Replayed"), "true");
	cr_assert_eq(count_messages(h), 4);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM turns WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 2);
	api_close(&h);
}

/* TRN-5: the tab is closed, the turn goes on. */
Test(turn, finishes_when_its_reader_goes_away)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL), *to = api_text(h, "/v1/sessions/%s/turns", id);
	static const size_t lengths[] = { 1, 250, 900 };
	for (size_t i = 0; i < COUNT(lengths); i++) {
		struct ask q = { .method = "POST", .to = to, .key = h->sk, .body = "{\"message\":\"one two three\",\"stream\":true}", .gone_after = lengths[i] + 300 };
		struct answer a = api_ask(h, &q);
		cr_assert_leq(a.head.n + a.body.n, lengths[i] + 300);
		cr_assert_eq(count_messages(h), 2 * (int64_t)i + 2);
	}
	cr_assert_eq(count_leases(h), 0);
	api_close(&h);
}

struct background {
	struct api *h;
	const char *to, *body, *idem;
	struct pace pace;
	struct answer answer;
	pthread_t thread;
};

static void *ask_in_background(void *arg)
{
	struct background *b = arg;
	b->answer = ask(b->h, .method = "POST", .to = b->to, .key = b->h->sk, .body = b->body, .idem = b->idem, .pace = &b->pace);
	return NULL;
}

/* Begins a streamed call and returns when its first events are out. */
static void begin_in_background(struct background *b)
{
	cr_assert_eq(pthread_create(&b->thread, NULL, ask_in_background, b), 0);
	for (int i = 0; i < 5000 && b->pace.n_flushes < 3 && !b->pace.is_over; i++)
		nap(1);
	cr_assert_geq(b->pace.n_flushes, 3);
}

/* TRN-6 */
Test(turn, a_second_one_is_refused_while_one_runs, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE, NULL), *twin = api_twin(h, 0, NULL);
	add_slow_agent(h, 60);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	struct background b = { .h = h, .to = api_text(h, "/v1/sessions/%s/turns", id), .body = "{\"message\":\"1 2 3 4 5 6 7 8\",\"stream\":true}", .idem = "k" };
	begin_in_background(&b);
	struct api *const both[] = { h, twin };
	for (int i = 0; i < 2; i++) {
		struct answer second = api_post(both[i], h->sk, "{\"message\":\"me too\"}", "%s", b.to);
		assert_code(second, 409, "turn_running");
		cr_assert_not_null(header_of(&second, "Retry-After"));
		struct answer chat = api_post(both[i], h->sk, api_text(h, "{\"message\":\"me too\",\"session_id\":\"%s\"}", id), "/v1/chat/slow/message");
		assert_code(chat, 409, "turn_running");
		struct answer same = api_post_once(both[i], h->sk, "k", b.body, "%s", b.to);
		assert_code(same, 409, "request_running");
		cr_assert_not_null(header_of(&same, "Retry-After"));
	}
	struct answer append = api_post(h, h->sk, "{\"role\":\"system\",\"content\":\"meanwhile\"}", "/v1/sessions/%s/messages", id);
	must_be(append, 201);
	assert_int(append, "seq", 2);
	pthread_join(b.thread, NULL);
	cr_assert_str_eq(check_stream(h, &b.answer, turn_of(h, &b.answer), "done"), "You said: 1 2 3 4 5 6 7 8");
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_eq(count_at(&list, "data"), 3);
	assert_str(list, "data[2].role", "assistant");
	struct answer after = api_post(h, h->sk, "{\"message\":\"now\"}", "%s", b.to);
	must_be(after, 200);
	api_close(&twin);
	api_close(&h);
}

/* Another reader sees a running turn with what has come of its text. */
Test(turn, can_be_read_while_it_runs, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE, NULL);
	add_slow_agent(h, 80);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	struct background b = { .h = h, .to = api_text(h, "/v1/sessions/%s/turns", id), .body = "{\"message\":\"1 2 3 4 5 6 7 8 9 10\",\"stream\":true}" };
	begin_in_background(&b);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_eq(count_at(&list, "data"), 1, "the user's message is there before the answer");
	const char *turn = str_at(&list, "data[0].turn_id"), *part = "";
	for (int i = 0; i < 100 && !part[0]; i++) {
		struct answer t = api_get(h, h->sk, "/v1/sessions/%s/turns/%s", id, turn);
		assert_str(t, "status", "running");
		cr_assert(is_null_at(&t, "answer_seq") && is_null_at(&t, "ended_at"));
		part = str_at(&t, "result");
		nap(10);
	}
	cr_assert(part[0] && strncmp("You said: 1 2 3 4 5 6 7 8 9 10", part, strlen(part)) == 0, "%s", part);
	pthread_join(b.thread, NULL);
	struct answer t = api_get(h, h->sk, "/v1/sessions/%s/turns/%s", id, turn);
	assert_str(t, "status", "done");
	api_close(&h);
}

/* A connection whose other end reads nothing, as fcgi.c sets it up. */
static bool socket_write(void *arg, struct bytes b)
{
	return send(*(int *)arg, b.p, b.n, MSG_NOSIGNAL) == (ssize_t)b.n;
}

static bool socket_flush(void *arg)
{
	(void)arg;
	return true;
}

static int socket_fd(void *arg)
{
	return *(int *)arg;
}

struct stalled {
	struct api *h;
	const char *to, *body;
	int fd;
	bool is_client_gone;
	pthread_t thread;
};

static void *stream_to_nobody(void *arg)
{
	struct stalled *s = arg;
	struct arena *a = arena_open(0);
	struct task t;
	struct http_response rs;
	task_init(&t, a);
	struct http_request rq = { .method_text = BYTES("POST"), .method = HTTP_POST, .path = bytes_of(s->to), .query = BYTES(""),
				   .authorization = bytes_of(arena_printf(a, "Bearer %s", s->h->sk)), .content_type = BYTES("application/json"),
				   .remote_addr = BYTES("203.0.113.9"), .body_state = HTTP_BODY_OK, .body = bytes_of(s->body) };
	http_response_init(&rs, &t, (struct http_sink){ &s->fd, socket_write, socket_flush, socket_fd, NULL });
	app_answer(s->h->app, &t, &rq, &rs);
	s->is_client_gone = rs.is_client_gone;
	arena_close(&a);
	return NULL;
}

static void brief_lease(struct conf *c)
{
	c->turn_lease = 1000;
}

/* TRN-10: a tab that is open but takes nothing costs the turn no more than one that is closed. */
Test(turn, finishes_when_its_reader_stalls, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE, brief_lease);
	struct stalled s = { .h = h };
	struct timeval most = { .tv_sec = 5 };
	int ends[2], room = 4096;
	int64_t swept = 0;
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	cr_assert(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0 && setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most) == 0);
	s.fd = ends[0];
	add_slow_agent(h, 10);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	struct buf b;
	buf_init(&b, h->arena, 4096);
	buf_add_str(&b, "{\"stream\":true,\"message\":\"");
	for (int i = 0; i < 200; i++)
		buf_add_str(&b, "word ");
	buf_add_str(&b, "\"}");
	s.body = b.p;
	s.to = api_text(h, "/v1/sessions/%s/turns", id);
	cr_assert_eq(pthread_create(&s.thread, NULL, stream_to_nobody, &s), 0);
	nap(2500); /* longer than the lease */
	cr_assert_eq(app_sweep(&h->task, h->app, &swept), ERR_OK);
	pthread_join(s.thread, NULL);
	cr_assert(s.is_client_gone);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_eq(count_at(&list, "data"), 2);
	struct answer t = api_get(h, h->sk, "/v1/sessions/%s/turns/%s", id, str_at(&list, "data[0].turn_id"));
	assert_str(t, "status", "done");
	close(ends[0]);
	close(ends[1]);
	api_close(&h);
}

/* The answer may come between a reader's look at the session and its look at the turn. */
Test(turn, has_its_text_whenever_it_is_seen_done, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE | API_NO_CACHE, NULL);
	add_slow_agent(h, 5);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	for (int i = 0; i < 20; i++) {
		struct background b = { .h = h, .to = api_text(h, "/v1/sessions/%s/turns", id), .body = "{\"message\":\"hi\",\"stream\":true}" };
		begin_in_background(&b);
		struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages?order=desc&limit=1", id);
		const char *turn = str_at(&list, "data[0].turn_id");
		struct answer t;
		do
			t = api_get(h, h->sk, "/v1/sessions/%s/turns/%s", id, turn);
		while (strcmp(str_at(&t, "status"), "running") == 0);
		assert_str(t, "status", "done");
		assert_str(t, "result", "You said: hi");
		pthread_join(b.thread, NULL);
	}
	api_close(&h);
}

static void one_turn_and_heartbeats(struct conf *c)
{
	c->turn_threads = 1;
	c->sse_heartbeat = 200;
}

Test(turn, the_rest_are_told_to_come_back_when_all_places_are_taken, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE, one_turn_and_heartbeats);
	add_slow_agent(h, 60);
	const char *one = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL), *two = new_session(h, h->sk, NULL, NULL);
	struct background b = { .h = h, .to = api_text(h, "/v1/sessions/%s/turns", one), .body = "{\"message\":\"1 2 3 4 5\",\"stream\":true}" };
	begin_in_background(&b);
	struct answer full = api_post_once(h, h->sk, "k", "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", two);
	assert_code(full, 503, "busy");
	cr_assert_not_null(header_of(&full, "Retry-After"));
	struct answer stream = api_post(h, h->sk, "{\"message\":\"hi\",\"stream\":true}", "/v1/sessions/%s/turns", two);
	assert_code(stream, 503, "busy");
	struct answer chat = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/chat/guide/message");
	assert_code(chat, 503, "busy");
	struct answer read = api_get(h, h->sk, "/v1/sessions/%s?messages=5", two);
	must_be(read, 200);
	cr_assert_eq(count_at(&read, "messages"), 0, "a refused turn stored nothing");
	pthread_join(b.thread, NULL);
	struct answer after = api_post_once(h, h->sk, "k", "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", two);
	must_be(after, 200);
	api_close(&h);
}

Test(turn, a_silent_stream_gets_heartbeats, .timeout = 30)
{
	struct api *h = api_open_with(0, one_turn_and_heartbeats);
	add_slow_agent(h, 700);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	struct answer a = api_post(h, h->sk, "{\"message\":\"x\",\"stream\":true}", "/v1/sessions/%s/turns", id);
	check_stream(h, &a, turn_of(h, &a), "done");
	cr_assert_geq(a.n_comments, 2);
	api_close(&h);
}

/* ---- failures ---- */

/* TRN-8 */
Test(turn, a_provider_that_fails_leaves_the_users_message, .timeout = 30)
{
	struct api *h = api_open_with(0, allow_local);
	add_broken_agent(h);
	const char *id = new_session(h, h->sk, "{\"agent\":\"broken\"}", NULL);
	struct answer a = api_post(h, h->sk, "{\"message\":\"keep me\"}", "/v1/sessions/%s/turns", id);
	assert_code(a, 502, "provider_unreachable");
	assert_str(a, "session_id", id);
	cr_assert(strstr(a.body.p, "127.0.0.1") == NULL, "nothing internal is shown: %s", a.body.p);
	struct answer t = api_get(h, h->sk, "/v1/sessions/%s/turns/%s", id, str_at(&a, "turn_id"));
	assert_str(t, "status", "failed");
	assert_str(t, "error.code", "provider_unreachable");
	cr_assert(strlen(str_at(&t, "error.detail")) > 0 && is_null_at(&t, "answer_seq"));
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_eq(count_at(&list, "data"), 1);
	assert_str(list, "data[0].content", "keep me");
	cr_assert_eq(count_leases(h), 0);
	struct answer again = api_post(h, h->sk, "{\"message\":\"next\"}", "/v1/sessions/%s/turns", id);
	assert_code(again, 502, "provider_unreachable");
	cr_assert_eq(count_messages(h), 2);
	api_close(&h);
}

/* TRN-8 */
Test(turn, a_failure_in_a_stream_is_its_last_event, .timeout = 30)
{
	struct api *h = api_open_with(0, allow_local);
	add_broken_agent(h);
	const char *id = new_session(h, h->sk, "{\"agent\":\"broken\"}", NULL);
	struct answer a = api_post(h, h->sk, "{\"message\":\"keep me\",\"stream\":true}", "/v1/sessions/%s/turns", id);
	const char *turn = turn_of(h, &a), *text = check_stream(h, &a, turn, "error");
	cr_assert_str_empty(text);
	struct bytes error = a.events[a.n_events - 1].data;
	cr_assert(bytes_equal(json_at(error, "code"), BYTES("\"provider_unreachable\"")));
	cr_assert_eq(jsonx_int(json_at(error, "status")), 502);
	cr_assert(bytes_equal(json_at(error, "session_id"), bytes_of(api_text(h, "\"%s\"", id))));
	cr_assert(bytes_equal(json_at(error, "turn_id"), bytes_of(api_text(h, "\"%s\"", turn))));
	cr_assert(json_at(error, "detail").n > 2);
	api_close(&h);
}

/* TRN-7, TRN-8: the key of a failed turn is free, and the message it stored is not stored twice. */
Test(turn, a_failed_one_can_be_tried_again_under_its_key, .timeout = 30)
{
	struct api *h = api_open_with(0, allow_local);
	add_broken_agent(h);
	const char *id = new_session(h, h->sk, "{\"agent\":\"broken\"}", NULL), *body = "{\"message\":\"once\"}";
	struct answer a = api_post_once(h, h->sk, "k", body, "/v1/sessions/%s/turns", id);
	assert_code(a, 502, "provider_unreachable");
	struct answer b = api_post_once(h, h->sk, "k", body, "/v1/sessions/%s/turns", id);
	assert_code(b, 502, "provider_unreachable");
	cr_assert_str_neq(str_at(&a, "turn_id"), str_at(&b, "turn_id"));
	cr_assert_eq(count_messages(h), 1);
	struct answer agent = api_patch(h, h->sk, "{\"provider\":\"echo\"}", "/v1/agents/broken");
	must_be(agent, 200);
	struct answer c = api_post_once(h, h->sk, "k", body, "/v1/sessions/%s/turns", id);
	must_be(c, 200);
	assert_int(c, "user_message.seq", 1);
	assert_int(c, "message.seq", 2);
	assert_str(c, "result", "You said: once");
	struct answer d = api_post_once(h, h->sk, "k", body, "/v1/sessions/%s/turns", id);
	cr_assert_str_eq(c.body.p, d.body.p);
	cr_assert_eq(count_messages(h), 2);
	api_close(&h);
}

/* TRN-8: also where this worker has not heard that the message has gone; nothing new comes below what is removed. */
Test(turn, a_retry_behind_a_cleared_history_begins_anew, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE, allow_local), *deaf = api_twin(h, API_NO_CACHE, NULL);
	add_broken_agent(h);
	const char *id = new_session(h, h->sk, "{\"agent\":\"broken\"}", NULL), *body = "{\"message\":\"once\"}";
	struct answer a = api_post_once(h, h->sk, "k", body, "/v1/sessions/%s/turns", id);
	assert_code(a, 502, "provider_unreachable");
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id); /* and into the cache with it */
	must_be(s, 200);
	struct ident gone = ident_of(PREFIX_CONVERSATION, str_at(&s, "conversation_id")), nobody = { { 0 } };
	struct answer next = api_post(deaf, h->sk, NULL, "/v1/sessions/%s/conversations", id);
	must_be(next, 201);
	cr_assert_eq(sql_run(h, "UPDATE conversations SET session = ? WHERE id = ?", DB_ARGS(db_ident(&nobody), db_ident(&gone))), 1, "not purged yet");
	struct answer agent = api_patch(h, h->sk, "{\"provider\":\"echo\"}", "/v1/agents/broken");
	must_be(agent, 200);
	struct answer b = api_post_once(h, h->sk, "k", body, "/v1/sessions/%s/turns", id);
	must_be(b, 200);
	assert_int(b, "user_message.seq", 1);
	assert_int(b, "message.seq", 2);
	assert_str(b, "message.conversation_id", str_at(&next, "id"));
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM turns WHERE conversation = ?", DB_ARGS(db_ident(&gone))), 1, "the failed one");
	api_close(&deaf);
	api_close(&h);
}

/* Of two retries one takes the freed key over; the other had seen it running and finds it running again, under another turn. */
Test(turn, a_key_that_another_retry_took_over_is_running, .timeout = 30)
{
	struct api *h = api_open_with(0, allow_local);
	add_broken_agent(h);
	const char *id = new_session(h, h->sk, "{\"agent\":\"broken\"}", NULL), *body = "{\"message\":\"once\"}";
	struct answer a = api_post_once(h, h->sk, "k", body, "/v1/sessions/%s/turns", id);
	assert_code(a, 502, "provider_unreachable");
	sql_run(h, "UPDATE idempotency SET status = 0 WHERE site = ?", DB_ARGS(db_ident(&h->home.id)));
	struct answer b = api_post_once(h, h->sk, "k", body, "/v1/sessions/%s/turns", id);
	assert_code(b, 409, "request_running");
	cr_assert_not_null(header_of(&b, "Retry-After"));
	struct answer c = api_post_once(h, h->sk, "k", "{\"message\":\"once\",\"stream\":true}", "/v1/sessions/%s/turns", id);
	assert_code(c, 422, "idempotency_key_reused");
	api_close(&h);
}

/* The chat call makes the session; when the provider fails, the retry goes on in it. */
Test(turn, a_failed_first_chat_call_is_tried_again_in_the_same_session, .timeout = 30)
{
	struct api *h = api_open_with(0, allow_local);
	add_broken_agent(h);
	const char *body = "{\"message\":\"once\"}";
	struct answer a = api_post_once(h, h->sk, "k", body, "/v1/chat/broken/message");
	assert_code(a, 502, "provider_unreachable");
	cr_assert(strncmp(str_at(&a, "token"), "st_", 3) == 0);
	struct answer agent = api_patch(h, h->sk, "{\"provider\":\"echo\"}", "/v1/agents/broken");
	must_be(agent, 200);
	struct answer b = api_post_once(h, h->sk, "k", body, "/v1/chat/broken/message");
	must_be(b, 200);
	assert_str(b, "session_id", str_at(&a, "session_id"));
	cr_assert(strncmp(str_at(&b, "token"), "st_", 3) == 0);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM sessions WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 1);
	cr_assert_eq(count_messages(h), 2);
	api_close(&h);
}

static void short_lease(struct conf *c)
{
	c->turn_lease = 400;
}

/* Begins a slow turn in a process of its own and kills it in the middle. */
static void lose_worker(struct api *h, const char *to, const char *body, const char *idem)
{
	int64_t leases = count_leases(h);
	pid_t pid = fork();
	if (pid == 0) {
		struct api *worker = api_twin(h, 0, short_lease);
		ask(worker, .method = "POST", .to = to, .key = h->sk, .body = body, .idem = idem);
		_exit(0);
	}
	for (int i = 0; i < 3000 && count_leases(h) == leases; i++)
		nap(2);
	cr_assert_eq(count_leases(h), leases + 1);
	nap(30);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* TRN-8: worker_lost */
Test(turn, of_a_lost_worker_ends_as_failed_and_its_key_is_free, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, short_lease);
	add_slow_agent(h, 300);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL), *to = api_text(h, "/v1/sessions/%s/turns", id), *body = "{\"message\":\"a b c d e f\"}";
	lose_worker(h, to, body, "k");
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	const char *lost = str_at(&list, "data[0].turn_id");
	nap(600);
	struct answer t = api_get(h, h->sk, "%s/%s", to, lost);
	assert_str(t, "status", "failed");
	assert_str(t, "error.code", "worker_lost");
	cr_assert_eq(count_leases(h), 0);
	struct answer faster = api_patch(h, h->sk, "{\"model\":\"\"}", "/v1/agents/slow");
	must_be(faster, 200);
	struct answer again = api_post_once(h, h->sk, "k", body, "%s", to);
	must_be(again, 200);
	assert_int(again, "user_message.seq", 1);
	assert_str(again, "result", "You said: a b c d e f");
	cr_assert_eq(count_messages(h), 2);
	api_close(&h);
}

/* TRN-8: the key alone finds out, without anybody having looked at the turn. */
Test(turn, of_a_lost_worker_is_tried_again_at_once_when_its_lease_is_over, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, short_lease);
	add_slow_agent(h, 300);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL), *to = api_text(h, "/v1/sessions/%s/turns", id), *body = "{\"message\":\"a b c\"}";
	lose_worker(h, to, body, "k");
	struct answer early = api_post_once(h, h->sk, "k", body, "%s", to);
	assert_code(early, 409, "request_running");
	struct answer faster = api_patch(h, h->sk, "{\"model\":\"\"}", "/v1/agents/slow");
	must_be(faster, 200);
	nap(600);
	struct answer again = api_post_once(h, h->sk, "k", body, "%s", to);
	must_be(again, 200);
	cr_assert_eq(count_messages(h), 2);
	/* Without a key a new turn takes the lease over. */
	struct answer slower = api_patch(h, h->sk, "{\"model\":\"slow:300\"}", "/v1/agents/slow");
	must_be(slower, 200);
	lose_worker(h, to, body, NULL);
	nap(600);
	faster = api_patch(h, h->sk, "{\"model\":\"\"}", "/v1/agents/slow");
	struct answer other = api_post(h, h->sk, "{\"message\":\"next\"}", "%s", to);
	must_be(other, 200);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM turns WHERE site = ? AND status = 1", DB_ARGS(db_ident(&h->home.id))), 0);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM turns WHERE site = ? AND status = 3", DB_ARGS(db_ident(&h->home.id))), 2);
	api_close(&h);
}

/* A turn that outlives its lease because its worker stood still is ended once. */
Test(turn, renews_its_lease_while_it_runs, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, short_lease);
	add_slow_agent(h, 120);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	struct answer a = api_post(h, h->sk, "{\"message\":\"1 2 3 4 5 6 7 8 9\"}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	api_close(&h);
}

Test(turn, is_given_up_when_somebody_else_ended_it, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE, short_lease);
	add_slow_agent(h, 150);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	struct background b = { .h = h, .to = api_text(h, "/v1/sessions/%s/turns", id), .body = "{\"message\":\"1 2 3 4 5 6 7\",\"stream\":true}" };
	begin_in_background(&b);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id), t;
	for (int i = 0; i < 5; i++) { /* its worker may renew the lease in between */
		sql_run(h, "UPDATE turn_leases SET lease_until = 1 WHERE site = ?", DB_ARGS(db_ident(&h->home.id)));
		t = api_get(h, h->sk, "%s/%s", b.to, str_at(&list, "data[0].turn_id"));
		if (strcmp(str_at(&t, "status"), "failed") == 0)
			break;
	}
	assert_str(t, "error.code", "worker_lost");
	pthread_join(b.thread, NULL);
	cr_assert_str_eq(b.answer.events[b.answer.n_events - 1].event, "error");
	struct answer after = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_eq(count_at(&after, "data"), 1, "no answer behind a turn that was reported as failed");
	struct answer still = api_get(h, h->sk, "%s/%s", b.to, str_at(&list, "data[0].turn_id"));
	assert_str(still, "error.code", "worker_lost");
	api_close(&h);
}

/* An answer that was paid for is kept though the session ended meanwhile; one of a deleted session is not. */
Test(turn, keeps_its_answer_when_the_session_ends_and_not_when_it_is_deleted, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE, NULL);
	add_slow_agent(h, 50);
	for (int is_deleted = 0; is_deleted < 2; is_deleted++) {
		const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
		int64_t before = count_messages(h);
		struct background b = { .h = h, .to = api_text(h, "/v1/sessions/%s/turns", id), .body = "{\"message\":\"1 2 3 4\",\"stream\":true}" };
		begin_in_background(&b);
		struct answer a = is_deleted ? api_delete(h, h->sk, "/v1/sessions/%s", id) : api_post(h, h->sk, NULL, "/v1/sessions/%s/end", id);
		must_be(a, is_deleted ? 204 : 200);
		pthread_join(b.thread, NULL);
		cr_assert_str_eq(b.answer.events[b.answer.n_events - 1].event, is_deleted ? "error" : "done");
		cr_assert_eq(count_messages(h), before + (is_deleted ? 0 : 2));
		struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
		must_be(s, is_deleted ? 404 : 200);
	}
	cr_assert_eq(count_leases(h), 0);
	api_close(&h);
}

/* TRN-7: the first attempt was stored, but its COMMIT got no answer and nobody could be asked: the second finds what it did. */
Test(turn, finished_twice_is_finished_once)
{
	struct api *h = api_open();
	struct task *t = &h->task;
	const char *id = new_session(h, h->sk, "{\"agent\":\"guide\"}", NULL);
	struct head head;
	struct agent agent;
	struct idem idem = { 0 };
	struct turn turn;
	struct bytes first, second;
	struct message_new said = { .role = ROLE_ASSISTANT, .content = BYTES("\"yes\"") };
	struct turn_outcome out = { .status = TURN_DONE, .finish = BYTES("stop"), .messages = &said, .n_messages = 1, .has_answer = true,
				    .text = BYTES("yes"), .provider = BYTES("echo"), .model = BYTES("") };
	cr_assert_eq(head_find(t, h->app, &h->home.id, bytes_of(id), &head), ERR_OK);
	cr_assert_eq(agent_find(t, h->app, &h->home.id, BYTES("guide"), &agent), ERR_OK);
	struct turn_start start = { .head = &head, .agent = &agent, .idem = &idem, .message = { .role = ROLE_USER, .content = BYTES("\"well?\"") } };
	cr_assert_eq(turn_begin(t, h->app, &start, &turn), ERR_OK);
	cr_assert_eq(turn_finish(t, h->app, &head, &turn, start.user_json, &out, &first), ERR_OK);
	cr_assert_eq(turn_finish(t, h->app, &head, &turn, start.user_json, &out, &second), ERR_OK);
	cr_assert(bytes_equal(first, second), "%s is not %s", first.p, second.p);
	cr_assert_eq(count_messages(h), 2);
	cr_assert_eq(count_leases(h), 0);
	api_close(&h);
}

Test(turn, needs_its_agent)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer gone = api_delete(h, h->sk, "/v1/agents/guide");
	must_be(gone, 204);
	struct answer a = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", id);
	assert_code(a, 409, "conflict");
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
	assert_str(s, "agent", "guide");
	cr_assert_eq(count_messages(h), 0);
	api_close(&h);
}
