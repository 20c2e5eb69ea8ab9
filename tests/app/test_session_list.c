/* SPDX-License-Identifier: MIT */
/* test_session_list: pages of sessions: no gap, no repeat, in either direction, and cursors that fit one list only. */
#include "harness.h"

#define N 250

static void make_many(struct api *h)
{
	for (int i = 0; i < N; i++)
		new_session(h, h->sk, api_text(h, "{\"agent\":\"%s\",\"user\":\"%s\",\"title\":\"%d\"}", i % 5 ? "guide" : "clerk", i % 3 ? "ann" : "bob", i), NULL);
}

static void add_clerk(struct api *h)
{
	struct answer a = api_post(h, h->sk, "{\"name\":\"clerk\"}", "/v1/agents");
	must_be(a, 201);
}

/* Walks a list to its end; notes each title and how often it came, in order. */
static int walk(struct api *h, const char *filter, const char *word, const char *from, int limit, int *titles)
{
	const char *next = from;
	int n = 0;
	for (int pages = 0; pages <= N; pages++) {
		struct answer a = api_get(h, h->sk, "/v1/sessions?limit=%d%s%s%s%s%s", limit, filter, next ? "&" : "", next ? word : "", next ? "=" : "", next ? next : "");
		must_be(a, 200);
		size_t on_page = count_at(&a, "data");
		cr_assert_leq(on_page, (size_t)limit);
		for (size_t i = 0; i < on_page; i++)
			titles[n++] = atoi(str_at(&a, api_text(h, "data[%zu].title", i)));
		cr_assert_leq(n, N);
		if (!bool_at(&a, "has_more")) {
			cr_assert(is_null_at(&a, "next"));
			return n;
		}
		cr_assert_eq(on_page, (size_t)limit);
		next = api_text(h, "%s", str_at(&a, "next"));
	}
	cr_assert_fail("the list has no end");
	return n;
}

/* SES-4: within one millisecond the id orders, so the test asks for the order that the list itself gives the other way. */
Test(session_list, pages_have_no_gap_and_no_repeat_in_both_orders)
{
	struct api *h = api_open();
	int down[N + 100], up[N + 100], seen[N] = { 0 };
	add_clerk(h);
	make_many(h);
	static const int limits[] = { 7, 50, 100 };
	for (size_t k = 0; k < COUNT(limits); k++) {
		cr_assert_eq(walk(h, "", "after", NULL, limits[k], down), N);
		cr_assert_eq(walk(h, "&order=asc", "after", NULL, limits[k], up), N);
		memset(seen, 0, sizeof seen);
		for (int i = 0; i < N; i++) {
			cr_assert_eq(down[i], up[N - 1 - i]);
			seen[down[i]]++;
		}
		for (int i = 0; i < N; i++)
			cr_assert_eq(seen[i], 1);
	}
	api_close(&h);
}

/* Rows of one millisecond are parted by their id. */
Test(session_list, pages_part_sessions_of_the_same_millisecond)
{
	struct api *h = api_open();
	int got[N + 100], seen[40] = { 0 };
	for (int i = 0; i < 40; i++)
		new_session(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"title\":\"%d\"}", i), NULL);
	sql_run(h, "UPDATE sessions SET created_at = 1700000000000 WHERE site = ?", DB_ARGS(db_ident(&h->home.id)));
	cr_assert_eq(walk(h, "", "after", NULL, 3, got), 40);
	for (int i = 0; i < 40; i++)
		cr_assert_eq(seen[got[i]]++, 0);
	api_close(&h);
}

Test(session_list, before_walks_back_from_a_cursor)
{
	struct api *h = api_open();
	int down[N + 100], back[N + 100];
	add_clerk(h);
	make_many(h);
	cr_assert_eq(walk(h, "", "after", NULL, 100, down), N);
	struct answer first = api_get(h, h->sk, "/v1/sessions?limit=100"), second = api_get(h, h->sk, "/v1/sessions?limit=100&after=%s", str_at(&first, "next"));
	const char *cursor = str_at(&second, "next"); /* that of the 200th */
	struct answer page = api_get(h, h->sk, "/v1/sessions?limit=10&before=%s", cursor);
	cr_assert_eq(count_at(&page, "data"), 10);
	for (int i = 0; i < 10; i++)
		cr_assert_eq(atoi(str_at(&page, api_text(h, "data[%d].title", i))), down[189 + i], "a page reads in the list's order");
	cr_assert_eq(walk(h, "", "before", cursor, 7, back), 199);
	for (int i = 0; i < 199; i++) {
		int page_end = 199 - 7 * (i / 7), page_begin = page_end > 7 ? page_end - 7 : 0;
		cr_assert_eq(back[i], down[page_begin + i % 7]);
	}
	api_close(&h);
}

