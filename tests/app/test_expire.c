/* SPDX-License-Identifier: MIT */
/* test_expire: sessions end by a call or because they idle, what is left of them, and when it goes (SES-8, SES-14, SES-17). */
#include "harness.h"

#include "app/call.h"
#include "app/expire.h"
#include "app/retire.h"

#define DAY 86400000

static void tune(struct conf *c)
{
	c->sweep_batch = 3;
	c->key_ttl = 0;
}

/* What the janitor does on sessions, without its lock. */
static int64_t run(struct api *h, const struct feature *job)
{
	int64_t n = 0;
	cr_assert_eq(job->sweep(&h->task, h->app, &n), ERR_OK, "%s", h->task.fault.internal);
	return n;
}

/* Makes everything of a session as old as `ms`, and due. */
static void age(struct api *h, const char *id, int64_t ms)
{
	struct ident session = ident_of("ses_", id);
	int64_t at = stamp_now() - ms;
	sql_run(h, "UPDATE sessions SET created_at = ?, updated_at = ?, active_at = ?, expires_at = 1 WHERE id = ?", DB_ARGS(db_int(at), db_int(at), db_int(at), db_ident(&session)));
	sql_run(h, "UPDATE messages SET created_at = ? WHERE conversation IN (SELECT id FROM conversations WHERE session = ?)", DB_ARGS(db_int(at), db_ident(&session)));
	sql_run(h, "UPDATE conversations SET created_at = ? WHERE session = ?", DB_ARGS(db_int(at), db_ident(&session)));
}

/* An ended session's time is over. */
static void make_due(struct api *h, const char *id)
{
	struct ident session = ident_of("ses_", id);
	cr_assert_eq(sql_run(h, "UPDATE sessions SET expires_at = 1 WHERE id = ? AND expires_at > 0", DB_ARGS(db_ident(&session))), 1);
}

static int64_t column(struct api *h, const char *name, const char *id)
{
	struct ident session = ident_of("ses_", id);
	return sql_int(h, api_text(h, "SELECT %s FROM sessions WHERE id = ?", name), DB_ARGS(db_ident(&session)));
}

/* All rows below sessions. */
static int64_t rows_of(struct api *h)
{
	return sql_int(h, "SELECT (SELECT COUNT(*) FROM sessions) + (SELECT COUNT(*) FROM conversations) + (SELECT COUNT(*) FROM messages)"
			  " + (SELECT COUNT(*) FROM turns) + (SELECT COUNT(*) FROM session_tags) + (SELECT COUNT(*) FROM summaries)"
			  " + (SELECT COUNT(*) FROM message_masks) + (SELECT COUNT(*) FROM turn_leases)", NULL, 0);
}

static const char *session_with(struct api *h, const char *members)
{
	const char *id = new_session(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"tags\":[\"x\"],\"state\":{\"n\":1},\"metadata\":{\"k\":\"v\"}%s}", members), NULL);
	add_messages(h, id, 0, 5);
	return id;
}

#define POLICY(word) ",\"config\":{\"memory_policy\":\"" word "\"}"

/* SES-17: a session takes its idle time from its site, from the request, or from the install. */
Test(expire, a_session_takes_its_idle_time_when_it_is_made)
{
	struct api *h = api_open_with(0, tune);
	struct answer a = api_post(h, h->sk, "{\"agent\":\"guide\"}", "/v1/sessions");
	must_be(a, 201);
	cr_assert_eq(column(h, "idle_ttl", str_at(&a, "id")), DAY);
	cr_assert_eq(column(h, "expires_at - created_at", str_at(&a, "id")), DAY);
	cr_assert(!is_null_at(&a, "expires_at"));
	struct answer b = api_post(h, h->sk, "{\"agent\":\"guide\",\"ttl\":90}", "/v1/sessions");
	cr_assert_eq(column(h, "idle_ttl", str_at(&b, "id")), 90000);
	struct answer never = api_post(h, h->sk, "{\"agent\":\"guide\",\"ttl\":0}", "/v1/sessions");
	cr_assert(is_null_at(&never, "expires_at"));
	cr_assert_eq(column(h, "expires_at", str_at(&never, "id")), 0);
	struct answer longest = api_post(h, h->sk, "{\"agent\":\"guide\",\"ttl\":315360000}", "/v1/sessions");
	must_be(longest, 201);
	struct site_change in = { .ttl = { [TTL_SESSION] = { true, false, 7000 } } };
	cr_assert_eq(site_change(&h->task, h->app, bytes_of(h->home.name), &in), ERR_OK);
	struct answer c = api_post(h, h->sk, "{\"agent\":\"guide\"}", "/v1/sessions");
	cr_assert_eq(column(h, "idle_ttl", str_at(&c, "id")), 7000);
	struct answer chat = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/chat/guide/message");
	must_be(chat, 200);
	cr_assert_eq(column(h, "idle_ttl", str_at(&chat, "session_id")), 7000);
	api_close(&h);
}

