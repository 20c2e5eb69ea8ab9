/* SPDX-License-Identifier: MIT */
/* test_idem: one Idempotency-Key makes one change, and its answer comes again. */
#include "harness.h"

#define ONE "{\"role\":\"user\",\"content\":\"x\"}"

static int64_t count_rows(struct api *h, const char *sql)
{
	return sql_int(h, sql, DB_ARGS(db_ident(&h->home.id)));
}

static int64_t count_messages(struct api *h)
{
	return count_rows(h, "SELECT COUNT(*) FROM messages WHERE site = ?");
}

/* MSG-10 */
Test(idem, the_same_key_and_body_get_the_first_answer_again_on_any_worker)
{
	struct api *h = api_open_with(API_FILE, NULL), *twin = api_twin(h, 0, NULL);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer first = api_post_once(h, h->sk, "key-1", ONE, "/v1/sessions/%s/messages", id);
	must_be(first, 201);
	cr_assert_null(header_of(&first, "Idempotent-Replayed"));
	add_messages(h, id, 2, 3);
	for (int i = 0; i < 4; i++) {
		struct answer again = api_post_once(i % 2 ? twin : h, h->sk, "key-1", ONE, "/v1/sessions/%s/messages", id);
		must_be(again, 201);
		cr_assert_str_eq(again.body.p, first.body.p);
		cr_assert_str_eq(header_of(&again, "Idempotent-Replayed"), "true");
	}
	cr_assert_eq(count_messages(h), 4);
	api_close(&twin);
	api_close(&h);
}

/* MSG-10 */
Test(idem, batches_sessions_ends_and_agents_replay_too)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	const struct {
		const char *key, *body, *to;
		int status;
	} calls[] = {
		{ "b", "{\"messages\":[" ONE "," ONE "]}", api_text(h, "/v1/sessions/%s/messages", id), 201 },
		{ "s", "{\"agent\":\"guide\",\"title\":\"t\"}", "/v1/sessions", 201 },
		{ "o", "{\"agent\":\"guide\",\"id\":\"own\"}", "/v1/sessions", 201 },
		{ "e", "{}", api_text(h, "/v1/sessions/%s/end", id), 200 },
		{ "a", "{\"name\":\"clerk\",\"temperature\":0.5}", "/v1/agents", 201 },
		{ "c", "{\"message\":\"hi\"}", "/v1/chat/guide/message", 200 },
		{ "t", "{\"message\":\"hi\"}", "/v1/sessions/own/turns", 200 },
	};
	for (size_t i = 0; i < COUNT(calls); i++) {
		struct answer first = api_post_once(h, h->sk, calls[i].key, calls[i].body, "%s", calls[i].to);
		must_be(first, calls[i].status);
		int64_t messages = count_messages(h), sessions = count_rows(h, "SELECT COUNT(*) FROM sessions WHERE site = ?");
		struct answer again = api_post_once(h, h->sk, calls[i].key, calls[i].body, "%s", calls[i].to);
		must_be(again, calls[i].status);
		cr_assert_str_eq(masked(&again), masked(&first));
		cr_assert_str_eq(header_of(&again, "Idempotent-Replayed"), "true");
		cr_assert_eq(count_messages(h), messages);
		cr_assert_eq(count_rows(h, "SELECT COUNT(*) FROM sessions WHERE site = ?"), sessions);
		if (raw_at(&again, "token").p) {
			struct answer works = api_get(h, str_at(&again, "token"), "/v1/sessions/%s",
						      str_at(&again, raw_at(&again, "session_id").p ? "session_id" : "id"));
			must_be(works, 200);
		}
	}
	api_close(&h);
}

/* MSG-10 */
Test(idem, another_body_or_path_is_refused)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL), *other = new_session(h, h->sk, NULL, NULL);
	struct answer first = api_post_once(h, h->sk, "k", ONE, "/v1/sessions/%s/messages", id);
	must_be(first, 201);
	struct answer body = api_post_once(h, h->sk, "k", "{\"role\":\"user\",\"content\":\"y\"}", "/v1/sessions/%s/messages", id);
	assert_code(body, 422, "idempotency_key_reused");
	struct answer path = api_post_once(h, h->sk, "k", ONE, "/v1/sessions/%s/messages", other);
	assert_code(path, 422, "idempotency_key_reused");
	struct answer route = api_post_once(h, h->sk, "k", "{\"agent\":\"guide\"}", "/v1/sessions");
	assert_code(route, 422, "idempotency_key_reused");
	struct answer turn = api_post_once(h, h->sk, "k", "{\"message\":\"x\"}", "/v1/sessions/%s/turns", id);
	assert_code(turn, 422, "idempotency_key_reused");
	cr_assert_eq(count_messages(h), 1);
	api_close(&h);
}

