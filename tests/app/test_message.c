/* SPDX-License-Identifier: MIT */
/* test_message: messages are appended, alone or as a batch, and paged in both directions; a cached tail changes nothing. */
#include "harness.h"

#include <stdio.h>

static int64_t count_messages(struct api *h)
{
	return sql_int(h, "SELECT COUNT(*) FROM messages WHERE site = ?", DB_ARGS(db_ident(&h->home.id)));
}

/* MSG-1, MSG-2 */
Test(message, one_is_stored_with_its_seq)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	for (int i = 1; i <= 3; i++) {
		struct answer a = api_post(h, h->sk, "{\"role\":\"user\",\"content\":\"Hi\"}", "/v1/sessions/%s/messages", id);
		must_be(a, 201);
		assert_int(a, "seq", i);
		assert_str(a, "role", "user");
		assert_str(a, "content", "Hi");
		cr_assert(strncmp(str_at(&a, "id"), "msg_", 4) == 0);
		cr_assert(strncmp(str_at(&a, "conversation_id"), "cnv_", 4) == 0);
		cr_assert(raw_at(&a, "turn_id").p == NULL && raw_at(&a, "metadata").p == NULL);
		struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages?limit=1&order=desc", id);
		cr_assert(bytes_equal(raw_at(&list, "data[0]"), a.body), "the list has the very object");
	}
	api_close(&h);
}

/* MSG-2 */
Test(message, every_role_and_member_comes_back)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	static const char *const sent[] = {
		"{\"role\":\"system\",\"content\":\"Be brief\"}",
		"{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}",
		"{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"thing\",\"odd\":[1.50,{\"k\":null}]}],\"audio_url\":\"https://x.example/a.ogg\"}",
		"{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"c1\",\"name\":\"f\",\"arguments\":\"{}\"}],\"model\":\"m-1\",\"tokens_used\":7,\"latency_ms\":0}",
		"{\"role\":\"tool\",\"content\":\"42\",\"tool_call_id\":\"c1\",\"name\":\"f\",\"metadata\":{\"a\":[1,2.0]},\"client_id\":\"c-9\"}",
	};
	for (size_t i = 0; i < COUNT(sent); i++) {
		struct answer a = api_post(h, h->sk, sent[i], "/v1/sessions/%s/messages", id);
		must_be(a, 201);
	}
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_eq(count_at(&list, "data"), COUNT(sent));
	for (size_t i = 0; i < COUNT(sent); i++) {
		struct jsonx_walk w;
		jsonx_walk_begin(&w, bytes_of(sent[i]));
		while (jsonx_walk_next(&w)) {
			const char *path = api_text(h, "data[%zu].%.*s", i, (int)w.raw_key.n - 2, w.raw_key.p + 1);
			struct bytes got = raw_at(&list, path);
			cr_assert(bytes_equal(got, w.value), "%s is %.*s", path, (int)got.n, got.p);
		}
	}
	api_close(&h);
}

/* MSG-1 */
Test(message, a_batch_is_stored_whole_or_not_at_all)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer a = api_post(h, h->sk, "{\"messages\":[{\"role\":\"user\",\"content\":\"1\"},{\"role\":\"assistant\",\"content\":\"2\"},{\"role\":\"user\",\"content\":\"3\"}]}",
				   "/v1/sessions/%s/messages", id);
	must_be(a, 201);
	cr_assert_eq(count_at(&a, "data"), 3);
	for (int i = 0; i < 3; i++)
		assert_int(a, api_text(h, "data[%d].seq", i), i + 1);
	struct answer bad = api_post(h, h->sk, "{\"messages\":[{\"role\":\"user\",\"content\":\"4\"},{\"role\":\"king\",\"content\":\"5\"},{\"role\":\"user\"},{\"role\":\"user\",\"content\":\"6\",\"x\":1}]}",
				     "/v1/sessions/%s/messages", id);
	assert_code(bad, 400, "invalid_request");
	cr_assert(blames(&bad, "messages[1].role", NULL) && blames(&bad, "messages[2].content", "required") && blames(&bad, "messages[3].x", "unknown"),
		  "%s", bad.body.p);
	cr_assert_eq(count_messages(h), 3);
	api_close(&h);
}

static const char *batch_of(struct api *h, int n)
{
	struct buf b;
	buf_init(&b, h->arena, 8192);
	buf_add_str(&b, "{\"messages\":[");
	for (int i = 0; i < n; i++)
		buf_addf(&b, "%s{\"role\":\"user\",\"content\":\"%d\"}", i ? "," : "", i);
	buf_add_str(&b, "]}");
	return b.p;
}

