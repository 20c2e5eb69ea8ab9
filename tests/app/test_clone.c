/* SPDX-License-Identifier: MIT */
/* test_clone: a clone has the same history and is independent: what either does afterwards, the other does not see (SES-7). */
#include "harness.h"

#include <stdio.h>

static const char *contents_of(struct api *h, const char *key, const char *session)
{
	struct answer a = api_get(h, key, "/v1/sessions/%s/messages?limit=100", session);
	must_be(a, 200);
	char text[4000] = "";
	for (size_t i = 0; i < count_at(&a, "data"); i++) {
		char path[64];
		snprintf(path, sizeof path, "data[%zu].content", i);
		snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "", is_null_at(&a, path) ? "-" : str_at(&a, path));
	}
	return api_text(h, "%s", text);
}

static const char *clone_of(struct api *h, const char *session, const char *body)
{
	struct answer a = api_post(h, h->sk, body, "/v1/sessions/%s/clone", session);
	must_be(a, 201);
	return str_at(&a, "id");
}

static void say(struct api *h, const char *session, const char *text)
{
	struct answer a = api_post(h, h->sk, api_text(h, "{\"role\":\"user\",\"content\":\"%s\"}", text), "/v1/sessions/%s/messages", session);
	must_be(a, 201);
}

static const char *message_id(struct api *h, const char *session, int seq)
{
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s/messages?limit=1&after=%d", session, seq - 1);
	must_be(a, 200);
	return str_at(&a, "data[0].id");
}

static int64_t rows_of(struct api *h, const char *table)
{
	struct ident site = h->home.id;
	return sql_int(h, api_text(h, "SELECT COUNT(*) FROM %s WHERE site = ?", table), DB_ARGS(db_ident(&site)));
}

/* SES-7 */
Test(clone, it_has_the_history_and_what_the_original_is_but_for_what_was_asked)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"ann\",\"title\":\"T\",\"tags\":[\"a\"],\"metadata\":{\"k\":\"v\",\"x\":\"y\"},"
					       "\"state\":{\"n\":1},\"config\":{\"temperature\":0.5},\"context\":\"shop\"}", NULL);
	add_messages(h, id, 1, 30);
	struct answer a = api_post_once(h, h->sk, "clone-1", "{\"context\":\"support\",\"state\":{\"m\":2},\"metadata\":{\"x\":null}}", "/v1/sessions/%s/clone", id);
	must_be(a, 201);
	assert_str(a, "context", "support");
	assert_str(a, "user", "ann");
	assert_str(a, "agent", "guide");
	assert_str(a, "title", "T");
	assert_str(a, "tags[0]", "a");
	assert_str(a, "metadata.k", "v");
	cr_assert_eq(count_at(&a, "metadata"), 1);
	assert_int(a, "state.n", 1);
	assert_int(a, "state.m", 2);
	assert_int(a, "message_count", 30);
	assert_str(a, "status", "active");
	const char *copy = str_at(&a, "id");
	cr_assert_str_neq(copy, id);
	cr_assert_str_eq(contents_of(h, h->sk, copy), contents_of(h, h->sk, id));
	cr_assert_str_eq(contents_of(h, str_at(&a, "token"), copy), contents_of(h, h->sk, id), "its own token opens it");
	struct answer replay = api_post_once(h, h->sk, "clone-1", "{\"context\":\"support\",\"state\":{\"m\":2},\"metadata\":{\"x\":null}}", "/v1/sessions/%s/clone", id);
	assert_str(replay, "id", copy);
	cr_assert_eq(rows_of(h, "messages"), 30, "nothing was copied");
	cr_assert_eq(rows_of(h, "sessions"), 2);
	struct answer own = api_post(h, h->sk, "{\"id\":\"mine\"}", "/v1/sessions/%s/clone", id);
	assert_str(own, "id", "mine");
	struct answer taken = api_post(h, h->sk, "{\"id\":\"mine\"}", "/v1/sessions/%s/clone", id);
	assert_code(taken, 409, "session_exists");
	struct answer there = api_post(h, h->sk, "{\"id\":\"mine\",\"if_exists\":\"return\"}", "/v1/sessions/%s/clone", id);
	must_be(there, 200);
	api_close(&h);
}

