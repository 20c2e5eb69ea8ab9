/* SPDX-License-Identifier: MIT */
/* test_turn_cancel: a stop really stops and keeps what was said; turns that find another running wait, or stop it (TRN-5, TRN-6). */
#include "turn_help.h"

#include <sys/socket.h>
#include <unistd.h>

#define LONG_BODY "{\"message\":\"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30\",\"stream\":true}"

static const char *turns_of(struct api *h, const char *session)
{
	return api_text(h, "/v1/sessions/%s/turns", session);
}

/* The turn that runs now. */
static const char *running_turn(struct api *h, const char *session)
{
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/turns?status=running", session);
	cr_assert_eq(count_at(&list, "data"), 1, "%s", list.body.p);
	return api_text(h, "%s", str_at(&list, "data[0].id"));
}

static int64_t n_leases(struct api *h)
{
	return sql_int(h, "SELECT COUNT(*) FROM turn_leases WHERE site = ?", DB_ARGS(db_ident(&h->home.id)));
}

static int64_t n_tickets(struct api *h)
{
	return sql_int(h, "SELECT COUNT(*) FROM turn_queue WHERE site = ?", DB_ARGS(db_ident(&h->home.id)));
}

/* From the very worker, and from another one: the text so far is kept, and everybody is told the same. */
Test(turn_cancel, stops_a_turn_from_any_worker_and_keeps_its_text, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL), *twin = api_twin(h, 0, NULL);
	struct api *const from[] = { h, twin };
	add_slow(h, 100);
	for (size_t i = 0; i < COUNT(from); i++) {
		const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
		struct background b = { .h = h, .to = turns_of(h, id), .body = LONG_BODY, .idem = api_text(h, "key%zu", i) };
		background_begin(&b, 6);
		const char *turn = running_turn(h, id);
		int64_t began = stamp_mono_ms();
		struct answer a = api_post(from[i], h->sk, "{}", "%s/%s/cancel", turns_of(h, id), turn);
		must_be(a, 200);
		cr_assert_lt(stamp_mono_ms() - began, 1000);
		assert_str(a, "status", "cancelled");
		background_end(&b);
		const struct event *done = last_event(&b.answer);
		cr_assert_str_eq(done->event, "done");
		const char *text = stream_text(h, &b.answer, "", NULL);
		cr_assert_str_eq(event_text(h, &b.answer, done, "result"), text);
		cr_assert_str_eq(event_text(h, &b.answer, done, "finish"), "cancelled");
		cr_assert_eq(strncmp(text, "You said: 1 2", 13), 0, "%s", text);
		cr_assert_null(strstr(text, "30"));
		assert_str(a, "result", text);
		struct answer list = api_get(twin, h->sk, "/v1/sessions/%s/messages", id);
		cr_assert_eq(count_at(&list, "data"), 2);
		assert_str(list, "data[1].content", text);
		cr_assert(bool_at(&list, "data[1].incomplete"));
		struct answer again = api_post_once(twin, h->sk, b.idem, LONG_BODY, "%s", b.to);
		must_be(again, 200);
		cr_assert_str_eq(stream_text(h, &again, "", NULL), text, "the key replays it and nothing is asked again");
		struct answer twice = api_post(h, h->sk, "{}", "%s/%s/cancel", turns_of(h, id), turn);
		assert_str(twice, "status", "cancelled");
		cr_assert_eq(n_leases(h), 0);
		struct answer next = api_post(h, h->sk, "{\"message\":\"on\"}", "%s", turns_of(h, id));
		must_be(next, 200);
	}
	api_close(&twin);
	api_close(&h);
}

Test(turn_cancel, before_the_first_word_leaves_no_message, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE, NULL);
	add_slow(h, 5000);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	struct background b = { .h = h, .to = turns_of(h, id), .body = "{\"message\":\"hi\"}" };
	background_start(&b);
	for (int i = 0; i < 2000 && n_leases(h) == 0; i++)
		turn_nap(1);
	must_be(api_post(h, h->sk, "{}", "%s/%s/cancel", turns_of(h, id), running_turn(h, id)), 200);
	background_end(&b);
	must_be(b.answer, 200);
	cr_assert(!bool_at(&b.answer, "success"));
	cr_assert(is_null_at(&b.answer, "message"));
	assert_str(b.answer, "result", "");
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_eq(count_at(&list, "data"), 1);
	api_close(&h);
}

