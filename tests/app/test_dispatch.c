/* SPDX-License-Identifier: MIT */
/* test_dispatch: what is done once for every route: bodies, methods, paths, request ids, problems. Whatever is wrong, nothing is stored. */
#include "harness.h"

#include "app/call.h"

static int64_t count_everything(struct api *h)
{
	return sql_int(h, "SELECT (SELECT COUNT(*) FROM sessions WHERE site = ?) + (SELECT COUNT(*) FROM messages WHERE site = ?)"
			  " + (SELECT COUNT(*) FROM turns WHERE site = ?) + (SELECT COUNT(*) FROM agents WHERE site = ?) + (SELECT COUNT(*) FROM idempotency WHERE site = ?)",
		       DB_ARGS(db_ident(&h->home.id), db_ident(&h->home.id), db_ident(&h->home.id), db_ident(&h->home.id), db_ident(&h->home.id)));
}

/* Every route that takes a body, with a session to name. */
static const char *path_of(struct api *h, const struct api_route *r, const char *session)
{
	struct buf b;
	buf_init(&b, h->arena, 200);
	for (const char *p = r->path; *p; p++) {
		if (*p != '{') {
			buf_add_char(&b, *p);
			continue;
		}
		buf_add_str(&b, p[1] == 's' ? session : "guide");
		p = strchr(p, '}');
	}
	return b.p;
}

#define each_route(r)                                                                                                  \
	for (const struct feature *const *f_ = app_features; *f_; f_++)                                                \
		for (const struct api_route *r = (*f_)->routes; r < (*f_)->routes + (*f_)->n_routes; r++)

Test(dispatch, malformed_json_is_refused_on_every_route)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	int64_t before = count_everything(h);
	static const struct bytes bad[] = {
		BYTES("{"), BYTES("}"), BYTES("{\"a\":}"), BYTES("{'a':1}"), BYTES("{\"a\":1,}"), BYTES("{\"a\":1}x"), BYTES("{\"a\":01}"), BYTES("{\"a\":NaN}"),
		BYTES("{\"agent\":\"\xff\"}"), BYTES("{\"agent\":\"\xc0\xaf\"}"), BYTES("{\"agent\":\"\xed\xa0\x80\"}"), BYTES("{\"agent\":\"\\ud800\"}"),
		BYTES("{\"agent\":\"a\tb\"}"), BYTES("{\"agent\":\"guide\",\"agent\":\"guide\"}"), BYTES("{\"message\":\"x\",\"messag\\u0065\":\"y\"}"),
		BYTES("\xef\xbb\xbf{}"), BYTES("{\"a\":99999999999999999999}"), BYTES("{}\0"), BYTES(" "), BYTES("/*x*/{}"), BYTES("{\"a\":1e999}"), BYTES("\xff\xfe{\0}\0"),
	};
	each_route(r) {
		for (size_t i = 0; r->body && i < COUNT(bad); i++) {
			struct answer a = ask(h, .method = http_method_name(r->method), .to = path_of(h, r, id), .key = h->sk, .body = bad[i].p, .body_n = bad[i].n);
			assert_code(a, 400, "malformed_json");
		}
	}
	cr_assert_eq(count_everything(h), before);
	api_close(&h);
}

Test(dispatch, a_deep_body_is_refused)
{
	struct api *h = api_open();
	char *deep = arena_alloc(h->arena, 200001);
	memset(deep, '[', 200000);
	struct answer a = api_post(h, h->sk, deep, "/v1/sessions");
	assert_code(a, 400, "malformed_json");
	struct answer b = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"state\":%.*s", 1000, deep), "/v1/sessions");
	assert_code(b, 400, "malformed_json");
	api_close(&h);
}

Test(dispatch, other_values_than_objects_are_refused)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	static const char *const bad[] = { "[]", "null", "\"x\"", "7", "true", "[{\"agent\":\"guide\"}]" };
	each_route(r) {
		for (size_t i = 0; r->body && i < COUNT(bad); i++) {
			struct answer a = ask(h, .method = http_method_name(r->method), .to = path_of(h, r, id), .key = h->sk, .body = bad[i]);
			assert_code(a, 400, "invalid_request");
		}
	}
	api_close(&h);
}

Test(dispatch, unknown_fields_are_refused_by_name_on_every_route)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	int64_t before = count_everything(h);
	each_route(r) {
		if (r->body) {
			struct answer a = ask(h, .method = http_method_name(r->method), .to = path_of(h, r, id), .key = h->sk, .body = "{\"nonsense\":1}");
			assert_code(a, 400, "invalid_request");
			cr_assert(blames(&a, "nonsense", "unknown"), "%s: %s", r->path, a.body.p);
		}
		if (r->query) {
			struct answer a = ask(h, .method = http_method_name(r->method), .to = api_text(h, "%s?nonsense=1", path_of(h, r, id)), .key = h->sk,
					      .type = r->flags & ROUTE_RAW_BODY ? "application/x-ndjson" : NULL);
			cr_assert(blames(&a, "nonsense", "unknown"), "%s: %s", r->path, a.body.p);
		}
	}
	cr_assert_eq(count_everything(h), before);
	api_close(&h);
}

