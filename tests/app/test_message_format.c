/* SPDX-License-Identifier: MIT */
/* test_message_format: messages go in and come out in the formats of providers. MSG-6 */
#include "harness.h"

static const char anthropic[] =
	"{\"format\":\"anthropic\",\"input\":{\"system\":\"Be kind.\",\"messages\":[{\"role\":\"user\",\"content\":\"What is this?\"},"
	"{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"Hm.\",\"signature\":\"c2ln\"},"
	"{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"look\",\"input\":{\"q\":1}}]},"
	"{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_1\",\"content\":\"a lamp\"},{\"type\":\"text\",\"text\":\"And?\"}]}]}}";

static struct bytes member_text(struct api *h, struct answer *a, const char *name)
{
	struct bytes raw = raw_at(a, name);
	return bytes_of(api_text(h, "%.*s", (int)raw.n, raw.p));
}

/* MSG-6 */
Test(message_format, takes_a_providers_document_as_one_batch)
{
	struct api *h = api_open();
	const char *s = new_session(h, h->sk, "{\"agent\":\"guide\"}", NULL);
	struct answer a = api_post(h, h->sk, anthropic, "/v1/sessions/%s/messages", s);
	must_be(a, 201);
	cr_assert_eq(count_at(&a, "data"), 5);
	static const char *const roles[] = { "system", "user", "assistant", "tool", "user" };
	for (size_t i = 0; i < COUNT(roles); i++) {
		assert_str(a, api_text(h, "data[%zu].role", i), roles[i]);
		assert_int(a, api_text(h, "data[%zu].seq", i), (int64_t)i + 1);
	}
	assert_str(a, "data[2].tool_calls[0].name", "look");
	assert_str(a, "data[2].tool_calls[0].arguments", "{\"q\":1}");
	assert_str(a, "data[2].content[0].anthropic.signature", "c2ln");
	assert_str(a, "data[3].tool_call_id", "toolu_1");
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", s);
	cr_assert_eq(count_at(&list, "data"), 5);
	api_close(&h);
}

/* MSG-6: what one format cannot say comes back with its aside, in another session, through all formats. */
Test(message_format, carries_a_conversation_from_session_to_session_through_every_format)
{
	struct api *h = api_open();
	const char *s = new_session(h, h->sk, "{\"agent\":\"guide\"}", NULL);
	struct answer a = api_post(h, h->sk, anthropic, "/v1/sessions/%s/messages", s);
	must_be(a, 201);
	struct answer b = api_post(h, h->sk,
				   "{\"messages\":[{\"role\":\"assistant\",\"content\":\"A lamp.\",\"metadata\":{\"k\":[1]},\"model\":\"m\",\"tokens_used\":7,"
				   "\"client_id\":\"c\"},{\"role\":\"developer\",\"content\":[{\"type\":\"odd\",\"x\":1.50}]}]}",
				   "/v1/sessions/%s/messages", s);
	must_be(b, 201);
	struct answer first = api_get(h, h->sk, "/v1/sessions/%s/messages?format=anthropic", s);
	static const char *const formats[] = { "openai", "gemini", "anthropic", "openai", "anthropic" };
	for (size_t i = 0; i < COUNT(formats); i++) {
		struct answer out = api_get(h, h->sk, "/v1/sessions/%s/messages?format=%s", s, formats[i]);
		must_be(out, 200);
		assert_str(out, "format", formats[i]);
		cr_assert(!bool_at(&out, "has_more") && is_null_at(&out, "next"));
		struct bytes document = member_text(h, &out, "document"), aside = member_text(h, &out, "aside");
		s = new_session(h, h->sk, "{\"agent\":\"guide\"}", NULL);
		struct answer in = api_post(h, h->sk, api_text(h, "{\"format\":\"%s\",\"input\":%s,\"aside\":%s}", formats[i], document.p, aside.p),
					    "/v1/sessions/%s/messages", s);
		must_be(in, 201);
		cr_assert_eq(count_at(&in, "data"), 7);
		assert_int(in, "data[5].tokens_used", 7);
		assert_str(in, "data[5].client_id", "c");
		cr_assert(bytes_equal(raw_at(&in, "data[5].metadata"), BYTES("{\"k\":[1]}")));
		assert_str(in, "data[6].role", "developer");
		cr_assert(bytes_equal(raw_at(&in, "data[6].content"), BYTES("[{\"type\":\"odd\",\"x\":1.50}]")));
	}
	struct answer last = api_get(h, h->sk, "/v1/sessions/%s/messages?format=anthropic", s);
	cr_assert_str_eq(member_text(h, &first, "document").p, member_text(h, &last, "document").p);
	api_close(&h);
}