Test(turn_cancel, of_a_turn_that_has_ended_tells_how_it_ended)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer said = api_post(h, h->sk, "{\"message\":\"hi\"}", "%s", turns_of(h, id));
	struct answer a = api_post(h, h->sk, "", "%s/%s/cancel", turns_of(h, id), str_at(&said, "turn_id"));
	must_be(a, 200);
	assert_str(a, "status", "done");
	assert_str(a, "result", "You said: hi");
	a = api_post(h, h->sk, "{}", "%s/trn_01jcx3f2m8e4a6s9h1k3q7v5xy/cancel", turns_of(h, id));
	assert_code(a, 404, "not_found");
	struct api_site foreign = api_add_site(h, "https://other.example");
	a = api_post(h, foreign.sk, "{}", "%s/%s/cancel", turns_of(h, id), str_at(&said, "turn_id"));
	assert_code(a, 404, "not_found");
	api_close(&h);
}

/* TRN-5: on_disconnect decides what a hang-up means. */
Test(turn_cancel, a_closed_tab_stops_the_turn_where_it_was_asked_for, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE, NULL);
	add_slow(h, 50);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	struct background b = { .h = h, .to = turns_of(h, id), .gone_after = 900,
				.body = "{\"message\":\"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20\",\"stream\":true,\"on_disconnect\":\"cancel\"}" };
	background_start(&b);
	background_end(&b);
	struct answer list = api_get(h, h->sk, "%s", turns_of(h, id));
	assert_str(list, "data[0].status", "cancelled");
	cr_assert_eq(n_leases(h), 0);
	struct answer messages = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert(bool_at(&messages, "data[1].incomplete"));
	cr_assert_null(strstr(str_at(&messages, "data[1].content"), "20"));
	api_close(&h);
}

/* TRN-6: in the order of their arrival, on whatever worker, and nobody jumps the queue. */
Test(turn_cancel, turns_wait_in_order_when_they_ask_to, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL), *twin = api_twin(h, 0, NULL);
	add_slow(h, 40);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	struct background running = { .h = h, .to = turns_of(h, id), .body = LONG_BODY }, waiting[4];
	background_begin(&running, 4);
	for (int i = 0; i < 4; i++) {
		waiting[i] = (struct background){ .h = i % 2 ? twin : h, .to = turns_of(h, id),
						  .body = api_text(h, "{\"message\":\"w%d\",\"on_busy\":\"queue\"%s}", i, i < 2 ? ",\"stream\":true" : "") };
		background_start(&waiting[i]);
		for (int j = 0; j < 3000 && n_tickets(h) <= i; j++)
			turn_nap(1);
		cr_assert_eq(n_tickets(h), i + 1);
	}
	struct answer jumper = api_post(h, h->sk, "{\"message\":\"me\"}", "%s", turns_of(h, id));
	assert_code(jumper, 409, "turn_running");
	background_end(&running);
	for (int i = 0; i < 4; i++) {
		background_end(&waiting[i]);
		must_be(waiting[i].answer, 200);
	}
	cr_assert_str_eq(waiting[0].answer.events[0].event, "queued");
	cr_assert_str_eq(last_event(&waiting[0].answer)->event, "done");
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_eq(count_at(&list, "data"), 10);
	for (int i = 0; i < 4; i++) {
		assert_str(list, api_text(h, "data[%d].content", 2 + 2 * i), api_text(h, "w%d", i));
		assert_str(list, api_text(h, "data[%d].content", 3 + 2 * i), api_text(h, "You said: w%d", i));
	}
	cr_assert_eq(n_tickets(h), 0);
	cr_assert_eq(n_leases(h), 0);
	api_close(&twin);
	api_close(&h);
}

Test(turn_cancel, an_interrupting_turn_stops_the_other_and_runs, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL), *twin = api_twin(h, 0, NULL);
	add_slow(h, 100);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	struct background running = { .h = h, .to = turns_of(h, id), .body = LONG_BODY };
	background_begin(&running, 5);
	struct answer a = api_post(twin, h->sk, "{\"message\":\"no, this\",\"on_busy\":\"interrupt\"}", "%s", turns_of(h, id));
	must_be(a, 200);
	assert_str(a, "result", "You said: no, this");
	background_end(&running);
	cr_assert_str_eq(event_text(h, &running.answer, last_event(&running.answer), "finish"), "cancelled");
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_eq(count_at(&list, "data"), 4);
	cr_assert(bool_at(&list, "data[1].incomplete"));
	assert_str(list, "data[2].content", "no, this");
	cr_assert_eq(n_tickets(h), 0);
	api_close(&twin);
	api_close(&h);
}

