/* SPDX-License-Identifier: MIT */
/* test_agent: a site's agents are made, read, changed and deleted by its secret key; providers are the operator's (SIT-2). */
#include "harness.h"

static const char *const full =
	"{\"name\":\"clerk\",\"title\":\"The clerk\",\"instructions\":\"Be kind.\\nBe brief.\",\"provider\":\"echo\",\"model\":\"m\",\"language\":\"de-CH\","
	"\"temperature\":0.7,\"max_output_tokens\":200}";

Test(agent, is_made_read_changed_and_deleted)
{
	struct api *h = api_open();
	struct answer a = api_post(h, h->sk, full, "/v1/agents");
	must_be(a, 201);
	cr_assert(strncmp(str_at(&a, "id"), "agt_", 4) == 0);
	assert_str(a, "instructions", "Be kind.\nBe brief.");
	cr_assert(bytes_equal(raw_at(&a, "temperature"), BYTES("0.7")));
	assert_int(a, "max_output_tokens", 200);
	assert_int(a, "version", 1);
	struct answer by_name = api_get(h, h->sk, "/v1/agents/clerk"), by_id = api_get(h, h->sk, "/v1/agents/%s", str_at(&a, "id"));
	must_be(by_name, 200);
	cr_assert_str_eq(by_name.body.p, a.body.p);
	cr_assert_str_eq(by_id.body.p, a.body.p);
	struct answer b = api_patch(h, h->sk, "{\"temperature\":null,\"title\":\"Clerk\",\"max_output_tokens\":0}", "/v1/agents/clerk");
	must_be(b, 200);
	cr_assert(is_null_at(&b, "temperature"));
	assert_str(b, "title", "Clerk");
	assert_str(b, "model", "m");
	assert_int(b, "max_output_tokens", 0);
	assert_int(b, "version", 2);
	struct answer zero = api_patch(h, h->sk, "{\"temperature\":0}", "/v1/agents/clerk");
	cr_assert(bytes_equal(raw_at(&zero, "temperature"), BYTES("0")), "none is not zero");
	struct answer renamed = api_patch(h, h->sk, "{\"name\":\"cashier\"}", "/v1/agents/clerk");
	must_be(renamed, 200);
	struct answer gone = api_get(h, h->sk, "/v1/agents/clerk");
	assert_code(gone, 404, "not_found");
	struct answer deleted = api_delete(h, h->sk, "/v1/agents/cashier"), twice = api_delete(h, h->sk, "/v1/agents/cashier");
	must_be(deleted, 204);
	assert_code(twice, 404, "not_found");
	api_close(&h);
}

Test(agent, gets_defaults)
{
	struct api *h = api_open();
	struct answer a = api_post(h, h->sk, "{\"name\":\"0-x\"}", "/v1/agents");
	must_be(a, 201);
	assert_str(a, "title", "0-x");
	assert_str(a, "provider", "echo");
	assert_str(a, "model", "");
	cr_assert(is_null_at(&a, "temperature"));
	assert_int(a, "max_output_tokens", 0);
	api_close(&h);
}

/* TRN-9 */
Test(agent, has_others_in_its_providers_place)
{
	struct api *h = api_open();
	struct answer a = api_post(h, h->sk, "{\"name\":\"x\",\"fallbacks\": [ {\"model\":\"m\\\"2\", \"provider\":\"echo\"}, {\"provider\":\"echo\"} ]}", "/v1/agents");
	must_be(a, 201);
	cr_assert(bytes_equal(raw_at(&a, "fallbacks"), BYTES("[{\"provider\":\"echo\",\"model\":\"m\\\"2\"},{\"provider\":\"echo\"}]")), "%s", a.body.p);
	struct answer kept = api_patch(h, h->sk, "{\"title\":\"y\"}", "/v1/agents/x");
	cr_assert_eq(count_at(&kept, "fallbacks"), 2);
	struct answer none = api_patch(h, h->sk, "{\"fallbacks\":[]}", "/v1/agents/x");
	must_be(none, 200);
	cr_assert_eq(count_at(&none, "fallbacks"), 0);
	api_close(&h);
}

