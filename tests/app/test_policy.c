/* SPDX-License-Identifier: MIT */
/* test_policy: what a session's config may say (SES-14), and what the presets make of it (SES-15). */
#include "harness.h"

#include "app/policy.h"
#include "app/preset.h"

/* SES-14 */
Test(policy, names_each_key_that_is_wrong)
{
	struct api *h = api_open();
	static const struct {
		const char *config, *field, *code;
	} bad[] = {
		{ "{\"memory_policy\":\"forever\"}", "config.memory_policy", "choice" },
		{ "{\"memory_policy\":7}", "config.memory_policy", "type" },
		{ "{\"temperature\":2.01}", "config.temperature", "range" },
		{ "{\"temperature\":-0.5}", "config.temperature", "range" },
		{ "{\"temperature\":\"warm\"}", "config.temperature", "type" },
		{ "{\"auto_persist\":1}", "config.auto_persist", "type" },
		{ "{\"max_context_messages\":0}", "config.max_context_messages", "range" },
		{ "{\"max_context_messages\":1001}", "config.max_context_messages", "range" },
		{ "{\"max_context_messages\":1.5}", "config.max_context_messages", "type" },
		{ "{\"preset\":\"none\"}", "config.preset", "choice" },
		{ "{\"template\":[]}", "config.template", "type" },
		{ "{\"memory_categories\":[\"a\",\"a\"]}", "config.memory_categories", "repeated" },
		{ "{\"learning\":\"yes\"}", "config.learning", "type" },
		{ "{\"tools\":[]}", "config.tools", "type" },
		{ "{\"\\u0074ools\":[]}", "config.tools", "type" },
		{ "{\"adaptation\":0}", "config.adaptation", "type" },
		{ "{\"analytics\":{}}", "config.analytics", "type" },
	};
	const char *id = new_session(h, h->sk, NULL, NULL);
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"config\":%s}", bad[i].config), "/v1/sessions");
		assert_code(a, 400, "invalid_request");
		cr_assert(blames(&a, bad[i].field, bad[i].code), "%s: %s", bad[i].config, a.body.p);
		struct answer p = api_patch(h, h->sk, api_text(h, "{\"config\":%s}", bad[i].config), "/v1/sessions/%s", id);
		assert_code(p, 400, "invalid_request");
		cr_assert(blames(&p, bad[i].field, bad[i].code), "%s: %s", bad[i].config, p.body.p);
	}
	struct answer all = api_post(h, h->sk, "{\"agent\":\"guide\",\"config\":{\"temperature\":3,\"tools\":1,\"memory_policy\":\"x\"}}", "/v1/sessions");
	cr_assert(blames(&all, "config.temperature", NULL) && blames(&all, "config.tools", NULL) && blames(&all, "config.memory_policy", NULL));
	must_be(api_post(h, h->sk, "{\"agent\":\"guide\",\"config\":{\"memory_policy\":null}}", "/v1/sessions"), 201);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
	cr_assert(bytes_equal(raw_at(&s, "config"), BYTES("{}")), "nothing was stored");
	assert_int(s, "version", 1);
	api_close(&h);
}

/* SES-14: the rest is the site's own. */
Test(policy, keeps_keys_it_does_not_know_as_they_came)
{
	struct api *h = api_open();
	const char *config = "{\"mine\":{\"temperature\":\"hot\"},\"temperature\":2,\"max_context_messages\":1000,\"memory_policy\":\"hybrid\",\"auto_persist\":false,\"x\":null}";
	struct answer a = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"config\":%s}", config), "/v1/sessions");
	must_be(a, 201);
	cr_assert(bytes_equal(raw_at(&a, "config"), bytes_of(config)));
	struct answer p = api_patch(h, h->sk, "{\"config\":{\"temperature\":null,\"mine\":5}}", "/v1/sessions/%s", str_at(&a, "id"));
	must_be(p, 200);
	assert_int(p, "config.mine", 5);
	cr_assert_eq(raw_at(&p, "config.temperature").n, 0);
	assert_str(p, "config.memory_policy", "hybrid");
	api_close(&h);
}

/* SES-14 */
Test(policy, reads_what_is_stored_and_takes_defaults_for_the_rest)
{
	struct api *h = api_open();
	struct policy p = policy_read(&h->task, BYTES("{}"));
	cr_assert(p.memory == MEMORY_PERSISTENT && p.auto_persist && p.max_context_messages == 0 && p.temperature < 0);
	p = policy_read(&h->task, BYTES("{\"memory_policy\":\"hybrid\",\"auto_persist\":false,\"max_context_messages\":12,\"temperature\":0}"));
	cr_assert(p.memory == MEMORY_HYBRID && !p.auto_persist && p.max_context_messages == 12 && p.temperature == 0);
	p = policy_read(&h->task, BYTES("{\"memory_policy\":\"ephemeral\",\"temperature\":7,\"auto_persist\":\"no\",\"max_context_messages\":-1}"));
	cr_assert(p.memory == MEMORY_EPHEMERAL && p.auto_persist && p.max_context_messages == 0 && p.temperature < 0, "what is wrong counts as not said");
	cr_assert(h->task.fault.code == ERR_OK && h->task.fault.fields == NULL);
	api_close(&h);
}

