/* SPDX-License-Identifier: MIT */
/* test_session_filter: lists by any of what sessions carry, alone and together; tags in step with their sessions; whose list a token sees. */
#include "harness.h"

#include <stdio.h>

#include "app/session_list.h"

#define N 96

/* What session i carries, and the query that finds it by that. */
static const struct trait {
	const char *member, *query;
	int every; /* the i-th carries it when every divides i */
} traits[] = {
	{ "\"user\":\"ann\"", "user=ann", 2 },         { "\"agent\":\"clerk\"", "agent=clerk", 3 }, { "\"client_type\":\"kiosk\"", "client_type=kiosk", 2 },
	{ "\"context\":\"order 7\"", "context=order%207", 3 }, { "\"tags\":[\"hot\",\"new\"]", "tag=hot", 4 },
};
static const char *const others[] = { "\"user\":\"bob\"", "\"agent\":\"guide\"", "\"client_type\":\"web\"", "\"context\":\"order 70\"", "\"tags\":[\"hotter\",\"new\"]" };

static bool carries(int i, unsigned wanted, bool is_ended)
{
	for (size_t k = 0; k < COUNT(traits); k++)
		if ((wanted & 1u << k) && (i / (1 << k)) % traits[k].every)
			return false;
	return !is_ended || i % 5 == 0;
}

static void make_all(struct api *h)
{
	struct answer clerk = api_post(h, h->sk, "{\"name\":\"clerk\"}", "/v1/agents");
	must_be(clerk, 201);
	for (int i = 0; i < N; i++) {
		struct buf b;
		buf_init(&b, h->arena, 300);
		buf_addf(&b, "{\"title\":\"%d\"", i);
		for (size_t k = 0; k < COUNT(traits); k++)
			buf_addf(&b, ",%s", (i / (1 << k)) % traits[k].every ? others[k] : traits[k].member);
		const char *id = new_session(h, h->sk, api_text(h, "%s}", b.p), NULL);
		if (i % 5 == 0) {
			struct answer a = api_post(h, h->sk, NULL, "/v1/sessions/%s/end", id);
			must_be(a, 200);
		}
	}
}

/* All titles of a list, page by page. */
static int walk(struct api *h, const char *key, const char *query, int limit, int *titles)
{
	const char *next = NULL;
	for (int n = 0;;) {
		struct answer a = api_get(h, key, "/v1/sessions?limit=%d%s%s%s", limit, query, next ? "&after=" : "", next ? next : "");
		must_be(a, 200);
		for (size_t i = 0; i < count_at(&a, "data"); i++) {
			cr_assert_lt(n, N);
			titles[n++] = atoi(str_at(&a, api_text(h, "data[%zu].title", i)));
		}
		if (!bool_at(&a, "has_more"))
			return n;
		next = api_text(h, "%s", str_at(&a, "next"));
	}
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* SES-4: each filter, and each set of filters, finds what carries all of it, once, on pages of any size. */
Test(session_filter, any_set_of_filters_finds_exactly_what_carries_it, .timeout = 60)
{
	struct api *h = api_open();
	make_all(h);
	for (unsigned wanted = 0; wanted < 1u << (COUNT(traits) + 1); wanted++) {
		struct buf q;
		int got[N], n_wanted = 0;
		bool is_ended = wanted & 1u << COUNT(traits);
		buf_init(&q, h->arena, 200);
		for (size_t k = 0; k < COUNT(traits); k++)
			if (wanted & 1u << k)
				buf_addf(&q, "&%s", traits[k].query);
		buf_add_str(&q, is_ended ? "&status=ended" : "");
		if (wanted % 3 == 1)
			buf_add_str(&q, "&order=asc");
		int n = walk(h, h->sk, buf_bytes(&q).p, wanted % 2 ? 7 : 100, got);
		qsort(got, (size_t)n, sizeof *got, by_number);
		for (int i = 0; i < N; i++)
			if (carries(i, wanted, is_ended)) {
				cr_assert_lt(n_wanted, n, "%s misses %d", q.p, i);
				cr_assert_eq(got[n_wanted++], i, "%s", q.p);
			}
		cr_assert_eq(n, n_wanted, "%s", q.p);
	}
	api_close(&h);
}

/* SES-4: from is inclusive, to is not. */
Test(session_filter, times_of_creation_bound_a_list)
{
	struct api *h = api_open();
	const char *at[5];
	for (int i = 0; i < 5; i++) {
		struct answer a = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"title\":\"%d\",\"tags\":[\"t\"]}", i), "/v1/sessions");
		must_be(a, 201);
		at[i] = str_at(&a, "created_at");
		nap(5);
	}
	int got[N];
	static const char *const more[] = { "", "&order=asc", "&tag=t", "&tag=t&order=asc", "&status=active" };
	for (size_t k = 0; k < COUNT(more); k++)
		for (int limit = 1; limit <= 5; limit += 4) {
			cr_assert_eq(walk(h, h->sk, api_text(h, "&created_from=%s&created_to=%s%s", at[1], at[3], more[k]), limit, got), 2);
			cr_assert_eq(got[0] + got[1], 3);
			cr_assert_eq(walk(h, h->sk, api_text(h, "&created_from=%s%s", at[4], more[k]), limit, got), 1);
			cr_assert_eq(walk(h, h->sk, api_text(h, "&created_to=%s%s", at[0], more[k]), limit, got), 0);
			cr_assert_eq(walk(h, h->sk, api_text(h, "&created_from=%s&created_to=%s%s", at[3], at[1], more[k]), limit, got), 0);
		}
	cr_assert_eq(walk(h, h->sk, "&created_to=1970-01-01T00:00:00Z", 10, got), 0);
	static const char *const bad[] = { "created_from=yesterday", "created_to=1", "created_from=", "created_from=2026-13-01T00:00:00Z" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_get(h, h->sk, "/v1/sessions?%s", bad[i]);
		assert_code(a, 400, "invalid_request");
	}
	api_close(&h);
}

