/* SPDX-License-Identifier: MIT */
/* test_sweep: the janitor's round: old answers and lost turns go, one process at a time does it. */
#include "harness.h"

static void impatient(struct conf *c)
{
	c->idempotency_ttl = 50;
	c->sweep_interval = 500;
	c->sweep_batch = 10;
}

static int64_t sweep(struct api *h)
{
	int64_t n = -1;
	cr_assert_eq(app_sweep(&h->task, h->app, &n), ERR_OK, "%s", h->task.fault.internal);
	return n;
}

Test(sweep, an_empty_round_does_nothing)
{
	struct api *h = api_open_with(API_OWN, NULL);
	cr_assert_eq(sweep(h), 0);
	cr_assert_eq(sweep(h), 0);
	api_close(&h);
}

/* MSG-10 */
Test(sweep, old_answers_go_and_young_ones_stay)
{
	struct api *h = api_open_with(API_OWN, impatient);
	const char *id = new_session(h, h->sk, NULL, NULL);
	for (int i = 0; i < 25; i++) {
		struct answer a = api_post_once(h, h->sk, api_text(h, "k-%d", i), "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", id);
		must_be(a, 201);
	}
	sql_run(h, "UPDATE idempotency SET expires_at = ?", DB_ARGS(db_int(stamp_now() + 60000)));
	cr_assert_eq(sweep(h), 0);
	sql_run(h, "UPDATE idempotency SET expires_at = 1", NULL, 0);
	struct answer young = api_post_once(h, h->sk, "young", "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", id);
	must_be(young, 201);
	sql_run(h, "UPDATE idempotency SET expires_at = ? WHERE expires_at > 1", DB_ARGS(db_int(stamp_now() + 60000)));
	int64_t before = metric_get(METRIC_swept_rows_total);
	cr_assert_eq(sweep(h), 25);
	cr_assert_eq(metric_get(METRIC_swept_rows_total), before + 25);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM idempotency", NULL, 0), 1);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM messages", NULL, 0), 26);
	api_close(&h);
}

/* TRN-8: a turn whose worker is gone ends though nobody asks for it. */
Test(sweep, turns_of_lost_workers_end)
{
	struct api *h = api_open_with(API_OWN, NULL);
	for (int i = 0; i < 3; i++) {
		const char *id = new_session(h, h->sk, NULL, NULL);
		struct answer a = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", id);
		must_be(a, 200);
	}
	/* Put back to where a worker would have left them. */
	sql_run(h, "UPDATE turns SET status = 1, answer_seq = 0, ended_at = 0", NULL, 0);
	sql_run(h, "INSERT INTO turn_leases (conversation, site, turn, lease_until) SELECT conversation, site, id, 1 FROM turns", NULL, 0);
	sql_run(h, "UPDATE turn_leases SET lease_until = ? WHERE turn = (SELECT MAX(id) FROM turns)", DB_ARGS(db_int(stamp_now() + 60000)));
	cr_assert_eq(sweep(h), 2);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM turns WHERE status = 3 AND error_code = 'worker_lost'", NULL, 0), 2);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM turns WHERE status = 1", NULL, 0), 1, "the one whose worker lives");
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM turn_leases", NULL, 0), 1);
	api_close(&h);
}

/* One janitor for the install; one that died gives way. */
Test(sweep, one_process_holds_the_lock_until_it_runs_out)
{
	struct api *h = api_open_with(API_OWN, impatient);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct ident other = ident_new();
	cr_assert_eq(sweep(h), 0);
	struct answer a = api_post_once(h, h->sk, "k", "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", id);
	must_be(a, 201);
	nap(60);
	sql_run(h, "UPDATE locks SET owner = ?, held_until = ?", DB_ARGS(db_ident(&other), db_int(stamp_now() + 60000)));
	cr_assert_eq(sweep(h), 0, "another holds it");
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM idempotency", NULL, 0), 1);
	sql_run(h, "UPDATE locks SET held_until = ?", DB_ARGS(db_int(stamp_now() - 1)));
	cr_assert_eq(sweep(h), 1);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM locks", NULL, 0), 1);
	api_close(&h);
}

/* SES-8: `parley sweep` says what it did, and the next one need not wait for its lock to run out. */
Test(sweep, a_run_of_its_own_reports_by_kind_and_gives_the_lock_back)
{
	struct api *h = api_open_with(API_OWN, NULL);
	struct sweep_report report;
	struct ident other = ident_new();
	new_session(h, h->sk, NULL, NULL);
	sql_run(h, "UPDATE sessions SET active_at = 1, expires_at = 1", NULL, 0);
	sql_run(h, "UPDATE conversations SET created_at = 1", NULL, 0);
	cr_assert_eq(app_sweep_report(&h->task, h->app, &report), ERR_OK);
	cr_assert_eq(report.total, 1);
	int64_t n_ended = -1, total = 0;
	for (size_t i = 0; i < report.n; i++) {
		total += report.kinds[i].n;
		if (strcmp(report.kinds[i].name, "expire") == 0)
			n_ended = report.kinds[i].n;
		cr_assert_gt(strlen(report.kinds[i].help), 5);
	}
	cr_assert_eq(n_ended, 1);
	cr_assert_eq(total, report.total);
	cr_assert_leq(sql_int(h, "SELECT held_until FROM locks", NULL, 0), stamp_now());
	sql_run(h, "UPDATE locks SET owner = ?, held_until = ?", DB_ARGS(db_ident(&other), db_int(stamp_now() + 60000)));
	cr_assert_eq(app_sweep_report(&h->task, h->app, &report), ERR_OK);
	cr_assert(report.is_elsewhere && report.total == 0 && report.n == 0);
	cr_assert_gt(sql_int(h, "SELECT held_until FROM locks", NULL, 0), stamp_now(), "another's is not given back");
	api_close(&h);
}
