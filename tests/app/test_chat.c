/* SPDX-License-Identifier: MIT */
/* test_chat: one call, and the session is made by the first message. */
#include "harness.h"

static int64_t count_sessions(struct api *h)
{
	return sql_int(h, "SELECT COUNT(*) FROM sessions WHERE site = ?", DB_ARGS(db_ident(&h->home.id)));
}

static struct answer chat_public(struct api *h, const char *body)
{
	return ask(h, .method = "POST", .to = "/v1/chat/guide/message", .key = h->pk, .origin = ORIGIN, .body = body);
}

/* TRN-10 */
Test(chat, makes_the_session_on_the_first_message_and_goes_on_in_it)
{
	struct api *h = api_open();
	struct answer a = api_post(h, h->sk, "{\"message\":\"one\",\"user\":\"ann\",\"client_type\":\"kiosk\",\"context\":\"shop\"}", "/v1/chat/guide/message");
	must_be(a, 200);
	assert_str(a, "result", "You said: one");
	cr_assert(strncmp(str_at(&a, "session_id"), "ses_", 4) == 0 && strncmp(str_at(&a, "token"), "st_", 3) == 0);
	const char *id = str_at(&a, "session_id");
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
	assert_str(s, "user", "ann");
	assert_str(s, "client_type", "kiosk");
	assert_str(s, "context", "shop");
	assert_int(s, "message_count", 2);
	struct answer b = api_post(h, h->sk, api_text(h, "{\"message\":\"two\",\"session_id\":\"%s\"}", id), "/v1/chat/guide/message");
	must_be(b, 200);
	assert_str(b, "session_id", id);
	cr_assert(raw_at(&b, "token").p == NULL);
	struct answer by_name = api_post(h, h->sk, api_text(h, "{\"message\":\"three\",\"session_id\":\"%s\"}", str_at(&s, "name")), "/v1/chat/guide/message");
	must_be(by_name, 200);
	assert_str(by_name, "session_id", id);
	assert_int(by_name, "message.seq", 6);
	cr_assert_eq(count_sessions(h), 1);
	api_close(&h);
}

/* TRN-10 */
Test(chat, a_server_may_choose_the_sessions_id)
{
	struct api *h = api_open();
	for (int i = 0; i < 3; i++) {
		struct answer a = api_post(h, h->sk, "{\"message\":\"x\",\"session_id\":\"visitor-7\"}", "/v1/chat/guide/message");
		must_be(a, 200);
		assert_str(a, "session_id", "visitor-7");
		assert_int(a, "user_message.seq", 2 * i + 1);
		cr_assert_eq(raw_at(&a, "token").p != NULL, i == 0);
	}
	struct answer absent = api_post(h, h->sk, "{\"message\":\"x\",\"session_id\":\"ses_00000000000000000000000000\"}", "/v1/chat/guide/message");
	assert_code(absent, 404, "not_found");
	struct answer odd = api_post(h, h->sk, "{\"message\":\"x\",\"session_id\":\"a b\"}", "/v1/chat/guide/message");
	assert_code(odd, 404, "not_found");
	cr_assert_eq(count_sessions(h), 1);
	api_close(&h);
}

/* SIT-4 */
Test(chat, a_browser_starts_with_the_public_key_and_goes_on_with_its_token)
{
	struct api *h = api_open();
	struct answer a = chat_public(h, "{\"message\":\"one\"}");
	must_be(a, 200);
	const char *token = str_at(&a, "token"), *id = str_at(&a, "session_id");
	struct answer b = api_post(h, token, "{\"message\":\"two\"}", "/v1/chat/guide/message");
	must_be(b, 200);
	assert_str(b, "session_id", id);
	struct answer c = api_post(h, token, api_text(h, "{\"message\":\"three\",\"session_id\":\"%s\"}", id), "/v1/chat/guide/message");
	must_be(c, 200);
	assert_int(c, "message.seq", 6);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
	assert_str(s, "website_domain", "shop.example");
	assert_str(s, "ip_address", "203.0.113.9");
	assert_str(s, "client_type", "web");
	cr_assert_eq(count_sessions(h), 1);
	api_close(&h);
}

/* SEC-1: a browser names neither a user nor a session. */
Test(chat, a_browser_cannot_choose_identities)
{
	struct api *h = api_open();
	const char *other = new_session(h, h->sk, "{\"agent\":\"guide\",\"id\":\"victim\"}", NULL), *token;
	new_session(h, h->sk, NULL, &token);
	struct answer user = chat_public(h, "{\"message\":\"x\",\"user\":\"ann\"}");
	must_be(user, 400);
	cr_assert(blames(&user, "user", "forbidden"));
	struct answer session = chat_public(h, api_text(h, "{\"message\":\"x\",\"session_id\":\"%s\"}", other));
	must_be(session, 400);
	cr_assert(blames(&session, "session_id", "forbidden"));
	struct answer fresh = chat_public(h, "{\"message\":\"x\",\"session_id\":\"mine\"}");
	must_be(fresh, 400);
	struct answer with_token = api_post(h, token, "{\"message\":\"x\",\"session_id\":\"victim\"}", "/v1/chat/guide/message");
	assert_code(with_token, 404, "not_found");
	struct answer unknown = api_post(h, token, "{\"message\":\"x\",\"session_id\":\"nobody\"}", "/v1/chat/guide/message");
	assert_code(unknown, 404, "not_found");
	cr_assert_str_eq(masked(&with_token), masked(&unknown));
	struct answer token_user = api_post(h, token, "{\"message\":\"x\",\"user\":\"ann\"}", "/v1/chat/guide/message");
	must_be(token_user, 400);
	cr_assert_eq(count_sessions(h), 2);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM messages WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 0);
	api_close(&h);
}

Test(chat, the_agent_must_be_the_sessions_own)
{
	struct api *h = api_open();
	struct answer clerk = api_post(h, h->sk, "{\"name\":\"clerk\"}", "/v1/agents");
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer a = api_post(h, h->sk, api_text(h, "{\"message\":\"x\",\"session_id\":\"%s\"}", id), "/v1/chat/clerk/message");
	assert_code(a, 409, "conflict");
	struct answer none = api_post(h, h->sk, "{\"message\":\"x\"}", "/v1/chat/nobody/message");
	assert_code(none, 404, "not_found");
	struct answer by_id = api_post(h, h->sk, "{\"message\":\"x\"}", "/v1/chat/%s/message", str_at(&clerk, "id"));
	must_be(by_id, 200);
	api_close(&h);
}

/* A refused message makes no session. */
Test(chat, nothing_is_made_of_a_bad_call)
{
	struct api *h = api_open();
	static const char *const bad[] = { "{}", "{\"message\":\"\"}", "{\"message\":\"x\",\"title\":\"t\"}", "{\"message\":\"x\",\"context\":\"\"}", "{\"message\":\"x\",\"session_id\":7}" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_post(h, h->sk, bad[i], "/v1/chat/guide/message");
		assert_code(a, 400, "invalid_request");
	}
	cr_assert_eq(count_sessions(h), 0);
	api_close(&h);
}