/* SES-17 */
Test(expire, refuses_times_that_make_no_sense)
{
	struct api *h = api_open();
	static const char *const bad[] = { "-1", "315360001", "9223372036854775807", "1.5", "\"60\"", "null" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"ttl\":%s}", bad[i]), "/v1/sessions");
		assert_code(a, 400, "invalid_request");
		cr_assert(blames(&a, "ttl", NULL), "%s", bad[i]);
	}
	api_close(&h);
}

/* SES-8 */
Test(expire, an_idle_session_is_ended_and_then_removed)
{
	struct api *h = api_open_with(API_OWN, tune);
	const char *id = session_with(h, ""), *young = session_with(h, "");
	age(h, id, DAY + 1000);
	cr_assert_eq(run(h, &expire_feature), 1);
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s", id);
	must_be(a, 200);
	assert_str(a, "status", "ended");
	assert_int(a, "message_count", 5);
	assert_int(a, "version", 2);
	cr_assert_eq(column(h, "expires_at - ended_at", id), 30 * (int64_t)DAY);
	cr_assert(!is_null_at(&a, "ended_at") && !is_null_at(&a, "expires_at"));
	struct answer late = api_post(h, h->sk, "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", id);
	assert_code(late, 409, "session_ended");
	cr_assert_eq(run(h, &expire_feature) + run(h, &retire_feature), 0, "its history is kept for now");
	int64_t before = rows_of(h);
	make_due(h, id);
	cr_assert_eq(run(h, &retire_feature), 1);
	struct answer gone = api_get(h, h->sk, "/v1/sessions/%s", id);
	assert_code(gone, 404, "not_found");
	int64_t n;
	cr_assert_eq(app_sweep(&h->task, h->app, &n), ERR_OK);
	cr_assert_eq(rows_of(h), before - 8, "session, tag, conversation and five messages");
	struct answer still = api_get(h, h->sk, "/v1/sessions/%s", young);
	assert_str(still, "status", "active");
	api_close(&h);
}

/* SES-17: activity refreshes, at no cost to the append. */
Test(expire, a_session_that_was_used_lives_on)
{
	struct api *h = api_open_with(API_OWN, tune);
	const char *id = session_with(h, ""), *patched = session_with(h, ""), *branched = session_with(h, "");
	age(h, id, DAY + 1000);
	age(h, patched, DAY + 1000);
	age(h, branched, DAY + 1000);
	add_messages(h, id, 5, 1);
	struct answer p = api_patch(h, h->sk, "{\"title\":\"used\"}", "/v1/sessions/%s", patched);
	must_be(p, 200);
	struct ident session = ident_of("ses_", branched);
	sql_run(h, "UPDATE conversations SET created_at = ? WHERE session = ?", DB_ARGS(db_int(stamp_now()), db_ident(&session)));
	cr_assert_eq(column(h, "expires_at", id), 1, "the append left it");
	cr_assert_eq(run(h, &expire_feature), 0);
	cr_assert_geq(column(h, "expires_at", id), stamp_now() + DAY - 60000);
	cr_assert_geq(column(h, "expires_at", patched), stamp_now() + DAY - 60000);
	cr_assert_geq(column(h, "expires_at", branched), stamp_now() + DAY - 60000);
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s", id);
	assert_str(a, "status", "active");
	assert_int(a, "version", 1);
	api_close(&h);
}

