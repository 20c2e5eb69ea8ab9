/* SPDX-License-Identifier: MIT */
/* test_turn_lost: the connection to the database is lost in a turn's two COMMITs, and comes and goes between them (TRN-7, TRN-8). */
#include "../db/proxy.h"
#include "turn_help.h"

static struct proxy proxy;

/* Puts the proxy between the application and the test server. */
static void behind_proxy(struct conf *c)
{
	static char dsn[400];
	char path[64];
	const char *socket = strstr(c->database, "?socket=");
	snprintf(path, sizeof path, "/tmp/parley-turn-proxy-%d", (int)getpid());
	proxy_start(&proxy, socket + strlen("?socket="), path);
	snprintf(dsn, sizeof dsn, "%.*s?socket=%s", (int)(socket - c->database), c->database, path);
	c->database = dsn;
	c->database_timeout = 2000;
	c->turn_lease = 1500;
}

static void short_lease(struct conf *c)
{
	c->turn_lease = 1500;
}

/* An application, and another one whose database is behind the proxy. */
static struct api *open_both(struct api **direct_r)
{
	const char *dsn = getenv("PARLEY_TEST_MARIADB");
	if (!dsn || !strstr(dsn, "?socket="))
		cr_skip_test("PARLEY_TEST_MARIADB names no socket");
	*direct_r = api_open_with(API_FILE, short_lease);
	return api_twin(*direct_r, 0, behind_proxy);
}

static void close_both(struct api *far, struct api *direct)
{
	api_close(&far);
	proxy_stop(&proxy);
	api_close(&direct);
}

static int64_t count(struct api *h, const char *sql)
{
	return sql_int(h, sql, DB_ARGS(db_ident(&h->home.id)));
}

/* Sends a message whose n-th COMMIT meets the mode. */
static struct answer say(struct api *far, const char *session, int n, enum proxy_mode mode)
{
	must_be(api_get(far, far->sk, "/v1/sessions/%s", session), 200);
	proxy.at_commit = (int)mode;
	proxy.commits = n;
	struct answer a = api_post_once(far, far->sk, "k", "{\"message\":\"hello\"}", "/v1/sessions/%s/turns", session);
	cr_assert_eq(proxy.commits, 0, "it was met");
	return a;
}

Test(turn_lost, a_begin_that_was_stored_goes_on, .timeout = 60)
{
	struct api *h, *far = open_both(&h);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer a = say(far, id, 1, PROXY_CUT_ANSWER);
	must_be(a, 200);
	assert_str(a, "result", "You said: hello");
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_eq(count_at(&list, "data"), 2);
	cr_assert_eq(count(h, "SELECT COUNT(*) FROM turn_leases WHERE site = ?"), 0);
	close_both(far, h);
}

Test(turn_lost, a_begin_that_was_not_stored_leaves_nothing, .timeout = 60)
{
	struct api *h, *far = open_both(&h);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer a = say(far, id, 1, PROXY_CUT_REQUEST);
	must_be(a, 503);
	cr_assert_eq(count(h, "SELECT COUNT(*) FROM turn_leases WHERE site = ?"), 0);
	struct answer again = api_post_once(far, h->sk, "k", "{\"message\":\"hello\"}", "/v1/sessions/%s/turns", id);
	must_be(again, 200);
	assert_int(again, "message.seq", 2);
	close_both(far, h);
}

Test(turn_lost, a_first_chat_call_that_was_stored_goes_on, .timeout = 60)
{
	struct api *h, *far = open_both(&h);
	must_be(api_get(far, far->sk, "/v1/agents/guide"), 200);
	proxy.at_commit = PROXY_CUT_ANSWER;
	proxy.commits = 1;
	struct answer a = api_post_once(far, far->sk, "k", "{\"message\":\"hello\"}", "/v1/chat/guide/message");
	must_be(a, 200);
	cr_assert(strncmp(str_at(&a, "token"), "st_", 3) == 0);
	struct answer again = api_post_once(h, h->sk, "k", "{\"message\":\"hello\"}", "/v1/chat/guide/message");
	assert_str(again, "turn_id", str_at(&a, "turn_id"));
	cr_assert_eq(count(h, "SELECT COUNT(*) FROM sessions WHERE site = ?"), 1);
	close_both(far, h);
}

Test(turn_lost, a_finish_is_stored_once_whatever_came_of_its_commit, .timeout = 60)
{
	static const enum proxy_mode modes[] = { PROXY_CUT_ANSWER, PROXY_CUT_REQUEST };
	struct api *h, *far = open_both(&h);
	for (size_t i = 0; i < COUNT(modes); i++) {
		const char *id = new_session(h, h->sk, NULL, NULL);
		struct answer a = say(far, id, 2, modes[i]);
		must_be(a, 200);
		assert_str(a, "result", "You said: hello");
		struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
		cr_assert_eq(count_at(&list, "data"), 2);
		struct answer again = api_post_once(h, h->sk, "k", "{\"message\":\"hello\"}", "/v1/sessions/%s/turns", id);
		cr_assert_str_eq(again.body.p, a.body.p);
		sql_run(h, "DELETE FROM idempotency WHERE site = ?", DB_ARGS(db_ident(&h->home.id)));
	}
	cr_assert_eq(count(h, "SELECT COUNT(*) FROM turn_leases WHERE site = ?"), 0);
	close_both(far, h);
}

/* While the database is away the lease runs out: whoever looks first ends the turn, and its worker is told so. If nobody has, it goes on. */
Test(turn_lost, a_turn_outlives_its_lease_unless_somebody_ends_it, .timeout = 60)
{
	struct api *h, *far = open_both(&h);
	must_be(api_post(h, h->sk, "{\"name\":\"slow\",\"model\":\"slow:250\"}", "/v1/agents"), 201);
	for (int is_ended = 0; is_ended < 2; is_ended++) {
		const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
		struct background b = { .h = far, .to = api_text(h, "/v1/sessions/%s/turns", id), .body = "{\"message\":\"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24\",\"stream\":true}" };
		background_begin(&b, 3);
		struct answer list = api_get(h, h->sk, "/v1/sessions/%s/turns", id);
		proxy.mode = PROXY_HANG;
		turn_nap(2600);
		if (is_ended) {
			struct answer t = api_get(h, h->sk, "/v1/sessions/%s/turns/%s", id, str_at(&list, "data[0].id"));
			assert_str(t, "error.code", "worker_lost");
		}
		proxy.mode = PROXY_FORWARD;
		background_end(&b);
		cr_assert_str_eq(last_event(&b.answer)->event, is_ended ? "error" : "done", "%s", b.answer.body.p);
		struct answer messages = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
		cr_assert_eq(count_at(&messages, "data"), is_ended ? 1 : 2);
	}
	cr_assert_eq(count(h, "SELECT COUNT(*) FROM turn_leases WHERE site = ?"), 0);
	close_both(far, h);
}