/* MSG-10: a key belongs to who sent it. */
Test(idem, keys_of_different_credentials_do_not_meet)
{
	struct api *h = api_open();
	struct api_site other = api_add_site(h, "https://other.example");
	const char *token_a, *token_b;
	const char *a = new_session(h, h->sk, NULL, &token_a), *b = new_session(h, h->sk, NULL, &token_b);
	const char *c = new_session(h, other.sk, NULL, NULL);
	struct answer by_a = api_post_once(h, token_a, "k", ONE, "/v1/sessions/%s/messages", a);
	struct answer by_b = api_post_once(h, token_b, "k", ONE, "/v1/sessions/%s/messages", b);
	struct answer by_site = api_post_once(h, h->sk, "k", ONE, "/v1/sessions/%s/messages", a);
	struct answer by_other = api_post_once(h, other.sk, "k", ONE, "/v1/sessions/%s/messages", c);
	must_be(by_a, 201);
	must_be(by_b, 201);
	must_be(by_site, 201);
	must_be(by_other, 201);
	assert_int(by_site, "seq", 2);
	assert_int(by_b, "seq", 1);
	assert_int(by_other, "seq", 1);
	api_close(&h);
}

/* Visitors share the publishable key: nobody gets another's session, or its token, by guessing a key. */
Test(idem, a_publishable_key_needs_long_keys_and_the_same_address)
{
	struct api *h = api_open();
	const char *body = "{\"agent\":\"guide\"}", *key = "0123456789abcdef";
	struct answer small = ask(h, .method = "POST", .to = "/v1/sessions", .key = h->pk, .origin = ORIGIN, .idem = "0123456789abcde", .body = body);
	must_be(small, 400);
	cr_assert(blames(&small, "Idempotency-Key", "format"));
	struct answer a = ask(h, .method = "POST", .to = "/v1/sessions", .key = h->pk, .origin = ORIGIN, .idem = key, .body = body, .remote = "203.0.113.1");
	struct answer again = ask(h, .method = "POST", .to = "/v1/sessions", .key = h->pk, .origin = ORIGIN, .idem = key, .body = body, .remote = "203.0.113.1");
	struct answer b = ask(h, .method = "POST", .to = "/v1/sessions", .key = h->pk, .origin = ORIGIN, .idem = key, .body = body, .remote = "203.0.113.2");
	must_be(a, 201);
	must_be(again, 201);
	must_be(b, 201);
	cr_assert_str_eq(str_at(&a, "id"), str_at(&again, "id"));
	cr_assert_str_neq(str_at(&a, "id"), str_at(&b, "id"));
	api_close(&h);
}

Test(idem, malformed_keys_are_refused)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	char longest[257];
	memset(longest, 'k', 256);
	longest[256] = 0;
	const char *const bad[] = { "", "a b", "a\tb", "\xc3\xa9", "\"\"", longest, "\x7f" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_post_once(h, h->sk, bad[i], ONE, "/v1/sessions/%s/messages", id);
		assert_code(a, 400, "invalid_request");
		cr_assert(blames(&a, "Idempotency-Key", "format"));
	}
	longest[255] = 0;
	const char *const good[] = { "k", "\"k2\"", longest, "!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~" };
	for (size_t i = 0; i < COUNT(good); i++) {
		struct answer a = api_post_once(h, h->sk, good[i], ONE, "/v1/sessions/%s/messages", id);
		must_be(a, 201);
		assert_int(a, "seq", (int64_t)i + 1);
	}
	struct answer quoted = api_post_once(h, h->sk, "k2", ONE, "/v1/sessions/%s/messages", id);
	assert_int(quoted, "seq", 2);
	api_close(&h);
}

/* A request that was refused has used nothing up. */
Test(idem, a_refused_request_leaves_its_key_free)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer bad = api_post_once(h, h->sk, "k", "{\"role\":\"user\"}", "/v1/sessions/%s/messages", id);
	must_be(bad, 400);
	struct answer absent = api_post_once(h, h->sk, "k", ONE, "/v1/sessions/none/messages");
	must_be(absent, 404);
	struct answer good = api_post_once(h, h->sk, "k", ONE, "/v1/sessions/%s/messages", id);
	must_be(good, 201);
	cr_assert_null(header_of(&good, "Idempotent-Replayed"));
	api_close(&h);
}