/* SES-8: a turn that runs is activity, however long it takes. */
Test(expire, a_session_with_a_running_turn_is_not_idle)
{
	struct api *h = api_open_with(API_OWN, tune);
	const char *id = session_with(h, "");
	struct ident session = ident_of("ses_", id), turn = ident_new();
	age(h, id, DAY + 1000);
	int64_t until = stamp_now() + 60000;
	sql_run(h, "INSERT INTO turn_leases (conversation, site, turn, lease_until) SELECT id, site, ?, ? FROM conversations WHERE session = ?",
		DB_ARGS(db_ident(&turn), db_int(until), db_ident(&session)));
	cr_assert_eq(run(h, &expire_feature), 0);
	cr_assert_eq(column(h, "status", id), SESSION_ACTIVE);
	cr_assert_eq(column(h, "expires_at", id), until + 1);
	api_close(&h);
}

/* SES-8 */
Test(expire, an_archived_session_stays)
{
	struct api *h = api_open_with(API_OWN, tune);
	const char *id = session_with(h, "");
	age(h, id, 400 * (int64_t)DAY);
	struct ident session = ident_of("ses_", id);
	sql_run(h, "UPDATE sessions SET status = 3 WHERE id = ?", DB_ARGS(db_ident(&session)));
	cr_assert_eq(run(h, &expire_feature) + run(h, &retire_feature), 0);
	cr_assert_eq(column(h, "status", id), SESSION_ARCHIVED);
	api_close(&h);
}

/* SES-17: what is kept for ever has no time at which a sweep would look. */
static void for_ever(struct conf *c)
{
	tune(c);
	c->ttl_session = 0;
	c->ttl_history = 0;
}

Test(expire, zero_is_for_ever)
{
	struct api *h = api_open_with(API_OWN, for_ever);
	const char *id = session_with(h, "");
	cr_assert_eq(column(h, "expires_at", id), 0);
	struct answer a = api_post(h, h->sk, "{}", "/v1/sessions/%s/end", id);
	must_be(a, 200);
	cr_assert(is_null_at(&a, "expires_at"));
	cr_assert_eq(column(h, "expires_at", id), 0);
	cr_assert_eq(run(h, &expire_feature) + run(h, &retire_feature), 0);
	api_close(&h);
}

/* SES-8, SES-17: more than one batch in one round, and one that cannot be read among them. */
Test(expire, a_round_sees_all_that_are_due)
{
	struct api *h = api_open_with(API_OWN, tune);
	const char *ids[10];
	for (int i = 0; i < 10; i++) {
		ids[i] = session_with(h, POLICY("ephemeral"));
		age(h, ids[i], DAY + 1000 + i % 3);
	}
	struct ident broken = ident_of("ses_", ids[4]);
	sql_run(h, "UPDATE sessions SET config = 'x' WHERE id = ?", DB_ARGS(db_ident(&broken)));
	cr_assert_eq(run(h, &expire_feature), 10);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM sessions WHERE status = 2", NULL, 0), 10);
	for (int i = 0; i < 10; i++)
		make_due(h, ids[i]);
	cr_assert_eq(run(h, &retire_feature), 10);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM sessions", NULL, 0), 0);
	int64_t n;
	cr_assert_eq(app_sweep(&h->task, h->app, &n), ERR_OK);
	cr_assert_eq(rows_of(h), 0, "and what was below them, in one round as well");
	api_close(&h);
}

/* SES-14 */
Test(expire, a_persistent_session_stays_at_its_end)
{
	struct api *h = api_open_with(API_OWN, tune);
	const char *id = session_with(h, POLICY("persistent"));
	struct answer a = api_post(h, h->sk, "{}", "/v1/sessions/%s/end", id);
	must_be(a, 200);
	assert_str(a, "status", "ended");
	assert_int(a, "message_count", 5);
	cr_assert_eq(column(h, "expires_at - ended_at", id), 30 * (int64_t)DAY);
	struct answer again = api_post(h, h->sk, "{}", "/v1/sessions/%s/end", id);
	must_be(again, 200);
	cr_assert_str_eq(again.body.p, a.body.p, "an ended one stays as it is");
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_eq(count_at(&list, "data"), 5);
	api_close(&h);
}

