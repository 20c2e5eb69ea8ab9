/* SPDX-License-Identifier: MIT */
/* test_template: templates are made, changed, and decide what a session begins with (SES-16). */
#include "harness.h"

static const char *const support =
	"{\"name\":\"support\",\"title\":\"Support\",\"preset\":\"customer_support\",\"config\":{\"temperature\":0.2,\"team\":\"blue\"},"
	"\"required_context\":[\"customer_id\",\"order\"],\"memory_categories\":[\"orders\",\"complaints\"]}";

static struct answer make(struct api *h, const char *body)
{
	struct answer a = api_post(h, h->sk, body, "/v1/templates");
	must_be(a, 201);
	return a;
}

/* SES-16 */
Test(template, is_made_read_changed_and_deleted)
{
	struct api *h = api_open();
	struct answer a = make(h, support);
	assert_str(a, "name", "support");
	assert_str(a, "preset", "customer_support");
	assert_int(a, "version", 1);
	cr_assert_str_eq(header_of(&a, "ETag"), "\"1\"");
	struct answer got = api_get(h, h->sk, "/v1/templates/support");
	must_be(got, 200);
	cr_assert_str_eq(got.body.p, a.body.p);
	struct answer p = api_patch(h, h->sk, "{\"preset\":null,\"config\":{\"team\":null,\"tools\":true},\"required_context\":[]}", "/v1/templates/support");
	must_be(p, 200);
	cr_assert(is_null_at(&p, "preset"));
	cr_assert(bytes_equal(raw_at(&p, "config"), BYTES("{\"temperature\":0.2,\"tools\":true}")));
	assert_str(p, "title", "Support");
	cr_assert_eq(count_at(&p, "memory_categories"), 2);
	cr_assert_eq(count_at(&p, "required_context"), 0);
	cr_assert_str_eq(header_of(&p, "ETag"), "\"2\"");
	struct answer renamed = api_patch(h, h->sk, "{\"name\":\"help\"}", "/v1/templates/support");
	must_be(renamed, 200);
	struct answer gone = api_get(h, h->sk, "/v1/templates/support"), there = api_get(h, h->sk, "/v1/templates/help");
	assert_code(gone, 404, "not_found");
	must_be(there, 200);
	struct answer deleted = api_delete(h, h->sk, "/v1/templates/help");
	must_be(deleted, 204);
	deleted = api_delete(h, h->sk, "/v1/templates/help");
	assert_code(deleted, 404, "not_found");
	struct answer patched = api_patch(h, h->sk, "{\"title\":\"x\"}", "/v1/templates/help");
	assert_code(patched, 404, "not_found");
	api_close(&h);
}

/* SES-16 */
Test(template, gets_defaults_for_what_is_not_given)
{
	struct api *h = api_open();
	struct answer a = make(h, "{\"name\":\"bare\"}");
	assert_str(a, "title", "bare");
	cr_assert(is_null_at(&a, "preset"));
	cr_assert(bytes_equal(raw_at(&a, "config"), BYTES("{}")));
	cr_assert(bytes_equal(raw_at(&a, "required_context"), BYTES("[]")));
	cr_assert(bytes_equal(raw_at(&a, "memory_categories"), BYTES("[]")));
	struct answer s = api_post(h, h->sk, "{\"agent\":\"guide\",\"template\":\"bare\"}", "/v1/sessions");
	must_be(s, 201);
	cr_assert(bytes_equal(raw_at(&s, "config"), BYTES("{\"template\":\"bare\"}")));
	api_close(&h);
}

