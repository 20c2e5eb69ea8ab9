/* SPDX-License-Identifier: MIT */
/* request: reads what a web server says about a request (CGI variables) and the escapes of paths and queries. */
#include "http/http.h"

#include <limits.h>
#include <stddef.h>

static const struct bytes method_names[HTTP_METHOD_COUNT] = {
	[HTTP_GET] = BYTES("GET"),	 [HTTP_HEAD] = BYTES("HEAD"),	  [HTTP_POST] = BYTES("POST"),
	[HTTP_PUT] = BYTES("PUT"),	 [HTTP_PATCH] = BYTES("PATCH"),	  [HTTP_DELETE] = BYTES("DELETE"),
	[HTTP_OPTIONS] = BYTES("OPTIONS"),
};

enum http_method http_method_parse(struct bytes text)
{
	enum http_method m = HTTP_GET;

	while (m < HTTP_METHOD_COUNT && !bytes_equal(text, method_names[m]))
		m++;
	return m;
}

const char *http_method_name(enum http_method m)
{
	return m < HTTP_METHOD_COUNT ? method_names[m].p : "";
}

/* The variables that become a header or address of the request as they are. */
struct variable {
	struct bytes name;
	size_t offset; /* of a struct bytes in struct http_request */
};

#define VARIABLE(text, member) { BYTES(text), offsetof(struct http_request, member) }

static const struct variable variables[] = {
	VARIABLE("REQUEST_METHOD", method_text),
	VARIABLE("CONTENT_TYPE", content_type),
	VARIABLE("REMOTE_ADDR", remote_addr),
	VARIABLE("HTTP_HOST", host),
	VARIABLE("HTTP_AUTHORIZATION", authorization),
	VARIABLE("HTTP_ORIGIN", origin),
	VARIABLE("HTTP_USER_AGENT", user_agent),
	VARIABLE("HTTP_REFERER", referer),
	VARIABLE("HTTP_IDEMPOTENCY_KEY", idempotency_key),
	VARIABLE("HTTP_IF_MATCH", if_match),
	VARIABLE("HTTP_IF_NONE_MATCH", if_none_match),
	VARIABLE("HTTP_LAST_EVENT_ID", last_event_id),
	VARIABLE("HTTP_X_REQUEST_ID", request_id),
	VARIABLE("HTTP_X_FORWARDED_FOR", forwarded_for),
	VARIABLE("HTTP_ACCESS_CONTROL_REQUEST_METHOD", acr_method),
	VARIABLE("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", acr_headers),
};

/* The variables that are worth more than a copy; only needed until the request is put together. */
struct raw_variables {
	struct bytes request_uri, script_name, path_info, query_string, https, request_scheme;
};

#define RAW_VARIABLE(text, member) { BYTES(text), offsetof(struct raw_variables, member) }

static const struct variable raw_variables[] = {
	RAW_VARIABLE("REQUEST_URI", request_uri),   RAW_VARIABLE("SCRIPT_NAME", script_name),
	RAW_VARIABLE("PATH_INFO", path_info),	    RAW_VARIABLE("QUERY_STRING", query_string),
	RAW_VARIABLE("HTTPS", https),		    RAW_VARIABLE("REQUEST_SCHEME", request_scheme),
};

/* Stores value in the member of `into` that the table names for this variable, unless it has one already. */
static bool variable_take(const struct variable *table, size_t n, struct bytes name, struct bytes value, void *into)
{
	for (size_t i = 0; i < n; i++) {
		/* The last byte differs most among names of one length. */
		if (table[i].name.n != name.n || table[i].name.p[name.n - 1] != name.p[name.n - 1] || !bytes_equal(table[i].name, name))
			continue;
		struct bytes *member = (struct bytes *)((char *)into + table[i].offset);

		if (!member->p)
			*member = value;
		return true;
	}
	return false;
}

/* PATH_INFO comes decoded: its percent signs are escaped again, so that decoding the path later gives what the client meant. */
static struct bytes path_from_parts(struct arena *a, struct bytes script, struct bytes info)
{
	struct buf b;