/* SES-14: nothing of an ephemeral session is left at its end. */
Test(expire, an_ephemeral_session_is_gone_at_its_end)
{
	struct api *h = api_open_with(API_OWN, tune);
	int64_t before = rows_of(h);
	const char *token, *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"preset\":\"task_oriented\",\"tags\":[\"x\"],\"state\":{\"n\":1}}", &token);
	add_messages(h, id, 0, 5);
	struct answer turn = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", id);
	must_be(turn, 200);
	struct answer summary = api_post(h, h->sk, "{\"method\":\"extract\",\"keep_messages\":1}", "/v1/sessions/%s/compress", id);
	must_be(summary, 200);
	struct answer a = api_post_once(h, h->sk, "the-end", "{}", "/v1/sessions/%s/end", id);
	must_be(a, 200);
	assert_str(a, "status", "ended");
	assert_int(a, "message_count", 7);
	assert_int(a, "state.n", 1);
	cr_assert(!is_null_at(&a, "ended_at"));
	struct answer gone = api_get(h, h->sk, "/v1/sessions/%s", id), messages = api_get(h, token, "/v1/sessions/%s/messages", id),
		      late = api_post(h, token, "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", id),
		      again = api_post_once(h, h->sk, "the-end", "{}", "/v1/sessions/%s/end", id);
	assert_code(gone, 404, "not_found");
	assert_code(messages, 404, "not_found");
	assert_code(late, 404, "not_found");
	assert_code(again, 404, "not_found");
	cr_assert_eq(rows_of(h), before);
	cr_assert_eq(sql_int(h, "SELECT (SELECT COUNT(*) FROM deletions) + (SELECT COUNT(*) FROM idempotency)", NULL, 0), 0);
	api_close(&h);
}

/* SES-14: state and metadata outlive the history. */
Test(expire, a_hybrid_session_forgets_its_history_at_its_end)
{
	struct api *h = api_open_with(API_OWN, tune);
	const char *id = session_with(h, POLICY("hybrid"));
	struct answer branch = api_post(h, h->sk, "{}", "/v1/sessions/%s/conversations", id);
	must_be(branch, 201);
	int64_t before = rows_of(h);
	struct answer a = api_post(h, h->sk, "{}", "/v1/sessions/%s/end", id);
	must_be(a, 200);
	assert_str(a, "status", "ended");
	assert_int(a, "message_count", 0);
	assert_int(a, "state.n", 1);
	assert_str(a, "metadata.k", "v");
	cr_assert_eq(column(h, "expires_at - ended_at", id), 30 * (int64_t)DAY);
	struct answer got = api_get(h, h->sk, "/v1/sessions/%s", id), list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_str_eq(got.body.p, a.body.p);
	cr_assert_eq(count_at(&list, "data"), 0);
	cr_assert_eq(rows_of(h), before - 6, "five messages and one of two conversations");
	make_due(h, id);
	cr_assert_eq(run(h, &retire_feature), 1);
	int64_t n;
	cr_assert_eq(app_sweep(&h->task, h->app, &n), ERR_OK);
	cr_assert_eq(rows_of(h), before - 9);
	api_close(&h);
}

static void say(struct api *h, const char *id, const char *role, const char *text)
{
	struct answer a = api_post(h, h->sk, api_text(h, "{\"role\":\"%s\",\"content\":\"%s\"}", role, text), "/v1/sessions/%s/messages", id);
	must_be(a, 201);
}

/* SES-14: a summary takes the place of the history, also of one that ended before. */
Test(expire, a_hybrid_session_keeps_a_summary_in_its_state)
{
	struct api *h = api_open_with(API_OWN, tune);
	const char *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"preset\":\"educational\",\"state\":{\"n\":1}}", NULL);
	say(h, id, "user", "I want to bake a loaf of sourdough rye.");
	say(h, id, "assistant", "Feed the starter twelve hours before you knead.");
	struct answer a = api_post(h, h->sk, "{}", "/v1/sessions/%s/end", id);
	must_be(a, 200);
	cr_assert(strstr(str_at(&a, "state.summary"), "sourdough"), "%s", str_at(&a, "state.summary"));
	assert_int(a, "state.n", 1);
	assert_int(a, "message_count", 0);
	struct answer again = api_post(h, h->sk, "{}", "/v1/sessions/%s/resume", id);
	must_be(again, 200);
	say(h, id, "user", "My oven only reaches two hundred degrees.");
	age(h, id, DAY + 1000);
	cr_assert_eq(run(h, &expire_feature), 1);
	make_due(h, id);
	cr_assert_eq(run(h, &retire_feature), 1);
	struct answer b = api_get(h, h->sk, "/v1/sessions/%s", id);
	must_be(b, 200);
	assert_str(b, "status", "ended");
	assert_int(b, "message_count", 0);
	cr_assert(strstr(str_at(&b, "state.summary"), "sourdough") && strstr(str_at(&b, "state.summary"), "two hundred"), "%s", str_at(&b, "state.summary"));
	cr_assert_leq(column(h, "active_at", id), stamp_now() - DAY, "the sweep's work is no activity");
	cr_assert_eq(column(h, "expires_at - ended_at", id), 30 * (int64_t)DAY);
	api_close(&h);
}

