/* SPDX-License-Identifier: MIT */
/* test_request: CGI variables, escapes and declared lengths. */
#include <criterion/criterion.h>

#include "http/http.h"

static struct arena *arena;
static struct task task;

static void setup(void)
{
	arena = arena_open(4096);
	task_init(&task, arena);
}

static void teardown(void)
{
	arena_close(&arena);
}

TestSuite(request, .init = setup, .fini = teardown);

static void assert_bytes(struct bytes actual, const char *expected)
{
	cr_assert(bytes_equal(actual, bytes_of(expected)), "\"%.*s\" is not \"%s\"", (int)actual.n, actual.p ? actual.p : "", expected);
}

static struct http_request from(const char *const *env)
{
	struct http_request rq;

	http_request_from_env(&task, (char *const *)env, &rq);
	return rq;
}

#define FROM(...) from((const char *const[]){ __VA_ARGS__, NULL })

Test(request, a_full_environment_fills_every_member)
{
	struct http_request rq = FROM("FCGI_ROLE=RESPONDER", "REQUEST_METHOD=PATCH", "REQUEST_URI=/v1/sessions/a%20b?limit=1&x=%2F",
				      "QUERY_STRING=ignored", "SCRIPT_NAME=/ignored", "CONTENT_TYPE=application/json", "REMOTE_ADDR=::1",
				      "HTTPS=on", "HTTP_HOST=example.org", "HTTP_AUTHORIZATION=Bearer x", "HTTP_ORIGIN=https://a.example",
				      "HTTP_USER_AGENT=agent/1", "HTTP_REFERER=https://a.example/p", "HTTP_IDEMPOTENCY_KEY=k1", "HTTP_IF_MATCH=\"3\"",
				      "HTTP_IF_NONE_MATCH=\"4\"", "HTTP_LAST_EVENT_ID=trn:7", "HTTP_X_REQUEST_ID=r-1", "HTTP_X_FORWARDED_FOR=10.1.1.1",
				      "HTTP_ACCESS_CONTROL_REQUEST_METHOD=POST", "HTTP_ACCESS_CONTROL_REQUEST_HEADERS=authorization");

	cr_assert_eq(rq.method, HTTP_PATCH);
	assert_bytes(rq.method_text, "PATCH");
	assert_bytes(rq.path, "/v1/sessions/a%20b");
	assert_bytes(rq.query, "limit=1&x=%2F");
	assert_bytes(rq.content_type, "application/json");
	assert_bytes(rq.remote_addr, "::1");
	cr_assert(rq.is_https);
	assert_bytes(rq.host, "example.org");
	assert_bytes(rq.authorization, "Bearer x");
	assert_bytes(rq.origin, "https://a.example");
	assert_bytes(rq.user_agent, "agent/1");
	assert_bytes(rq.referer, "https://a.example/p");
	assert_bytes(rq.idempotency_key, "k1");
	assert_bytes(rq.if_match, "\"3\"");
	assert_bytes(rq.if_none_match, "\"4\"");
	assert_bytes(rq.last_event_id, "trn:7");
	assert_bytes(rq.request_id, "r-1");
	assert_bytes(rq.forwarded_for, "10.1.1.1");
	assert_bytes(rq.acr_method, "POST");
	assert_bytes(rq.acr_headers, "authorization");
}

Test(request, absent_headers_have_no_pointer_and_empty_ones_do)
{
	struct http_request rq = FROM("REQUEST_METHOD=GET", "REQUEST_URI=/", "HTTP_ORIGIN=");

	cr_assert_null(rq.authorization.p);
	cr_assert_null(rq.idempotency_key.p);
	cr_assert_not_null(rq.origin.p);
	cr_assert_eq(rq.origin.n, 0);
	cr_assert_not(rq.is_https);
}

Test(request, of_a_variable_given_twice_the_first_counts)
{
	struct http_request rq = FROM("REQUEST_METHOD=GET", "REMOTE_ADDR=192.0.2.1", "REMOTE_ADDR=127.0.0.1", "HTTP_AUTHORIZATION=",
				      "HTTP_AUTHORIZATION=Bearer forged", "REQUEST_URI=/a", "REQUEST_URI=/b");

	assert_bytes(rq.remote_addr, "192.0.2.1");
	assert_bytes(rq.authorization, "");
	assert_bytes(rq.path, "/a");
}

Test(request, what_only_resembles_a_variable_is_skipped)
{
	struct http_request rq = FROM("", "=x", "HTTP_HOST", "HTTP_HOS=a", "HTTP_HOSTS=b", "XTTP_HOST=c", "REMOTE_ADDR ", "http_host=d", "HTTP_HOST=e=f");

	assert_bytes(rq.host, "e=f");
	cr_assert_null(rq.remote_addr.p);
	assert_bytes(rq.path, "");
	assert_bytes(rq.query, "");
	cr_assert_eq(rq.method, HTTP_METHOD_COUNT);
}

