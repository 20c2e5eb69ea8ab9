/* SPDX-License-Identifier: MIT */
/* test_conversation: several conversations in a session, branches, edits, rewinding; the active one is the server's to remember. */
#include "harness.h"

#include <stdio.h>

static struct answer messages_of(struct api *h, const char *session, const char *conversation)
{
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s/messages?limit=100%s%s", session, conversation ? "&conversation=" : "", conversation ? conversation : "");
	must_be(a, 200);
	return a;
}

/* The contents joined, such as "1 2 3". */
static const char *line_of(struct api *h, const char *session, const char *conversation)
{
	struct answer a = messages_of(h, session, conversation);
	char text[4000] = "";
	for (size_t i = 0; i < count_at(&a, "data"); i++) {
		char path[64];
		snprintf(path, sizeof path, "data[%zu].content", i);
		snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "", is_null_at(&a, path) ? "-" : str_at(&a, path));
		snprintf(path, sizeof path, "data[%zu].seq", i);
		cr_assert_eq(int_at(&a, path), (int64_t)i + 1, "dense");
		if (conversation) {
			snprintf(path, sizeof path, "data[%zu].conversation_id", i);
			cr_assert_str_eq(str_at(&a, path), conversation);
		}
	}
	return api_text(h, "%s", text);
}

static const char *active_of(struct api *h, const char *session)
{
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s", session);
	must_be(a, 200);
	return str_at(&a, "conversation_id");
}

static void say(struct api *h, const char *session, const char *conversation, const char *text)
{
	struct answer a = api_post(h, h->sk, api_text(h, "{\"role\":\"user\",\"content\":\"%s\"}", text), "/v1/sessions/%s/messages%s%s", session,
				   conversation ? "?conversation=" : "", conversation ? conversation : "");
	must_be(a, 201);
}

static const char *branch(struct api *h, const char *session, const char *conversation, const char *body)
{
	struct answer a = api_post(h, h->sk, body, "/v1/sessions/%s/conversations/%s/branch", session, conversation);
	must_be(a, 201);
	return str_at(&a, "id");
}

static const char *message_id(struct api *h, const char *session, const char *conversation, size_t i)
{
	struct answer a = messages_of(h, session, conversation);
	return str_at(&a, api_text(h, "data[%zu].id", i));
}

/* CNV-1 */
Test(conversation, a_session_holds_several_and_goes_on_in_the_newest_or_in_any)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"state\":{\"mood\":\"good\"}}", NULL);
	add_messages(h, id, 1, 3);
	const char *first = active_of(h, id);
	struct answer a = api_post(h, h->sk, "{\"title\":\"Second\"}", "/v1/sessions/%s/conversations", id);
	must_be(a, 201);
	assert_str(a, "title", "Second");
	assert_int(a, "message_count", 0);
	cr_assert(bool_at(&a, "active"));
	const char *second = str_at(&a, "id");
	cr_assert_str_eq(active_of(h, id), second);
	say(h, id, NULL, "new");
	cr_assert_str_eq(line_of(h, id, NULL), "new");
	cr_assert_str_eq(line_of(h, id, first), "1 2 3");
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
	assert_str(s, "state.mood", "good");
	say(h, id, first, "4");
	cr_assert_str_eq(line_of(h, id, first), "1 2 3 4");
	struct answer back = api_patch(h, h->sk, "{\"active\":true,\"title\":\"First\"}", "/v1/sessions/%s/conversations/%s", id, first);
	must_be(back, 200);
	cr_assert(bool_at(&back, "active"));
	cr_assert_str_eq(line_of(h, id, NULL), "1 2 3 4");
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/conversations", id);
	must_be(list, 200);
	cr_assert_eq(count_at(&list, "data"), 2);
	assert_str(list, "data[0].title", "First");
	cr_assert(bool_at(&list, "data[0].active") && !bool_at(&list, "data[1].active"));
	assert_int(list, "data[1].message_count", 1);
	struct answer one = api_get(h, h->sk, "/v1/sessions/%s/conversations/%s", id, second);
	cr_assert(bytes_equal(one.body, raw_at(&list, "data[1]")));
	struct answer page = api_get(h, h->sk, "/v1/sessions/%s/conversations?limit=1", id);
	cr_assert(bool_at(&page, "has_more"));
	struct answer rest = api_get(h, h->sk, "/v1/sessions/%s/conversations?limit=1&after=%s", id, str_at(&page, "next"));
	assert_str(rest, "data[0].id", second);
	cr_assert_not(bool_at(&rest, "has_more"));
	api_close(&h);
}