/* Who waits behind the dead waits no longer than a ticket lives; here it has run out already. */
Test(turn_cancel, a_place_in_the_queue_runs_out)
{
	struct api *h = api_open_with(API_OWN, NULL);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
	struct ident conversation;
	cr_assert(ident_parse("cnv_", bytes_of(str_at(&s, "conversation_id")), &conversation));
	int64_t now = stamp_now();
	sql_run(h, "INSERT INTO turn_queue (conversation, ticket, site, until) VALUES (?, 1, ?, ?)",
		DB_ARGS(db_ident(&conversation), db_ident(&h->home.id), db_int(now + 60000)));
	struct answer a = api_post(h, h->sk, "{\"message\":\"hi\"}", "%s", turns_of(h, id));
	assert_code(a, 409, "turn_running");
	sql_run(h, "UPDATE turn_queue SET until = ? WHERE site = ?", DB_ARGS(db_int(now - 1), db_ident(&h->home.id)));
	must_be(api_post(h, h->sk, "{\"message\":\"hi\"}", "%s", turns_of(h, id)), 200);
	int64_t n;
	cr_assert_eq(app_sweep(&h->task, h->app, &n), ERR_OK);
	cr_assert_eq(n_tickets(h), 0);
	api_close(&h);
}

Test(turn_cancel, words_that_nobody_knows_are_refused)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	static const struct {
		const char *body, *field;
	} bad[] = {
		{ "{\"message\":\"x\",\"on_busy\":\"wait\"}", "on_busy" }, { "{\"message\":\"x\",\"on_disconnect\":1}", "on_disconnect" },
		{ "{\"message\":\"x\",\"max_iterations\":0}", "max_iterations" }, { "{\"message\":\"x\",\"max_iterations\":51}", "max_iterations" },
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_post(h, h->sk, bad[i].body, "%s", turns_of(h, id));
		assert_code(a, 400, "invalid_request");
		cr_assert(blames(&a, bad[i].field, NULL), "%s", a.body.p);
	}
	api_close(&h);
}

static void wait_for_tickets(struct api *h, int64_t n)
{
	for (int i = 0; i < 3000 && n_tickets(h) != n; i++)
		turn_nap(1);
	cr_assert_eq(n_tickets(h), n);
}

/* Statements of a second in which nothing happens but waiting. */
static int64_t statements_of_a_second(void)
{
	int64_t before = metric_get(METRIC_db_queries_total);
	turn_nap(1000);
	return metric_get(METRIC_db_queries_total) - before;
}

/* Its turn is run all the same; until then the database is asked no more often than for one who stays. */
Test(turn_cancel, who_hangs_up_while_waiting_waits_on_without_hurry, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL);
	int ends[2];
	add_slow(h, 100);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	struct background running = { .h = h, .to = turns_of(h, id), .body = LONG_BODY };
	struct background waiting = { .h = h, .to = turns_of(h, id), .body = "{\"message\":\"w\",\"on_busy\":\"queue\"}", .fd = ends[0] };
	background_begin(&running, 3);
	const char *turn = running_turn(h, id);
	background_start(&waiting);
	wait_for_tickets(h, 1);
	close(ends[1]);
	int64_t n = statements_of_a_second();
	cr_assert_lt(n, 200, "%lld", (long long)n);
	must_be(api_post(h, h->sk, "{}", "%s/%s/cancel", turns_of(h, id), turn), 200);
	background_end(&running);
	background_end(&waiting);
	must_be(waiting.answer, 200);
	close(ends[0]);
	api_close(&h);
}