Test(message, batches_have_bounds)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	static const int bad[] = { 0, 101, 1001 };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_post(h, h->sk, batch_of(h, bad[i]), "/v1/sessions/%s/messages", id);
		must_be(a, 400);
		cr_assert(blames(&a, "messages", "range"));
	}
	struct answer most = api_post(h, h->sk, batch_of(h, 100), "/v1/sessions/%s/messages", id);
	must_be(most, 201);
	struct answer both = api_post(h, h->sk, "{\"role\":\"user\",\"messages\":[{\"role\":\"user\",\"content\":\"1\"}]}", "/v1/sessions/%s/messages", id);
	cr_assert(blames(&both, "messages", "conflict"));
	struct answer none = api_post(h, h->sk, "{}", "/v1/sessions/%s/messages", id);
	cr_assert(blames(&none, "role", "required") && blames(&none, "content", "required"));
	cr_assert_eq(count_messages(h), 100);
	api_close(&h);
}

/* Members of a single message beside a batch would be lost in silence. */
Test(message, members_beside_a_batch_are_refused)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer a = api_post(h, h->sk, "{\"metadata\":{\"a\":1},\"messages\":[{\"role\":\"user\",\"content\":\"1\"}]}", "/v1/sessions/%s/messages", id);
	must_be(a, 400);
	cr_assert_eq(count_messages(h), 0);
	api_close(&h);
}

Test(message, bad_ones_are_named_and_not_stored)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	static const struct {
		const char *body, *field;
	} bad[] = {
		{ "{\"role\":\"user\"}", "content" }, { "{\"content\":\"x\"}", "role" }, { "{\"role\":\"User\",\"content\":\"x\"}", "role" },
		{ "{\"role\":\"user\",\"content\":7}", "content" }, { "{\"role\":\"user\",\"content\":null}", "content" },
		{ "{\"role\":\"user\",\"content\":{}}", "content" }, { "{\"role\":\"user\",\"content\":[]}", "content" },
		{ "{\"role\":\"user\",\"content\":[\"x\"]}", NULL }, { "{\"role\":\"user\",\"content\":[{\"text\":\"x\"}]}", NULL },
		{ "{\"role\":\"user\",\"content\":\"x\",\"seq\":9}", "seq" }, { "{\"role\":\"user\",\"content\":\"x\",\"id\":\"msg_x\"}", "id" },
		{ "{\"role\":\"user\",\"content\":\"x\",\"tokens_used\":-1}", "tokens_used" }, { "{\"role\":\"user\",\"content\":\"x\",\"metadata\":[]}", "metadata" },
		{ "{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":[]}", "tool_calls" },
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_post(h, h->sk, bad[i].body, "/v1/sessions/%s/messages", id);
		assert_code(a, 400, "invalid_request");
		cr_assert(!bad[i].field || blames(&a, bad[i].field, NULL), "%s: %s", bad[i].body, a.body.p);
	}
	cr_assert_eq(count_messages(h), 0);
	api_close(&h);
}

/* A member that a later reader takes for ours must not come from the caller's metadata. */
Test(message, content_is_bounded)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	char *text = arena_alloc(h->arena, 262146);
	memset(text, 'x', 262145);
	struct answer over = api_post(h, h->sk, api_text(h, "{\"role\":\"user\",\"content\":\"%s\"}", text), "/v1/sessions/%s/messages", id);
	must_be(over, 400);
	cr_assert(blames(&over, "content", "range"));
	text[262142] = 0;
	struct answer fits = api_post(h, h->sk, api_text(h, "{\"role\":\"user\",\"content\":\"%s\"}", text), "/v1/sessions/%s/messages", id);
	must_be(fits, 201);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_eq(raw_at(&list, "data[0].content").n, 262144);
	api_close(&h);
}

Test(message, a_visitor_speaks_for_the_user_only)
{
	struct api *h = api_open();
	const char *token;
	const char *id = new_session(h, h->sk, NULL, &token);
	static const char *const roles[] = { "system", "developer", "assistant", "tool" };
	for (size_t i = 0; i < COUNT(roles); i++) {
		struct answer a = api_post(h, token, api_text(h, "{\"role\":\"%s\",\"content\":\"x\"}", roles[i]), "/v1/sessions/%s/messages", id);
		must_be(a, 400);
		cr_assert(blames(&a, "role", "value"));
		struct answer b = api_post(h, token, api_text(h, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"%s\",\"content\":\"x\"}]}", roles[i]),
					   "/v1/sessions/%s/messages", id);
		cr_assert(blames(&b, "messages[1].role", "value"));
	}
	struct answer user = api_post(h, token, "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", id);
	must_be(user, 201);
	cr_assert_eq(count_messages(h), 1);
	api_close(&h);
}

