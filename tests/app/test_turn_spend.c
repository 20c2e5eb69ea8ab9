/* SPDX-License-Identifier: MIT */
/* test_turn_spend: turns say what they cost, are counted once however they end, and are refused where a cap is reached (TRN-11). */
#include "turn_help.h"

#include "app/head.h"
#include "app/spend.h"
#include "app/turn_begin.h"
#include "app/turn_end.h"

/* A word in and a word out cost 0.001 and 0.002. */
static void priced(struct conf *c)
{
	c->key_ttl = 0;
	c->prices = "echo:*=1000/2000";
}

static void set_cap(struct api *h, enum cap k, int64_t nano)
{
	struct site_change in = { .title = { NULL, 0 } };
	in.caps[k].is_given = true;
	in.caps[k].nano = nano;
	cr_assert_eq(site_change(&h->task, h->app, bytes_of(h->home.name), &in), ERR_OK, "%s", h->task.fault.detail);
}

static int64_t of_site(struct api *h, const char *column)
{
	return sql_int(h, api_text(h, "SELECT COALESCE(SUM(%s), 0) + 0 FROM spend WHERE site = ? AND scope = 3", column), DB_ARGS(db_ident(&h->home.id)));
}

Test(turn_spend, says_what_it_cost)
{
	struct api *h = api_open_with(0, priced);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer a = api_post(h, h->sk, "{\"message\":\"Good day to you\"}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	cr_assert(bytes_equal(raw_at(&a, "usage.cost"), BYTES("0.016")), "%s", a.body.p);
	struct answer b = api_get(h, h->sk, "/v1/sessions/%s/turns/%s", id, str_at(&a, "turn_id")), s = api_get(h, h->sk, "/v1/sessions/%s/stats", id),
		      m = api_get(h, h->sk, "/v1/site/spend");
	cr_assert(bytes_equal(raw_at(&b, "usage.cost"), BYTES("0.016")), "%s", b.body.p);
	cr_assert(bytes_equal(raw_at(&s, "usage.cost"), BYTES("0.016")));
	assert_int(s, "usage.turns", 1);
	assert_int(s, "usage.input_tokens", 4);
	assert_int(s, "usage.output_tokens", 6);
	cr_assert(bytes_equal(raw_at(&m, "total.cost"), BYTES("0.016")));
	api_close(&h);
}

Test(turn_spend, a_reached_cap_refuses_the_next_one_and_stores_nothing)
{
	struct api *h = api_open_with(0, priced);
	const char *token, *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"ann\"}", &token);
	set_cap(h, CAP_USER_DAY, 1);
	struct answer a = api_post_once(h, token, "k1", "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	struct answer b = api_post_once(h, token, "k2", "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", id),
		      c = api_post(h, token, "{\"message\":\"hi\",\"stream\":true}", "/v1/sessions/%s/turns", id),
		      again = api_post_once(h, token, "k1", "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", id);
	assert_code(b, 429, "spend_cap_reached");
	cr_assert_not_null(header_of(&b, "Retry-After"));
	cr_assert_not_null(strstr(str_at(&b, "detail"), "this user today"));
	assert_code(c, 429, "spend_cap_reached");
	must_be(again, 200);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_eq(count_at(&list, "data"), 2);
	set_cap(h, CAP_USER_DAY, CAP_NONE);
	struct answer d = api_post_once(h, token, "k2", "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", id);
	must_be(d, 200);
	cr_assert_eq(of_site(h, "turns"), 2, "a replay is not counted");
	api_close(&h);
}

/* A user is no other one for having another session. */
Test(turn_spend, a_users_cap_holds_for_sessions_that_a_call_begins)
{
	struct api *h = api_open_with(0, priced);
	set_cap(h, CAP_USER_MONTH, 1);
	struct answer a = api_post(h, h->sk, "{\"message\":\"hi\",\"user\":\"ann\"}", "/v1/chat/guide/message"),
		      b = api_post(h, h->sk, "{\"message\":\"hi\",\"user\":\"ann\"}", "/v1/chat/guide/message"),
		      c = api_post(h, h->sk, "{\"message\":\"hi\",\"user\":\"bob\"}", "/v1/chat/guide/message"),
		      d = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/chat/guide/message");
	must_be(a, 200);
	assert_code(b, 429, "spend_cap_reached");
	must_be(c, 200);
	must_be(d, 200);
	set_cap(h, CAP_SITE_MONTH, 1);
	struct answer e = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/chat/guide/message");
	assert_code(e, 429, "spend_cap_reached");
	api_close(&h);
}

Test(turn_spend, one_that_waited_in_line_is_checked_when_its_time_has_come, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE, priced);
	add_slow(h, 40);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	set_cap(h, CAP_SESSION, 1);
	struct background first = { .h = h, .to = api_text(h, "/v1/sessions/%s/turns", id), .body = "{\"message\":\"one two three\",\"stream\":true}" };
	background_begin(&first, 2);
	struct answer second = api_post(h, h->sk, "{\"message\":\"four\",\"on_busy\":\"queue\"}", "/v1/sessions/%s/turns", id);
	background_end(&first);
	assert_code(second, 429, "spend_cap_reached");
	cr_assert_eq(of_site(h, "turns"), 1);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM turn_queue WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 0);
	api_close(&h);
}