/* SES-7 */
Test(clone, neither_sees_what_the_other_does_afterwards)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 4);
	const char *copy = clone_of(h, id, NULL), *part = clone_of(h, id, "{\"at\":2}");
	const char *second = clone_of(h, copy, NULL);
	say(h, id, "o5");
	say(h, copy, "c5");
	say(h, part, "p3");
	const char *third = clone_of(h, part, "{\"at\":3}");
	cr_assert_str_eq(contents_of(h, h->sk, id), "1 2 3 4 o5");
	cr_assert_str_eq(contents_of(h, h->sk, copy), "1 2 3 4 c5");
	cr_assert_str_eq(contents_of(h, h->sk, part), "1 2 p3");
	cr_assert_str_eq(contents_of(h, h->sk, second), "1 2 3 4");
	cr_assert_str_eq(contents_of(h, h->sk, third), "1 2 p3");
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s/messages?limit=1", copy);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", copy);
	assert_str(a, "data[0].conversation_id", str_at(&s, "conversation_id"));
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/conversations", copy);
	cr_assert(is_null_at(&list, "data[0].parent_id"), "another session's id is nobody's business");
	api_close(&h);
}

/* SES-7, SES-9: in every order of going. */
Test(clone, a_deleted_original_leaves_clones_whole_and_the_last_one_leaves_nothing)
{
	static const int orders[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
	static const char *const lines[] = { "1 2 3 4 5 6", "1 2 3 4 c5", "1 2 3 4 c5 d6" };
	struct api *h = api_open();
	static const char *const tables[] = { "sessions", "conversations", "messages", "deletions", "message_masks", "session_tags" };
	for (size_t k = 0; k < COUNT(orders); k++) {
		const char *ids[3];
		ids[0] = new_session(h, h->sk, "{\"agent\":\"guide\",\"tags\":[\"t\"]}", NULL);
		add_messages(h, ids[0], 1, 6);
		ids[1] = clone_of(h, ids[0], "{\"at\":4}");
		say(h, ids[1], "c5");
		ids[2] = clone_of(h, ids[1], NULL);
		say(h, ids[2], "d6");
		for (int i = 0; i < 3; i++) {
			struct answer gone = api_delete(h, h->sk, "/v1/sessions/%s", ids[orders[k][i]]);
			must_be(gone, 204);
			for (int j = i + 1; j < 3; j++)
				cr_assert_str_eq(contents_of(h, h->sk, ids[orders[k][j]]), lines[orders[k][j]], "order %zu, after %d", k, i);
		}
		for (size_t i = 0; i < COUNT(tables); i++)
			cr_assert_eq(rows_of(h, tables[i]), 0, "%s, order %zu", tables[i], k);
	}
	api_close(&h);
}

/* SES-9: what a deleted original keeps for its clones is what they see, no more. */
Test(clone, a_deleted_original_keeps_only_what_clones_see)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 50);
	const char *copy = clone_of(h, id, "{\"at\":7}");
	struct answer gone = api_delete(h, h->sk, "/v1/sessions/%s", id);
	must_be(gone, 204);
	cr_assert_eq(rows_of(h, "messages"), 7);
	struct answer clear = api_delete(h, h->sk, "/v1/sessions/%s/messages", copy);
	must_be(clear, 204);
	cr_assert_eq(rows_of(h, "messages"), 0);
	cr_assert_eq(rows_of(h, "conversations"), 1);
	api_close(&h);
}