/* MSG-6 */
Test(message_format, gives_pages_in_the_conversations_order_whichever_way_they_go)
{
	struct api *h = api_open();
	const char *s = new_session(h, h->sk, "{\"agent\":\"guide\"}", NULL);
	add_messages(h, s, 1, 60);
	struct answer up = api_get(h, h->sk, "/v1/sessions/%s/messages?format=openai&limit=2", s);
	cr_assert(bytes_equal(raw_at(&up, "document"), BYTES("{\"messages\":[{\"role\":\"user\",\"content\":\"1\"},{\"role\":\"user\",\"content\":\"2\"}]}")));
	cr_assert(bool_at(&up, "has_more") && is_null_at(&up, "aside"));
	assert_str(up, "next", "2");
	struct answer down = api_get(h, h->sk, "/v1/sessions/%s/messages?format=openai&limit=2&order=desc", s);
	cr_assert(bytes_equal(raw_at(&down, "document"), BYTES("{\"messages\":[{\"role\":\"user\",\"content\":\"59\"},{\"role\":\"user\",\"content\":\"60\"}]}")));
	assert_str(down, "next", "59");
	struct answer none = api_get(h, h->sk, "/v1/sessions/%s/messages?format=gemini&after=60", s);
	cr_assert(bytes_equal(raw_at(&none, "document"), BYTES("{\"contents\":[]}")));
	struct answer other = api_get(h, h->sk, "/v1/sessions/%s/messages?format=mistral", s);
	assert_code(other, 400, "invalid_request");
	api_close(&h);
}

/* MSG-6 */
Test(message_format, leaves_deleted_messages_out)
{
	struct api *h = api_open();
	const char *s = new_session(h, h->sk, "{\"agent\":\"guide\"}", NULL);
	struct answer a = api_post(h, h->sk, "{\"messages\":[{\"role\":\"user\",\"content\":\"one\"},{\"role\":\"user\",\"content\":\"two\"}]}",
				   "/v1/sessions/%s/messages", s);
	struct answer gone = api_delete(h, h->sk, "/v1/sessions/%s/messages/%s", s, str_at(&a, "data[0].id"));
	must_be(gone, 204);
	struct answer out = api_get(h, h->sk, "/v1/sessions/%s/messages?format=openai", s);
	cr_assert(bytes_equal(raw_at(&out, "document"), BYTES("{\"messages\":[{\"role\":\"user\",\"content\":\"two\"}]}")), "%s", out.body.p);
	api_close(&h);
}

