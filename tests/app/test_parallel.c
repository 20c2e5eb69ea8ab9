/* SPDX-License-Identifier: MIT */
/* test_parallel: many at once: nothing is lost, nothing is doubled, nothing is given twice. */
#include "harness.h"

#include <stdio.h>

struct crowd {
	struct api *h, *twin;
	const char *id, *token;
	int rounds, batch;
	bool is_keyed;
	int status[64];
	int64_t seqs[64][64]; /* the first seq of each append */
	struct answer answers[64];
	_Atomic int n_stale;
};

static struct api *app_of(struct crowd *c, int i)
{
	return c->twin && i % 2 ? c->twin : c->h;
}

static void create_and_append(void *arg, int i)
{
	struct crowd *c = arg;
	char body[64];
	struct answer a = ask(app_of(c, i), .method = "POST", .to = "/v1/sessions", .key = c->h->sk, .body = "{\"agent\":\"guide\",\"id\":\"party\",\"if_exists\":\"return\"}");
	c->status[i] = a.status;
	snprintf(body, sizeof body, "{\"role\":\"user\",\"content\":\"%d\"}", i);
	c->answers[i] = ask(app_of(c, i), .method = "POST", .to = "/v1/sessions/party/messages", .key = c->h->sk, .body = body);
}

/* SES-2 */
Test(parallel, first_calls_with_one_own_id_make_one_session_and_lose_nothing, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL);
	struct crowd c = { .h = h, .twin = api_twin(h, 0, NULL) };
	in_parallel(25, create_and_append, &c);
	int n_created = 0;
	bool seen[26] = { false };
	for (int i = 0; i < 25; i++) {
		cr_assert(c.status[i] == 200 || c.status[i] == 201, "%d", c.status[i]);
		n_created += c.status[i] == 201;
		must_be(c.answers[i], 201);
		int64_t seq = int_at(&c.answers[i], "seq");
		cr_assert(seq >= 1 && seq <= 25 && !seen[seq]);
		seen[seq] = true;
	}
	cr_assert_eq(n_created, 1);
	struct answer list = api_get(h, h->sk, "/v1/sessions/party/messages?limit=100");
	cr_assert_eq(count_at(&list, "data"), 25);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM sessions WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 1);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM conversations WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 1);
	api_close(&c.twin);
	api_close(&h);
}

static void chat(void *arg, int i)
{
	struct crowd *c = arg;
	c->answers[i] = ask(app_of(c, i), .method = "POST", .to = "/v1/chat/guide/message", .key = c->h->sk, .body = "{\"message\":\"hi\",\"session_id\":\"chat-party\"}");
}

static void many_turns(struct conf *conf)
{
	conf->turn_threads = 64;
}

/* SES-2, TRN-10: a chat call creates or loads too; a turn that meets another one is told so. */
Test(parallel, first_chat_calls_with_one_own_id_make_one_session, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, many_turns);
	struct crowd c = { .h = h, .twin = api_twin(h, 0, many_turns) };
	in_parallel(25, chat, &c);
	int n_done = 0;
	for (int i = 0; i < 25; i++) {
		if (c.answers[i].status == 409)
			cr_assert_str_eq(code_of(&c.answers[i]), "turn_running");
		else
			must_be(c.answers[i], 200);
		n_done += c.answers[i].status == 200;
	}
	cr_assert_geq(n_done, 1);
	struct answer s = api_get(h, h->sk, "/v1/sessions/chat-party");
	assert_int(s, "message_count", 2 * n_done);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM sessions WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 1);
	api_close(&c.twin);
	api_close(&h);
}

/* Appends rounds times, alone or in batches; a refusal for want of room is tried again, as a client would. */
static void append(void *arg, int i)
{
	struct crowd *c = arg;
	for (int r = 0; r < c->rounds; r++) {
		char body[1024], key[32];
		int n = c->batch ? snprintf(body, sizeof body, "{\"messages\":[") : 0;
		for (int k = 0; k < (c->batch ? c->batch : 1); k++)
			n += snprintf(body + n, sizeof body - (size_t)n, "%s{\"role\":\"user\",\"content\":\"%d/%d/%d\"}", k ? "," : "", i, r, k);
		if (c->batch)
			snprintf(body + n, sizeof body - (size_t)n, "]}");
		snprintf(key, sizeof key, "key-%d-%d", i, r);
		struct answer a;
		do
			a = ask(app_of(c, i), .method = "POST", .to = c->id, .key = c->h->sk, .body = body, .idem = c->is_keyed ? key : NULL);
		while (a.status == 503 && header_of(&a, "Retry-After"));
		c->status[i] = a.status;
		if (a.status != 201)
			return;
		c->seqs[i][r] = int_at(&a, c->batch ? "data[0].seq" : "seq");
	}
}