/* SES-14 */
Test(expire, auto_persist_off_keeps_no_summary)
{
	struct api *h = api_open_with(API_OWN, tune);
	const char *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"config\":{\"memory_policy\":\"hybrid\",\"auto_persist\":false},\"state\":{\"n\":1}}", NULL);
	say(h, id, "user", "I want to bake a loaf of sourdough rye.");
	struct answer a = api_post(h, h->sk, "{}", "/v1/sessions/%s/end", id);
	must_be(a, 200);
	cr_assert(bytes_equal(raw_at(&a, "state"), BYTES("{\"n\":1}")));
	assert_int(a, "message_count", 0);
	api_close(&h);
}

/* SES-14, OPS-6: one that cannot be read is ended all the same, and keeps what it has. */
Test(expire, a_hybrid_session_that_cannot_be_read_keeps_everything)
{
	struct api *h = api_open_with(API_OWN, tune);
	const char *id = session_with(h, POLICY("hybrid"));
	struct ident session = ident_of("ses_", id);
	sql_run(h, "UPDATE sessions SET state = 'x' WHERE id = ?", DB_ARGS(db_ident(&session)));
	age(h, id, DAY + 1000);
	cr_assert_eq(run(h, &expire_feature), 1);
	make_due(h, id);
	cr_assert_eq(run(h, &retire_feature), 1);
	cr_assert_eq(column(h, "expires_at - ended_at", id), 30 * (int64_t)DAY);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM messages", NULL, 0), 5);
	api_close(&h);
}

/* SES-14: what a clone was made of stays the clone's, whatever becomes of the original. */
Test(expire, a_clone_outlives_the_end_of_an_ephemeral_or_hybrid_original)
{
	struct api *h = api_open_with(API_OWN, tune);
	static const char *const policies[] = { POLICY("ephemeral"), POLICY("hybrid") };
	for (size_t i = 0; i < COUNT(policies); i++) {
		const char *id = session_with(h, policies[i]);
		struct answer clone = api_post(h, h->sk, "{}", "/v1/sessions/%s/clone", id);
		must_be(clone, 201);
		struct answer a = api_post(h, h->sk, "{}", "/v1/sessions/%s/end", id);
		must_be(a, 200);
		struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", str_at(&clone, "id"));
		cr_assert_eq(count_at(&list, "data"), 5);
	}
	api_close(&h);
}

/* SES-14: one that idled is ended first and goes a little later, so that no message that was on its way is lost with it. */
Test(expire, an_idle_ephemeral_session_goes_in_two_steps)
{
	struct api *h = api_open_with(API_OWN, tune);
	int64_t before = rows_of(h);
	const char *id = session_with(h, POLICY("ephemeral"));
	age(h, id, DAY + 1000);
	cr_assert_eq(run(h, &expire_feature), 1);
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s", id);
	assert_str(a, "status", "ended");
	assert_int(a, "message_count", 5);
	struct answer late = api_post(h, h->sk, "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", id);
	assert_code(late, 409, "session_ended");
	cr_assert_eq(column(h, "expires_at - ended_at", id), 3 * h->conf.database_timeout);
	cr_assert_eq(run(h, &retire_feature), 0);
	make_due(h, id);
	cr_assert_eq(run(h, &retire_feature), 1);
	int64_t n;
	cr_assert_eq(app_sweep(&h->task, h->app, &n), ERR_OK);
	cr_assert_eq(rows_of(h), before);
	api_close(&h);
}