/* SES-7: isolation. */
Test(clone, a_visitor_clones_only_what_is_theirs_and_stays_who_they_are)
{
	struct api *h = api_open();
	const char *token, *other_token;
	const char *mine = new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"ann\"}", &token);
	const char *other = new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"bob\"}", &other_token);
	add_messages(h, mine, 1, 2);
	struct answer foreign = api_post(h, token, NULL, "/v1/sessions/%s/clone", other);
	assert_code(foreign, 404, "not_found");
	struct answer ok = api_post(h, token, "{\"context\":\"x\"}", "/v1/sessions/%s/clone", mine);
	must_be(ok, 201);
	assert_str(ok, "user", "ann");
	static const char *const bad[][2] = { { "{\"user\":\"bob\"}", "user" }, { "{\"id\":\"x\"}", "id" }, { "{\"config\":{}}", "config" },
					      { "{\"tags\":[]}", "tags" }, { "{\"metadata\":{}}", "metadata" }, { "{\"ttl\":1}", "ttl" } };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_post(h, token, bad[i][0], "/v1/sessions/%s/clone", mine);
		cr_assert(blames(&a, bad[i][1], "forbidden"), "%s", a.body.p);
	}
	struct answer past = api_post(h, token, "{\"at\":3}", "/v1/sessions/%s/clone", mine);
	cr_assert(blames(&past, "at", "range"));
	struct answer theirs = api_get(h, other_token, "/v1/sessions/%s", str_at(&ok, "id"));
	assert_code(theirs, 404, "not_found");
	api_close(&h);
}

/* MSG-5 */
Test(clone, erasing_in_a_clone_is_for_the_clone_alone)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 4);
	const char *copy = clone_of(h, id, NULL);
	say(h, copy, "c5");
	struct answer del = api_delete(h, h->sk, "/v1/sessions/%s/messages/%s", copy, message_id(h, copy, 2));
	must_be(del, 204);
	struct answer red = api_post(h, h->sk, "{\"text\":\"gone\"}", "/v1/sessions/%s/messages/%s/redact", copy, message_id(h, copy, 3));
	must_be(red, 200);
	cr_assert_str_eq(contents_of(h, h->sk, copy), "1 - gone 4 c5");
	cr_assert_str_eq(contents_of(h, h->sk, id), "1 2 3 4");
	const char *next = clone_of(h, copy, NULL), *part = clone_of(h, copy, "{\"at\":2}");
	cr_assert_str_eq(contents_of(h, h->sk, next), "1 - gone 4 c5", "what a clone hides its clones do not see");
	cr_assert_str_eq(contents_of(h, h->sk, part), "1 -");
	cr_assert_eq(rows_of(h, "message_masks"), 5);
	struct answer gone = api_delete(h, h->sk, "/v1/sessions/%s", copy);
	must_be(gone, 204);
	cr_assert_eq(rows_of(h, "message_masks"), 3);
	api_close(&h);
}

/* MSG-5 */
Test(clone, a_redaction_in_the_original_reaches_clones_and_a_deletion_does_not)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 4);
	const char *copy = clone_of(h, id, NULL), *second = clone_of(h, copy, NULL);
	cr_assert_str_eq(contents_of(h, h->sk, second), "1 2 3 4"); /* and into the cache with it */
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s?messages=4", second);
	must_be(s, 200);
	struct answer red = api_post(h, h->sk, NULL, "/v1/sessions/%s/messages/%s/redact", id, message_id(h, id, 1));
	must_be(red, 200);
	struct answer del = api_delete(h, h->sk, "/v1/sessions/%s/messages/%s", id, message_id(h, id, 2));
	must_be(del, 204);
	cr_assert_str_eq(contents_of(h, h->sk, id), "[redacted] - 3 4");
	cr_assert_str_eq(contents_of(h, h->sk, copy), "[redacted] 2 3 4");
	cr_assert_str_eq(contents_of(h, h->sk, second), "[redacted] 2 3 4");
	api_close(&h);
}

/* CNV-3, MSG-5: versions are read through the masks as well. */
Test(clone, versions_hide_what_was_deleted)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 3);
	const char *third = message_id(h, id, 3);
	const char *copy = clone_of(h, id, NULL);
	struct answer edit = api_post(h, h->sk, "{\"content\":\"drei\"}", "/v1/sessions/%s/messages/%s/edit", id, third);
	must_be(edit, 201);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s/conversations", id);
	struct answer del = api_delete(h, h->sk, "/v1/sessions/%s/messages/%s?conversation=%s", id, third, str_at(&s, "data[0].id"));
	must_be(del, 204);
	cr_assert_eq(rows_of(h, "message_masks"), 1);
	struct answer v = api_get(h, h->sk, "/v1/sessions/%s/messages/%s/versions", id, str_at(&edit, "id"));
	must_be(v, 200);
	cr_assert_eq(count_at(&v, "data"), 2);
	cr_assert(is_null_at(&v, "data[0].content"), "%s", v.body.p);
	assert_str(v, "data[1].content", "drei");
	cr_assert_str_eq(contents_of(h, h->sk, copy), "1 2 3");
	api_close(&h);
}