/* Every acknowledged append is where it was said to be, whole, and the line is dense. */
static void check_line(struct crowd *c, const char *id, int n_threads)
{
	int batch = c->batch ? c->batch : 1, total = n_threads * c->rounds * batch;
	const char **contents = arena_array(c->h->arena, (size_t)total + 1, sizeof *contents);
	for (int at = 0; at < total;) {
		struct answer a = api_get(c->h, c->h->sk, "/v1/sessions/%s/messages?limit=100&after=%d", id, at);
		size_t n = count_at(&a, "data");
		cr_assert(n > 0, "%d messages of %d", at, total);
		for (size_t i = 0; i < n; i++) {
			assert_int(a, api_text(c->h, "data[%zu].seq", i), ++at);
			contents[at] = str_at(&a, api_text(c->h, "data[%zu].content", i));
		}
	}
	struct answer s = api_get(c->h, c->h->sk, "/v1/sessions/%s", id);
	assert_int(s, "message_count", total);
	for (int i = 0; i < n_threads; i++)
		for (int r = 0; r < c->rounds; r++)
			for (int k = 0; k < batch; k++)
				cr_assert_str_eq(contents[c->seqs[i][r] + k], api_text(c->h, "%d/%d/%d", i, r, k));
}

static void run_writers(int rounds, int batch, bool is_keyed)
{
	struct api *h = api_open_with(API_FILE, NULL);
	struct crowd c = { .h = h, .twin = api_twin(h, 0, NULL), .rounds = rounds, .batch = batch, .is_keyed = is_keyed };
	const char *id = new_session(h, h->sk, NULL, NULL);
	c.id = api_text(h, "/v1/sessions/%s/messages", id);
	in_parallel(32, append, &c);
	for (int i = 0; i < 32; i++)
		cr_assert_eq(c.status[i], 201, "%d", c.status[i]);
	check_line(&c, id, 32);
	api_close(&c.twin);
	api_close(&h);
}

/* MSG-1: the path of one statement */
Test(parallel, writers_of_single_messages_make_a_dense_line, .timeout = 120)
{
	run_writers(8, 0, false);
}

/* MSG-1: the path that locks, whole batches together */
Test(parallel, writers_of_batches_make_a_dense_line_of_whole_batches, .timeout = 120)
{
	run_writers(4, 5, false);
}

/* MSG-1, MSG-10: the locked path for the key's sake */
Test(parallel, writers_with_keys_make_a_dense_line, .timeout = 120)
{
	run_writers(4, 0, true);
}

static void append_same_key(void *arg, int i)
{
	struct crowd *c = arg;
	c->answers[i] = ask(app_of(c, i), .method = "POST", .to = c->id, .key = c->h->sk, .body = "{\"role\":\"user\",\"content\":\"once\"}", .idem = "the-same");
}

/* MSG-10 */
Test(parallel, one_key_makes_one_change, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL);
	struct crowd c = { .h = h, .twin = api_twin(h, 0, NULL) };
	const char *id = new_session(h, h->sk, NULL, NULL), *body = NULL;
	c.id = api_text(h, "/v1/sessions/%s/messages", id);
	in_parallel(16, append_same_key, &c);
	for (int i = 0; i < 16; i++) {
		must_be(c.answers[i], 201);
		body = body ? body : c.answers[i].body.p;
		cr_assert_str_eq(c.answers[i].body.p, body);
	}
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM messages WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 1);
	api_close(&c.twin);
	api_close(&h);
}

static void create_same_key(void *arg, int i)
{
	struct crowd *c = arg;
	c->answers[i] = ask(app_of(c, i), .method = "POST", .to = "/v1/sessions", .key = c->h->sk, .body = "{\"agent\":\"guide\"}", .idem = "the-same");
}

/* MSG-10 */
Test(parallel, one_key_makes_one_session, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL);
	struct crowd c = { .h = h, .twin = api_twin(h, 0, NULL) };
	in_parallel(16, create_same_key, &c);
	for (int i = 0; i < 16; i++) {
		must_be(c.answers[i], 201);
		cr_assert_str_eq(str_at(&c.answers[i], "id"), str_at(&c.answers[0], "id"));
	}
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM sessions WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 1);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM conversations WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 1);
	api_close(&c.twin);
	api_close(&h);
}

static void chat_same_key(void *arg, int i)
{
	struct crowd *c = arg;
	c->answers[i] = ask(app_of(c, i), .method = "POST", .to = "/v1/chat/guide/message", .key = c->h->sk, .body = "{\"message\":\"once\"}", .idem = "the-same");
}

/* TRN-7: one answer, whatever is retried; who comes while it is made is told so. */
Test(parallel, one_key_makes_one_turn, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, many_turns);
	struct crowd c = { .h = h, .twin = api_twin(h, 0, many_turns) };
	in_parallel(16, chat_same_key, &c);
	struct answer last = api_post_once(h, h->sk, "the-same", "{\"message\":\"once\"}", "/v1/chat/guide/message");
	must_be(last, 200);
	for (int i = 0; i < 16; i++) {
		if (c.answers[i].status == 409)
			cr_assert_str_eq(code_of(&c.answers[i]), "request_running");
		else
			cr_assert_str_eq(masked(&c.answers[i]), masked(&last));
	}
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM sessions WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 1);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM turns WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 1);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM messages WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 2);
	api_close(&c.twin);
	api_close(&h);
}

