/* SPDX-License-Identifier: MIT */
/* test_message_edit: one message is read, redacted, deleted; the history is cleared (MSG-4, MSG-5). */
#include "harness.h"

static const char *message_id(struct api *h, const char *session, int seq)
{
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s/messages?limit=1&after=%d", session, seq - 1);
	must_be(a, 200);
	return str_at(&a, "data[0].id");
}

/* MSG-5 */
Test(message_edit, one_message_is_read_by_its_id)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL), *other = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 40);
	add_messages(h, other, 1, 1);
	for (int seq = 1; seq <= 40; seq += 13) {
		struct answer a = api_get(h, h->sk, "/v1/sessions/%s/messages/%s", id, message_id(h, id, seq));
		must_be(a, 200);
		assert_int(a, "seq", seq);
	}
	const char *bad[] = { message_id(h, other, 1), "msg_00000000000000000000000000", "x", "ses_00000000000000000000000000" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_get(h, h->sk, "/v1/sessions/%s/messages/%s", id, bad[i]);
		assert_code(a, 404, "not_found");
		struct answer d = api_delete(h, h->sk, "/v1/sessions/%s/messages/%s", id, bad[i]);
		assert_code(d, 404, "not_found");
		struct answer v = api_get(h, h->sk, "/v1/sessions/%s/messages/%s/versions", id, bad[i]);
		assert_code(v, 404, "not_found");
	}
	api_close(&h);
}

/* MSG-5 */
Test(message_edit, a_deleted_message_leaves_its_place_and_nothing_else)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer said = api_post(h, h->sk, "{\"role\":\"user\",\"content\":\"secret\",\"metadata\":{\"m\":1},\"name\":\"n\",\"tokens_used\":5}", "/v1/sessions/%s/messages", id);
	must_be(said, 201);
	add_messages(h, id, 2, 2);
	for (int i = 0; i < 2; i++) { /* twice does no harm */
		struct answer del = api_delete(h, h->sk, "/v1/sessions/%s/messages/%s", id, str_at(&said, "id"));
		must_be(del, 204);
	}
	struct answer all[] = { api_get(h, h->sk, "/v1/sessions/%s/messages", id), api_get(h, h->sk, "/v1/sessions/%s/messages?order=desc&limit=100", id) };
	assert_int(all[0], "data[0].seq", 1);
	cr_assert(is_null_at(&all[0], "data[0].content"));
	for (size_t i = 0; i < COUNT(all); i++) {
		cr_assert_eq(count_at(&all[i], "data"), 3);
		cr_assert_null(memmem(all[i].body.p, all[i].body.n, "secret", 6));
	}
	cr_assert(str_at(&all[0], "data[0].deleted_at"));
	cr_assert(raw_at(&all[0], "data[0].metadata").p == NULL && raw_at(&all[0], "data[0].name").p == NULL);
	struct answer one = api_get(h, h->sk, "/v1/sessions/%s/messages/%s", id, str_at(&said, "id"));
	must_be(one, 200);
	cr_assert(is_null_at(&one, "content"));
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s?messages=3", id);
	assert_int(s, "message_count", 3);
	cr_assert(is_null_at(&s, "messages[0].content"));
	add_messages(h, id, 4, 1);
	struct answer after = api_get(h, h->sk, "/v1/sessions/%s?messages=4", id);
	assert_int(after, "messages[3].seq", 4);
	api_close(&h);
}

/* MSG-5 */
Test(message_edit, a_redacted_message_says_so_in_its_place)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer said = api_post(h, h->sk, "{\"role\":\"user\",\"content\":\"secret\",\"metadata\":{\"m\":1}}", "/v1/sessions/%s/messages", id);
	struct answer red = api_post_once(h, h->sk, "r-1", "{\"text\":\"(removed)\"}", "/v1/sessions/%s/messages/%s/redact", id, str_at(&said, "id"));
	must_be(red, 200);
	assert_str(red, "content", "(removed)");
	assert_str(red, "role", "user");
	cr_assert(str_at(&red, "redacted_at"));
	struct answer replay = api_post_once(h, h->sk, "r-1", "{\"text\":\"(removed)\"}", "/v1/sessions/%s/messages/%s/redact", id, str_at(&said, "id"));
	must_be(replay, 200);
	cr_assert(bytes_equal(replay.body, red.body));
	struct answer other = api_post_once(h, h->sk, "r-1", "{\"text\":\"x\"}", "/v1/sessions/%s/messages/%s/redact", id, str_at(&said, "id"));
	assert_code(other, 422, "idempotency_key_reused");
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert(bytes_equal(raw_at(&list, "data[0]"), red.body));
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM messages WHERE site = ? AND metadata IS NOT NULL", DB_ARGS(db_ident(&h->home.id))), 0);
	struct answer plain = api_post(h, h->sk, NULL, "/v1/sessions/%s/messages/%s/redact", id, str_at(&said, "id"));
	assert_str(plain, "content", "[redacted]");
	struct answer bad = api_post(h, h->sk, "{\"text\":7}", "/v1/sessions/%s/messages/%s/redact", id, str_at(&said, "id"));
	cr_assert(blames(&bad, "text", "type"));
	api_close(&h);
}