/* SES-8, SES-14: an append that was admitted before the end and stored after it. */
Test(expire, a_message_that_slipped_in_brings_its_session_back)
{
	struct api *h = api_open_with(API_OWN, tune);
	static const char *const policies[] = { POLICY("ephemeral"), POLICY("hybrid") };
	for (size_t i = 0; i < COUNT(policies); i++) {
		const char *id = session_with(h, policies[i]);
		struct ident session = ident_of("ses_", id);
		age(h, id, DAY + 1000);
		cr_assert_eq(run(h, &expire_feature), 1);
		/* Its time was taken before the end's. */
		sql_run(h, "UPDATE messages SET created_at = ? WHERE seq = 5 AND conversation IN (SELECT id FROM conversations WHERE session = ?)",
			DB_ARGS(db_int(stamp_now() - 5000), db_ident(&session)));
		make_due(h, id);
		cr_assert_eq(run(h, &retire_feature), 0);
		struct answer a = api_get(h, h->sk, "/v1/sessions/%s", id);
		must_be(a, 200);
		assert_str(a, "status", "active");
		assert_int(a, "message_count", 5);
		cr_assert(is_null_at(&a, "ended_at"));
		add_messages(h, id, 5, 1);
		cr_assert_eq(run(h, &expire_feature), 0);
		age(h, id, DAY + 1000);
		cr_assert_eq(run(h, &expire_feature), 1, "and it may end again");
		make_due(h, id);
		cr_assert_eq(run(h, &retire_feature), 1);
	}
	api_close(&h);
}

/* A session whose row is as a sweep found it, but not any more. */
Test(expire, leaves_alone_what_changed_meanwhile)
{
	struct api *h = api_open_with(API_OWN, tune);
	const char *id = session_with(h, ""), *deleted = session_with(h, "");
	struct ident session = ident_of("ses_", id), other = ident_of("ses_", deleted);
	struct expire_due due = { .id = session, .site = h->home.id, .expires_at = 1 };
	bool is_done = true;
	struct answer ended = api_post(h, h->sk, "{}", "/v1/sessions/%s/end", id);
	must_be(ended, 200);
	cr_assert_eq(expire_remove(&h->task, h->app, &due, &is_done), ERR_OK);
	cr_assert(!is_done && column(h, "status", id) == SESSION_ENDED, "its time has not come");
	make_due(h, id);
	sql_run(h, "UPDATE sessions SET status = 1 WHERE id = ?", DB_ARGS(db_ident(&session)));
	cr_assert_eq(expire_remove(&h->task, h->app, &due, &is_done), ERR_OK);
	cr_assert(!is_done && column(h, "status", id) == SESSION_ACTIVE, "it was taken up again");
	struct answer d = api_delete(h, h->sk, "/v1/sessions/%s", deleted);
	must_be(d, 204);
	due.id = other;
	cr_assert_eq(expire_remove(&h->task, h->app, &due, &is_done), ERR_OK);
	cr_assert(!is_done);
	api_close(&h);
}

struct slow {
	struct api *h;
	const char *id;
	_Atomic bool is_stored;
};

/* As an append does, with the disk slow: stored, but not committed yet. */
static enum err insert_slowly(struct task *t, struct db_conn *c, void *arg)
{
	static const struct db_stmt insert = { "INSERT INTO messages (conversation, seq, id, site, role, content, created_at, tokens)"
					       " SELECT conversation, 6, id, site, 3, content, ?, 0 FROM messages WHERE seq = 5 AND conversation IN"
					       " (SELECT id FROM conversations WHERE session = ?)", NULL, "a test" };
	struct slow *w = arg;
	struct ident session = ident_of("ses_", w->id);
	int64_t n;
	enum err e = db_run(t, c, &insert, DB_ARGS(db_int(stamp_now()), db_ident(&session)), &n);
	w->is_stored = true;
	nap(400);
	return e;
}

static void insert_or_sweep(void *arg, int i)
{
	struct slow *w = arg;
	struct arena *a = arena_open(4096);
	struct task t;
	int64_t n = 0;
	task_init(&t, a);
	if (i == 0) {
		cr_assert_eq(store_transact(&t, w->h->app, insert_slowly, w), ERR_OK, "%s", t.fault.internal);
	} else {
		while (!w->is_stored)
			nap(5);
		cr_assert_eq(expire_feature.sweep(&t, w->h->app, &n), ERR_OK, "%s", t.fault.internal);
		cr_assert_eq(n, 0);
	}
	arena_close(&a);
}