Test(agent, names_are_unique_in_their_site)
{
	struct api *h = api_open();
	struct api_site other = api_add_site(h, "https://other.example");
	struct answer a = api_post(h, h->sk, full, "/v1/agents"), twice = api_post(h, h->sk, full, "/v1/agents"), elsewhere = api_post(h, other.sk, full, "/v1/agents");
	must_be(a, 201);
	assert_code(twice, 409, "conflict");
	must_be(elsewhere, 201);
	struct answer rename = api_patch(h, h->sk, "{\"name\":\"guide\"}", "/v1/agents/clerk");
	assert_code(rename, 409, "conflict");
	api_close(&h);
}

Test(agent, bad_values_are_named)
{
	struct api *h = api_open();
	static const struct {
		const char *members, *field;
	} bad[] = {
		{ "\"title\":\"x\"", "name" }, { "\"name\":\"A\"", "name" }, { "\"name\":\"-a\"", "name" }, { "\"name\":\"a b\"", "name" }, { "\"name\":\"\"", "name" },
		{ "\"name\":\"a/b\"", "name" }, { "\"name\":\"x\",\"provider\":\"nobody\"", "provider" }, { "\"name\":\"x\",\"temperature\":2.1", "temperature" },
		{ "\"name\":\"x\",\"temperature\":-0.1", "temperature" }, { "\"name\":\"x\",\"temperature\":\"hot\"", "temperature" },
		{ "\"name\":\"x\",\"max_output_tokens\":-1", "max_output_tokens" }, { "\"name\":\"x\",\"max_output_tokens\":1.5", "max_output_tokens" },
		{ "\"name\":\"x\",\"fallbacks\":{}", "fallbacks" }, { "\"name\":\"x\",\"fallbacks\":[1]", "fallbacks[0]" },
		{ "\"name\":\"x\",\"fallbacks\":[{}]", "fallbacks[0].provider" },
		{ "\"name\":\"x\",\"fallbacks\":[{\"provider\":\"echo\",\"x\":1}]", "fallbacks[0].x" },
		{ "\"name\":\"x\",\"fallbacks\":[{\"provider\":\"echo\"},{\"provider\":\"nobody\"}]", "fallbacks[1].provider" },
		{ "\"name\":\"x\",\"fallbacks\":[{\"provider\":\"echo\",\"model\":7}]", "fallbacks[0].model" },
		{ "\"name\":\"x\",\"fallbacks\":[{\"provider\":\"echo\"},{\"provider\":\"echo\"},{\"provider\":\"echo\"},{\"provider\":\"echo\"},{\"provider\":\"echo\"}]", "fallbacks" },
		{ "\"name\":\"x\",\"base_url\":\"http://x\"", "base_url" }, { "\"name\":\"x\",\"id\":\"agt_x\"", "id" },
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_post(h, h->sk, api_text(h, "{%s}", bad[i].members), "/v1/agents");
		assert_code(a, 400, "invalid_request");
		cr_assert(blames(&a, bad[i].field, NULL), "%s: %s", bad[i].members, a.body.p);
	}
	struct answer patch = api_patch(h, h->sk, "{\"provider\":\"nobody\"}", "/v1/agents/guide");
	cr_assert(blames(&patch, "provider", "value"));
	patch = api_patch(h, h->sk, "{\"fallbacks\":[{\"provider\":\"nobody\"}]}", "/v1/agents/guide");
	cr_assert(blames(&patch, "fallbacks[0].provider", "value"));
	struct answer list = api_get(h, h->sk, "/v1/agents");
	cr_assert_eq(count_at(&list, "data"), 1);
	api_close(&h);
}