	buf_init(&b, a, script.n + info.n + 16);
	buf_add_bytes(&b, script);
	for (size_t i = 0; i < info.n; i++) {
		if (info.p[i] == '%')
			buf_add_str(&b, "%25");
		else
			buf_add_char(&b, info.p[i]);
	}
	return b.p ? buf_bytes(&b) : BYTES("");
}

static void path_set(struct arena *a, const struct raw_variables *raw, struct http_request *rq)
{
	const char *question = NULL;

	if (!raw->request_uri.p) {
		rq->path = path_from_parts(a, raw->script_name, raw->path_info);
		rq->query = raw->query_string.p ? raw->query_string : BYTES("");
		return;
	}
	if (raw->request_uri.n > 0)
		question = memchr(raw->request_uri.p, '?', raw->request_uri.n);
	rq->path = raw->request_uri;
	rq->query = BYTES("");
	if (question) {
		rq->path.n = (size_t)(question - raw->request_uri.p);
		rq->query = (struct bytes){ question + 1, raw->request_uri.n - rq->path.n - 1 };
	}
}

void http_request_from_env(struct task *t, char *const *env, struct http_request *rq_r)
{
	struct raw_variables raw = { 0 };

	memset(rq_r, 0, sizeof(*rq_r));
	for (; *env; env++) {
		const char *equals = strchr(*env, '=');

		if (!equals || equals == *env)
			continue;
		struct bytes name = { *env, (size_t)(equals - *env) };
		struct bytes value = bytes_of(equals + 1);

		if (!variable_take(variables, sizeof(variables) / sizeof(*variables), name, value, rq_r))
			variable_take(raw_variables, sizeof(raw_variables) / sizeof(*raw_variables), name, value, &raw);
	}
	rq_r->method = http_method_parse(rq_r->method_text);
	rq_r->is_https = bytes_equal(raw.https, BYTES("on")) || bytes_equal(raw.request_scheme, BYTES("https"));
	path_set(t->arena, &raw, rq_r);
}

int64_t http_content_length(char *const *env)
{
	static const char name[] = "CONTENT_LENGTH=";
	int64_t n = 0;

	while (*env && strncmp(*env, name, sizeof(name) - 1) != 0)
		env++;
	if (!*env || !(*env)[sizeof(name) - 1])
		return -1; /* nginx sends it empty when there is no body */
	for (const char *p = *env + sizeof(name) - 1; *p; p++) {
		if (*p < '0' || *p > '9' || n > (INT64_MAX - 9) / 10)
			return -2;
		n = n * 10 + (*p - '0');
	}
	return n;
}

/* Bytes of the well-formed UTF-8 sequence at p (Unicode table 3-7), or 0. */
static size_t utf8_sequence(const unsigned char *p, size_t n)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

	if (len == 1)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4 || len > n)
		return 0;
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	return len;
}

static bool is_utf8_text(struct bytes b)
{
	const unsigned char *p = (const unsigned char *)b.p;

	for (size_t i = 0; i < b.n;) {
		size_t len = p[i] ? utf8_sequence(p + i, b.n - i) : 0;

		if (len == 0)
			return false;
		i += len;
	}
	return true;
}

bool http_unescape(struct arena *a, struct bytes in, bool plus, struct bytes *out_r)
{
	char *out;
	size_t n = 0;

	*out_r = (struct bytes){ "", 0 };
	if (in.n == 0)
		return true;
	out = arena_alloc(a, in.n + 1);
	for (size_t i = 0; i < in.n; i++) {
		int high, low;

		if (in.p[i] != '%') {
			out[n++] = plus && in.p[i] == '+' ? ' ' : in.p[i];
			continue;
		}
		if (in.n - i < 3 || (high = bytes_hex_value(in.p[i + 1])) < 0 || (low = bytes_hex_value(in.p[i + 2])) < 0)
			return false;
		out[n++] = (char)(high << 4 | low);
		i += 2;
	}
	*out_r = (struct bytes){ out, n };
	return is_utf8_text(*out_r);
}