/* SES-4: what differs is different, in any script and in its last space. */
Test(session_filter, values_are_compared_as_they_are)
{
	struct api *h = api_open();
	static const char *const words[] = { "caf\\u00e9", "cafe", "Cafe", "cafe ", " cafe", "ca%", "ca_e", "\\u65e5\\u672c", "\\ud83d\\ude00" };
	static const char *const asked[] = { "caf%C3%A9", "cafe", "Cafe", "cafe%20", "%20cafe", "ca%25", "ca_e", "%E6%97%A5%E6%9C%AC", "%F0%9F%98%80" };
	int got[N];
	for (size_t i = 0; i < COUNT(words); i++)
		new_session(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"user\":\"%s\",\"context\":\"%s\",\"title\":\"%zu\"}", words[i], words[i], i), NULL);
	for (size_t i = 0; i < COUNT(words); i++) {
		cr_assert_eq(walk(h, h->sk, api_text(h, "&user=%s", asked[i]), 10, got), 1, "%s", words[i]);
		cr_assert_eq(got[0], (int)i);
		cr_assert_eq(walk(h, h->sk, api_text(h, "&context=%s", asked[i]), 10, got), 1, "%s", words[i]);
		cr_assert_eq(got[0], (int)i);
	}
	api_close(&h);
}

static int64_t n_tags(struct api *h)
{
	return sql_int(h, "SELECT COUNT(*) FROM session_tags WHERE site = ?", DB_ARGS(db_ident(&h->home.id)));
}

/* SES-4: session_tags says what sessions say, whatever happens to them. */
Test(session_filter, tags_are_found_as_long_as_they_are_there)
{
	struct api *h = api_open();
	int got[N];
	const char *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"title\":\"1\",\"tags\":[\"a\",\"b\\\"\\u00e9\",\"c\"]}", NULL);
	const char *other = new_session(h, h->sk, "{\"agent\":\"guide\",\"title\":\"2\",\"tags\":[\"a\"]}", NULL);
	cr_assert_eq(n_tags(h), 4);
	cr_assert_eq(walk(h, h->sk, "&tag=b%22%C3%A9", 10, got), 1);
	struct answer changed = api_patch(h, h->sk, "{\"tags\":[\"c\",\"d\"]}", "/v1/sessions/%s", id);
	must_be(changed, 200);
	cr_assert_eq(n_tags(h), 3);
	cr_assert_eq(walk(h, h->sk, "&tag=a", 10, got), 1);
	cr_assert_eq(got[0], 2);
	cr_assert_eq(walk(h, h->sk, "&tag=d", 10, got), 1);
	struct answer kept = api_patch(h, h->sk, "{\"title\":\"1\"}", "/v1/sessions/%s", id);
	must_be(kept, 200);
	cr_assert_eq(n_tags(h), 3);
	struct answer stale = ask(h, .method = "PATCH", .to = api_text(h, "/v1/sessions/%s", id), .key = h->sk, .body = "{\"tags\":[\"z\"]}", .if_match = "\"1\"");
	must_be(stale, 412);
	cr_assert_eq(walk(h, h->sk, "&tag=z", 10, got), 0);
	struct answer none = api_patch(h, h->sk, "{\"tags\":[]}", "/v1/sessions/%s", other);
	must_be(none, 200);
	cr_assert_eq(n_tags(h), 2);
	struct answer deleted = api_delete(h, h->sk, "/v1/sessions/%s", id);
	must_be(deleted, 204);
	cr_assert_eq(n_tags(h), 0);
	api_close(&h);
}