Test(request, without_request_uri_the_path_is_put_together_and_escaped_again)
{
	struct http_request rq = FROM("REQUEST_METHOD=GET", "SCRIPT_NAME=/cgi-bin/parley", "PATH_INFO=/v1/a%b", "QUERY_STRING=q=1");

	assert_bytes(rq.path, "/cgi-bin/parley/v1/a%25b");
	assert_bytes(rq.query, "q=1");
	rq = FROM("REQUEST_METHOD=GET", "PATH_INFO=/healthz");
	assert_bytes(rq.path, "/healthz");
	assert_bytes(rq.query, "");
}

Test(request, the_scheme_also_tells_https)
{
	cr_assert(FROM("REQUEST_SCHEME=https").is_https);
	cr_assert_not(FROM("REQUEST_SCHEME=http").is_https);
	cr_assert_not(FROM("HTTPS=off").is_https);
	cr_assert_not(FROM("HTTPS=").is_https);
}

Test(request, a_question_mark_without_a_query_leaves_it_empty)
{
	struct http_request rq = FROM("REQUEST_URI=/a?");

	assert_bytes(rq.path, "/a");
	assert_bytes(rq.query, "");
	rq = FROM("REQUEST_URI=?a?b");
	assert_bytes(rq.path, "");
	assert_bytes(rq.query, "a?b");
	rq = FROM("REQUEST_URI=");
	assert_bytes(rq.path, "");
}

Test(request, methods_are_the_exact_words)
{
	for (enum http_method m = HTTP_GET; m < HTTP_METHOD_COUNT; m++)
		cr_assert_eq(http_method_parse(bytes_of(http_method_name(m))), m);
	cr_assert_eq(http_method_parse(BYTES("get")), HTTP_METHOD_COUNT);
	cr_assert_eq(http_method_parse(BYTES("GETS")), HTTP_METHOD_COUNT);
	cr_assert_eq(http_method_parse(BYTES("")), HTTP_METHOD_COUNT);
	cr_assert_str_eq(http_method_name(HTTP_METHOD_COUNT), "");
}

static int64_t length_of(const char *variable)
{
	return http_content_length((char *const[]){ (char *)"A=b", (char *)variable, NULL });
}

Test(request, a_declared_length_is_a_plain_decimal_number_or_refused)
{
	cr_assert_eq(length_of("X=1"), -1);
	cr_assert_eq(length_of("CONTENT_LENGTH="), -1);
	cr_assert_eq(length_of("CONTENT_LENGTH=0"), 0);
	cr_assert_eq(length_of("CONTENT_LENGTH=00042"), 42);
	cr_assert_eq(length_of("CONTENT_LENGTH=9223372036854775807"), -2);
	cr_assert_eq(length_of("CONTENT_LENGTH=922337203685477580"), 922337203685477580);
	cr_assert_eq(length_of("CONTENT_LENGTH=99999999999999999999999999"), -2);
	cr_assert_eq(length_of("CONTENT_LENGTH=-1"), -2);
	cr_assert_eq(length_of("CONTENT_LENGTH=+1"), -2);
	cr_assert_eq(length_of("CONTENT_LENGTH= 1"), -2);
	cr_assert_eq(length_of("CONTENT_LENGTH=1 "), -2);
	cr_assert_eq(length_of("CONTENT_LENGTH=0x10"), -2);
	cr_assert_eq(length_of("CONTENT_LENGTH=1,1"), -2);
	cr_assert_eq(length_of("CONTENT_LENGTH2=5"), -1);
}

Test(request, of_two_lengths_the_first_counts)
{
	cr_assert_eq(http_content_length((char *const[]){ (char *)"CONTENT_LENGTH=3", (char *)"CONTENT_LENGTH=9", NULL }), 3);
}

static void assert_unescapes(const char *in, bool plus, const char *expected)
{
	struct bytes out;

	cr_assert(http_unescape(arena, bytes_of(in), plus, &out), "%s", in);
	assert_bytes(out, expected);
}

Test(request, escapes_are_decoded)
{
	assert_unescapes("", false, "");
	assert_unescapes("plain", false, "plain");
	assert_unescapes("a%20b%2Fc%2f", false, "a b/c/");
	assert_unescapes("a+b", false, "a+b");
	assert_unescapes("a+b%2B", true, "a b+");
	assert_unescapes("%C3%A9%e2%82%ac%F0%9F%98%80", false, "é€😀");
	assert_unescapes("é", false, "é");
	assert_unescapes("%2525", false, "%25");
}

Test(request, bad_escapes_nul_and_broken_utf8_are_refused)
{
	static const char *const bad[] = { "%", "%1", "a%", "%zz", "%1g", "%g1", "%00", "a%00b", "%80", "%C3", "%C3%28", "%C0%AF", "%C1%BF",
					   "%E0%80%AF", "%ED%A0%80", "%F0%80%80%AF", "%F4%90%80%80", "%F5%80%80%80", "%E2%82", "%FF", "\x80",
					   "%F0%9F%98", "% 41", "%+1" };
	struct bytes out;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_assert_not(http_unescape(arena, bytes_of(bad[i]), false, &out), "%s", bad[i]);
	cr_assert_not(http_unescape(arena, (struct bytes){ "a\0b", 3 }, false, &out));
	cr_assert_not(http_unescape(arena, (struct bytes){ "%411", 2 }, false, &out), "the escape ends with the text, not with the memory");
}