/* CNV-3: an inherited message is a version like those that the clone wrote in its place. */
Test(clone, an_inherited_message_is_among_the_versions)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 4);
	nap(2); /* of one millisecond either may come first */
	for (int seq = 1; seq <= 3; seq += 2) {
		const char *copy = clone_of(h, id, NULL), *old = message_id(h, id, seq);
		struct answer edit = api_post(h, h->sk, "{\"content\":\"new\"}", "/v1/sessions/%s/messages/%s/edit", copy, old);
		must_be(edit, 201);
		struct answer list = api_get(h, h->sk, "/v1/sessions/%s/conversations", copy);
		struct answer v[] = { api_get(h, h->sk, "/v1/sessions/%s/messages/%s/versions", copy, str_at(&edit, "id")),
				      api_get(h, h->sk, "/v1/sessions/%s/messages/%s/versions?conversation=%s", copy, old, str_at(&list, "data[0].id")) };
		for (size_t i = 0; i < COUNT(v); i++) {
			must_be(v[i], 200);
			cr_assert_eq(count_at(&v[i], "data"), 2, "%s", v[i].body.p);
			assert_str(v[i], "data[0].id", old);
			assert_str(v[i], "data[1].id", str_at(&edit, "id"));
		}
	}
	api_close(&h);
}

/* MSG-5: what was deleted a moment ago, where the one who clones has not heard of it yet. */
Test(clone, a_clone_from_an_old_copy_hides_what_is_hidden_by_now)
{
	struct api *h = api_open_with(API_FILE, NULL), *deaf = api_twin(h, API_NO_CACHE, NULL);
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 3);
	const char *copy = clone_of(h, id, NULL);
	cr_assert_str_eq(contents_of(h, h->sk, copy), "1 2 3"); /* and into the cache with it */
	struct answer del = api_delete(deaf, h->sk, "/v1/sessions/%s/messages/%s", copy, message_id(h, copy, 2));
	must_be(del, 204);
	const char *next = clone_of(h, copy, NULL);
	cr_assert_str_eq(contents_of(deaf, h->sk, next), "1 - 3");
	cr_assert_str_eq(contents_of(deaf, h->sk, id), "1 2 3");
	api_close(&deaf);
	api_close(&h);
}

Test(clone, a_session_that_was_cleared_meanwhile_is_still_there)
{
	struct api *h = api_open_with(API_FILE, NULL), *deaf = api_twin(h, API_NO_CACHE, NULL);
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 3);
	cr_assert_str_eq(contents_of(h, h->sk, id), "1 2 3"); /* and into the cache with it */
	struct answer clear = api_delete(deaf, h->sk, "/v1/sessions/%s/messages", id);
	must_be(clear, 204);
	struct answer a = api_post(h, h->sk, NULL, "/v1/sessions/%s/clone", id);
	must_be(a, 201);
	assert_int(a, "message_count", 0);
	api_close(&deaf);
	api_close(&h);
}

static int64_t notes_of(struct api *h)
{
	return sql_int(h, "SELECT COUNT(*) FROM messages WHERE site = ? AND extra IS NOT NULL", DB_ARGS(db_ident(&h->home.id)));
}