Test(message_edit, a_visitor_changes_what_the_visitor_said)
{
	struct api *h = api_open();
	const char *token;
	const char *id = new_session(h, h->sk, NULL, &token);
	struct answer t = api_post(h, token, "{\"message\":\"hello\"}", "/v1/sessions/%s/turns", id);
	must_be(t, 200);
	const char *answer = str_at(&t, "message.id"), *said = str_at(&t, "user_message.id");
	struct answer bad[] = { api_delete(h, token, "/v1/sessions/%s/messages/%s", id, answer),
				api_post(h, token, "{\"content\":\"x\"}", "/v1/sessions/%s/messages/%s/edit", id, answer),
				api_post(h, token, NULL, "/v1/sessions/%s/messages/%s/redact", id, answer) };
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_code(bad[i], 403, "forbidden");
	struct answer ok = api_post(h, token, "{\"content\":\"hello again\"}", "/v1/sessions/%s/messages/%s/edit", id, said);
	must_be(ok, 201);
	struct answer del = api_delete(h, token, "/v1/sessions/%s/messages/%s", id, str_at(&ok, "id"));
	must_be(del, 204);
	api_close(&h);
}

/* MSG-4 */
Test(message_edit, a_cleared_history_is_gone_and_the_session_stays)
{
	struct api *h = api_open();
	const char *token;
	const char *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"title\":\"T\",\"state\":{\"k\":1}}", &token);
	add_messages(h, id, 1, 150);
	struct answer more = api_post(h, h->sk, NULL, "/v1/sessions/%s/conversations", id);
	must_be(more, 201);
	add_messages(h, id, 1, 5);
	struct answer turn = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", id);
	must_be(turn, 200);
	struct answer clear = api_delete(h, token, "/v1/sessions/%s/messages", id);
	must_be(clear, 204);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s?messages=20", id);
	must_be(s, 200);
	assert_int(s, "message_count", 0);
	cr_assert_eq(count_at(&s, "messages"), 0);
	assert_str(s, "title", "T");
	assert_int(s, "state.k", 1);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/conversations", id);
	cr_assert_eq(count_at(&list, "data"), 1);
	static const char *const tables[] = { "messages", "turns", "deletions" };
	for (size_t i = 0; i < COUNT(tables); i++)
		cr_assert_eq(sql_int(h, api_text(h, "SELECT COUNT(*) FROM %s WHERE site = ?", tables[i]), DB_ARGS(db_ident(&h->home.id))), 0, "%s", tables[i]);
	add_messages(h, id, 1, 1);
	struct answer again = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	assert_int(again, "data[0].seq", 1);
	api_close(&h);
}