static void write_or_delete(void *arg, int i)
{
	struct crowd *c = arg;
	for (int r = 0; r < 20; r++) {
		if (i == 0 && r == 5) {
			c->status[0] = ask(c->h, .method = "DELETE", .to = c->token, .key = c->h->sk).status;
			return;
		}
		struct answer a = ask(app_of(c, i), .method = "POST", .to = c->id, .key = c->h->sk, .body = i % 2 ? "{\"role\":\"user\",\"content\":\"x\"}" :
				      "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"user\",\"content\":\"y\"}]}");
		c->status[i] = a.status;
	}
}

/* SES-9: whatever is under way while a session is deleted, nothing of it stays. */
Test(parallel, no_writer_outlives_a_deletion, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL);
	struct crowd c = { .h = h, .twin = api_twin(h, 0, NULL) };
	for (int round = 0; round < 3; round++) {
		const char *id = new_session(h, h->sk, NULL, NULL);
		c.id = api_text(h, "/v1/sessions/%s/messages", id);
		c.token = api_text(h, "/v1/sessions/%s", id);
		in_parallel(8, write_or_delete, &c);
		cr_assert_eq(c.status[0], 204, "%d", c.status[0]);
		for (int i = 1; i < 8; i++)
			cr_assert(c.status[i] == 404 || c.status[i] == 201, "%d", c.status[i]);
		struct answer gone = api_get(h, h->sk, "/v1/sessions/%s", id);
		assert_code(gone, 404, "not_found");
		cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM messages WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 0);
		cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM deletions WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 0);
	}
	api_close(&c.twin);
	api_close(&h);
}

static void read_after_write(void *arg, int i)
{
	struct crowd *c = arg;
	for (int r = 0; r < 60; r++) {
		struct answer w = ask(app_of(c, i), .method = "POST", .to = c->id, .key = c->h->sk, .body = "{\"role\":\"user\",\"content\":\"x\"}");
		struct answer s = ask(app_of(c, i + 1), .method = "GET", .to = c->token, .key = c->h->sk);
		if (w.status == 503)
			continue;
		c->n_stale += w.status == 201 && s.status == 200 && int_at(&s, "message_count") < int_at(&w, "seq");
		if (w.status != 201 || s.status != 200)
			c->answers[i] = w.status != 201 ? w : s;
	}
}

/* OPS-2: through either worker a read is never older than a write that was acknowledged before it. */
Test(parallel, no_read_is_older_than_an_acknowledged_write, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL);
	struct crowd c = { .h = h, .twin = api_twin(h, 0, NULL) };
	const char *id = new_session(h, h->sk, NULL, NULL);
	c.id = api_text(h, "/v1/sessions/%s/messages", id);
	c.token = api_text(h, "/v1/sessions/%s", id);
	in_parallel(6, read_after_write, &c);
	for (int i = 0; i < 6; i++)
		cr_assert_eq(c.answers[i].status, 0, "%d: %s", c.answers[i].status, c.answers[i].body.p);
	cr_assert_eq(c.n_stale, 0, "%d stale reads", c.n_stale);
	api_close(&c.twin);
	api_close(&h);
}

static void little_patience(struct conf *c)
{
	c->database_timeout = 300;
	c->database_retries = 1;
}

struct holder {
	struct api *h;
	_Atomic bool is_holding, is_over;
};

static const struct db_stmt touch = { "UPDATE conversations SET title = ''", NULL, "a test" };

static enum err hold_in(struct task *t, struct db_conn *c, void *arg)
{
	struct holder *x = arg;
	enum err e = db_run(t, c, &touch, NULL, 0, NULL);
	x->is_holding = true;
	while (!x->is_over)
		nap(5);
	return e;
}

static void *hold(void *arg)
{
	struct holder *x = arg;
	cr_assert_eq(store_transact(&x->h->task, x->h->app, hold_in, x), ERR_OK);
	return NULL;
}

/* OPS-2: a lock that is not given back costs an append about the time for an answer, not many times that. */
Test(parallel, an_append_gives_up_on_a_lock_in_time, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE | API_OWN, little_patience);
	struct holder x = { .h = api_twin(h, 0, NULL) };
	const char *id = new_session(h, h->sk, NULL, NULL);
	pthread_t thread;
	cr_assert_eq(pthread_create(&thread, NULL, hold, &x), 0);
	while (!x.is_holding)
		nap(1);
	int64_t began = stamp_mono_ms();
	struct answer a = api_post(h, h->sk, "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", id);
	int64_t ms = stamp_mono_ms() - began;
	x.is_over = true;
	pthread_join(thread, NULL);
	must_be(a, 503);
	cr_assert_not_null(header_of(&a, "Retry-After"));
	cr_assert_lt(ms, 3000, "%lld ms", (long long)ms);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
	assert_int(s, "message_count", 0);
	api_close(&x.h);
	api_close(&h);
}
