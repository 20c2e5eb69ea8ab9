/* SPDX-License-Identifier: MIT */
/* test_guard: origins and CORS, forms of the credential, addresses behind proxies (SEC-1, SEC-4, SIT-4). */
#include "harness.h"

#include "app/guard.h"

#define START "{\"agent\":\"guide\"}"

static struct answer start(struct api *h, const char *key, const char *origin)
{
	return ask(h, .method = "POST", .to = "/v1/sessions", .key = key, .origin = origin, .body = START);
}

/* SEC-4 */
Test(guard, the_exact_origin_is_echoed)
{
	struct api *h = api_open();
	struct answer a = start(h, h->pk, ORIGIN);
	must_be(a, 201);
	cr_assert_str_eq(header_of(&a, "Access-Control-Allow-Origin"), ORIGIN);
	cr_assert_str_eq(header_of(&a, "Vary"), "Origin");
	const char *exposed = header_of(&a, "Access-Control-Expose-Headers");
	static const char *const needed[] = { "X-Request-Id", "ETag", "Retry-After", "Idempotent-Replayed" };
	for (size_t i = 0; i < COUNT(needed); i++)
		cr_assert(strstr(exposed, needed[i]));
	cr_assert_null(header_of(&a, "Access-Control-Allow-Credentials"));
	api_close(&h);
}

/* SEC-4 */
Test(guard, any_other_origin_is_refused_to_what_a_browser_holds)
{
	struct api *h = api_open();
	const char *token;
	const char *id = new_session(h, h->sk, NULL, &token);
	static const char *const bad[] = { "https://evil.example", "http://shop.example", "https://shop.example:8443", "https://shop.example.evil.example", "https://shop.exampl",
					   "https://SHOP.example", "https://shop.example/", "null", "", "*", "https://x.shop.example", "\"https://shop.example\"", "https://shop.example,https://shop.example" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = start(h, h->pk, bad[i]);
		assert_code(a, 403, "origin_refused");
		cr_assert_null(header_of(&a, "Access-Control-Allow-Origin"));
		cr_assert_str_eq(header_of(&a, "Vary"), "Origin");
		struct answer b = ask(h, .method = "GET", .to = api_text(h, "/v1/sessions/%s", id), .key = token, .origin = bad[i]);
		assert_code(b, 403, "origin_refused");
	}
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM sessions WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 1);
	api_close(&h);
}

Test(guard, a_publishable_key_is_no_use_without_an_origin)
{
	struct api *h = api_open();
	struct answer a = start(h, h->pk, NULL);
	assert_code(a, 403, "origin_refused");
	api_close(&h);
}

/* A server sends whatever Origin it likes; it is not a browser. */
Test(guard, a_secret_key_is_not_bound_to_origins)
{
	struct api *h = api_open();
	struct answer a = start(h, h->sk, "https://evil.example");
	must_be(a, 201);
	cr_assert_null(header_of(&a, "Access-Control-Allow-Origin"), "but no browser may read the answer");
	api_close(&h);
}

/* A browser must be able to read why it was refused. */
Test(guard, problems_carry_cors_headers_too)
{
	struct api *h = api_open();
	const char *token;
	new_session(h, h->sk, NULL, &token);
	struct answer bad = ask(h, .method = "POST", .to = "/v1/sessions", .key = h->pk, .origin = ORIGIN, .body = "{");
	assert_code(bad, 400, "malformed_json");
	cr_assert_str_eq(header_of(&bad, "Access-Control-Allow-Origin"), ORIGIN);
	struct answer absent = ask(h, .method = "GET", .to = "/v1/sessions/none", .key = token, .origin = ORIGIN);
	assert_code(absent, 404, "not_found");
	cr_assert_str_eq(header_of(&absent, "Access-Control-Allow-Origin"), ORIGIN);
	struct token tk = { .site = h->home.id, .session = ident_new(), .expires_at = 1 };
	char expired[TOKEN_SIZE];
	token_format(&tk, h->app->token_key, expired);
	struct answer old = ask(h, .method = "GET", .to = "/v1/sessions/none", .key = expired, .origin = ORIGIN);
	assert_code(old, 401, "token_expired");
	cr_assert_str_eq(header_of(&old, "Access-Control-Allow-Origin"), ORIGIN);
	api_close(&h);
}