Test(template, refuses_what_is_wrong_by_name)
{
	struct api *h = api_open();
	static const struct {
		const char *body, *field;
	} bad[] = {
		{ "{}", "name" },
		{ "{\"name\":\"Has Space\"}", "name" },
		{ "{\"name\":\"x\",\"preset\":\"none\"}", "preset" },
		{ "{\"name\":\"x\",\"config\":{\"memory_policy\":\"x\"}}", "config.memory_policy" },
		{ "{\"name\":\"x\",\"config\":[]}", "config" },
		{ "{\"name\":\"x\",\"required_context\":[\"a\",\"a\"]}", "required_context" },
		{ "{\"name\":\"x\",\"required_context\":[1]}", "required_context[0]" },
		{ "{\"name\":\"x\",\"required_context\":[\"\"]}", "required_context[0]" },
		{ "{\"name\":\"x\",\"memory_categories\":{}}", "memory_categories" },
		{ "{\"name\":\"x\",\"shape\":1}", "shape" },
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_post(h, h->sk, bad[i].body, "/v1/templates");
		assert_code(a, 400, "invalid_request");
		cr_assert(blames(&a, bad[i].field, NULL), "%s: %s", bad[i].body, a.body.p);
	}
	make(h, "{\"name\":\"x\"}");
	make(h, "{\"name\":\"y\"}");
	struct answer p = api_patch(h, h->sk, "{\"config\":{\"temperature\":5}}", "/v1/templates/x");
	cr_assert(blames(&p, "config.temperature", "range"));
	struct answer twice = api_post(h, h->sk, "{\"name\":\"x\"}", "/v1/templates"), taken = api_patch(h, h->sk, "{\"name\":\"y\"}", "/v1/templates/x");
	assert_code(twice, 409, "conflict");
	assert_code(taken, 409, "conflict");
	api_close(&h);
}

Test(template, a_stale_writer_is_refused)
{
	struct api *h = api_open();
	make(h, support);
	struct answer a = ask(h, .method = "PATCH", .to = "/v1/templates/support", .key = h->sk, .body = "{\"title\":\"new\"}", .if_match = "\"1\"");
	must_be(a, 200);
	struct answer stale = ask(h, .method = "PATCH", .to = "/v1/templates/support", .key = h->sk, .body = "{\"title\":\"old\"}", .if_match = "\"1\"");
	assert_code(stale, 412, "precondition_failed");
	struct answer got = api_get(h, h->sk, "/v1/templates/support");
	assert_str(got, "title", "new");
	api_close(&h);
}

/* MSG-10 */
Test(template, is_made_once_under_one_key)
{
	struct api *h = api_open();
	struct answer a = api_post_once(h, h->sk, "t-1", support, "/v1/templates"), again = api_post_once(h, h->sk, "t-1", support, "/v1/templates");
	must_be(a, 201);
	must_be(again, 201);
	cr_assert_str_eq(header_of(&again, "Idempotent-Replayed"), "true");
	cr_assert_str_eq(a.body.p, again.body.p);
	api_close(&h);
}

Test(template, lists_by_name_in_pages)
{
	struct api *h = api_open();
	for (int i = 0; i < 7; i++)
		make(h, api_text(h, "{\"name\":\"t%d\"}", 6 - i));
	struct answer a = api_get(h, h->sk, "/v1/templates?limit=3");
	must_be(a, 200);
	assert_str(a, "data[0].name", "t0");
	cr_assert(bool_at(&a, "has_more"));
	struct answer b = api_get(h, h->sk, "/v1/templates?limit=10&after=%s", str_at(&a, "next"));
	cr_assert_eq(count_at(&b, "data"), 4);
	assert_str(b, "data[0].name", "t3");
	cr_assert(!bool_at(&b, "has_more") && is_null_at(&b, "next"));
	api_close(&h);
}

/* SEC-2 */
Test(template, is_its_sites_alone)
{
	struct api *h = api_open();
	struct api_site other = api_add_site(h, "https://other.example");
	make(h, support);
	struct answer a = api_get(h, other.sk, "/v1/templates/support"), p = api_patch(h, other.sk, "{\"title\":\"x\"}", "/v1/templates/support"),
		      d = api_delete(h, other.sk, "/v1/templates/support"), l = api_get(h, other.sk, "/v1/templates");
	assert_code(a, 404, "not_found");
	assert_code(p, 404, "not_found");
	assert_code(d, 404, "not_found");
	cr_assert_eq(count_at(&l, "data"), 0);
	struct answer s = api_post(h, other.sk, "{\"agent\":\"guide\",\"template\":\"support\"}", "/v1/sessions");
	assert_code(s, 400, "invalid_request");
	cr_assert(blames(&s, "template", "value"));
	struct answer same = api_post(h, other.sk, "{\"name\":\"support\"}", "/v1/templates");
	must_be(same, 201);
	struct answer public = ask(h, .method = "GET", .to = "/v1/templates", .key = h->pk, .origin = ORIGIN);
	assert_code(public, 403, "forbidden");
	api_close(&h);
}