/* SES-8: a sweep waits for the message that is on its way, and sees it. */
Test(expire, waits_for_an_append_that_is_under_way, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE | API_OWN, tune);
	struct slow w = { .h = h, .id = session_with(h, POLICY("ephemeral")) };
	age(h, w.id, DAY + 1000);
	in_parallel(2, insert_or_sweep, &w);
	cr_assert_eq(column(h, "status", w.id), SESSION_ACTIVE);
	cr_assert_geq(column(h, "expires_at", w.id), stamp_now() + DAY - 60000);
	api_close(&h);
}

#define IDLE 150
#define CROWD 8

struct crowd {
	struct api *h, *twin;
	const char *ids[CROWD];
	int n_acked[CROWD], last_status[CROWD];
	_Atomic int n_running;
};

/* Appends at about the moment at which the session ends, until it has. */
static void append_late(struct crowd *c, int i)
{
	for (int k = 0; k < 40; k++) {
		struct answer a = api_post(i % 2 ? c->twin : c->h, c->h->sk, "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", c->ids[i]);
		c->last_status[i] = a.status;
		if (a.status == 503)
			continue;
		if (a.status != 201)
			break;
		c->n_acked[i]++;
		nap(k % 4 ? IDLE - 8 + k % 5 * 3 : 5);
	}
	c->n_running--;
}

static void end_or_append(void *arg, int i)
{
	struct crowd *c = arg;
	if (i < CROWD) {
		append_late(c, i);
		return;
	}
	struct api *h = i % 2 ? c->twin : c->h;
	while (c->n_running > 0) {
		int64_t n = 0;
		struct task t;
		struct arena *a = arena_open(4096);
		task_init(&t, a);
		enum err e = expire_feature.sweep(&t, h->app, &n);
		cr_assert(e == ERR_OK || e == ERR_BUSY, "%s", err_code(e));
		arena_close(&a);
	}
}

static void eager(struct conf *c)
{
	tune(c);
	c->ttl_session = IDLE;
}

/* SES-8: two janitors, and writers whose messages come just before the sweep looks: what was acknowledged is there, and nothing else. */
Test(expire, no_message_is_lost_to_the_end_of_its_session, .timeout = 120)
{
	struct api *h = api_open_with(API_FILE | API_OWN, eager);
	struct crowd c = { .h = h, .twin = api_twin(h, 0, eager), .n_running = CROWD };
	for (int i = 0; i < CROWD; i++)
		c.ids[i] = new_session(h, h->sk, i % 3 == 0 ? "{\"agent\":\"guide\"" POLICY("ephemeral") "}" : "{\"agent\":\"guide\"}", NULL);
	in_parallel(CROWD + 2, end_or_append, &c);
	int n_ended = 0;
	for (int i = 0; i < CROWD; i++) {
		struct answer a = api_get(c.twin, h->sk, "/v1/sessions/%s", c.ids[i]), list = api_get(h, h->sk, "/v1/sessions/%s/messages?limit=100", c.ids[i]);
		must_be(a, 200);
		cr_assert(c.last_status[i] == 201 || c.last_status[i] == 409, "%d", c.last_status[i]);
		assert_int(a, "message_count", c.n_acked[i]);
		cr_assert_eq((int)count_at(&list, "data"), c.n_acked[i]);
		n_ended += c.last_status[i] == 409;
	}
	cr_assert_gt(n_ended, 0, "the sweep and the writers did not meet");
	api_close(&c.twin);
	api_close(&h);
}

/* ---- everybody at once ---- */

struct turmoil {
	struct api *h, *twin;
	const char *ids[CROWD];
	int64_t until;
	int n_bad;
};