/* Who waits follows the session to where it has gone on, and waits there in line like anybody else. */
Test(turn_cancel, who_waits_goes_on_where_the_session_does, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL);
	add_slow(h, 100);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	struct background first = { .h = h, .to = turns_of(h, id), .body = LONG_BODY }, second = first;
	struct background waiting = { .h = h, .to = turns_of(h, id), .body = "{\"message\":\"w\",\"on_busy\":\"queue\"}" };
	background_begin(&first, 3);
	const char *turn = running_turn(h, id);
	background_start(&waiting);
	wait_for_tickets(h, 1);
	struct answer next = api_post(h, h->sk, NULL, "/v1/sessions/%s/conversations", id);
	must_be(next, 201);
	struct ident conversation = ident_of(PREFIX_CONVERSATION, str_at(&next, "id"));
	background_begin(&second, 3);
	must_be(api_post(h, h->sk, "{}", "%s/%s/cancel", turns_of(h, id), turn), 200);
	background_end(&first);
	turn_nap(300);
	int64_t n = statements_of_a_second();
	cr_assert_lt(n, 200, "%lld", (long long)n);
	cr_assert_eq(n_tickets(h), 1);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM turn_queue WHERE conversation = ?", DB_ARGS(db_ident(&conversation))), 1);
	must_be(api_post(h, h->sk, "{}", "%s/%s/cancel", turns_of(h, id), running_turn(h, id)), 200);
	background_end(&second);
	background_end(&waiting);
	must_be(waiting.answer, 200);
	assert_str(waiting.answer, "message.conversation_id", str_at(&next, "id"));
	cr_assert_eq(n_tickets(h), 0);
	api_close(&h);
}

static struct ident conversation_of(struct api *h, const char *session)
{
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", session);
	return ident_of(PREFIX_CONVERSATION, str_at(&s, "conversation_id"));
}

/* Also a turn that only comes to be seen while the interrupting one looks: its lease says that it runs. */
Test(turn_cancel, an_interrupting_turn_stops_whoever_holds_the_lease, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE, NULL);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct ident conversation = conversation_of(h, id), turn = ident_new(), owner = ident_new();
	sql_run(h, "INSERT INTO turn_leases (conversation, site, turn, lease_until, owner, cancel) VALUES (?, ?, ?, ?, ?, 0)",
		DB_ARGS(db_ident(&conversation), db_ident(&h->home.id), db_ident(&turn), db_int(stamp_now() + 60000), db_ident(&owner)));
	struct background b = { .h = h, .to = turns_of(h, id), .body = "{\"message\":\"now\",\"on_busy\":\"interrupt\"}" };
	background_start(&b);
	wait_for_tickets(h, 1);
	turn_nap(300);
	cr_assert_eq(sql_int(h, "SELECT cancel FROM turn_leases WHERE conversation = ?", DB_ARGS(db_ident(&conversation))), 1);
	sql_run(h, "DELETE FROM turn_leases WHERE conversation = ?", DB_ARGS(db_ident(&conversation)));
	background_end(&b);
	must_be(b.answer, 200);
	api_close(&h);
}

/* Each who waits holds one of the places for turns: no conversation may take them all. */
Test(turn_cancel, a_queue_has_an_end, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE, NULL);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct ident conversation = conversation_of(h, id);
	for (int i = 1; i <= 10; i++)
		sql_run(h, "INSERT INTO turn_queue (conversation, ticket, site, until) VALUES (?, ?, ?, ?)",
			DB_ARGS(db_ident(&conversation), db_int(i), db_ident(&h->home.id), db_int(stamp_now() + 3000)));
	int64_t began = stamp_mono_ms();
	struct answer a = api_post(h, h->sk, "{\"message\":\"x\",\"on_busy\":\"queue\"}", "%s", turns_of(h, id));
	assert_code(a, 409, "turn_running");
	cr_assert_not_null(header_of(&a, "Retry-After"));
	cr_assert_lt(stamp_mono_ms() - began, 2000);
	cr_assert_eq(n_tickets(h), 10);
	api_close(&h);
}

static void short_timeout(struct conf *c)
{
	c->turn_timeout = 1000;
}