/* Hanging up makes nothing free. */
Test(turn_spend, a_cancelled_one_is_paid_for, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE, priced);
	add_slow(h, 100);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	struct background b = { .h = h, .to = api_text(h, "/v1/sessions/%s/turns", id), .body = "{\"message\":\"one two three four five six\",\"stream\":true}" };
	background_begin(&b, 3);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/turns?status=running", id);
	struct answer end = api_post(h, h->sk, "{}", "/v1/sessions/%s/turns/%s/cancel", id, str_at(&list, "data[0].id"));
	background_end(&b);
	must_be(end, 200);
	assert_str(end, "status", "cancelled");
	cr_assert_eq(of_site(h, "turns"), 1);
	cr_assert_geq(of_site(h, "nano"), 6 * 1000000, "at least what was asked");
	api_close(&h);
}

/* ---- ends ---- */

struct begun {
	struct head head;
	struct turn turn;
	struct turn_start start;
	struct agent agent;
	struct idem idem;
};

static void begin(struct api *h, const char *id, struct begun *b)
{
	memset(b, 0, sizeof *b);
	cr_assert_eq(head_find(&h->task, h->app, &h->home.id, bytes_of(id), &b->head), ERR_OK);
	cr_assert_eq(agent_find(&h->task, h->app, &h->home.id, BYTES("guide"), &b->agent), ERR_OK);
	b->start = (struct turn_start){ .head = &b->head, .agent = &b->agent, .idem = &b->idem, .message = { .role = ROLE_USER, .content = BYTES("\"well?\"") } };
	cr_assert_eq(turn_begin(&h->task, h->app, &b->start, &b->turn), ERR_OK, "%s", h->task.fault.detail);
}

static void fail(struct api *h, struct begun *b)
{
	static const struct spend_bill bill = { .nano = 7, .input_tokens = 1 };
	cr_assert_eq(task_fail(&h->task, ERR_PROVIDER_CUT, "it broke off"), ERR_PROVIDER_CUT);
	turn_fail(&h->task, h->app, &b->head, &b->turn, (struct bytes){ NULL, 0 }, &bill);
	cr_assert_eq(h->task.fault.code, ERR_PROVIDER_CUT);
	task_clear_fault(&h->task);
}

/* What its own record says it used. */
static int64_t used_by(struct api *h, const struct begun *b)
{
	return sql_int(h, "SELECT input_tokens + COALESCE(cost, 0) FROM turns WHERE id = ?", DB_ARGS(db_ident(&b->turn.id)));
}

Test(turn_spend, a_failed_one_is_paid_for_once_and_never_behind_its_finish)
{
	struct api *h = api_open_with(0, priced);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct message_new said = { .role = ROLE_ASSISTANT, .content = BYTES("\"yes\"") };
	struct turn_outcome out = { .status = TURN_DONE, .finish = BYTES("stop"), .messages = &said, .n_messages = 1, .has_answer = true, .text = BYTES("yes"),
				    .provider = BYTES("echo"), .model = BYTES(""), .bill = { .nano = 5 } };
	struct begun b;
	struct bytes answer;
	begin(h, id, &b);
	fail(h, &b);
	cr_assert(of_site(h, "nano") == 7 && of_site(h, "turns") == 1);
	cr_assert_eq(used_by(h, &b), 8, "and it tells so itself");
	begin(h, id, &b);
	cr_assert_eq(turn_finish(&h->task, h->app, &b.head, &b.turn, b.start.user_json, &out, &answer), ERR_OK);
	cr_assert_eq(of_site(h, "nano"), 12);
	fail(h, &b);
	cr_assert(of_site(h, "nano") == 12 && of_site(h, "turns") == 2, "its finish had come through");
	cr_assert_eq(used_by(h, &b), 5);
	api_close(&h);
}

Test(turn_spend, one_that_somebody_else_ended_is_paid_for)
{
	struct api *h = api_open_with(0, priced);
	const char *id = new_session(h, h->sk, NULL, NULL), *gone = new_session(h, h->sk, NULL, NULL);
	struct begun b;
	begin(h, id, &b);
	sql_run(h, "UPDATE turn_leases SET lease_until = 1 WHERE turn = ?", DB_ARGS(db_ident(&b.turn.id)));
	struct answer a = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", id); /* takes the lease that ran out */
	must_be(a, 200);
	int64_t before = of_site(h, "nano");
	fail(h, &b);
	cr_assert_eq(of_site(h, "nano"), before + 7);
	cr_assert_eq(used_by(h, &b), 8);
	begin(h, gone, &b);
	must_be(api_delete(h, h->sk, "/v1/sessions/%s", gone), 204);
	fail(h, &b);
	cr_assert_eq(of_site(h, "nano"), before + 14);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM spend WHERE scope = 1 AND subject = ?", DB_ARGS(db_ident(&b.turn.session))), 0, "nothing is left of the session");
	api_close(&h);
}