/* CNV-2 */
Test(conversation, a_branch_sees_its_ancestors_and_not_its_siblings)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 5);
	const char *root = active_of(h, id);
	const char *b = branch(h, id, root, "{\"at\":3,\"active\":false}");
	cr_assert_str_eq(active_of(h, id), root, "not switched unless asked");
	cr_assert_str_eq(line_of(h, id, b), "1 2 3");
	say(h, id, b, "b4");
	say(h, id, b, "b5");
	say(h, id, root, "6");
	const char *d = branch(h, id, b, api_text(h, "{\"message\":\"%s\"}", message_id(h, id, b, 3)));
	say(h, id, NULL, "d5");
	const char *e = branch(h, id, d, "{\"at\":2}");
	say(h, id, NULL, "e3");
	const char *empty = branch(h, id, d, "{\"at\":0}");
	cr_assert_str_eq(line_of(h, id, root), "1 2 3 4 5 6");
	cr_assert_str_eq(line_of(h, id, b), "1 2 3 b4 b5");
	cr_assert_str_eq(line_of(h, id, d), "1 2 3 b4 d5");
	cr_assert_str_eq(line_of(h, id, e), "1 2 e3");
	cr_assert_str_eq(line_of(h, id, empty), "");
	struct answer one = api_get(h, h->sk, "/v1/sessions/%s/conversations/%s", id, e);
	assert_str(one, "parent_id", root);
	assert_int(one, "base_seq", 2);
	assert_int(one, "message_count", 3);
	struct answer page = api_get(h, h->sk, "/v1/sessions/%s/messages?conversation=%s&order=desc&limit=3", id, d);
	assert_str(page, "data[0].content", "d5");
	assert_str(page, "data[2].content", "3");
	struct answer older = api_get(h, h->sk, "/v1/sessions/%s/messages?conversation=%s&order=desc&limit=3&before=%s", id, d, str_at(&page, "next"));
	assert_str(older, "data[0].content", "2");
	cr_assert_eq(count_at(&older, "data"), 2);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s?messages=20", id);
	assert_str(s, "conversation_id", empty);
	assert_int(s, "message_count", 0);
	api_close(&h);
}

/* CNV-2: the newest messages of a long line of branches, from the cache and past it. */
Test(conversation, a_deep_branch_reads_like_a_plain_conversation)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	for (int i = 0; i < 60; i++) {
		say(h, id, NULL, api_text(h, "m%d", i));
		branch(h, id, active_of(h, id), "{}");
	}
	for (int limit = 1; limit <= 100; limit += 9) {
		struct answer a = api_get(h, h->sk, "/v1/sessions/%s/messages?order=desc&limit=%d", id, limit);
		must_be(a, 200);
		int n = (int)count_at(&a, "data");
		cr_assert_eq(n, limit < 60 ? limit : 60);
		for (int i = 0; i < n; i++)
			cr_assert_str_eq(str_at(&a, api_text(h, "data[%d].content", i)), api_text(h, "m%d", 59 - i));
		struct answer s = api_get(h, h->sk, "/v1/sessions/%s?messages=%d", id, limit);
		cr_assert_eq(count_at(&s, "messages"), (size_t)n);
	}
	api_close(&h);
}

/* CNV-2: rename and delete; ids never come again. */
Test(conversation, a_deleted_one_is_gone_and_its_branches_stay)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 5);
	const char *root = active_of(h, id);
	struct answer active = api_delete(h, h->sk, "/v1/sessions/%s/conversations/%s", id, root);
	assert_code(active, 409, "conflict");
	const char *b = branch(h, id, root, "{\"at\":3}");
	say(h, id, NULL, "b4");
	struct answer gone = api_delete(h, h->sk, "/v1/sessions/%s/conversations/%s", id, root);
	must_be(gone, 204);
	struct answer again = api_delete(h, h->sk, "/v1/sessions/%s/conversations/%s", id, root);
	assert_code(again, 404, "not_found");
	struct answer there = api_get(h, h->sk, "/v1/sessions/%s/messages?conversation=%s", id, root);
	assert_code(there, 404, "not_found");
	struct answer late = api_post(h, h->sk, "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages?conversation=%s", id, root);
	assert_code(late, 404, "not_found");
	struct answer from = api_post(h, h->sk, "{}", "/v1/sessions/%s/conversations/%s/branch", id, root);
	assert_code(from, 404, "not_found");
	cr_assert_str_eq(line_of(h, id, b), "1 2 3 b4");
	struct ident site = h->home.id;
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM messages WHERE site = ?", DB_ARGS(db_ident(&site))), 4, "what nobody sees is gone, what the branch sees is not");
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/conversations", id);
	cr_assert_eq(count_at(&list, "data"), 1);
	cr_assert(is_null_at(&list, "data[0].parent_id"));
	api_close(&h);
}