Test(session_filter, ten_thousand_tags_are_refused)
{
	struct api *h = api_open();
	struct buf b;
	buf_init(&b, h->arena, 100000);
	for (int i = 0; i < 10000; i++)
		buf_addf(&b, "%s\"t%d\"", i ? "," : "", i);
	struct answer a = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"tags\":[%s]}", b.p), "/v1/sessions");
	assert_code(a, 400, "invalid_request");
	cr_assert(blames(&a, "tags", "range"));
	const char *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"tags\":[\"a\"]}", NULL);
	struct answer p = api_patch(h, h->sk, api_text(h, "{\"title\":\"no\",\"tags\":[%s]}", b.p), "/v1/sessions/%s", id);
	cr_assert(blames(&p, "tags", "range"));
	cr_assert_eq(n_tags(h), 1);
	struct answer found = api_get(h, h->sk, "/v1/sessions/%s", id);
	assert_str(found, "title", "");
	api_close(&h);
}

/* SES-4, SES-6: a token's list is its user's. */
Test(session_filter, a_token_lists_its_own_users_sessions)
{
	struct api *h = api_open();
	struct api_site other = api_add_site(h, "https://other.example");
	const char *token;
	int got[N];
	for (int i = 0; i < 6; i++)
		new_session(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"user\":\"%s\",\"title\":\"%d\",\"tags\":[\"t\"]}", i % 2 ? "ann" : "bob", i), i == 1 ? &token : NULL);
	new_session(h, other.sk, "{\"agent\":\"guide\",\"user\":\"ann\",\"title\":\"66\"}", NULL);
	cr_assert_eq(walk(h, token, "", 2, got), 3);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(got[i] % 2, 1);
	cr_assert_eq(walk(h, token, "&tag=t&status=active", 100, got), 3);
	struct answer named = api_get(h, token, "/v1/sessions?user=bob"), self = api_get(h, token, "/v1/sessions?user=ann");
	must_be(named, 400);
	cr_assert(blames(&named, "user", "forbidden"));
	cr_assert(blames(&self, "user", "forbidden"));
	struct answer list = api_get(h, token, "/v1/sessions?limit=1");
	cr_assert(raw_at(&list, "data[0].ip_address").p == NULL, "only the site's server sees addresses");
	struct answer by_public = ask(h, .method = "GET", .to = "/v1/sessions", .key = h->pk, .origin = ORIGIN);
	assert_code(by_public, 403, "forbidden");
	api_close(&h);
}

/* SES-13 */
Test(session_filter, a_users_history_is_its_newest_sessions)
{
	struct api *h = api_open();
	const char *token;
	for (int i = 0; i < 9; i++)
		new_session(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"user\":\"%s\",\"title\":\"%d\"}", i % 3 ? "ann b/c" : "bob", i), i == 1 ? &token : NULL);
	struct answer a = api_get(h, h->sk, "/v1/users/ann%%20b%%2Fc/history?limit=4"), own = api_get(h, token, "/v1/users/ann%%20b%%2Fc/history?limit=4");
	must_be(a, 200);
	must_be(own, 200);
	cr_assert_eq(count_at(&a, "data"), 4);
	cr_assert(bool_at(&a, "has_more"));
	cr_assert_str_eq(str_at(&a, "next"), str_at(&own, "next"));
	struct answer rest = api_get(h, token, "/v1/users/ann%%20b%%2Fc/history?after=%s", str_at(&own, "next"));
	cr_assert_eq(count_at(&rest, "data"), 2);
	struct answer foreign = api_get(h, token, "/v1/users/bob/history"), absent = api_get(h, token, "/v1/users/nobody/history");
	assert_code(foreign, 404, "not_found");
	cr_assert_str_eq(masked(&foreign), masked(&absent));
	struct answer nobody = api_get(h, h->sk, "/v1/users/nobody/history");
	must_be(nobody, 200);
	cr_assert_eq(count_at(&nobody, "data"), 0);
	struct answer too_many = api_get(h, h->sk, "/v1/users/bob/history?limit=101"), none = api_get(h, NULL, "/v1/users/bob/history");
	cr_assert(blames(&too_many, "limit", "range"));
	assert_code(none, 401, "unauthenticated");
	api_close(&h);
}

