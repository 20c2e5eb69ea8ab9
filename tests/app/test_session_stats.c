/* SPDX-License-Identifier: MIT */
/* test_session_stats: a session in numbers, with its conversations, and in full: right counts, bounded answers (SES-12). */
#include "harness.h"

Test(session_stats, counts_what_is_there)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer empty = api_get(h, h->sk, "/v1/sessions/%s/stats", id);
	must_be(empty, 200);
	assert_int(empty, "messages.total", 0);
	assert_int(empty, "conversations", 1);
	assert_int(empty, "content_bytes", 0);
	cr_assert(is_null_at(&empty, "first_message_at") && is_null_at(&empty, "last_message_at"));
	struct answer m = api_post(h, h->sk, "{\"messages\":[{\"role\":\"system\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\",\"tokens_used\":5},"
					     "{\"role\":\"tool\",\"content\":\"c\",\"tool_call_id\":\"x\"},{\"role\":\"developer\",\"content\":\"d\",\"tokens_used\":6}]}",
				   "/v1/sessions/%s/messages", id);
	must_be(m, 201);
	nap(3);
	struct answer turn = api_post(h, h->sk, "{\"message\":\"hello there\"}", "/v1/sessions/%s/turns", id);
	must_be(turn, 200);
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s/stats", id);
	must_be(a, 200);
	assert_str(a, "session_id", id);
	assert_int(a, "message_count", 6);
	assert_int(a, "messages.total", 6);
	assert_int(a, "messages.system", 1);
	assert_int(a, "messages.developer", 1);
	assert_int(a, "messages.user", 2);
	assert_int(a, "messages.assistant", 1);
	assert_int(a, "messages.tool", 1);
	assert_int(a, "turns.total", 1);
	assert_int(a, "turns.done", 1);
	assert_int(a, "tokens.input", int_at(&turn, "usage.input_tokens"));
	assert_int(a, "tokens.output", int_at(&turn, "usage.output_tokens"));
	assert_int(a, "tokens.total", int_at(&turn, "usage.total_tokens"));
	cr_assert_geq(int_at(&a, "tokens.messages"), 11);
	cr_assert_gt(int_at(&a, "content_bytes"), 30);
	cr_assert_str_eq(str_at(&a, "first_message_at"), str_at(&m, "data[0].created_at"));
	cr_assert_str_eq(str_at(&a, "last_message_at"), str_at(&turn, "message.created_at"));
	api_close(&h);
}

/* What a conversation inherits is seen, and counted once, where it is stored. */
Test(session_stats, counts_branches_and_clones_by_what_they_store)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 10);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
	struct answer branch = api_post(h, h->sk, "{\"at\":4}", "/v1/sessions/%s/conversations/%s/branch", id, str_at(&s, "conversation_id"));
	must_be(branch, 201);
	add_messages(h, id, 5, 2);
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s/stats", id);
	assert_int(a, "conversations", 2);
	assert_int(a, "messages.total", 12);
	assert_int(a, "message_count", 6);
	struct answer clone = api_post(h, h->sk, "{}", "/v1/sessions/%s/clone", id);
	must_be(clone, 201);
	struct answer c = api_get(h, h->sk, "/v1/sessions/%s/stats", str_at(&clone, "id"));
	assert_int(c, "conversations", 1);
	assert_int(c, "messages.total", 0);
	assert_int(c, "message_count", 6);
	struct answer info = api_get(h, h->sk, "/v1/sessions/%s/info", id);
	must_be(info, 200);
	assert_str(info, "session.id", id);
	assert_int(info, "conversation_count", 2);
	cr_assert_eq(count_at(&info, "conversations"), 2);
	cr_assert_eq(bool_at(&info, "conversations[0].active") + bool_at(&info, "conversations[1].active"), 1);
	cr_assert(strstr(info.body.p, "\"messages\"") == NULL, "no history");
	api_close(&h);
}

/* SES-12: the history in full goes page by page. */
Test(session_stats, full_is_bounded_and_goes_on)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL), *next = "";
	add_messages(h, id, 1, 250);
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s/full", id);
	must_be(a, 200);
	cr_assert_eq(count_at(&a, "messages.data"), 20);
	assert_int(a, "messages.data[0].seq", 231);
	assert_int(a, "messages.data[19].seq", 250);
	assert_int(a, "stats.messages.total", 250);
	assert_str(a, "session.id", id);
	cr_assert_eq(count_at(&a, "conversations"), 1);
	cr_assert(header_of(&a, "ETag"));
	int64_t wanted = 250;
	for (int pages = 0; next; pages++) {
		cr_assert_lt(pages, 5);
		struct answer p = api_get(h, h->sk, "/v1/sessions/%s/full?limit=100%s%s", id, *next ? "&before=" : "", next);
		must_be(p, 200);
		for (size_t i = count_at(&p, "messages.data"); i > 0; i--)
			assert_int(p, api_text(h, "messages.data[%zu].seq", i - 1), wanted--);
		next = bool_at(&p, "messages.has_more") ? str_at(&p, "messages.next") : NULL;
	}
	cr_assert_eq(wanted, 0);
	struct answer onward = api_get(h, h->sk, "/v1/sessions/%s/messages?order=desc&limit=1&before=%s", id, str_at(&a, "messages.next"));
	assert_int(onward, "data[0].seq", 230);
	struct answer past = api_get(h, h->sk, "/v1/sessions/%s/full?before=1", id);
	cr_assert_eq(count_at(&past, "messages.data"), 0);
	static const char *const bad[] = { "limit=0", "limit=101", "before=0", "before=x", "x=1" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer b = api_get(h, h->sk, "/v1/sessions/%s/full?%s", id, bad[i]);
		assert_code(b, 400, "invalid_request");
	}
	api_close(&h);
}

Test(session_stats, info_lists_a_hundred_conversations)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	for (int i = 0; i < 104; i++) {
		struct answer a = api_post(h, h->sk, "{}", "/v1/sessions/%s/conversations", id);
		must_be(a, 201);
	}
	struct answer info = api_get(h, h->sk, "/v1/sessions/%s/info", id);
	assert_int(info, "conversation_count", 105);
	cr_assert_eq(count_at(&info, "conversations"), 100);
	api_close(&h);
}

Test(session_stats, are_its_users_and_its_servers)
{
	struct api *h = api_open();
	const char *ann, *bob, *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"ann\"}", &ann);
	new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"bob\"}", &bob);
	static const char *const parts[] = { "stats", "info", "full" };
	for (size_t i = 0; i < COUNT(parts); i++) {
		struct answer own = api_get(h, ann, "/v1/sessions/%s/%s", id, parts[i]), foreign = api_get(h, bob, "/v1/sessions/%s/%s", id, parts[i]);
		must_be(own, 200);
		cr_assert_null(strstr(own.body.p, "ip_address"));
		assert_code(foreign, 404, "not_found");
	}
	api_close(&h);
}