static void short_lived(struct conf *c)
{
	c->idempotency_ttl = 120;
}

/* MSG-10 */
Test(idem, a_key_is_forgotten_after_its_time)
{
	struct api *h = api_open_with(0, short_lived);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer a = api_post_once(h, h->sk, "k", ONE, "/v1/sessions/%s/messages", id);
	must_be(a, 201);
	nap(130);
	struct answer b = api_post_once(h, h->sk, "k", ONE, "/v1/sessions/%s/messages", id);
	must_be(b, 201);
	assert_int(b, "seq", 2);
	struct answer c = api_post_once(h, h->sk, "k", ONE, "/v1/sessions/%s/messages", id);
	assert_int(c, "seq", 2);
	api_close(&h);
}

/* A replayed answer tells the cache: somebody's copy may be from before a change whose acknowledgement was lost. */
Test(idem, a_replay_drops_the_cached_session)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer a = api_post_once(h, h->sk, "k", ONE, "/v1/sessions/%s/messages", id);
	int64_t drops = metric_get(METRIC_cache_drops_total);
	struct answer b = api_post_once(h, h->sk, "k", ONE, "/v1/sessions/%s/messages", id);
	must_be(a, 201);
	must_be(b, 201);
	if (h->conf.cache[0])
		cr_assert_gt(metric_get(METRIC_cache_drops_total), drops);
	api_close(&h);
}

/* SES-9: what was answered about a session goes with it, and the key is free. */
Test(idem, a_deleted_sessions_answers_are_gone)
{
	struct api *h = api_open();
	const char *own = "{\"agent\":\"guide\",\"id\":\"own\"}";
	struct answer made = api_post_once(h, h->sk, "make", own, "/v1/sessions");
	must_be(made, 201);
	struct answer m = api_post_once(h, h->sk, "say", ONE, "/v1/sessions/own/messages");
	must_be(m, 201);
	struct answer deleted = api_delete(h, h->sk, "/v1/sessions/own");
	must_be(deleted, 204);
	cr_assert_eq(count_rows(h, "SELECT COUNT(*) FROM idempotency WHERE site = ?"), 0);
	struct answer late = api_post_once(h, h->sk, "say", ONE, "/v1/sessions/own/messages");
	assert_code(late, 404, "not_found");
	api_close(&h);
}

/* The header means something on POST alone. */
Test(idem, other_methods_pass_it_over)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL), *to = api_text(h, "/v1/sessions/%s", id);
	for (int i = 0; i < 2; i++) {
		struct answer a = ask(h, .method = "PATCH", .to = to, .key = h->sk, .idem = "k", .body = i ? "{\"title\":\"a\"}" : "{\"title\":\"b\"}");
		must_be(a, 200);
	}
	api_close(&h);
}

struct same_key {
	struct api *h, *twin;
	const char *to, *body;
	struct answer answers[16];
};

static void post_same(void *arg, int i)
{
	struct same_key *s = arg;
	s->answers[i] = ask(i % 2 ? s->twin : s->h, .method = "POST", .to = s->to, .key = s->h->sk, .body = s->body, .idem = "the-same");
}

/* MSG-10: a name that the first one took is no conflict for the same request that came while it was stored. */
Test(idem, requests_that_meet_replay_also_where_they_would_conflict, .timeout = 60)
{
	static const struct {
		const char *to, *body;
	} cases[] = {
		{ "/v1/sessions", "{\"agent\":\"guide\",\"id\":\"own\"}" },
		{ "/v1/agents", "{\"name\":\"second\"}" },
	};
	for (size_t k = 0; k < COUNT(cases); k++) {
		struct api *h = api_open_with(API_FILE, NULL);
		struct same_key s = { .h = h, .twin = api_twin(h, 0, NULL), .to = cases[k].to, .body = cases[k].body };
		in_parallel(16, post_same, &s);
		for (int i = 0; i < 16; i++) {
			must_be(s.answers[i], 201);
			cr_assert_str_eq(masked(&s.answers[i]), masked(&s.answers[0]));
		}
		struct answer other = api_post_once(h, h->sk, "another", s.body, "%s", s.to);
		must_be(other, 409);
		api_close(&s.twin);
		api_close(&h);
	}
}