/* Cursors are bound to every filter. */
Test(session_filter, a_cursor_is_refused_by_any_other_list)
{
	struct api *h = api_open();
	static const char *const lists[] = { "", "&tag=t", "&context=c", "&client_type=api", "&status=active", "&created_from=2020-01-01T00:00:00Z",
					     "&created_to=2099-01-01T00:00:00Z", "&tag=t&context=c", "&context=t" };
	const char *cursors[COUNT(lists)];
	for (int i = 0; i < 3; i++)
		new_session(h, h->sk, "{\"agent\":\"guide\",\"context\":\"c\",\"tags\":[\"t\"]}", NULL);
	for (size_t i = 0; i + 1 < COUNT(lists); i++) {
		struct answer a = api_get(h, h->sk, "/v1/sessions?limit=1%s", lists[i]);
		cursors[i] = api_text(h, "%s", str_at(&a, "next"));
	}
	for (size_t i = 0; i + 1 < COUNT(lists); i++)
		for (size_t k = 0; k < COUNT(lists); k++) {
			struct answer a = api_get(h, h->sk, "/v1/sessions?limit=1%s&after=%s", lists[k], cursors[i]);
			must_be(a, i == k ? 200 : 400);
			cr_assert(i == k || blames(&a, "after", "value"));
		}
	api_close(&h);
}

/* SES-4: no list sorts or scans: each walks one index in its order, so that a page costs what it gives. */
Test(session_filter, no_list_sorts_or_scans)
{
	struct api *h = api_open();
	bool is_mariadb = getenv("PARLEY_TEST_MARIADB") != NULL;
	static const char *const leads[] = { "sessions_user", NULL, "sessions_context", "sessions_agent", "sessions_client_type", "sessions_status", "sessions_time" };
	cr_assert_eq(session_list_feature.n_stmts, 2 * COUNT(leads));
	for (int i = 0; i < 50; i++)
		new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"ann\",\"tags\":[\"t\"]}", NULL);
	for (size_t i = 0; i < session_list_feature.n_stmts; i++) {
		const struct db_stmt *s = &session_list_feature.stmts[i];
		struct db_stmt explain = { api_text(h, "EXPLAIN %s", s->sql), api_text(h, "EXPLAIN QUERY PLAN %s", s->sqlite), "a test" };
		struct db_arg args[24];
		size_t n = 0;
		for (const char *p = s->sql; *p; p++)
			if (*p == '?') {
				args[n] = n > 5 ? db_null() : db_int(1);
				n++;
			}
		args[0] = db_ident(&h->home.id);
		if (i < 12) {
			args[1] = i / 2 == 3 ? db_ident(&h->home.id) : i / 2 == 5 ? db_int(1) : db_text(BYTES("t"));
			args[4] = db_ident(&h->home.id);
		} else {
			args[3] = db_ident(&h->home.id);
		}
		args[n - 1] = db_int(10);
		struct db_rows *r;
		cr_assert_eq(store_query(&h->task, h->app, &explain, args, n, &r), ERR_OK, "%s", h->task.fault.internal);
		struct buf plan;
		buf_init(&plan, h->arena, 1000);
		for (size_t row = 0; row < r->n_rows; row++)
			for (size_t col = 0; col < r->n_cols; col++)
				if (db_cell(r, row, col)->type == DB_TEXT)
					buf_addf(&plan, "%s|", db_cell_bytes(r, row, col).p);
		cr_assert_null(strstr(plan.p, "filesort"), "%zu: %s", i, plan.p);
		cr_assert_null(strstr(plan.p, "temporary"), "%zu: %s", i, plan.p);
		cr_assert_null(strstr(plan.p, "TEMP B-TREE"), "%zu: %s", i, plan.p);
		cr_assert_null(strstr(plan.p, "SCAN s"), "%zu: %s", i, plan.p);
		cr_assert_null(strstr(plan.p, "|ALL|"), "%zu: %s", i, plan.p);
		cr_assert_null(strstr(s->sql, "MAX("), "%zu would read whole conversations on MariaDB", i);
		const char *wanted = is_mariadb ? api_text(h, "range|%s|%s|", leads[i / 2], leads[i / 2]) : api_text(h, "USING INDEX %s (", leads[i / 2]);
		cr_assert(!leads[i / 2] || strstr(plan.p, wanted), "%zu: %s", i, plan.p);
	}
	api_close(&h);
}