/* CNV-3 */
Test(conversation, an_edited_message_keeps_both_versions_and_the_server_remembers_the_active_one)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 4);
	const char *root = active_of(h, id), *old = message_id(h, id, NULL, 2);
	struct answer a = api_post_once(h, h->sk, "edit-1", "{\"content\":\"three\",\"metadata\":{\"k\":1}}", "/v1/sessions/%s/messages/%s/edit", id, old);
	must_be(a, 201);
	assert_int(a, "seq", 3);
	assert_str(a, "role", "user");
	assert_str(a, "version_of", old);
	assert_int(a, "metadata.k", 1);
	struct answer replay = api_post_once(h, h->sk, "edit-1", "{\"content\":\"three\",\"metadata\":{\"k\":1}}", "/v1/sessions/%s/messages/%s/edit", id, old);
	cr_assert_str_eq(masked(&replay), masked(&a));
	cr_assert_str_eq(line_of(h, id, NULL), "1 2 three");
	cr_assert_str_eq(line_of(h, id, root), "1 2 3 4");
	struct answer second = api_post(h, h->sk, "{\"content\":\"drei\"}", "/v1/sessions/%s/messages/%s/edit", id, str_at(&a, "id"));
	must_be(second, 201);
	struct answer quiet = api_post(h, h->sk, "{\"content\":\"trois\",\"active\":false}", "/v1/sessions/%s/messages/%s/edit?conversation=%s", id, old, root);
	must_be(quiet, 201);
	cr_assert_str_eq(line_of(h, id, NULL), "1 2 drei");
	struct answer versions = api_get(h, h->sk, "/v1/sessions/%s/messages/%s/versions", id, str_at(&second, "id"));
	must_be(versions, 200);
	cr_assert_eq(count_at(&versions, "data"), 4);
	static const char *const contents[] = { "\"3\"", "\"three\"", "\"drei\"", "\"trois\"" };
	for (size_t i = 0; i < COUNT(contents); i++)
		cr_assert(memmem(versions.body.p, versions.body.n, contents[i], strlen(contents[i])), "%s", contents[i]);
	struct answer back = api_patch(h, h->sk, "{\"active\":true}", "/v1/sessions/%s/conversations/%s", id, str_at(&a, "conversation_id"));
	must_be(back, 200);
	cr_assert_str_eq(line_of(h, id, NULL), "1 2 three");
	api_close(&h);
}

/* CNV-3: also of the first message, and of an edit of it. */
Test(conversation, the_first_message_has_versions_too)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 2);
	struct answer a = api_post(h, h->sk, "{\"content\":\"one\"}", "/v1/sessions/%s/messages/%s/edit", id, message_id(h, id, NULL, 0));
	must_be(a, 201);
	assert_int(a, "seq", 1);
	struct answer b = api_post(h, h->sk, "{\"content\":\"eins\"}", "/v1/sessions/%s/messages/%s/edit", id, str_at(&a, "id"));
	must_be(b, 201);
	struct answer other = api_post(h, h->sk, NULL, "/v1/sessions/%s/conversations", id);
	must_be(other, 201);
	say(h, id, NULL, "unrelated");
	struct answer versions = api_get(h, h->sk, "/v1/sessions/%s/messages/%s/versions?conversation=%s", id, str_at(&b, "id"), str_at(&b, "conversation_id"));
	must_be(versions, 200);
	cr_assert_eq(count_at(&versions, "data"), 3, "%s", versions.body.p);
	cr_assert(memmem(versions.body.p, versions.body.n, "\"eins\"", 6) && memmem(versions.body.p, versions.body.n, "\"one\"", 5));
	api_close(&h);
}

/* CNV-3: whatever lies between two edits of it. */
Test(conversation, the_first_message_keeps_its_versions_behind_a_branch)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 2);
	struct answer a = api_post(h, h->sk, "{\"content\":\"one\"}", "/v1/sessions/%s/messages/%s/edit", id, message_id(h, id, NULL, 0));
	must_be(a, 201);
	say(h, id, NULL, "more");
	branch(h, id, active_of(h, id), "{\"at\":1}");
	struct answer b = api_post(h, h->sk, "{\"content\":\"eins\"}", "/v1/sessions/%s/messages/%s/edit", id, str_at(&a, "id"));
	must_be(b, 201);
	struct answer versions = api_get(h, h->sk, "/v1/sessions/%s/messages/%s/versions", id, str_at(&b, "id"));
	must_be(versions, 200);
	cr_assert_eq(count_at(&versions, "data"), 3, "%s", versions.body.p);
	api_close(&h);
}