/* A parameter that a route does not have is refused as an unknown field is. */
Test(dispatch, parameters_of_routes_that_have_none_are_refused)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	each_route(r) {
		if (r->query || r->scope == SCOPE_PUBLIC || r->scope == SCOPE_LOCAL || strstr(r->path, "/turns/"))
			continue;
		struct answer a = ask(h, .method = http_method_name(r->method), .to = api_text(h, "%s?nonsense=1", path_of(h, r, id)), .key = h->sk,
				      .body = r->body ? "{\"message\":\"x\"}" : NULL);
		must_be(a, 400);
	}
	api_close(&h);
}

/* The parameter without which a route is not asked at all. */
static const char *needed_by(struct api *h, const struct api_route *r)
{
	for (const struct field *f = r->query ? r->query->fields : NULL; f && f->name; f++)
		if (f->flags & FIELD_REQUIRED)
			return api_text(h, "?%s=x", f->name);
	return "";
}

Test(dispatch, bodies_that_did_not_come_whole_are_refused_and_not_used)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	int64_t before = count_everything(h);
	static const struct {
		enum http_body state;
		int status;
		const char *code;
	} states[] = { { HTTP_BODY_TOO_LARGE, 413, "body_too_large" }, { HTTP_BODY_INCOMPLETE, 400, "incomplete_body" }, { HTTP_BODY_BAD_LENGTH, 400, "incomplete_body" } };
	each_route(r) {
		for (size_t i = 0; r->scope != SCOPE_PUBLIC && r->scope != SCOPE_LOCAL && i < COUNT(states); i++) {
			struct answer a = ask(h, .method = http_method_name(r->method), .to = api_text(h, "%s%s", path_of(h, r, id), needed_by(h, r)), .key = h->sk,
					      .body = "{\"agent\":\"guide\",\"name\":\"x\"}", .state = states[i].state);
			assert_code(a, states[i].status, states[i].code);
		}
	}
	cr_assert_eq(count_everything(h), before);
	api_close(&h);
}

Test(dispatch, bodies_must_be_json)
{
	struct api *h = api_open();
	static const char *const good[] = { "application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;charset=utf-8" };
	static const char *const bad[] = { "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx", "application/json-patch+json", "", "json" };
	for (size_t i = 0; i < COUNT(good); i++) {
		struct answer a = ask(h, .method = "POST", .to = "/v1/sessions", .key = h->sk, .body = "{\"agent\":\"guide\"}", .type = good[i]);
		must_be(a, 201);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = ask(h, .method = "POST", .to = "/v1/sessions", .key = h->sk, .body = "{\"agent\":\"guide\"}", .type = bad[i]);
		assert_code(a, 415, "unsupported_media_type");
	}
	api_close(&h);
}

Test(dispatch, bodies_where_none_belongs_are_refused)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer a = ask(h, .method = "DELETE", .to = api_text(h, "/v1/sessions/%s", id), .key = h->sk, .body = "{}");
	must_be(a, 400);
	struct answer still = api_get(h, h->sk, "/v1/sessions/%s", id);
	must_be(still, 200);
	struct answer empty = ask(h, .method = "POST", .to = "/v1/sessions", .key = h->sk, .body = "");
	assert_code(empty, 400, "malformed_json");
	api_close(&h);
}

/* 405 names what the path takes. */
Test(dispatch, wrong_methods_are_told_the_right_ones)
{
	struct api *h = api_open();
	static const struct {
		const char *path, *method, *allow;
	} cases[] = {
		{ "/v1/sessions", "DELETE", "GET, HEAD, POST" }, { "/v1/sessions", "PATCH", "GET, HEAD, POST" }, { "/v1/sessions/x", "POST", "GET, HEAD, PATCH, DELETE" },
		{ "/v1/sessions/x/messages", "PUT", "GET, HEAD, POST, DELETE" }, { "/v1/sessions/x/end", "GET", "POST" }, { "/v1/sessions/x/turns/y", "DELETE", "GET, HEAD" },
		{ "/v1/chat/guide/message", "GET", "POST" }, { "/healthz", "DELETE", "GET, HEAD" }, { "/v1/sessions", "BREW", "GET, HEAD, POST" },
		{ "/v1/sessions", "get", "GET, HEAD, POST" }, { "/v1/sessions", "", "GET, HEAD, POST" },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct answer a = ask(h, .method = cases[i].method, .to = cases[i].path, .key = h->sk);
		assert_code(a, 405, "method_not_allowed");
		cr_assert_str_eq(header_of(&a, "Allow"), cases[i].allow);
	}
	api_close(&h);
}