/* Whoever holds the place in front: nobody waits longer than a turn may take. */
Test(turn_cancel, nobody_waits_for_ever, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE, short_timeout);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct ident conversation = conversation_of(h, id);
	sql_run(h, "INSERT INTO turn_queue (conversation, ticket, site, until) VALUES (?, 1, ?, ?)",
		DB_ARGS(db_ident(&conversation), db_ident(&h->home.id), db_int(stamp_now() + 6000)));
	int64_t began = stamp_mono_ms();
	struct answer a = api_post(h, h->sk, "{\"message\":\"x\",\"on_busy\":\"queue\"}", "%s", turns_of(h, id));
	assert_code(a, 409, "turn_running");
	cr_assert_lt(stamp_mono_ms() - began, 3000);
	cr_assert_eq(n_tickets(h), 1);
	api_close(&h);
}

/* A place that was taken away is not waited in. */
Test(turn_cancel, a_place_that_is_lost_ends_the_waiting, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE, NULL);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct ident conversation = conversation_of(h, id);
	sql_run(h, "INSERT INTO turn_queue (conversation, ticket, site, until) VALUES (?, 1, ?, ?)",
		DB_ARGS(db_ident(&conversation), db_ident(&h->home.id), db_int(stamp_now() + 8000)));
	struct background b = { .h = h, .to = turns_of(h, id), .body = "{\"message\":\"x\",\"on_busy\":\"queue\"}" };
	int64_t began = stamp_mono_ms();
	background_start(&b);
	wait_for_tickets(h, 2);
	sql_run(h, "DELETE FROM turn_queue WHERE conversation = ? AND ticket <> 1", DB_ARGS(db_ident(&conversation)));
	background_end(&b);
	assert_code(b.answer, 409, "turn_running");
	cr_assert_lt(stamp_mono_ms() - began, 5000);
	api_close(&h);
}

/* However often it looks: what a turn has said is not kept once more for each time. */
Test(turn_cancel, waits_for_the_end_of_a_long_turn_in_little_memory, .timeout = 30)
{
	struct api *h = api_open_with(API_FILE, NULL);
	enum { SAID = 1 << 20 };
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer said = api_post(h, h->sk, "{\"message\":\"hi\"}", "%s", turns_of(h, id));
	struct ident conversation = conversation_of(h, id), turn = ident_of(PREFIX_TURN, str_at(&said, "turn_id"));
	char *log = arena_alloc(h->arena, SAID + 4);
	memcpy(log, "\xa7\0\0\0", 4);
	memset(log + 4, 'x', SAID);
	sql_run(h, "UPDATE turns SET status = 1, answer_seq = 0, partial = ? WHERE id = ?", DB_ARGS(db_blob(log, SAID + 4), db_ident(&turn)));
	sql_run(h, "INSERT INTO turn_leases (conversation, site, turn, lease_until, owner, cancel) VALUES (?, ?, ?, ?, ?, 0)",
		DB_ARGS(db_ident(&conversation), db_ident(&h->home.id), db_ident(&turn), db_int(stamp_now() + 60000), db_ident(&turn)));
	struct answer a = api_post(h, h->sk, "{}", "%s/%s/cancel", turns_of(h, id), str_at(&said, "turn_id"));
	must_be(a, 200);
	assert_str(a, "status", "running");
	cr_assert_eq(strlen(str_at(&a, "result")), SAID);
	cr_assert_lt(arena_used(a.arena), 24u << 20, "%zu", arena_used(a.arena));
	api_close(&h);
}

struct twice {
	struct api *h;
	const char *to, *key;
	struct answer answers[2];
};

static void ask_twice(void *arg, int i)
{
	struct twice *x = arg;
	x->answers[i] = ask(x->h, .method = "POST", .to = x->to, .key = x->h->sk, .idem = x->key, .body = "{\"message\":\"1 2 3 4 5 6\",\"on_busy\":\"interrupt\"}");
}

/* TRN-7: a request that came twice at once is one turn, which does not interrupt itself. */
Test(turn_cancel, a_doubled_request_does_not_interrupt_itself, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL);
	add_slow(h, 80);
	for (int i = 0; i < 8; i++) {
		struct twice x = { .h = h, .to = turns_of(h, new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL)), .key = api_text(h, "k%d", i) };
		in_parallel(2, ask_twice, &x);
		for (size_t j = 0; j < COUNT(x.answers); j++)
			if (x.answers[j].status == 200)
				assert_str(x.answers[j], "finish", "stop");
			else
				assert_code(x.answers[j], 409, "request_running");
		cr_assert(x.answers[0].status == 200 || x.answers[1].status == 200);
	}
	api_close(&h);
}
