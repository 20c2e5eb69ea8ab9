/* SPDX-License-Identifier: MIT */
/* test_purge: a deleted session takes everything below it along, and nothing brings it back (SES-9). */
#include "harness.h"

static const char *const tables[][2] = {
	{ "sessions", "SELECT COUNT(*) FROM sessions WHERE site = ?" }, { "conversations", "SELECT COUNT(*) FROM conversations WHERE site = ?" },
	{ "messages", "SELECT COUNT(*) FROM messages WHERE site = ?" }, { "turns", "SELECT COUNT(*) FROM turns WHERE site = ?" },
	{ "turn_leases", "SELECT COUNT(*) FROM turn_leases WHERE site = ?" }, { "idempotency", "SELECT COUNT(*) FROM idempotency WHERE site = ?" },
	{ "deletions", "SELECT COUNT(*) FROM deletions WHERE site = ?" },
};

static void fill(struct api *h, const char *id)
{
	add_messages(h, id, 1, 120);
	for (int i = 0; i < 3; i++) {
		struct answer t = api_post_once(h, h->sk, api_text(h, "%s-turn-%d", id, i), "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", id);
		must_be(t, 200);
		struct answer m = api_post_once(h, h->sk, api_text(h, "%s-say-%d", id, i), "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", id);
		must_be(m, 201);
	}
}

static void small_batches(struct conf *c)
{
	c->sweep_batch = 7;
}

/* SES-9 */
Test(purge, every_row_below_a_deleted_session_goes)
{
	static void (*const tunes[])(struct conf *) = { NULL, small_batches };
	for (size_t k = 0; k < COUNT(tunes); k++) {
		struct api *h = api_open_with(0, tunes[k]);
		int64_t kept[COUNT(tables)];
		const char *stays = new_session(h, h->sk, NULL, NULL);
		fill(h, stays);
		for (size_t i = 0; i < COUNT(tables); i++)
			kept[i] = sql_int(h, tables[i][1], DB_ARGS(db_ident(&h->home.id)));
		const char *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"id\":\"goes\"}", NULL);
		fill(h, id);
		struct answer a = api_delete(h, h->sk, "/v1/sessions/%s", id);
		must_be(a, 204);
		cr_assert_null(header_of(&a, "Content-Type"));
		for (size_t i = 0; i < COUNT(tables); i++)
			cr_assert_eq(sql_int(h, tables[i][1], DB_ARGS(db_ident(&h->home.id))), kept[i], "%s", tables[i][0]);
		struct answer other = api_get(h, h->sk, "/v1/sessions/%s?messages=5", stays);
		must_be(other, 200);
		assert_int(other, "message_count", 129);
		api_close(&h);
	}
}

/* SES-9: a late write cannot bring it back. */
Test(purge, nothing_brings_a_deleted_session_back)
{
	struct api *h = api_open();
	const char *token;
	const char *id = new_session(h, h->sk, NULL, &token);
	add_messages(h, id, 1, 3);
	struct answer turn = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", id);
	struct answer deleted = api_delete(h, token, "/v1/sessions/%s", id);
	must_be(deleted, 204);
	const char *const keys[] = { h->sk, token };
	for (size_t i = 0; i < COUNT(keys); i++) {
		struct answer late[] = {
			api_get(h, keys[i], "/v1/sessions/%s", id),
			api_get(h, keys[i], "/v1/sessions/%s/messages", id),
			api_get(h, keys[i], "/v1/sessions/%s/turns/%s", id, str_at(&turn, "turn_id")),
			api_post(h, keys[i], "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", id),
			api_post(h, keys[i], "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "/v1/sessions/%s/messages", id),
			api_post_once(h, keys[i], "late", "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", id),
			api_post(h, keys[i], "{\"message\":\"x\"}", "/v1/sessions/%s/turns", id),
			api_post(h, keys[i], NULL, "/v1/sessions/%s/end", id),
			api_post(h, keys[i], NULL, "/v1/sessions/%s/token", id),
			api_patch(h, keys[i], "{\"title\":\"x\"}", "/v1/sessions/%s", id),
			api_post(h, keys[i], api_text(h, "{\"message\":\"x\",\"session_id\":\"%s\"}", id), "/v1/chat/guide/message"),
			api_delete(h, keys[i], "/v1/sessions/%s", id),
		};
		for (size_t k = 0; k < COUNT(late); k++)
			assert_code(late[k], 404, "not_found");
	}
	for (size_t i = 0; i < COUNT(tables); i++)
		cr_assert_eq(sql_int(h, tables[i][1], DB_ARGS(db_ident(&h->home.id))), 0, "%s", tables[i][0]);
	api_close(&h);
}

/* SES-9 */
Test(purge, the_same_own_id_starts_empty)
{
	struct api *h = api_open();
	const char *token;
	for (int i = 0; i < 3; i++) {
		new_session(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"id\":\"again\",\"title\":\"%d\",\"state\":{\"i\":%d}}", i, i), &token);
		struct answer s = api_get(h, token, "/v1/sessions/again?messages=10");
		must_be(s, 200);
		assert_str(s, "title", api_text(h, "%d", i));
		assert_int(s, "message_count", 0);
		assert_int(s, "version", 1);
		cr_assert_eq(count_at(&s, "messages"), 0);
		add_messages(h, "again", 1, 2 + i);
		struct answer deleted = api_delete(h, h->sk, "/v1/sessions/again");
		must_be(deleted, 204);
	}
	api_close(&h);
}

/* SES-9: a token of the session before is no key to the one that has its id now. */
Test(purge, an_old_token_does_not_open_the_next_session_of_the_same_id)
{
	struct api *h = api_open();
	const char *old;
	new_session(h, h->sk, "{\"agent\":\"guide\",\"id\":\"again\"}", &old);
	struct answer deleted = api_delete(h, h->sk, "/v1/sessions/again");
	must_be(deleted, 204);
	new_session(h, h->sk, "{\"agent\":\"guide\",\"id\":\"again\",\"user\":\"bob\"}", NULL);
	struct answer a = api_get(h, old, "/v1/sessions/again");
	assert_code(a, 404, "not_found");
	api_close(&h);
}

/* A deletion that was interrupted is finished by the janitor. */
Test(purge, the_janitor_finishes_what_was_begun)
{
	struct api *h = api_open_with(API_OWN, small_batches);
	const char *id = new_session(h, h->sk, NULL, NULL);
	fill(h, id);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
	struct ident conversation = ident_of(PREFIX_CONVERSATION, str_at(&s, "conversation_id")), session = ident_of(PREFIX_SESSION, id);
	sql_run(h, "DELETE FROM sessions WHERE id = ?", DB_ARGS(db_ident(&session)));
	sql_run(h, "DELETE FROM idempotency WHERE session = ?", DB_ARGS(db_ident(&session)));
	sql_run(h, "INSERT INTO deletions (conversation, site, created_at) VALUES (?, ?, 1)", DB_ARGS(db_ident(&conversation), db_ident(&h->home.id)));
	int64_t n;
	cr_assert_eq(app_sweep(&h->task, h->app, &n), ERR_OK);
	cr_assert_geq(n, 129 + 3);
	for (size_t i = 0; i < COUNT(tables); i++)
		cr_assert_eq(sql_int(h, tables[i][1], DB_ARGS(db_ident(&h->home.id))), 0, "%s", tables[i][0]);
	api_close(&h);
}
