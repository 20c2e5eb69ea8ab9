/* SPDX-License-Identifier: MIT */
/* test_tool: a site's tools are made, read, changed, rotated and deleted, by that site alone; agents name them. */
#include "harness.h"

#include "app/codec.h"
#include "app/tool.h"

static const char *const find_order =
	"{\"name\":\"find_order\",\"description\":\"Looks an order up\",\"url\":\"https://shop.example/tools/order\","
	"\"parameters\":{\"type\":\"object\",\"properties\":{\"order\":{\"type\":\"string\"}},\"required\":[\"order\"]},\"timeout_ms\":5000}";

static struct answer make(struct api *h, const char *body)
{
	struct answer a = api_post(h, h->sk, body, "/v1/tools");
	must_be(a, 201);
	return a;
}

static const char *small(struct api *h, const char *name)
{
	return api_text(h, "{\"name\":\"%s\",\"description\":\"d\",\"url\":\"https://shop.example/\"}", name);
}

Test(tool, is_made_read_changed_and_deleted)
{
	struct api *h = api_open();
	struct answer a = make(h, find_order);
	cr_assert_eq(strncmp(str_at(&a, "id"), "tol_", 4), 0);
	assert_str(a, "name", "find_order");
	assert_str(a, "description", "Looks an order up");
	assert_str(a, "url", "https://shop.example/tools/order");
	assert_int(a, "timeout_ms", 5000);
	assert_int(a, "max_bytes", 0);
	assert_int(a, "generation", 1);
	assert_int(a, "version", 1);
	cr_assert_str_eq(header_of(&a, "ETag"), "\"1\"");
	cr_assert(bytes_equal(raw_at(&a, "parameters"), BYTES("{\"type\":\"object\",\"properties\":{\"order\":{\"type\":\"string\"}},\"required\":[\"order\"]}")));
	struct answer by_name = api_get(h, h->sk, "/v1/tools/find_order"), by_id = api_get(h, h->sk, "/v1/tools/%s", str_at(&a, "id"));
	must_be(by_name, 200);
	cr_assert_str_eq(by_name.body.p, by_id.body.p);
	cr_assert(!raw_at(&by_name, "secret").n, "it is told when it is made, and not again");
	struct answer p = api_patch(h, h->sk, "{\"description\":\"Finds one\",\"parameters\":{\"type\":\"object\"},\"timeout_ms\":0,\"max_bytes\":1000}",
				    "/v1/tools/%s", str_at(&a, "id"));
	must_be(p, 200);
	assert_str(p, "description", "Finds one");
	assert_str(p, "url", "https://shop.example/tools/order");
	assert_int(p, "timeout_ms", 0);
	assert_int(p, "max_bytes", 1000);
	assert_int(p, "version", 2);
	assert_int(p, "generation", 1);
	cr_assert(!raw_at(&p, "secret").n);
	struct answer deleted = api_delete(h, h->sk, "/v1/tools/find_order"), again = api_delete(h, h->sk, "/v1/tools/find_order"),
		      gone = api_get(h, h->sk, "/v1/tools/%s", str_at(&a, "id")), patched = api_patch(h, h->sk, "{}", "/v1/tools/find_order"),
		      rotated = api_post(h, h->sk, NULL, "/v1/tools/find_order/secret");
	must_be(deleted, 204);
	assert_code(again, 404, "not_found");
	assert_code(gone, 404, "not_found");
	assert_code(patched, 404, "not_found");
	assert_code(rotated, 404, "not_found");
	api_close(&h);
}

Test(tool, has_parameters_of_no_arguments_unless_given)
{
	struct api *h = api_open();
	struct answer a = make(h, small(h, "ping"));
	cr_assert(bytes_equal(raw_at(&a, "parameters"), BYTES("{\"type\":\"object\",\"properties\":{}}")));
	api_close(&h);
}