/* SES-4 */
Test(session_list, filters_by_user_agent_and_both)
{
	struct api *h = api_open();
	int got[N + 100];
	add_clerk(h);
	make_many(h);
	cr_assert_eq(walk(h, "&user=bob", "after", NULL, 10, got), 84);
	for (int i = 0; i < 84; i++)
		cr_assert_eq(got[i] % 3, 0);
	cr_assert_eq(walk(h, "&agent=clerk", "after", NULL, 10, got), 50);
	for (int i = 0; i < 50; i++)
		cr_assert_eq(got[i] % 5, 0);
	cr_assert_eq(walk(h, "&agent=clerk&user=bob&order=asc", "after", NULL, 3, got), 17);
	for (int i = 0; i < 17; i++)
		cr_assert_eq(got[i] % 15, 0);
	struct answer none = api_get(h, h->sk, "/v1/sessions?user=%%27%%20OR%%201%%3D1");
	must_be(none, 200);
	cr_assert_eq(count_at(&none, "data"), 0);
	struct answer by_id = api_get(h, h->sk, "/v1/agents/clerk");
	cr_assert_eq(walk(h, api_text(h, "&agent=%s", str_at(&by_id, "id")), "after", NULL, 100, got), 50);
	api_close(&h);
}

Test(session_list, a_cursor_fits_its_own_list_only)
{
	struct api *h = api_open();
	struct api_site other = api_add_site(h, "https://other.example");
	for (int i = 0; i < 3; i++) {
		new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"ann\"}", NULL);
		new_session(h, other.sk, "{\"agent\":\"guide\",\"user\":\"ann\"}", NULL);
	}
	struct answer a = api_get(h, h->sk, "/v1/sessions?limit=1");
	const char *cursor = str_at(&a, "next");
	static const char *const lists[] = { "&order=asc", "&user=ann", "&agent=guide", "&user=ann&agent=guide" };
	for (size_t i = 0; i < COUNT(lists); i++) {
		struct answer bad = api_get(h, h->sk, "/v1/sessions?limit=1%s&after=%s", lists[i], cursor);
		must_be(bad, 400);
		cr_assert(blames(&bad, "after", "value"));
	}
	struct answer foreign = api_get(h, other.sk, "/v1/sessions?limit=1&after=%s", cursor);
	cr_assert(blames(&foreign, "after", "value"));
	struct answer foreign_before = api_get(h, other.sk, "/v1/sessions?limit=1&before=%s", cursor);
	cr_assert(blames(&foreign_before, "before", "value"));
	char *forged = arena_strdup(h->arena, cursor);
	forged[0] = forged[0] == 'A' ? 'B' : 'A';
	struct answer bad = api_get(h, h->sk, "/v1/sessions?limit=1&after=%s", forged);
	cr_assert(blames(&bad, "after", "value"));
	static const char *const junk[] = { "x", "", "0", "%25", "AAAA" };
	for (size_t i = 0; i < COUNT(junk); i++) {
		struct answer j = api_get(h, h->sk, "/v1/sessions?after=%s", junk[i]);
		must_be(j, 400);
	}
	api_close(&h);
}

/* A page cannot lie both behind one place and in front of another. */
Test(session_list, after_and_before_exclude_each_other)
{
	struct api *h = api_open();
	for (int i = 0; i < 3; i++)
		new_session(h, h->sk, NULL, NULL);
	struct answer a = api_get(h, h->sk, "/v1/sessions?limit=1");
	struct answer both = api_get(h, h->sk, "/v1/sessions?after=%s&before=%s", str_at(&a, "next"), str_at(&a, "next"));
	must_be(both, 400);
	api_close(&h);
}

Test(session_list, knows_counts_and_last_activity)
{
	struct api *h = api_open();
	const char *quiet = new_session(h, h->sk, NULL, NULL), *busy = new_session(h, h->sk, NULL, NULL);
	nap(5);
	add_messages(h, busy, 1, 40);
	struct answer list = api_get(h, h->sk, "/v1/sessions");
	cr_assert_eq(count_at(&list, "data"), 2);
	for (int i = 0; i < 2; i++) {
		const char *id = str_at(&list, api_text(h, "data[%d].id", i));
		struct answer one = api_get(h, h->sk, "/v1/sessions/%s", id);
		struct bytes row = raw_at(&list, api_text(h, "data[%d]", i));
		cr_assert(bytes_equal(row, one.body), "a row is what the session is: %.*s\n%.*s", (int)row.n, row.p, (int)one.body.n, one.body.p);
		assert_int(one, "message_count", strcmp(id, busy) == 0 ? 40 : 0);
		cr_assert(strcmp(id, quiet) == 0 || strcmp(str_at(&one, "last_activity_at"), str_at(&one, "created_at")) > 0);
	}
	api_close(&h);
}

Test(session_list, has_bounds_and_is_the_sites_own)
{
	struct api *h = api_open();
	const char *token;
	new_session(h, h->sk, NULL, &token);
	static const char *const bad[] = { "limit=0", "limit=101", "limit=x", "order=up", "user=", "nonsense=1", "limit=1&limit=2", "agent=nobody" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_get(h, h->sk, "/v1/sessions?%s", bad[i]);
		assert_code(a, 400, "invalid_request");
	}
	struct answer by_token = api_get(h, token, "/v1/sessions"), by_public = ask(h, .method = "GET", .to = "/v1/sessions", .key = h->pk, .origin = ORIGIN);
	must_be(by_token, 200);
	cr_assert_eq(count_at(&by_token, "data"), 1);
	assert_code(by_public, 403, "forbidden");
	struct api_site other = api_add_site(h, "https://other.example");
	struct answer foreign = api_get(h, other.sk, "/v1/sessions");
	cr_assert_eq(count_at(&foreign, "data"), 0);
	api_close(&h);
}