/* CNV-3: whose answer a tool's message is stays with it. */
Test(conversation, an_edited_answer_of_a_tool_still_says_to_which_call)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer calls = api_post(h, h->sk, "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"c1\",\"name\":\"f\",\"arguments\":{}}]}",
				       "/v1/sessions/%s/messages", id);
	must_be(calls, 201);
	struct answer tool = api_post(h, h->sk, "{\"role\":\"tool\",\"content\":\"1\",\"tool_call_id\":\"c1\",\"name\":\"f\",\"model\":\"m\"}",
				      "/v1/sessions/%s/messages", id);
	must_be(tool, 201);
	struct answer edit = api_post(h, h->sk, "{\"content\":\"2\"}", "/v1/sessions/%s/messages/%s/edit", id, str_at(&tool, "id"));
	must_be(edit, 201);
	assert_str(edit, "tool_call_id", "c1");
	assert_str(edit, "name", "f");
	assert_str(edit, "version_of", str_at(&tool, "id"));
	cr_assert_null(raw_at(&edit, "model").p);
	api_close(&h);
}

/* CNV-3: an answer made anew. */
Test(conversation, a_regenerated_answer_keeps_the_old_one)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer first = api_post(h, h->sk, "{\"message\":\"hello\"}", "/v1/sessions/%s/turns", id);
	must_be(first, 200);
	const char *root = active_of(h, id);
	struct answer again = api_post_once(h, h->sk, "regen-1", api_text(h, "{\"regenerate\":\"%s\"}", str_at(&first, "message.id")), "/v1/sessions/%s/turns", id);
	must_be(again, 200);
	assert_str(again, "result", str_at(&first, "result"));
	assert_int(again, "message.seq", 2);
	assert_str(again, "user_message.id", str_at(&first, "user_message.id"));
	cr_assert_str_neq(active_of(h, id), root);
	struct answer replay = api_post_once(h, h->sk, "regen-1", api_text(h, "{\"regenerate\":\"%s\"}", str_at(&first, "message.id")), "/v1/sessions/%s/turns", id);
	must_be(replay, 200);
	assert_str(replay, "turn_id", str_at(&again, "turn_id"));
	struct answer versions = api_get(h, h->sk, "/v1/sessions/%s/messages/%s/versions", id, str_at(&again, "message.id"));
	cr_assert_eq(count_at(&versions, "data"), 2);
	struct answer old_turn = api_get(h, h->sk, "/v1/sessions/%s/turns/%s", id, str_at(&first, "turn_id"));
	must_be(old_turn, 200);
	assert_str(old_turn, "result", str_at(&first, "result"));
	struct answer behind = api_post(h, h->sk, api_text(h, "{\"regenerate\":\"%s\"}", str_at(&first, "user_message.id")), "/v1/sessions/%s/turns", id);
	must_be(behind, 200);
	assert_int(behind, "message.seq", 2);
	struct answer both = api_post(h, h->sk, api_text(h, "{\"message\":\"x\",\"regenerate\":\"%s\"}", str_at(&first, "message.id")), "/v1/sessions/%s/turns", id);
	cr_assert(blames(&both, "regenerate", "conflict"));
	struct answer none = api_post(h, h->sk, "{}", "/v1/sessions/%s/turns", id);
	cr_assert(blames(&none, "message", "required"));
	struct answer unknown = api_post(h, h->sk, "{\"regenerate\":\"msg_0\"}", "/v1/sessions/%s/turns", id);
	cr_assert(blames(&unknown, "regenerate", "value"));
	api_close(&h);
}