/* ---- pages ---- */

static void tailless(struct conf *c)
{
	c->cache_tail_bytes = 0;
}

/* The same page asked of several applications on one database: with and without cache, with and without a tail. */
static void same_page(struct api **apps, size_t n, const char *to)
{
	struct answer first = api_get(apps[0], apps[0]->sk, "%s", to);
	must_be(first, 200);
	for (size_t i = 1; i < n; i++) {
		struct answer a = api_get(apps[i], apps[0]->sk, "%s", to);
		must_be(a, 200);
		cr_assert_str_eq(a.body.p, first.body.p, "%zu, %s:\n%s\n%s", i, to, first.body.p, a.body.p);
	}
}

static void check_page(struct api *h, const char *id, int n, int limit, int after, int before, bool is_desc)
{
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s/messages?limit=%d&after=%d&before=%d&order=%s", id, limit, after, before ? before : 1000, is_desc ? "desc" : "asc");
	must_be(a, 200);
	int lo = after + 1, hi = before && before - 1 < n ? before - 1 : n;
	int total = hi >= lo ? hi - lo + 1 : 0, on_page = total < limit ? total : limit;
	cr_assert_eq(count_at(&a, "data"), (size_t)on_page);
	for (int i = 0; i < on_page; i++) {
		int seq = is_desc ? hi - i : lo + i;
		assert_int(a, api_text(h, "data[%d].seq", i), seq);
		assert_str(a, api_text(h, "data[%d].content", i), api_text(h, "%d", seq));
	}
	cr_assert_eq(bool_at(&a, "has_more"), total > limit);
	if (total > limit)
		assert_str(a, "next", api_text(h, "%d", is_desc ? hi - limit + 1 : lo + limit - 1));
	else
		cr_assert(is_null_at(&a, "next"));
}

/* MSG-3 */
Test(message, pages_are_right_at_every_edge_of_the_tail, .timeout = 60)
{
	static const int sizes[] = { 0, 1, 31, 32, 33, 48, 49, 81, 150 }, limits[] = { 1, 2, 20, 32, 48, 100 };
	struct api *h = api_open();
	for (size_t s = 0; s < COUNT(sizes); s++) {
		int n = sizes[s];
		const char *id = new_session(h, h->sk, NULL, NULL);
		for (int i = 1; i <= n; i += 3) /* some of them through the cached tail */
			add_messages(h, id, i, n - i + 1 < 3 ? n - i + 1 : 3);
		for (size_t l = 0; l < COUNT(limits); l++)
			for (int is_desc = 0; is_desc < 2; is_desc++) {
				check_page(h, id, n, limits[l], 0, 0, is_desc);
				check_page(h, id, n, limits[l], n / 2, 0, is_desc);
				check_page(h, id, n, limits[l], 0, n / 2 + 1, is_desc);
				check_page(h, id, n, limits[l], n / 3, n - n / 3, is_desc);
				check_page(h, id, n, limits[l], n > 33 ? n - 33 : 0, 0, is_desc);
				check_page(h, id, n, limits[l], n, 0, is_desc);
				check_page(h, id, n, limits[l], n + 7, n + 9, is_desc);
			}
	}
	api_close(&h);
}