Test(tool, refuses_what_is_wrong_by_name)
{
	struct api *h = api_open();
#define REST "\"description\":\"d\",\"url\":\"https://shop.example/\""
	static const struct {
		const char *body, *field, *text;
	} bad[] = {
		{ "{" REST "}", "name", "required" },
		{ "{\"name\":\"has space\"," REST "}", "name", "letters" },
		{ "{\"name\":\"dot.ted\"," REST "}", "name", "letters" },
		{ "{\"name\":\"\\u00e4\"," REST "}", "name", "letters" },
		{ "{\"name\":\"\"," REST "}", "name", NULL },
		{ "{\"name\":\"tol_01jcx3c9d2f5h8k1m4p7r0t3vx\"," REST "}", "name", "id" },
		{ "{\"name\":\"current_time\"," REST "}", "name", "built in" },
		{ "{\"name\":\"x\",\"url\":\"https://shop.example/\"}", "description", "required" },
		{ "{\"name\":\"x\",\"description\":\"d\"}", "url", "required" },
		{ "{\"name\":\"x\",\"description\":\"\",\"url\":\"https://shop.example/\"}", "description", NULL },
		{ "{\"name\":\"x\",\"description\":\"d\",\"url\":\"http://shop.example/\"}", "url", "plain http" },
		{ "{\"name\":\"x\",\"description\":\"d\",\"url\":\"ftp://shop.example/\"}", "url", "neither" },
		{ "{\"name\":\"x\",\"description\":\"d\",\"url\":\"shop.example/tools\"}", "url", "not valid" },
		{ "{\"name\":\"x\",\"description\":\"d\",\"url\":\"https://user:pw@shop.example/\"}", "url", "credentials" },
		{ "{\"name\":\"x\",\"description\":\"d\",\"url\":\"https://127.0.0.1/\"}", "url", "not public" },
		{ "{\"name\":\"x\",\"description\":\"d\",\"url\":\"https://169.254.169.254/latest/meta-data\"}", "url", "not public" },
		{ "{\"name\":\"x\",\"description\":\"d\",\"url\":\"https://[::1]/\"}", "url", "not public" },
		{ "{\"name\":\"x\"," REST ",\"parameters\":[]}", "parameters", NULL },
		{ "{\"name\":\"x\"," REST ",\"parameters\":{}}", "parameters", "object" },
		{ "{\"name\":\"x\"," REST ",\"parameters\":{\"type\":\"string\"}}", "parameters", "object" },
		{ "{\"name\":\"x\"," REST ",\"parameters\":{\"type\":[\"object\",\"null\"]}}", "parameters", "object" },
		{ "{\"name\":\"x\"," REST ",\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"pattern\":\"^x\"}}}}", "parameters", "#/properties/a/pattern" },
		{ "{\"name\":\"x\"," REST ",\"parameters\":{\"type\":\"object\",\"minumum\":1}}", "parameters", "#/minumum" },
		{ "{\"name\":\"x\"," REST ",\"timeout_ms\":-1}", "timeout_ms", NULL },
		{ "{\"name\":\"x\"," REST ",\"timeout_ms\":600001}", "timeout_ms", NULL },
		{ "{\"name\":\"x\"," REST ",\"max_bytes\":4194305}", "max_bytes", NULL },
		{ "{\"name\":\"x\"," REST ",\"secret\":\"mine\"}", "secret", NULL },
		{ "{\"name\":\"x\"," REST ",\"generation\":7}", "generation", NULL },
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_post(h, h->sk, bad[i].body, "/v1/tools");
		assert_code(a, 400, "invalid_request");
		cr_assert(blames(&a, bad[i].field, NULL), "%s: %s", bad[i].body, a.body.p);
		cr_assert(!bad[i].text || strstr(a.body.p, bad[i].text), "%s: %s", bad[i].body, a.body.p);
	}
	make(h, small(h, "x"));
	struct answer twice = api_post(h, h->sk, small(h, "x"), "/v1/tools"), renamed = api_patch(h, h->sk, "{\"name\":\"y\"}", "/v1/tools/x"),
		      bent = api_patch(h, h->sk, "{\"url\":\"http://shop.example/\",\"parameters\":{\"type\":\"object\",\"if\":{}}}", "/v1/tools/x");
	assert_code(twice, 409, "conflict");
	cr_assert(blames(&renamed, "name", NULL), "agents name it: %s", renamed.body.p);
	assert_code(bent, 400, "invalid_request");
	cr_assert(blames(&bent, "url", NULL) && blames(&bent, "parameters", NULL), "%s", bent.body.p);
	struct answer same = api_get(h, h->sk, "/v1/tools/x");
	assert_int(same, "version", 1);
	api_close(&h);
}