/* SES-16: preset under template under what is given; what it came from is recorded. */
Test(template, is_the_base_of_a_sessions_config)
{
	struct api *h = api_open();
	make(h, support);
	struct answer a = api_post(h, h->sk, "{\"agent\":\"guide\",\"template\":\"support\",\"state\":{\"customer_id\":7,\"order\":\"\"},\"config\":{\"team\":\"red\"}}", "/v1/sessions");
	must_be(a, 201);
	cr_assert(bytes_equal(raw_at(&a, "config"), BYTES("{\"memory_policy\":\"persistent\",\"analytics\":true,\"temperature\":0.2,\"team\":\"red\","
							   "\"preset\":\"customer_support\",\"template\":\"support\",\"memory_categories\":[\"orders\",\"complaints\"]}")),
		  "%.*s", (int)raw_at(&a, "config").n, raw_at(&a, "config").p);
	struct answer b = api_post(h, h->sk, "{\"agent\":\"guide\",\"template\":\"support\",\"preset\":\"task_oriented\",\"state\":{\"customer_id\":7,\"order\":1}}", "/v1/sessions");
	must_be(b, 201);
	assert_str(b, "config.preset", "task_oriented");
	assert_str(b, "config.memory_policy", "ephemeral");
	cr_assert(bool_at(&b, "config.tools") && raw_at(&b, "config.analytics").n == 0);
	struct answer d = api_delete(h, h->sk, "/v1/templates/support");
	must_be(d, 204);
	struct answer still = api_get(h, h->sk, "/v1/sessions/%s", str_at(&a, "id"));
	assert_str(still, "config.template", "support");
	api_close(&h);
}

/* SES-16 */
Test(template, names_every_required_value_that_is_missing)
{
	struct api *h = api_open();
	make(h, support);
	static const struct {
		const char *state;
		bool lacks_customer, lacks_order;
	} rows[] = {
		{ "", true, true },
		{ ",\"state\":{}", true, true },
		{ ",\"state\":{\"customer_id\":null,\"order\":1}", true, false },
		{ ",\"state\":{\"customer_id\":1}", false, true },
		{ ",\"state\":{\"deep\":{\"customer_id\":1},\"order\":false}", true, false },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct answer a = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"template\":\"support\"%s}", rows[i].state), "/v1/sessions");
		assert_code(a, 400, "invalid_request");
		cr_assert_eq(blames(&a, "state.customer_id", "required"), rows[i].lacks_customer, "%s", a.body.p);
		cr_assert_eq(blames(&a, "state.order", "required"), rows[i].lacks_order, "%s", a.body.p);
	}
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM sessions WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 0);
	struct answer unknown = api_post(h, h->sk, "{\"agent\":\"guide\",\"template\":\"nope\"}", "/v1/sessions");
	cr_assert(blames(&unknown, "template", "value"));
	api_close(&h);
}

struct race {
	struct api *h, *twin;
	int status[16];
};

static void create_same(void *arg, int i)
{
	struct race *r = arg;
	struct answer a = api_post(i % 2 ? r->twin : r->h, r->h->sk, api_text(r->h, "{\"name\":\"one\",\"title\":\"%d\"}", i), "/v1/templates");
	r->status[i] = a.status;
}

static void patch_same(void *arg, int i)
{
	struct race *r = arg;
	struct answer a = api_patch(i % 2 ? r->twin : r->h, r->h->sk, api_text(r->h, "{\"config\":{\"k%d\":%d}}", i, i), "/v1/templates/one");
	r->status[i] = a.status;
}

/* SES-16: of two that make one name at once, one does; changes at once all count. */
Test(template, survives_many_writers, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL);
	struct race r = { .h = h, .twin = api_twin(h, 0, NULL) };
	in_parallel(16, create_same, &r);
	int made = 0;
	for (int i = 0; i < 16; i++) {
		cr_assert(r.status[i] == 201 || r.status[i] == 409, "%d", r.status[i]);
		made += r.status[i] == 201;
	}
	cr_assert_eq(made, 1);
	in_parallel(16, patch_same, &r);
	struct answer a = api_get(h, h->sk, "/v1/templates/one");
	for (int i = 0; i < 16; i++) {
		cr_assert_eq(r.status[i], 200);
		assert_int(a, api_text(h, "config.k%d", i), i);
	}
	assert_int(a, "version", 17);
	api_close(&r.twin);
	api_close(&h);
}