Test(dispatch, paths_that_are_none_find_nothing)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	const char *const bad[] = {
		"/", "", "/v1", "/v1/", "/v1/sessions/", "//v1/sessions", "/v1//sessions", "/v1/sessions//messages", "/v2/sessions", "/V1/sessions", "/v1/session",
		"/v1/sessions/../agents", "/v1/sessions/./", "/v1/sessions/%2e%2e", "/v1/sessions/%", "/v1/sessions/%2", "/v1/sessions/%zz", "/v1/sessions/%00", "/v1/sessions/%ff",
		"/v1/sessions/%c0%af", "/v1/sessions/a%2fmessages%", "v1/sessions", "/v1/sessions/x/messages/y/z", api_text(h, "/v1/sessions/%s/", id),
		api_text(h, "/v1/sessions/%s/messages/", id), api_text(h, "/v1/sessions/%s%%00", id), "/v1/openapi.json/", "/healthz/x", "*",
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = ask(h, .method = "GET", .to = bad[i], .key = h->sk);
		assert_code(a, 404, "not_found");
	}
	char *longest = arena_alloc(h->arena, 100001);
	memset(longest, 'a', 100000);
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s", longest);
	assert_code(a, 404, "not_found");
	struct answer slash = api_get(h, h->sk, "/v1/sessions/a%%2Fb");
	assert_code(slash, 404, "not_found");
	struct answer escaped = api_get(h, h->sk, "/%%76%%31/sessions/%s", id);
	must_be(escaped, 200);
	api_close(&h);
}

Test(dispatch, heads_are_gets_without_a_body)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer get = api_get(h, h->sk, "/v1/sessions/%s", id), head = ask(h, .method = "HEAD", .to = api_text(h, "/v1/sessions/%s", id), .key = h->sk);
	must_be(head, 200);
	cr_assert_eq(head.body.n, 0);
	cr_assert_str_eq(header_of(&head, "Content-Length"), header_of(&get, "Content-Length"));
	cr_assert_str_eq(header_of(&head, "ETag"), header_of(&get, "ETag"));
	struct answer none = ask(h, .method = "HEAD", .to = "/v1/sessions/none", .key = h->sk);
	must_be(none, 404);
	cr_assert_eq(none.body.n, 0);
	api_close(&h);
}

Test(dispatch, request_ids_are_taken_over_when_they_are_plain)
{
	struct api *h = api_open();
	static const char *const good[] = { "12345678", "abcdef-ABC_0123456789", "123456789012345678901234567890123456" };
	static const char *const bad[] = { "1234567", "1234567890123456789012345678901234567", "abc def gh", "abcdefgh\"", "abcdefgh\r\nX-Evil: 1", "", "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9" };
	for (size_t i = 0; i < COUNT(good); i++) {
		struct answer a = ask(h, .method = "GET", .to = "/nothing", .request_id = good[i]);
		cr_assert_str_eq(header_of(&a, "X-Request-Id"), good[i]);
		assert_str(a, "request_id", good[i]);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = ask(h, .method = "GET", .to = "/nothing", .request_id = bad[i]);
		cr_assert(strncmp(header_of(&a, "X-Request-Id"), "req_", 4) == 0);
		cr_assert_null(header_of(&a, "X-Evil"));
	}
	api_close(&h);
}

/* What a caller sends comes back only escaped, and never as a header. */
Test(dispatch, nothing_of_the_request_is_repeated_raw)
{
	struct api *h = api_open();
	struct answer a = api_post(h, h->sk, "{\"<script>\\u000d\\u000aX-Evil: 1\":1}", "/v1/sessions");
	must_be(a, 400);
	cr_assert_null(header_of(&a, "X-Evil"));
	struct answer b = api_post(h, h->sk, "{\"agent\":\"guide\",\"id\":\"a\",\"if_exists\":\"x\\u0000y\"}", "/v1/sessions");
	must_be(b, 400);
	api_close(&h);
}

Test(dispatch, many_problems_are_told_at_once)
{
	struct api *h = api_open();
	struct answer a = api_post(h, h->sk, "{\"agent\":1,\"user\":2,\"title\":3,\"tags\":4,\"x\":5}", "/v1/sessions");
	must_be(a, 400);
	static const char *const fields[] = { "agent", "user", "title", "tags", "x" };
	for (size_t i = 0; i < COUNT(fields); i++)
		cr_assert(blames(&a, fields[i], NULL));
	struct buf b;
	buf_init(&b, h->arena, 4096);
	for (int i = 0; i < 500; i++)
		buf_addf(&b, "%s\"x%d\":1", i ? "," : "{", i);
	buf_add_char(&b, '}');
	struct answer many = api_post(h, h->sk, b.p, "/v1/sessions");
	must_be(many, 400);
	cr_assert_leq(count_at(&many, "errors"), 20);
	api_close(&h);
}