static void allow_inside(struct conf *c)
{
	c->tool_allow_hosts = "10.0.0.5, tools.internal:8080";
}

Test(tool, may_be_at_hosts_that_the_operator_allows)
{
	struct api *h = api_open_with(0, allow_inside);
	make(h, "{\"name\":\"a\",\"description\":\"d\",\"url\":\"http://tools.internal:8080/x\"}");
	make(h, "{\"name\":\"b\",\"description\":\"d\",\"url\":\"https://10.0.0.5/\"}");
	struct answer a = api_post(h, h->sk, "{\"name\":\"c\",\"description\":\"d\",\"url\":\"http://tools.internal/x\"}", "/v1/tools");
	cr_assert(blames(&a, "url", NULL), "%s", a.body.p);
	api_close(&h);
}

Test(tool, a_stale_writer_is_refused)
{
	struct api *h = api_open();
	make(h, small(h, "x"));
	struct answer a = ask(h, .method = "PATCH", .to = "/v1/tools/x", .key = h->sk, .body = "{\"description\":\"new\"}", .if_match = "\"1\"");
	must_be(a, 200);
	struct answer stale = ask(h, .method = "PATCH", .to = "/v1/tools/x", .key = h->sk, .body = "{\"description\":\"old\"}", .if_match = "\"1\"");
	assert_code(stale, 412, "precondition_failed");
	struct answer got = api_get(h, h->sk, "/v1/tools/x");
	assert_str(got, "description", "new");
	api_close(&h);
}

Test(tool, lists_by_name_in_pages)
{
	struct api *h = api_open();
	for (int i = 0; i < 5; i++)
		make(h, small(h, api_text(h, "t%d", 4 - i)));
	struct answer a = api_get(h, h->sk, "/v1/tools?limit=3");
	must_be(a, 200);
	assert_str(a, "data[0].name", "t0");
	cr_assert(bool_at(&a, "has_more") && !raw_at(&a, "data[0].secret").n);
	struct answer b = api_get(h, h->sk, "/v1/tools?after=%s", str_at(&a, "next"));
	cr_assert_eq(count_at(&b, "data"), 2);
	assert_str(b, "data[0].name", "t3");
	cr_assert(!bool_at(&b, "has_more"));
	api_close(&h);
}

/* SEC-2 */
Test(tool, is_its_sites_alone)
{
	struct api *h = api_open();
	struct api_site other = api_add_site(h, "https://other.example");
	struct answer mine = make(h, find_order);
	const char *id = str_at(&mine, "id");
	for (int i = 0; i < 2; i++) {
		const char *ref = i ? id : "find_order";
		struct answer a = api_get(h, other.sk, "/v1/tools/%s", ref), p = api_patch(h, other.sk, "{\"description\":\"x\"}", "/v1/tools/%s", ref),
			      d = api_delete(h, other.sk, "/v1/tools/%s", ref), s = api_post(h, other.sk, NULL, "/v1/tools/%s/secret", ref);
		assert_code(a, 404, "not_found");
		assert_code(p, 404, "not_found");
		assert_code(d, 404, "not_found");
		assert_code(s, 404, "not_found");
	}
	struct answer l = api_get(h, other.sk, "/v1/tools"), agent = api_post(h, other.sk, "{\"name\":\"thief\",\"tools\":[\"find_order\"]}", "/v1/agents");
	cr_assert_eq(count_at(&l, "data"), 0);
	cr_assert(blames(&agent, "tools[0]", "value"), "%s", agent.body.p);
	struct answer same = api_post(h, other.sk, find_order, "/v1/tools");
	must_be(same, 201);
	cr_assert_str_neq(str_at(&same, "secret"), str_at(&mine, "secret"));
	struct answer public = ask(h, .method = "GET", .to = "/v1/tools", .key = h->pk, .origin = ORIGIN);
	assert_code(public, 403, "forbidden");
	const char *token;
	new_session(h, h->sk, "{\"agent\":\"guide\"}", &token);
	struct answer visitor = api_get(h, token, "/v1/tools");
	assert_code(visitor, 403, "forbidden");
	api_close(&h);
}