/* MSG-5: content leaves the store where nobody else sees it, though its conversation or its session has gone. */
Test(clone, what_nobody_else_sees_is_erased_not_hidden)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 4);
	const char *copy = clone_of(h, id, NULL), *part = clone_of(h, id, "{\"at\":2}");
	struct answer gone = api_delete(h, h->sk, "/v1/sessions/%s", id);
	must_be(gone, 204);
	struct answer red = api_post(h, h->sk, NULL, "/v1/sessions/%s/messages/%s/redact", copy, message_id(h, copy, 3));
	must_be(red, 200);
	cr_assert_eq(notes_of(h), 1, "only one clone sees it");
	struct answer del = api_delete(h, h->sk, "/v1/sessions/%s/messages/%s", copy, message_id(h, copy, 2));
	must_be(del, 204);
	cr_assert_eq(notes_of(h), 1, "two do");
	cr_assert_str_eq(contents_of(h, h->sk, copy), "1 - [redacted] 4");
	cr_assert_str_eq(contents_of(h, h->sk, part), "1 2");
	struct answer part_gone = api_delete(h, h->sk, "/v1/sessions/%s", part);
	must_be(part_gone, 204);
	struct answer again = api_delete(h, h->sk, "/v1/sessions/%s/messages/%s", copy, message_id(h, copy, 2));
	must_be(again, 204);
	cr_assert_eq(notes_of(h), 2);
	cr_assert_str_eq(contents_of(h, h->sk, copy), "1 - [redacted] 4");
	/* A deleted original conversation of the session itself. */
	const char *own = new_session(h, h->sk, NULL, NULL);
	add_messages(h, own, 1, 4);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", own);
	struct answer branch = api_post(h, h->sk, "{\"at\":3}", "/v1/sessions/%s/conversations/%s/branch", own, str_at(&s, "conversation_id"));
	must_be(branch, 201);
	struct answer root_gone = api_delete(h, h->sk, "/v1/sessions/%s/conversations/%s", own, str_at(&s, "conversation_id"));
	must_be(root_gone, 204);
	struct answer own_red = api_post(h, h->sk, NULL, "/v1/sessions/%s/messages/%s/redact", own, message_id(h, own, 1));
	must_be(own_red, 200);
	cr_assert_eq(notes_of(h), 3);
	cr_assert_str_eq(contents_of(h, h->sk, own), "[redacted] 2 3");
	api_close(&h);
}

/* MSG-5 */
Test(clone, a_redaction_after_a_deletion_is_what_is_read)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 2);
	const char *copy = clone_of(h, id, NULL), *first = message_id(h, id, 1);
	struct answer del = api_delete(h, h->sk, "/v1/sessions/%s/messages/%s", id, first);
	must_be(del, 204);
	struct answer red = api_post(h, h->sk, NULL, "/v1/sessions/%s/messages/%s/redact", id, first);
	must_be(red, 200);
	struct answer one = api_get(h, h->sk, "/v1/sessions/%s/messages/%s", id, first);
	cr_assert(bytes_equal(one.body, red.body), "%s", one.body.p);
	cr_assert_str_eq(contents_of(h, h->sk, copy), "[redacted] 2");
	api_close(&h);
}

struct race {
	struct api *h;
	const char *id;
	const char *made[64];
	_Atomic int n;
};

static void clone_or_delete(void *arg, int i)
{
	struct race *r = arg;
	if (i == 3) {
		nap(3);
		struct answer gone = api_delete(r->h, r->h->sk, "/v1/sessions/%s", r->id);
		must_be(gone, 204);
		return;
	}
	for (int k = 0; k < 10; k++) {
		struct answer a = api_post(r->h, r->h->sk, NULL, "/v1/sessions/%s/clone", r->id);
		cr_assert(a.status == 201 || a.status == 404, "%d %s", a.status, a.body.p);
		if (a.status == 201)
			r->made[r->n++] = str_at(&a, "id");
	}
}

/* SES-7: a clone begun while the original goes is whole or is refused. */
Test(clone, cloning_what_is_being_deleted_gives_a_whole_clone_or_none)
{
	struct api *h = api_open();
	for (int round = 0; round < 5; round++) {
		struct race r = { .h = h, .id = new_session(h, h->sk, NULL, NULL) };
		add_messages(h, r.id, 1, 30);
		in_parallel(4, clone_or_delete, &r);
		for (int i = 0; i < r.n; i++) {
			struct answer a = api_get(h, h->sk, "/v1/sessions/%s/messages?limit=100", r.made[i]);
			must_be(a, 200);
			cr_assert_eq(count_at(&a, "data"), 30);
			struct answer gone = api_delete(h, h->sk, "/v1/sessions/%s", r.made[i]);
			must_be(gone, 204);
		}
		cr_assert_eq(rows_of(h, "messages"), 0);
		cr_assert_eq(rows_of(h, "conversations"), 0);
		cr_assert_eq(rows_of(h, "deletions"), 0);
	}
	api_close(&h);
}