/* CNV-4 */
Test(conversation, rewinding_goes_on_before_a_message_and_keeps_the_log)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 6);
	const char *root = active_of(h, id);
	struct answer a = api_post_once(h, h->sk, "rewind-1", "{\"at\":4}", "/v1/sessions/%s/conversations/%s/rewind", id, root);
	must_be(a, 201);
	assert_int(a, "message_count", 3);
	cr_assert_str_eq(line_of(h, id, NULL), "1 2 3");
	say(h, id, NULL, "other");
	cr_assert_str_eq(line_of(h, id, NULL), "1 2 3 other");
	cr_assert_str_eq(line_of(h, id, root), "1 2 3 4 5 6");
	struct answer by_id = api_post(h, h->sk, api_text(h, "{\"message\":\"%s\"}", message_id(h, id, root, 0)), "/v1/sessions/%s/conversations/%s/rewind", id, root);
	must_be(by_id, 201);
	cr_assert_str_eq(line_of(h, id, NULL), "");
	static const char *const bad[][3] = { { "{}", "at", "required" }, { "{\"at\":0}", "at", "range" }, { "{\"at\":7}", "at", "range" },
					      { "{\"at\":-1}", "at", "range" }, { "{\"message\":\"msg_x\"}", "message", "value" },
					      { "{\"at\":1,\"message\":\"msg_x\"}", "message", "conflict" } };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer b = api_post(h, h->sk, bad[i][0], "/v1/sessions/%s/conversations/%s/rewind", id, root);
		assert_code(b, 400, "invalid_request");
		cr_assert(blames(&b, bad[i][1], bad[i][2]), "%s: %s", bad[i][0], b.body.p);
	}
	api_close(&h);
}

Test(conversation, foreign_and_unknown_ones_are_not_there)
{
	struct api *h = api_open();
	const char *mine = new_session(h, h->sk, NULL, NULL), *other = new_session(h, h->sk, NULL, NULL);
	const char *theirs = active_of(h, other);
	static const char *const refs[] = { "cnv_00000000000000000000000000", "nonsense", "ses_00000000000000000000000000" };
	struct api_site away = api_add_site(h, "https://away.example");
	const char *far = new_session(h, away.sk, NULL, NULL);
	struct answer far_one = api_get(h, away.sk, "/v1/sessions/%s", far);
	const char *bad[] = { theirs, str_at(&far_one, "conversation_id"), refs[0], refs[1], refs[2] };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer all[] = {
			api_get(h, h->sk, "/v1/sessions/%s/conversations/%s", mine, bad[i]),
			api_patch(h, h->sk, "{\"active\":true}", "/v1/sessions/%s/conversations/%s", mine, bad[i]),
			api_delete(h, h->sk, "/v1/sessions/%s/conversations/%s", mine, bad[i]),
			api_post(h, h->sk, "{}", "/v1/sessions/%s/conversations/%s/branch", mine, bad[i]),
			api_post(h, h->sk, "{\"at\":1}", "/v1/sessions/%s/conversations/%s/rewind", mine, bad[i]),
			api_get(h, h->sk, "/v1/sessions/%s/messages?conversation=%s", mine, bad[i]),
			api_post(h, h->sk, "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages?conversation=%s", mine, bad[i]),
		};
		for (size_t k = 0; k < COUNT(all); k++)
			assert_code(all[k], 404, "not_found");
	}
	api_close(&h);
}

Test(conversation, an_ended_session_takes_no_new_one)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 2);
	const char *root = active_of(h, id), *m = message_id(h, id, NULL, 0);
	struct answer end = api_post(h, h->sk, NULL, "/v1/sessions/%s/end", id);
	must_be(end, 200);
	struct answer all[] = {
		api_post(h, h->sk, "{}", "/v1/sessions/%s/conversations", id),
		api_post(h, h->sk, "{}", "/v1/sessions/%s/conversations/%s/branch", id, root),
		api_post(h, h->sk, "{\"at\":1}", "/v1/sessions/%s/conversations/%s/rewind", id, root),
		api_post(h, h->sk, "{\"content\":\"x\"}", "/v1/sessions/%s/messages/%s/edit", id, m),
	};
	for (size_t k = 0; k < COUNT(all); k++)
		assert_code(all[k], 409, "session_ended");
	api_close(&h);
}

struct race {
	struct api *h;
	const char *id, *root;
	int n_made;
};

static void branch_or_say(void *arg, int i)
{
	struct race *r = arg;
	for (int k = 0; k < 15; k++) {
		struct answer a = i % 2 ? api_post(r->h, r->h->sk, "{\"at\":3,\"active\":false}", "/v1/sessions/%s/conversations/%s/branch", r->id, r->root)
					: api_post(r->h, r->h->sk, "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages?conversation=%s", r->id, r->root);
		must_be(a, 201);
		if (i % 2)
			__atomic_add_fetch(&r->n_made, 1, __ATOMIC_RELAXED);
	}
}

Test(conversation, branching_and_appending_at_once_lose_nothing)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 5);
	struct race r = { .h = h, .id = id, .root = active_of(h, id) };
	in_parallel(8, branch_or_say, &r);
	struct answer all = messages_of(h, id, r.root);
	cr_assert_eq(count_at(&all, "data"), 5 + 4 * 15);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/conversations?limit=100", id);
	cr_assert_eq(count_at(&list, "data"), 1 + (size_t)r.n_made);
	api_close(&h);
}