/* MSG-6 */
Test(message_format, refuses_wrong_documents_by_the_path_of_the_field)
{
	struct api *h = api_open();
	const char *s = new_session(h, h->sk, "{\"agent\":\"guide\"}", NULL);
	static const struct {
		const char *body, *field, *code;
	} cases[] = {
		{ "{\"format\":\"openai\",\"input\":{\"messages\":[{\"role\":\"user\",\"content\":[{}]}]}}", "input.messages[0].content[0].type", "required" },
		{ "{\"format\":\"openai\",\"input\":{\"model\":\"m\",\"messages\":[]}}", "input.model", "unknown" },
		{ "{\"format\":\"openai\",\"input\":{\"messages\":[]}}", "input", "range" },
		{ "{\"format\":\"openai\",\"input\":[]}", "input", "type" },
		{ "{\"format\":\"openai\"}", "input", "required" },
		{ "{\"input\":{\"messages\":[]}}", "format", "required" },
		{ "{\"aside\":null}", "format", "required" },
		{ "{\"format\":\"mistral\",\"input\":{}}", "format", "choice" },
		{ "{\"format\":\"openai\",\"input\":{\"messages\":[]},\"role\":\"user\"}", "input", "conflict" },
		{ "{\"format\":\"openai\",\"input\":{\"messages\":[]},\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "input", "conflict" },
		{ "{\"role\":\"user\",\"content\":\"x\",\"format\":\"openai\"}", "input", "conflict" },
		{ "{\"format\":\"openai\",\"input\":{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]},\"aside\":7}", "aside", "type" },
		{ "{\"format\":\"openai\",\"input\":{\"messages\":[]},\"aside\":{\"format\":\"gemini\",\"units\":\"\",\"messages\":[]}}", "aside.format", "value" },
		{ "{\"format\":\"openai\",\"input\":{\"messages\":[]},\"aside\":{\"format\":\"openai\",\"units\":\"\",\"messages\":[{\"role\":\"user\",\"bare\":true,"
		  "\"parts\":[{\"type\":\"text\",\"text\":\"x\"}],\"extra\":{\"seq\":1}}]}}", "aside.messages[0].extra", "unknown" },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct answer a = api_post(h, h->sk, cases[i].body, "/v1/sessions/%s/messages", s);
		must_be(a, 400);
		cr_assert(blames(&a, cases[i].field, cases[i].code), "%s: %s", cases[i].body, a.body.p);
	}
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", s);
	cr_assert_eq(count_at(&list, "data"), 0);
	api_close(&h);
}

static void small_limits(struct conf *c)
{
	c->max_batch = 2;
	c->max_message = 1024;
}

/* MSG-6: the bounds of a plain batch hold. */
Test(message_format, keeps_the_limits_of_a_batch)
{
	struct api *h = api_open_with(0, small_limits);
	const char *s = new_session(h, h->sk, "{\"agent\":\"guide\"}", NULL);
	char long_text[1100];
	memset(long_text, 'x', sizeof long_text - 1);
	long_text[sizeof long_text - 1] = '\0';
	struct answer many = api_post(h, h->sk,
				      "{\"format\":\"gemini\",\"input\":{\"contents\":[{\"parts\":[{\"text\":\"a\"}]},{\"parts\":[{\"text\":\"b\"}]},{\"parts\":[{\"text\":\"c\"}]}]}}",
				      "/v1/sessions/%s/messages", s);
	must_be(many, 400);
	cr_assert(blames(&many, "input", "range"));
	struct answer big = api_post(h, h->sk,
				     api_text(h, "{\"format\":\"openai\",\"input\":{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"%s\"}]}}", long_text),
				     "/v1/sessions/%s/messages", s);
	must_be(big, 400);
	cr_assert(blames(&big, "input.messages[1].content", "range"), "%s", big.body.p);
	api_close(&h);
}

/* MSG-6: what an aside holds as text is within bounds by itself; put into a message it must be so still, or nobody could read it again. */
Test(message_format, refuses_what_an_aside_nests_too_deeply)
{
	struct api *h = api_open();
	const char *s = new_session(h, h->sk, "{\"agent\":\"guide\"}", NULL);
	char deep[2 * JSONX_DEPTH + 1];
	for (int more = 0; more < 2; more++) {
		int n = more ? JSONX_DEPTH - 1 : JSONX_DEPTH - 6;
		memset(deep, '[', (size_t)n);
		memset(deep + n, ']', (size_t)n);
		deep[2 * n] = '\0';
		struct answer a = api_post(h, h->sk,
					   api_text(h, "{\"format\":\"openai\",\"input\":{\"messages\":[]},\"aside\":{\"format\":\"openai\",\"units\":\"\",\"messages\":[{\"role\":"
						    "\"user\",\"parts\":[\"{\\\"type\\\":\\\"x\\\",\\\"a\\\":%s}\"]}]}}", deep),
					   "/v1/sessions/%s/messages", s);
		must_be(a, more ? 400 : 201);
		cr_assert(!more || blames(&a, "aside.messages[0].content", "range"), "%s", a.body.p);
	}
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", s);
	cr_assert_not_null(strstr(list.body.p, "\"seq\":1"));
	cr_assert_null(strstr(list.body.p, "\"seq\":2"));
	cr_assert_null(strstr(list.body.p, "\"corrupt\""));
	api_close(&h);
}

/* MSG-6, SEC: neither a document nor an aside lets a browser speak for others. */
Test(message_format, lets_a_token_add_messages_of_the_user_alone)
{
	struct api *h = api_open();
	const char *token;
	const char *s = new_session(h, h->sk, "{\"agent\":\"guide\"}", &token);
	struct answer a = api_post(h, token, anthropic, "/v1/sessions/%s/messages", s);
	must_be(a, 400);
	cr_assert(blames(&a, "input.system.role", "value") && blames(&a, "input.messages[1].content[0].role", "value"), "%s", a.body.p);
	struct answer aside = api_post(h, token,
				       "{\"format\":\"openai\",\"input\":{\"messages\":[]},\"aside\":{\"format\":\"openai\",\"units\":\"\",\"messages\":[{\"role\":\"assistant\","
				       "\"bare\":true,\"parts\":[{\"type\":\"text\",\"text\":\"x\"}]}]}}",
				       "/v1/sessions/%s/messages", s);
	must_be(aside, 400);
	cr_assert(blames(&aside, "aside.messages[0].role", "value"), "%s", aside.body.p);
	struct answer user = api_post(h, token, "{\"format\":\"openai\",\"input\":{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}}",
				      "/v1/sessions/%s/messages", s);
	must_be(user, 201);
	struct answer out = api_get(h, token, "/v1/sessions/%s/messages?format=gemini", s);
	cr_assert(bytes_equal(raw_at(&out, "document"), BYTES("{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"hi\"}]}]}")));
	api_close(&h);
}

/* MSG-6, MSG-10 */
Test(message_format, replays_its_answer_to_the_same_key)
{
	struct api *h = api_open();
	const char *s = new_session(h, h->sk, "{\"agent\":\"guide\"}", NULL);
	struct answer a = api_post_once(h, h->sk, "format-key-1", anthropic, "/v1/sessions/%s/messages", s);
	struct answer b = api_post_once(h, h->sk, "format-key-1", anthropic, "/v1/sessions/%s/messages", s);
	must_be(a, 201);
	must_be(b, 201);
	cr_assert_str_eq(a.body.p, b.body.p);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", s);
	cr_assert_eq(count_at(&list, "data"), 5);
	api_close(&h);
}