/* MSG-3, OPS-2: slower, never different. */
Test(message, pages_from_tail_cache_and_database_are_the_same_bytes, .timeout = 60)
{
	static const int sizes[] = { 0, 1, 31, 32, 33, 48, 49, 150 };
	struct api *h = api_open_with(API_FILE, NULL);
	struct api *apps[] = { h, api_twin(h, 0, NULL), api_twin(h, API_NO_CACHE, NULL), api_twin(h, API_NO_CACHE, tailless) };
	for (size_t s = 0; s < COUNT(sizes); s++) {
		const char *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"title\":\"t\",\"state\":{\"a\":1.0}}", NULL);
		for (int i = 1; i <= sizes[s]; i++) {
			struct answer a = api_post(apps[i % 2], h->sk, api_text(h, "{\"role\":\"user\",\"content\":\"%d\",\"metadata\":{\"i\":%d}}", i, i), "/v1/sessions/%s/messages", id);
			must_be(a, 201);
		}
		static const char *const queries[] = { "", "?limit=1", "?limit=100", "?order=desc", "?order=desc&limit=33", "?after=20", "?before=20&order=desc", "?after=100&limit=49" };
		for (size_t q = 0; q < COUNT(queries); q++)
			same_page(apps, COUNT(apps), api_text(h, "/v1/sessions/%s/messages%s", id, queries[q]));
		static const char *const heads[] = { "", "?messages=0", "?messages=1", "?messages=20", "?messages=32", "?messages=48", "?messages=100" };
		for (size_t q = 0; q < COUNT(heads); q++)
			same_page(apps, COUNT(apps), api_text(h, "/v1/sessions/%s%s", id, heads[q]));
	}
	for (size_t i = COUNT(apps); i-- > 1;)
		api_close(&apps[i]);
	api_close(&h);
}

static void small_tail(struct conf *c)
{
	c->cache_tail_bytes = 4000;
}

/* A tail that is bounded in bytes, with messages around that bound. */
Test(message, large_messages_leave_the_tail_and_come_from_the_database)
{
	struct api *h = api_open_with(API_FILE, small_tail), *plain = api_twin(h, API_NO_CACHE, tailless);
	struct api *apps[] = { h, plain };
	const char *id = new_session(h, h->sk, NULL, NULL);
	static const int sizes[] = { 10, 1000, 3700, 3990, 5000, 10, 20, 9000, 30, 1500, 1500, 1500, 40, 3950, 1 };
	char *text = arena_alloc(h->arena, 9001);
	memset(text, 'y', 9000);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		struct answer a = api_post(h, h->sk, api_text(h, "{\"role\":\"user\",\"content\":\"%.*s\"}", sizes[i], text), "/v1/sessions/%s/messages", id);
		must_be(a, 201);
		assert_int(a, "seq", (int64_t)i + 1);
		for (int limit = 1; limit <= 16; limit += 5) {
			same_page(apps, 2, api_text(h, "/v1/sessions/%s/messages?order=desc&limit=%d", id, limit));
			same_page(apps, 2, api_text(h, "/v1/sessions/%s?messages=%d", id, limit));
		}
	}
	api_close(&plain);
	api_close(&h);
}

/* MSG-3 */
Test(message, the_newest_cost_the_same_whatever_lies_before)
{
	struct api *h = api_open_with(API_NO_CACHE, NULL);
	const char *id = new_session(h, h->sk, NULL, NULL);
	int64_t cost[2];
	for (int round = 0; round < 2; round++) {
		add_messages(h, id, 1, round ? 1000 : 40);
		int64_t before = metric_get(METRIC_db_queries_total);
		struct answer a = api_get(h, h->sk, "/v1/sessions/%s/messages?order=desc", id);
		must_be(a, 200);
		cost[round] = metric_get(METRIC_db_queries_total) - before;
	}
	cr_assert_eq(cost[0], cost[1]);
	api_close(&h);
}

Test(message, list_parameters_are_checked)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	static const char *const bad[] = { "limit=0", "limit=101", "limit=-1", "limit=abc", "limit=", "order=newest", "after=-1", "before=0", "after=x", "min_seq=-1",
					   "after=9223372036854775808", "offset=1", "limit=5&limit=6", "limit=%35%", "%ff=1" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_get(h, h->sk, "/v1/sessions/%s/messages?%s", id, bad[i]);
		assert_code(a, 400, "invalid_request");
	}
	static const char *const good[] = { "after=9223372036854775807", "before=9223372036854775807", "min_seq=9223372036854775807", "limit=%35", "" };
	for (size_t i = 0; i < COUNT(good); i++) {
		struct answer a = api_get(h, h->sk, "/v1/sessions/%s/messages?%s", id, good[i]);
		must_be(a, 200);
		cr_assert_eq(count_at(&a, "data"), 0);
	}
	api_close(&h);
}

Test(message, the_session_counts_them_and_knows_its_last_activity)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	nap(3);
	struct answer m = api_post(h, h->sk, "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", id);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
	assert_int(s, "message_count", 1);
	cr_assert_str_eq(str_at(&s, "last_activity_at"), str_at(&m, "created_at"));
	assert_int(s, "version", 1);
	api_close(&h);
}