/* MSG-5, MSG-10: the answers kept for keys hold the text too; without it the key is still used. */
Test(message_edit, what_is_erased_leaves_the_answers_of_keys_as_well)
{
	static const char *const ways[] = { "redact", "delete", "clear", "branch" };
	for (size_t i = 0; i < COUNT(ways); i++) {
		struct api *h = api_open();
		const char *id = new_session(h, h->sk, NULL, NULL), *body = "{\"role\":\"user\",\"content\":\"a secret\"}";
		struct answer said = api_post_once(h, h->sk, "once", body, "/v1/sessions/%s/messages", id);
		must_be(said, 201);
		struct answer turn = api_post_once(h, h->sk, "turn", "{\"message\":\"a secret\"}", "/v1/sessions/%s/turns", id);
		must_be(turn, 200);
		if (i == 3) {
			struct answer other = api_post(h, h->sk, NULL, "/v1/sessions/%s/conversations", id);
			must_be(other, 201);
		}
		struct answer gone = i == 0 ? api_post_once(h, h->sk, "redact", NULL, "/v1/sessions/%s/messages/%s/redact", id, str_at(&said, "id")) :
				     i == 1 ? api_delete(h, h->sk, "/v1/sessions/%s/messages/%s", id, str_at(&said, "id")) :
				     i == 2 ? api_delete(h, h->sk, "/v1/sessions/%s/messages", id) :
					      api_delete(h, h->sk, "/v1/sessions/%s/conversations/%s", id, str_at(&said, "conversation_id"));
		must_be(gone, i ? 204 : 200);
		struct answer again = api_post_once(h, h->sk, "once", body, "/v1/sessions/%s/messages", id);
		assert_code(again, 409, "conflict");
		struct answer turn_again = api_post_once(h, h->sk, "turn", "{\"message\":\"a secret\"}", "/v1/sessions/%s/turns", id);
		assert_code(turn_again, 409, "conflict");
		cr_assert_null(memmem(again.body.p, again.body.n, "a secret", 8));
		struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
		assert_int(s, "message_count", i < 2 ? 3 : 0);
		cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM idempotency WHERE site = ? AND status >= 200", DB_ARGS(db_ident(&h->home.id))), i == 0, "%s", ways[i]);
		if (i == 0) {
			struct answer replay = api_post_once(h, h->sk, "redact", NULL, "/v1/sessions/%s/messages/%s/redact", id, str_at(&said, "id"));
			cr_assert(bytes_equal(replay.body, gone.body), "its own answer holds nothing of it");
		}
		api_close(&h);
	}
}

struct race {
	struct api *h;
	const char *id;
};

static void say_or_clear(void *arg, int i)
{
	struct race *r = arg;
	for (int k = 0; k < 10; k++) {
		struct answer a = i == 0 ? api_delete(r->h, r->h->sk, "/v1/sessions/%s/messages", r->id)
					 : api_post(r->h, r->h->sk, "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", r->id);
		must_be(a, i == 0 ? 204 : 201);
		nap(1);
	}
}

/* MSG-4 */
Test(message_edit, clearing_while_others_write_leaves_a_dense_history)
{
	struct api *h = api_open();
	struct race r = { .h = h, .id = new_session(h, h->sk, NULL, NULL) };
	in_parallel(4, say_or_clear, &r);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s/messages?limit=100", r.id);
	must_be(s, 200);
	size_t n = count_at(&s, "data");
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(int_at(&s, api_text(h, "data[%zu].seq", i)), (int64_t)i + 1);
	int64_t unused;
	cr_assert_eq(app_sweep(&h->task, h->app, &unused), ERR_OK);
	struct answer clear = api_delete(h, h->sk, "/v1/sessions/%s/messages", r.id);
	must_be(clear, 204);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM messages WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 0);
	api_close(&h);
}

/* OPS-6: what cannot be read can be cleared all the same. */
Test(message_edit, a_corrupt_conversation_does_not_keep_the_history)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 3);
	struct answer quiet = api_post(h, h->sk, "{\"active\":false}", "/v1/sessions/%s/conversations", id);
	must_be(quiet, 201);
	struct ident bad = ident_of(PREFIX_CONVERSATION, str_at(&quiet, "id"));
	cr_assert_eq(sql_run(h, "UPDATE conversations SET lineage = 'x' WHERE id = ?", DB_ARGS(db_ident(&bad))), 1);
	struct answer clear = api_delete(h, h->sk, "/v1/sessions/%s/messages", id);
	must_be(clear, 204);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
	assert_int(s, "message_count", 0);
	api_close(&h);
}

/* MSG-4: a reader that has not heard of it yet. */
Test(message_edit, what_was_cleared_meanwhile_is_no_error_of_the_session)
{
	static const char *const paths[] = { "full?limit=100", "messages?limit=100" };
	for (size_t i = 0; i < COUNT(paths); i++) {
		struct api *h = api_open_with(API_FILE, NULL), *deaf = api_twin(h, API_NO_CACHE, NULL);
		const char *id = new_session(h, h->sk, NULL, NULL);
		add_messages(h, id, 1, 60);
		struct answer s = api_get(h, h->sk, "/v1/sessions/%s?messages=1", id); /* into the cache with it */
		must_be(s, 200);
		struct answer clear = api_delete(deaf, h->sk, "/v1/sessions/%s/messages", id);
		must_be(clear, 204);
		struct answer a = api_get(h, h->sk, "/v1/sessions/%s/%s", id, paths[i]);
		must_be(a, 200);
		api_close(&deaf);
		api_close(&h);
	}
}