struct crowd {
	struct api *h, *twin;
	const char *id;
	int status[16];
};

static void create_tagged(void *arg, int i)
{
	struct crowd *c = arg;
	c->status[i] = api_post(i % 2 ? c->twin : c->h, c->h->sk, "{\"agent\":\"guide\",\"id\":\"party\",\"if_exists\":\"return\",\"tags\":[\"a\",\"b\"]}", "/v1/sessions").status;
}

static void change_or_delete(void *arg, int i)
{
	struct crowd *c = arg;
	struct api *h = i % 2 ? c->twin : c->h;
	char body[64];
	snprintf(body, sizeof body, "{\"tags\":[\"x%d\",\"y\"]}", i);
	c->status[i] = i == 7 ? api_delete(h, h->sk, "/v1/sessions/%s", c->id).status : api_patch(h, h->sk, body, "/v1/sessions/%s", c->id).status;
}

/* Tags of calls at once are those of one of them; of a session that goes meanwhile nothing is left. */
Test(session_filter, tags_stay_in_step_when_many_write_at_once, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL);
	struct crowd c = { .h = h, .twin = api_twin(h, 0, NULL) };
	int got[N];
	in_parallel(12, create_tagged, &c);
	for (int i = 0; i < 12; i++)
		cr_assert(c.status[i] == 200 || c.status[i] == 201, "%d", c.status[i]);
	cr_assert_eq(n_tags(h), 2);
	cr_assert_eq(walk(h, h->sk, "&tag=a", 10, got), 1);
	for (int round = 0; round < 10; round++) {
		c.id = round ? new_session(h, h->sk, "{\"agent\":\"guide\",\"tags\":[\"a\"]}", NULL) : "party";
		in_parallel(12, change_or_delete, &c);
		cr_assert_eq(c.status[7], 204, "%d", c.status[7]);
		for (int i = 0; i < 12; i++)
			cr_assert(i == 7 || c.status[i] == 200 || c.status[i] == 404, "%d", c.status[i]);
		cr_assert_eq(n_tags(h), 0);
	}
	api_close(&c.twin);
	api_close(&h);
}

/* A token outlives its session, but its user's name does not: there is nothing to list by. */
Test(session_filter, a_token_of_a_deleted_session_lists_nothing)
{
	struct api *h = api_open();
	const char *token, *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"ann\"}", &token);
	new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"ann\"}", NULL);
	struct answer gone = api_delete(h, h->sk, "/v1/sessions/%s", id);
	must_be(gone, 204);
	struct answer list = api_get(h, token, "/v1/sessions"), history = api_get(h, token, "/v1/users/ann/history");
	assert_code(list, 404, "not_found");
	must_be(history, 200);
	cr_assert_eq(count_at(&history, "data"), 1);
	api_close(&h);
}

/* Names that no user can have are nobody's. */
Test(session_filter, odd_names_of_users_are_nobodys)
{
	struct api *h = api_open();
	static const char *const odd[] = { "%FF", "%C0%80", "%ED%A0%80", "%00", "a%00b", "%F0%9F%98%80", "..", "%2e%2e", "%20", "'", "%25" };
	for (size_t i = 0; i < COUNT(odd); i++) {
		struct answer a = api_get(h, h->sk, "/v1/users/%s/history", odd[i]), b = api_get(h, h->sk, "/v1/sessions?user=%s&tag=%s&context=%s", odd[i], odd[i], odd[i]);
		cr_assert(a.status == 200 || a.status == 400 || a.status == 404, "%s: %d", odd[i], a.status);
		cr_assert(b.status == 200 || b.status == 400, "%s: %d", odd[i], b.status);
		cr_assert(a.status != 200 || count_at(&a, "data") == 0);
	}
	struct buf longest;
	buf_init(&longest, h->arena, 400);
	for (int i = 0; i < 64; i++)
		buf_add_str(&longest, "%C3%A9");
	struct answer a = api_get(h, h->sk, "/v1/users/%s/history", longest.p);
	must_be(a, 200);
	cr_assert_eq(count_at(&a, "data"), 0);
	api_close(&h);
}