/* SES-15 */
Test(policy, lists_the_presets)
{
	struct api *h = api_open();
	struct answer a = api_get(h, h->sk, "/v1/presets");
	must_be(a, 200);
	cr_assert_eq(count_at(&a, "data"), 4);
	assert_str(a, "data[0].name", "conversation");
	for (int i = 0; i < 4; i++) {
		const char *name = str_at(&a, api_text(h, "data[%d].name", i));
		const struct preset *p = preset_find(bytes_of(name));
		cr_assert(p && bytes_equal(raw_at(&a, api_text(h, "data[%d].config", i)), bytes_of(p->config)));
		cr_assert_eq(policy_check_config(&h->task, "config", bytes_of(p->config)), ERR_OK, "%s", name);
		cr_assert(strstr(PRESET_CHOICES, name));
	}
	struct answer refused = ask(h, .method = "GET", .to = "/v1/presets", .key = h->pk, .origin = ORIGIN);
	assert_code(refused, 403, "forbidden");
	api_close(&h);
}

/* SES-15 */
Test(policy, a_preset_is_the_base_of_the_config)
{
	struct api *h = api_open();
	static const struct {
		const char *preset, *config;
	} rows[] = {
		{ "conversation", "{\"temperature\":0.8,\"memory_policy\":\"persistent\",\"learning\":true,\"preset\":\"conversation\"}" },
		{ "task_oriented", "{\"temperature\":0.3,\"memory_policy\":\"ephemeral\",\"tools\":true,\"preset\":\"task_oriented\"}" },
		{ "educational", "{\"temperature\":0.5,\"memory_policy\":\"hybrid\",\"adaptation\":true,\"preset\":\"educational\"}" },
		{ "customer_support", "{\"memory_policy\":\"persistent\",\"analytics\":true,\"preset\":\"customer_support\"}" },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct answer a = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"preset\":\"%s\"}", rows[i].preset), "/v1/sessions");
		must_be(a, 201);
		cr_assert(bytes_equal(raw_at(&a, "config"), bytes_of(rows[i].config)), "%.*s", (int)raw_at(&a, "config").n, raw_at(&a, "config").p);
	}
	struct answer over = api_post(h, h->sk, "{\"agent\":\"guide\",\"preset\":\"educational\",\"config\":{\"temperature\":null,\"memory_policy\":\"persistent\",\"mine\":1}}", "/v1/sessions");
	must_be(over, 201);
	cr_assert_eq(raw_at(&over, "config.temperature").n, 0, "null takes the preset's away");
	assert_str(over, "config.memory_policy", "persistent");
	assert_int(over, "config.mine", 1);
	cr_assert(bool_at(&over, "config.adaptation"));
	struct answer wrong = api_post(h, h->sk, "{\"agent\":\"guide\",\"preset\":\"educational\",\"config\":{\"temperature\":9}}", "/v1/sessions");
	assert_code(wrong, 400, "invalid_request");
	cr_assert(blames(&wrong, "config.temperature", "range"));
	api_close(&h);
}

/* SES-15 */
Test(policy, an_unknown_preset_is_named_with_the_choices)
{
	struct api *h = api_open();
	struct answer a = api_post(h, h->sk, "{\"agent\":\"guide\",\"preset\":\"chatty\"}", "/v1/sessions");
	assert_code(a, 400, "invalid_request");
	cr_assert(blames(&a, "preset", "choice"));
	cr_assert(strstr(a.body.p, PRESET_CHOICES));
	api_close(&h);
}

/* SES-15, SES-16, SES-17: how a session is treated is not the visitor's to choose. */
Test(policy, a_publishable_key_chooses_neither_preset_nor_template_nor_time)
{
	struct api *h = api_open();
	struct answer a = ask(h, .method = "POST", .to = "/v1/sessions", .key = h->pk, .origin = ORIGIN,
			      .body = "{\"agent\":\"guide\",\"preset\":\"conversation\",\"template\":\"x\",\"ttl\":60}");
	assert_code(a, 400, "invalid_request");
	cr_assert(blames(&a, "preset", "forbidden") && blames(&a, "template", "forbidden") && blames(&a, "ttl", "forbidden"));
	api_close(&h);
}