/* ---- secrets ---- */

static bool is_stored(struct api *h, const char *secret)
{
	return sql_int(h, "SELECT COUNT(*) FROM tools WHERE parameters LIKE ? OR description LIKE ? OR url LIKE ?",
		       DB_ARGS(db_text(bytes_of(secret)), db_text(bytes_of(secret)), db_text(bytes_of(secret)))) > 0;
}

Test(tool, has_a_secret_that_rotates)
{
	struct api *h = api_open();
	struct answer a = make(h, find_order);
	const char *first = str_at(&a, "secret");
	cr_assert(strlen(first) == WEBHOOK_SECRET_SIZE - 1 && strncmp(first, "whsec_", 6) == 0, "%s", first);
	cr_assert(!is_stored(h, first));
	struct answer r = api_post(h, h->sk, NULL, "/v1/tools/%s/secret", str_at(&a, "id"));
	must_be(r, 200);
	assert_int(r, "generation", 2);
	assert_int(r, "version", 2);
	const char *second = str_at(&r, "secret");
	cr_assert_str_neq(first, second);
	struct answer p = api_patch(h, h->sk, "{\"description\":\"x\"}", "/v1/tools/find_order"), got = api_get(h, h->sk, "/v1/tools/find_order");
	assert_int(p, "generation", 2);
	cr_assert(!raw_at(&got, "secret").n);
	api_delete(h, h->sk, "/v1/tools/find_order");
	struct answer anew = make(h, find_order);
	cr_assert_str_neq(str_at(&anew, "secret"), first, "another tool of the same name has another secret");
	api_close(&h);
}

static enum err secret_of_twin(struct api *twin, const struct ident *site, const char *name, char out[WEBHOOK_SECRET_SIZE])
{
	unsigned char key[WEBHOOK_KEY_SIZE];
	struct tool tool;
	enum err e = tool_find(&twin->task, twin->app, site, bytes_of(name), &tool);
	tool_derive_key(twin->app, site, &tool.id, tool.generation, key);
	webhook_format_secret(key, out);
	return e;
}

Test(tool, has_the_same_secret_in_every_worker)
{
	struct api *h = api_open_with(API_FILE, NULL);
	struct api *twin = api_twin(h, API_FILE, NULL);
	char theirs[WEBHOOK_SECRET_SIZE];
	struct answer a = make(h, find_order);
	cr_assert_eq(secret_of_twin(twin, &h->home.id, "find_order", theirs), ERR_OK);
	cr_assert_str_eq(theirs, str_at(&a, "secret"));
	api_close(&twin);
	api_close(&h);
}

static void expect_kept_without_secrets(struct api *h, size_t n)
{
	static const struct db_stmt kept = { "SELECT body FROM idempotency WHERE site = ?", NULL, NULL };
	struct db_rows *r;
	cr_assert_eq(store_query(&h->task, h->app, &kept, DB_ARGS(db_ident(&h->home.id)), &r), ERR_OK);
	cr_assert_eq(r->n_rows, n);
	for (size_t i = 0; i < n; i++) {
		struct bytes body;
		cr_assert(codec_unpack(h->task.arena, db_cell_bytes(r, i, 0), &body));
		cr_assert(memmem(body.p, body.n, "\"generation\"", 12) && !memmem(body.p, body.n, "whsec", 5));
	}
}

/* MSG-10: the answer that is kept has no secret in it, the one that is replayed has. */
Test(tool, is_made_and_rotated_once_under_one_key)
{
	struct api *h = api_open();
	struct answer a = api_post_once(h, h->sk, "t-1", find_order, "/v1/tools"), again = api_post_once(h, h->sk, "t-1", find_order, "/v1/tools");
	must_be(a, 201);
	must_be(again, 201);
	cr_assert_str_eq(header_of(&again, "Idempotent-Replayed"), "true");
	cr_assert_str_eq(a.body.p, again.body.p);
	struct answer r = ask(h, .method = "POST", .to = "/v1/tools/find_order/secret", .key = h->sk, .idem = "r-1"),
		      r_again = ask(h, .method = "POST", .to = "/v1/tools/find_order/secret", .key = h->sk, .idem = "r-1");
	must_be(r, 200);
	cr_assert_str_eq(r.body.p, r_again.body.p);
	assert_int(r_again, "generation", 2);
	cr_assert_str_neq(str_at(&r, "secret"), str_at(&a, "secret"));
	expect_kept_without_secrets(h, 2);
	api_close(&h);
}

