/* SPDX-License-Identifier: MIT */
/* test_corrupt: rows that cannot be read are reported and set aside; whatever lies around them works (OPS-6). */
#include "harness.h"

static const struct {
	const char *name;
	struct bytes stored;
} rubbish[] = {
	{ "no header", BYTES("rubbish") }, { "empty", BYTES("") }, { "a cut header", BYTES("\xa7") }, { "an unknown format", BYTES("\xa7\7\0\0{}") },
	{ "broken compression", BYTES("\xa7\1\0\0\x28\xb5\x2f\xfd\x20\x05") }, { "no JSON", BYTES("\xa7\0\0\0{\"a\":") }, { "half a string", BYTES("\xa7\0\0\0\"abc") },
	{ "nothing behind the header", BYTES("\xa7\0\0\0") }, { "other bytes", BYTES("\xa7\0\0\0\"\xff\xfe\"") },
};

/* A twin reads what is in the database, not what the first one's cache holds. */
static struct api *fresh(struct api *h)
{
	return api_twin(h, API_NO_CACHE, NULL);
}

Test(corrupt, a_message_says_so_and_the_others_are_there)
{
	struct api *h = api_open_with(API_FILE, NULL), *f = fresh(h);
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 60);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
	struct ident conversation = ident_of(PREFIX_CONVERSATION, str_at(&s, "conversation_id"));
	for (size_t i = 0; i < COUNT(rubbish); i++) {
		struct bytes r = rubbish[i].stored;
		sql_run(h, "UPDATE messages SET content = ? WHERE conversation = ? AND seq IN (5, 55)", DB_ARGS(db_blob(r.p, r.n), db_ident(&conversation)));
		int64_t before = metric_get(METRIC_corrupt_records_total);
		struct answer list = api_get(f, h->sk, "/v1/sessions/%s/messages?limit=100", id);
		must_be(list, 200);
		cr_assert_eq(count_at(&list, "data"), 60);
		for (int k = 0; k < 60; k++) {
			bool is_bad = k == 4 || k == 54;
			assert_int(list, api_text(h, "data[%d].seq", k), k + 1);
			cr_assert_eq(is_null_at(&list, api_text(h, "data[%d].content", k)), is_bad, "%s: %d", rubbish[i].name, k);
			cr_assert_eq(raw_at(&list, api_text(h, "data[%d].corrupt", k)).n > 0, is_bad);
		}
		cr_assert_gt(metric_get(METRIC_corrupt_records_total), before, "it is counted");
		struct answer head = api_get(f, h->sk, "/v1/sessions/%s?messages=10", id);
		must_be(head, 200);
		cr_assert(bool_at(&head, "messages[4].corrupt"));
		struct answer append = api_post(f, h->sk, "{\"role\":\"user\",\"content\":\"on\"}", "/v1/sessions/%s/messages", id);
		must_be(append, 201);
		struct answer turn = api_post(f, h->sk, "{\"message\":\"and on\"}", "/v1/sessions/%s/turns", id);
		must_be(turn, 200);
		sql_run(h, "DELETE FROM messages WHERE conversation = ? AND seq > 60", DB_ARGS(db_ident(&conversation)));
	}
	api_close(&f);
	api_close(&h);
}

Test(corrupt, a_messages_other_columns_count_too)
{
	struct api *h = api_open_with(API_FILE, NULL), *f = fresh(h);
	static const char *const columns[] = { "UPDATE messages SET metadata = ? WHERE site = ?", "UPDATE messages SET extra = ? WHERE site = ?" };
	const char *id = new_session(h, h->sk, NULL, NULL);
	for (size_t c = 0; c < COUNT(columns); c++)
		for (size_t i = 0; i < COUNT(rubbish); i++) {
			struct answer a = api_post(h, h->sk, "{\"role\":\"user\",\"content\":\"x\",\"metadata\":{\"a\":1},\"name\":\"n\"}", "/v1/sessions/%s/messages", id);
			must_be(a, 201);
			sql_run(h, columns[c], DB_ARGS(db_blob(rubbish[i].stored.p, rubbish[i].stored.n), db_ident(&h->home.id)));
			struct answer list = api_get(f, h->sk, "/v1/sessions/%s/messages?limit=1&order=desc", id);
			must_be(list, 200);
		}
	api_close(&f);
	api_close(&h);
}