/* One client's next step on a session that is ended, removed and made again under it. */
static struct answer step(struct turmoil *m, int i, int k)
{
	struct api *h = (i + k) % 2 ? m->twin : m->h;
	const char *id = m->ids[(i * 7 + k) % CROWD];
	switch ((i + k * 3) % 7) {
	case 0:
		return api_post(h, m->h->sk, "{}", "/v1/sessions/%s/end", id);
	case 1:
		return api_post(h, m->h->sk, "{}", "/v1/sessions/%s/resume", id);
	case 2:
		return api_patch(h, m->h->sk, "{\"title\":\"x\",\"tags\":[\"a\",\"b\"]}", "/v1/sessions/%s", id);
	case 3:
		return k % 5 ? api_get(h, m->h->sk, "/v1/sessions/%s", id) : api_delete(h, m->h->sk, "/v1/sessions/%s", id);
	case 4:
		return api_post(h, m->h->sk, api_text(m->h, "{\"agent\":\"guide\",\"id\":\"%s\",\"if_exists\":\"return\"%s}", id,
						       k % 3 == 0 ? POLICY("ephemeral") : k % 3 == 1 ? POLICY("hybrid") : ""), "/v1/sessions");
	default:
		return api_post(h, m->h->sk, "{\"role\":\"user\",\"content\":\"I bake bread.\"}", "/v1/sessions/%s/messages", id);
	}
}

static void stir(void *arg, int i)
{
	struct turmoil *m = arg;
	const struct feature *const jobs[] = { &expire_feature, &retire_feature };
	for (int k = 0; stamp_mono_ms() < m->until; k++) {
		if (i < 4) {
			struct answer a = step(m, i, k);
			bool is_fine = a.status < 300 || a.status == 404 || a.status == 409 || (a.status == 503 && header_of(&a, "Retry-After"));
			if (!is_fine)
				cr_log_warn("%d: %s", a.status, a.body.p);
			m->n_bad += !is_fine;
			continue;
		}
		struct arena *a = arena_open(4096);
		struct task t;
		int64_t n = 0;
		task_init(&t, a);
		enum err e = jobs[k % 2]->sweep(&t, i % 2 ? m->twin->app : m->h->app, &n);
		m->n_bad += e && e != ERR_BUSY && e != ERR_UNAVAILABLE;
		arena_close(&a);
		nap(2);
	}
}

static void hasty(struct conf *c)
{
	tune(c);
	c->ttl_session = 20;
	c->ttl_history = 40;
	c->database_timeout = 2000;
}

/* SES-8, SES-9, SES-14: ends, resumes, deletions, appends and two janitors on the same few sessions: nothing is left without an owner. */
Test(expire, leaves_nothing_behind_whoever_was_faster, .timeout = 120)
{
	struct api *h = api_open_with(API_FILE | API_OWN, hasty);
	struct turmoil m = { .h = h, .twin = api_twin(h, 0, hasty), .until = stamp_mono_ms() + 3000 };
	for (int i = 0; i < CROWD; i++)
		m.ids[i] = api_text(h, "turmoil-%d", i);
	in_parallel(6, stir, &m);
	cr_assert_eq(m.n_bad, 0);
	static const char *const orphans[] = {
		("SELECT COUNT(*) FROM conversations c WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = c.session)"
		 " AND NOT EXISTS (SELECT 1 FROM deletions d WHERE d.conversation = c.id)"),
		"SELECT COUNT(*) FROM sessions s WHERE NOT EXISTS (SELECT 1 FROM conversations c WHERE c.id = s.conversation AND c.session = s.id)",
		"SELECT COUNT(*) FROM messages m WHERE NOT EXISTS (SELECT 1 FROM conversations c WHERE c.id = m.conversation)",
		"SELECT COUNT(*) FROM session_tags g WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = g.session)",
		"SELECT COUNT(*) FROM sessions WHERE status = 1 AND idle_ttl > 0 AND expires_at = 0",
		"SELECT COUNT(*) FROM sessions WHERE status = 2 AND expires_at = 0",
	};
	for (size_t i = 0; i < COUNT(orphans); i++)
		cr_assert_eq(sql_int(h, orphans[i], NULL, 0), 0, "%s", orphans[i]);
	/* When all are gone, so is everything below them. */
	for (int i = 0; i < CROWD; i++) {
		struct answer a = api_delete(h, h->sk, "/v1/sessions/%s", m.ids[i]);
		cr_assert(a.status == 204 || a.status == 404);
	}
	int64_t n = 0;
	cr_assert_eq(app_sweep(&h->task, h->app, &n), ERR_OK, "%s", h->task.fault.internal);
	cr_assert_eq(rows_of(h), 0);
	api_close(&m.twin);
	api_close(&h);
}