static void rotate_one(void *arg, int i)
{
	struct api *h = arg;
	(void)i;
	struct answer a = api_post(h, h->sk, NULL, "/v1/tools/find_order/secret");
	must_be(a, 200);
}

Test(tool, rotations_at_the_same_time_all_count)
{
	struct api *h = api_open();
	make(h, find_order);
	in_parallel(6, rotate_one, h);
	struct answer a = api_get(h, h->sk, "/v1/tools/find_order");
	assert_int(a, "generation", 7);
	assert_int(a, "version", 7);
	api_close(&h);
}

/* ---- agents ---- */

Test(tool, agents_may_name_those_that_are_there)
{
	struct api *h = api_open();
	make(h, find_order);
	struct answer a = api_post(h, h->sk, "{\"name\":\"clerk\",\"tools\":[\"find_order\",\"current_time\"]}", "/v1/agents");
	must_be(a, 201);
	struct answer bad = api_post(h, h->sk, "{\"name\":\"other\",\"tools\":[\"find_order\",\"nothing\",\"current_time\",\"none\"]}", "/v1/agents");
	assert_code(bad, 400, "invalid_request");
	cr_assert(blames(&bad, "tools[1]", "value") && blames(&bad, "tools[3]", "value") && !blames(&bad, "tools[0]", NULL), "%s", bad.body.p);
	struct answer p = api_patch(h, h->sk, "{\"tools\":[\"Find_Order\"]}", "/v1/agents/clerk");
	cr_assert(blames(&p, "tools[0]", "value"), "names have their case: %s", p.body.p);
	struct answer d = api_delete(h, h->sk, "/v1/tools/find_order"), t = api_patch(h, h->sk, "{\"title\":\"Clerk\"}", "/v1/agents/clerk");
	must_be(d, 204);
	must_be(t, 200);
	cr_assert_eq(count_at(&t, "tools"), 2, "what is not changed is not judged again");
	p = api_patch(h, h->sk, "{\"tools\":[\"find_order\"]}", "/v1/agents/clerk");
	cr_assert(blames(&p, "tools[0]", "value"));
	p = api_patch(h, h->sk, "{\"tools\":[]}", "/v1/agents/clerk");
	must_be(p, 200);
	api_close(&h);
}

Test(tool, an_agent_may_name_many)
{
	struct api *h = api_open();
	struct buf b;
	buf_init(&b, h->arena, 4096);
	buf_add_str(&b, "{\"name\":\"many\",\"tools\":[\"current_time\"");
	for (int i = 0; i < 40; i++) {
		make(h, small(h, api_text(h, "tool%d", i)));
		buf_addf(&b, ",\"tool%d\"", i);
	}
	buf_add_str(&b, "]}");
	struct answer a = api_post(h, h->sk, buf_bytes(&b).p, "/v1/agents");
	must_be(a, 201);
	api_delete(h, h->sk, "/v1/tools/tool33");
	a = api_patch(h, h->sk, buf_bytes(&b).p, "/v1/agents/many");
	assert_code(a, 400, "invalid_request");
	cr_assert(blames(&a, "tools[34]", "value"), "%s", a.body.p);
	api_close(&h);
}

/* OPS-6 */
Test(tool, a_record_that_cannot_be_read_shows_as_such)
{
	struct api *h = api_open();
	make(h, find_order);
	sql_run(h, "UPDATE tools SET parameters = '{broken' WHERE site = ?", DB_ARGS(db_ident(&h->home.id)));
	struct answer a = api_get(h, h->sk, "/v1/tools/find_order"), l = api_get(h, h->sk, "/v1/tools");
	must_be(a, 200);
	must_be(l, 200);
	cr_assert(is_null_at(&a, "parameters"));
	struct answer p = api_patch(h, h->sk, "{\"parameters\":{\"type\":\"object\"}}", "/v1/tools/find_order");
	must_be(p, 200);
	cr_assert(!is_null_at(&p, "parameters"));
	api_close(&h);
}