Test(corrupt, a_session_is_reported_and_the_list_goes_on)
{
	struct api *h = api_open_with(API_FILE, NULL), *f = fresh(h);
	static const char *const columns[] = { "UPDATE sessions SET state = ? WHERE id = ?", "UPDATE sessions SET config = ? WHERE id = ?" };
	const char *good = new_session(h, h->sk, NULL, NULL), *bad = new_session(h, h->sk, NULL, NULL);
	struct ident id = ident_of(PREFIX_SESSION, bad);
	for (size_t c = 0; c < COUNT(columns); c++)
		for (size_t i = 0; i < COUNT(rubbish); i++) {
			sql_run(h, columns[c], DB_ARGS(db_blob(rubbish[i].stored.p, rubbish[i].stored.n), db_ident(&id)));
			struct answer a = api_get(f, h->sk, "/v1/sessions/%s", bad);
			assert_code(a, 500, "corrupt_record");
			struct answer list = api_get(f, h->sk, "/v1/sessions?order=asc");
			must_be(list, 200);
			cr_assert_eq(count_at(&list, "data"), 2);
			assert_str(list, "data[0].id", good);
			assert_str(list, "data[1].id", bad);
			cr_assert(bool_at(&list, "data[1].corrupt"));
			sql_run(h, columns[c], DB_ARGS(db_blob("\xa7\0\0\0{}", 6), db_ident(&id)));
		}
	struct answer healed = api_get(f, h->sk, "/v1/sessions/%s", bad);
	must_be(healed, 200);
	api_close(&f);
	api_close(&h);
}

Test(corrupt, texts_of_a_session_that_are_no_json_are_found)
{
	struct api *h = api_open_with(API_FILE, NULL), *f = fresh(h);
	static const char *const columns[] = { "UPDATE sessions SET tags = ? WHERE site = ?", "UPDATE sessions SET metadata = ? WHERE site = ?" };
	static const char *const texts[] = { "", "x", "[", "{\"a\":", "[]}" };
	const char *id = new_session(h, h->sk, NULL, NULL);
	for (size_t c = 0; c < COUNT(columns); c++)
		for (size_t i = 0; i < COUNT(texts); i++) {
			sql_run(h, columns[c], DB_ARGS(db_text(bytes_of(texts[i])), db_ident(&h->home.id)));
			struct answer a = api_get(f, h->sk, "/v1/sessions/%s", id);
			assert_code(a, 500, "corrupt_record");
			struct answer list = api_get(f, h->sk, "/v1/sessions");
			must_be(list, 200);
			cr_assert(bool_at(&list, "data[0].corrupt"));
			sql_run(h, columns[c], DB_ARGS(db_text(c ? BYTES("{}") : BYTES("[]")), db_ident(&h->home.id)));
		}
	api_close(&f);
	api_close(&h);
}

/* SEC-2: what is wrong with a session is nobody else's to know. */
Test(corrupt, another_visitor_hears_nothing_of_it)
{
	struct api *h = api_open_with(API_FILE, NULL), *f = fresh(h);
	const char *token;
	const char *bad = new_session(h, h->sk, NULL, NULL);
	new_session(h, h->sk, NULL, &token);
	struct ident id = ident_of(PREFIX_SESSION, bad);
	sql_run(h, "UPDATE sessions SET state = 'rubbish' WHERE id = ?", DB_ARGS(db_ident(&id)));
	struct answer a = api_get(f, token, "/v1/sessions/%s", bad);
	assert_code(a, 404, "not_found");
	api_close(&f);
	api_close(&h);
}

/* A corrupt session can still be deleted: that is how it is set aside for good. */
Test(corrupt, a_session_can_be_deleted)
{
	struct api *h = api_open_with(API_FILE, NULL), *f = fresh(h);
	const char *bad = new_session(h, h->sk, NULL, NULL);
	add_messages(h, bad, 1, 3);
	struct ident id = ident_of(PREFIX_SESSION, bad);
	sql_run(h, "UPDATE sessions SET state = 'rubbish' WHERE id = ?", DB_ARGS(db_ident(&id)));
	struct answer a = api_delete(f, h->sk, "/v1/sessions/%s", bad);
	must_be(a, 204);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM messages WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 0);
	api_close(&f);
	api_close(&h);
}

Test(corrupt, a_turns_text_is_left_out)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer t = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", id);
	must_be(t, 200);
	sql_run(h, "UPDATE turns SET status = 3, partial = 'rubbish' WHERE site = ?", DB_ARGS(db_ident(&h->home.id)));
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s/turns/%s", id, str_at(&t, "turn_id"));
	must_be(a, 200);
	assert_str(a, "result", "");
	api_close(&h);
}