/* SEC-4 */
Test(guard, preflight_answers_the_origins_of_sites)
{
	struct api *h = api_open();
	struct answer a = ask(h, .method = "OPTIONS", .to = "/v1/sessions/x", .origin = ORIGIN, .acr_method = "PATCH");
	must_be(a, 204);
	cr_assert_str_eq(header_of(&a, "Access-Control-Allow-Origin"), ORIGIN);
	cr_assert_str_eq(header_of(&a, "Vary"), "Origin");
	static const char *const methods[] = { "GET", "PATCH", "DELETE" };
	for (size_t i = 0; i < COUNT(methods); i++)
		cr_assert(strstr(header_of(&a, "Access-Control-Allow-Methods"), methods[i]));
	static const char *const headers[] = { "Authorization", "Content-Type", "Idempotency-Key", "If-Match" };
	for (size_t i = 0; i < COUNT(headers); i++)
		cr_assert(strstr(header_of(&a, "Access-Control-Allow-Headers"), headers[i]));
	cr_assert_not_null(header_of(&a, "Access-Control-Max-Age"));
	static const char *const bad[] = { "https://evil.example", "https://shop.exampl", "shop.example", "%", "https://shop.example\"", "" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer b = ask(h, .method = "OPTIONS", .to = "/v1/sessions/x", .origin = bad[i], .acr_method = "GET");
		must_be(b, 204);
		cr_assert_null(header_of(&b, "Access-Control-Allow-Origin"));
		cr_assert_str_eq(header_of(&b, "Vary"), "Origin");
	}
	struct answer plain = ask(h, .method = "OPTIONS", .to = "/v1/sessions/x");
	must_be(plain, 204);
	struct answer nothing = ask(h, .method = "OPTIONS", .to = "/nothing", .origin = ORIGIN);
	assert_code(nothing, 404, "not_found");
	api_close(&h);
}

Test(guard, reads_the_forms_of_the_header)
{
	struct api *h = api_open();
	static const char *const good[] = { "Bearer %s", "bearer %s", "BEARER  %s" };
	for (size_t i = 0; i < COUNT(good); i++) {
		const char *space = strrchr(good[i], ' ');
		struct answer a = ask(h, .method = "GET", .to = "/v1/agents", .authorization = api_text(h, "%.*s%s", (int)(space + 1 - good[i]), good[i], h->sk));
		must_be(a, 200);
	}
	const char *const bad[] = { api_text(h, "%s", h->sk), api_text(h, "Bearer%s", h->sk), api_text(h, "Token %s", h->sk), "Bearer", "Bearer ", "Bearer  ",
				    api_text(h, "Bearer %s,", h->sk), api_text(h, "Bearer Bearer %s", h->sk), api_text(h, "Bearer\t%s", h->sk) };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = ask(h, .method = "GET", .to = "/v1/agents", .authorization = bad[i]);
		assert_code(a, 401, "unauthenticated");
		cr_assert_null(strstr(a.body.p, h->sk + 5), "no credential is repeated");
	}
	api_close(&h);
}

/* SEC-1: a site or user in body or query moves nobody. */
Test(guard, the_principal_comes_from_the_credential)
{
	struct api *h = api_open();
	struct api_site other = api_add_site(h, "https://other.example");
	struct answer query = api_get(h, h->sk, "/v1/sessions?site=%s", other.name);
	must_be(query, 400);
	struct answer key_in_query = api_get(h, NULL, "/v1/sessions?key=%s", h->sk);
	assert_code(key_in_query, 401, "unauthenticated");
	int64_t failures = metric_get(METRIC_auth_failures_total);
	api_get(h, "sk_wrong", "/v1/sessions");
	cr_assert_eq(metric_get(METRIC_auth_failures_total), failures + 1);
	api_close(&h);
}

static void proxied(struct conf *c)
{
	c->trusted_proxies = "10.0.0.1,10.0.0.2";
}

/* SIT-4: the visitor's address, as far as those who tell it are believed. */
Test(guard, finds_the_clients_address)
{
	static const struct {
		const char *remote, *forwarded, *wanted;
	} cases[] = {
		{ "203.0.113.9", NULL, "203.0.113.9" }, { "203.0.113.9", "198.51.100.1", "203.0.113.9" }, { "10.0.0.1", "198.51.100.1", "198.51.100.1" },
		{ "10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1" }, { "10.0.0.1", "1.1.1.1, 198.51.100.1, 10.0.0.2", "198.51.100.1" },
		{ "10.0.0.1", "10.0.0.2", "10.0.0.2" }, { "10.0.0.1", "", "10.0.0.1" }, { "10.0.0.1", " , ,", "10.0.0.1" }, { "10.0.0.1", NULL, "10.0.0.1" },
		{ "10.0.0.1", "2001:db8::1", "2001:db8::1" }, { "10.0.0.11", "1.1.1.1", "10.0.0.11" }, { "10.0.0.", "1.1.1.1", "10.0.0." },
	};
	struct api *h = api_open_with(0, proxied);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct http_request rq = { .remote_addr = bytes_of(cases[i].remote), .forwarded_for = bytes_of(cases[i].forwarded) };
		cr_assert(bytes_equal(guard_client_address(&h->conf, &rq), bytes_of(cases[i].wanted)), "%zu", i);
	}
	struct answer a = ask(h, .method = "POST", .to = "/v1/sessions", .key = h->pk, .origin = ORIGIN, .body = START, .remote = "10.0.0.1", .forwarded = "x, 198.51.100.7");
	must_be(a, 201);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", str_at(&a, "id"));
	assert_str(s, "ip_address", "198.51.100.7");
	assert_str(s, "website_domain", "shop.example");
	cr_assert(raw_at(&a, "ip_address").p == NULL);
	api_close(&h);
}
