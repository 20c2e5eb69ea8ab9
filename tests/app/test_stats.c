/* SPDX-License-Identifier: MIT */
/* test_stats: the operator's counts agree with what there is. */
#include "harness.h"

#include "app/stats.h"

static struct site_stats stats_of(struct api *h, const struct ident *site)
{
	struct site_stats s;
	cr_assert_eq(stats_site(&h->task, h->app, site, &s), ERR_OK, "%s", h->task.fault.internal);
	return s;
}

Test(stats, an_empty_site_has_nothing)
{
	struct api *h = api_open();
	struct site_stats s = stats_of(h, &h->home.id), zero = { 0 };
	cr_assert(memcmp(&s, &zero, sizeof s) == 0);
	api_close(&h);
}

Test(stats, counts_what_a_site_has_and_nothing_of_others)
{
	struct api *h = api_open();
	struct api_site other = api_add_site(h, "https://other.example");
	const char *ids[4];
	for (int i = 0; i < 4; i++) {
		ids[i] = new_session(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"user\":\"%s\"}", i < 2 ? "ann" : "bob"), NULL);
		add_messages(h, ids[i], 0, 10 * i);
	}
	struct answer turn = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", ids[0]);
	must_be(turn, 200);
	struct answer clone = api_post(h, h->sk, "{}", "/v1/sessions/%s/clone", ids[3]);
	must_be(clone, 201);
	struct answer end = api_post(h, h->sk, "{}", "/v1/sessions/%s/end", ids[1]);
	must_be(end, 200);
	struct ident due = ident_of("ses_", ids[2]);
	sql_run(h, "UPDATE sessions SET expires_at = 1 WHERE id = ?", DB_ARGS(db_ident(&due)));
	struct site_stats s = stats_of(h, &h->home.id), none = stats_of(h, &other.id), zero = { 0 };
	cr_assert_eq(s.active, 4);
	cr_assert_eq(s.ended, 1);
	cr_assert_eq(s.archived, 0);
	cr_assert_eq(s.due, 1);
	cr_assert_eq(s.users, 2);
	cr_assert_eq(s.conversations, 5);
	cr_assert_eq(s.messages, 62, "what the clone shares counts once: %lld", (long long)s.messages);
	cr_assert_eq(s.month.nano, 0, "echo is free");
	cr_assert(s.turns_done == 1 && s.turns_running == 0 && s.turns_failed == 0);
	cr_assert(memcmp(&none, &zero, sizeof none) == 0);
	struct answer gone = api_delete(h, h->sk, "/v1/sessions/%s", ids[3]);
	must_be(gone, 204);
	s = stats_of(h, &h->home.id);
	cr_assert_eq(s.deletions, 1, "its messages wait for the clone to go");
	cr_assert_eq(s.conversations, 4);
	api_close(&h);
}

Test(stats, the_database_takes_up_space)
{
	struct api *h = api_open();
	int64_t bytes;
	cr_assert_eq(stats_bytes(&h->task, h->app, &bytes), ERR_OK, "%s", h->task.fault.internal);
	cr_assert_gt(bytes, 10000);
	api_close(&h);
}