Test(agent, lists_by_name_in_pages)
{
	struct api *h = api_open();
	for (int i = 0; i < 25; i++) {
		struct answer a = api_post(h, h->sk, api_text(h, "{\"name\":\"a-%02d\"}", (i * 7) % 25), "/v1/agents");
		must_be(a, 201);
	}
	static const int limits[] = { 1, 5, 13, 26, 100 };
	for (size_t k = 0; k < COUNT(limits); k++) {
		const char *after = "";
		int n = 0;
		for (bool has_more = true; has_more;) {
			struct answer a = api_get(h, h->sk, "/v1/agents?limit=%d%s%s", limits[k], after[0] ? "&after=" : "", after);
			must_be(a, 200);
			for (size_t i = 0; i < count_at(&a, "data"); i++, n++)
				assert_str(a, api_text(h, "data[%zu].name", i), n < 25 ? api_text(h, "a-%02d", n) : "guide");
			has_more = bool_at(&a, "has_more");
			after = has_more ? str_at(&a, "next") : "";
		}
		cr_assert_eq(n, 26);
	}
	struct answer usual = api_get(h, h->sk, "/v1/agents");
	cr_assert_eq(count_at(&usual, "data"), 20);
	api_close(&h);
}

/* MSG-11 for agents: If-Match. */
Test(agent, a_stale_writer_is_refused)
{
	struct api *h = api_open();
	struct answer a = ask(h, .method = "PATCH", .to = "/v1/agents/guide", .key = h->sk, .body = "{\"title\":\"one\"}", .if_match = "\"1\"");
	must_be(a, 200);
	cr_assert_str_eq(header_of(&a, "ETag"), "\"2\"");
	struct answer b = ask(h, .method = "PATCH", .to = "/v1/agents/guide", .key = h->sk, .body = "{\"title\":\"two\"}", .if_match = "\"1\"");
	assert_code(b, 412, "precondition_failed");
	api_close(&h);
}

/* A change of an agent is seen by the next turn. */
Test(agent, a_change_counts_from_the_next_turn)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer patch = api_patch(h, h->sk, "{\"max_output_tokens\":3}", "/v1/agents/guide");
	must_be(patch, 200);
	struct answer a = api_post(h, h->sk, "{\"message\":\"one two three\"}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	assert_str(a, "result", "You said: one ");
	assert_str(a, "finish", "length");
	api_close(&h);
}

Test(agent, providers_are_the_operators)
{
	struct api *h = api_open_with(API_OWN, NULL);
	struct provider good = { BYTES("local"), BYTES("openai"), BYTES("https://api.example/v1"), BYTES("key.txt") }, found, *list;
	size_t n;
	cr_assert_eq(provider_create(&h->task, h->app, &good), ERR_OK);
	cr_assert_eq(provider_create(&h->task, h->app, &good), ERR_CONFLICT);
	static const struct provider bad[] = {
		{ BYTES("Bad Name"), BYTES("openai"), BYTES("https://api.example/v1"), BYTES("") },
		{ BYTES("a"), BYTES("nokind"), BYTES("https://api.example/v1"), BYTES("") },
		{ BYTES("b"), BYTES("openai"), BYTES("ftp://api.example"), BYTES("") },
		{ BYTES("c"), BYTES("openai"), BYTES(""), BYTES("") },
		{ BYTES("d"), BYTES("openai"), BYTES("https://api.example/v1"), BYTES("../secret") },
		{ BYTES("echo"), BYTES("openai"), BYTES("https://api.example/v1"), BYTES("") },
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		enum err e = provider_create(&h->task, h->app, &bad[i]);
		cr_assert(e == ERR_INVALID || e == ERR_CONFLICT, "%zu: %d", i, e);
		task_clear_fault(&h->task);
	}
	cr_assert_eq(provider_list(&h->task, h->app, &list, &n), ERR_OK);
	cr_assert_eq(n, 1);
	cr_assert_eq(provider_find(&h->task, h->app, BYTES("local"), &found), ERR_OK);
	cr_assert(bytes_equal(found.base_url, good.base_url));
	cr_assert_eq(provider_find(&h->task, h->app, BYTES("none"), &found), ERR_NOT_FOUND);
	struct answer a = api_post(h, h->sk, "{\"name\":\"x\",\"provider\":\"local\"}", "/v1/agents");
	must_be(a, 201);
	cr_assert_null(strstr(a.body.p, "api.example"), "a site never sees where a provider is");
	api_close(&h);
}
