/* SPDX-License-Identifier: MIT */
/* answer: reads what the application answered, and checks what holds for every answer. */
#include "harness.h"

#include <stdlib.h>
#include <strings.h>

const char *header_of(const struct answer *a, const char *name)
{
	size_t n = strlen(name);

	for (const char *line = a->head.p, *end = line + a->head.n; line < end;) {
		const char *eol = memmem(line, (size_t)(end - line), "\r\n", 2);

		if ((size_t)(eol - line) > n + 1 && strncasecmp(line, name, n) == 0 && line[n] == ':')
			return arena_copy(a->arena, line + n + 2, (size_t)(eol - line) - n - 2);
		line = eol + 2;
	}
	return NULL;
}

/* The value of the next step of a path: a name or an index. */
static struct bytes step(struct bytes json, const char **path)
{
	struct jsonx_walk w;
	char name[128];

	if (**path == '[') {
		char *end;
		long i = strtol(*path + 1, &end, 10);

		*path = end + 1;
		cr_assert_eq(jsonx_type(json), JSONX_ARRAY);
		jsonx_walk_begin(&w, json);
		while (jsonx_walk_next(&w))
			if (i-- == 0)
				return w.value;
		return (struct bytes){ NULL, 0 };
	}
	size_t n = strcspn(*path, ".[");

	cr_assert(n < sizeof name && jsonx_type(json) == JSONX_OBJECT);
	memcpy(name, *path, n);
	name[n] = 0;
	*path += n;
	return jsonx_member(json, name);
}

struct bytes json_at(struct bytes json, const char *path)
{
	while (*path && json.n) {
		path += *path == '.';
		json = step(json, &path);
	}
	return json;
}

struct bytes raw_at(const struct answer *a, const char *path)
{
	return json_at(a->body, path);
}

static struct bytes typed_at(const struct answer *a, const char *path, enum jsonx_type type)
{
	struct bytes raw = raw_at(a, path);

	cr_assert_eq(jsonx_type(raw), type, "%s is not there or of another type: %.*s", path, (int)a->body.n, a->body.p);
	return raw;
}

const char *str_at(const struct answer *a, const char *path)
{
	struct bytes s = jsonx_string(a->arena, typed_at(a, path, JSONX_STRING));

	return arena_copy(a->arena, s.p, s.n);
}

int64_t int_at(const struct answer *a, const char *path)
{
	return jsonx_int(typed_at(a, path, JSONX_INT));
}

bool bool_at(const struct answer *a, const char *path)
{
	return jsonx_bool(typed_at(a, path, JSONX_BOOL));
}

bool is_null_at(const struct answer *a, const char *path)
{
	return jsonx_type(raw_at(a, path)) == JSONX_NULL;
}

size_t count_at(const struct answer *a, const char *path)
{
	struct bytes raw = raw_at(a, path);
	struct jsonx_walk w;
	size_t n = 0;

	cr_assert(jsonx_type(raw) == JSONX_ARRAY || jsonx_type(raw) == JSONX_OBJECT, "%s of %.*s", path, (int)a->body.n, a->body.p);
	jsonx_walk_begin(&w, raw);
	while (jsonx_walk_next(&w))
		n++;
	return n;
}

const char *code_of(const struct answer *a)
{
	return str_at(a, "code");
}

bool blames(const struct answer *a, const char *field, const char *code)
{
	struct bytes errors = raw_at(a, "errors");
	struct jsonx_walk w;

	if (!errors.n)
		return false;
	jsonx_walk_begin(&w, errors);
	while (jsonx_walk_next(&w))
		if (bytes_equal(jsonx_string(a->arena, jsonx_member(w.value, "field")), bytes_of(field)) &&
		    (!code || bytes_equal(jsonx_string(a->arena, jsonx_member(w.value, "code")), bytes_of(code))))
			return true;
	return false;
}

const char *masked(const struct answer *a)
{
	static const char *const names[] = { "\"request_id\":\"", "\"token\":\"", "\"token_expires_at\":\"" };
	char *text = arena_copy(a->arena, a->body.p, a->body.n);

	for (size_t i = 0; i < COUNT(names); i++) {
		char *at = strstr(text, names[i]);

		if (at)
			for (at += strlen(names[i]); *at && *at != '"'; at++)
				*at = '*';
	}
	return text;
}

/* ---- checks ---- */

/* Parts an event stream as a browser does. */
static void parse_events(struct answer *r)
{
	const char *p = r->body.p, *end = p + r->body.n;

	r->events = arena_array(r->arena, 20000, sizeof *r->events);
	while (p < end) {
		struct event *e = &r->events[r->n_events];
		const char *stop = memmem(p, (size_t)(end - p), "\n\n", 2);

		cr_assert_not_null(stop, "an event without its end");
		struct buf data;
		buf_init(&data, r->arena, 256);
		for (const char *line = p; line < stop;) {
			const char *eol = memchr(line, '\n', (size_t)(stop + 1 - line));
			size_t n = (size_t)(eol - line);

			if (n >= 4 && memcmp(line, "id: ", 4) == 0)
				e->id = arena_copy(r->arena, line + 4, n - 4);
			else if (n >= 7 && memcmp(line, "event: ", 7) == 0)
				e->event = arena_copy(r->arena, line + 7, n - 7);
			else if (n >= 6 && memcmp(line, "data: ", 6) == 0)
				buf_add(&data, line + 6, n - 6);
			else
				cr_assert(n > 0 && line[0] == ':', "not an event stream: %.*s", (int)n, line);
			line = eol + 1;
		}
		e->data = buf_bytes(&data);
		r->n_events += e->event != NULL;
		r->n_comments += e->event == NULL;
		p = stop + 2;
	}
}

static void check_json(const struct answer *a, const char *type)
{
	struct jsonx_flaw flaw;

	cr_assert(jsonx_check_strict(a->arena, a->body, &flaw), "%s at %zu of: %.*s", flaw.reason, flaw.offset, (int)a->body.n, a->body.p);
	if (strcmp(type, "application/problem+json") != 0)
		return;
	cr_assert(a->status >= 400);
	cr_assert_eq(int_at(a, "status"), a->status);
	cr_assert_str_eq(str_at(a, "request_id"), header_of(a, "X-Request-Id"));
	cr_assert(strlen(str_at(a, "title")) && strlen(str_at(a, "detail")) && strlen(str_at(a, "code")));
	cr_assert_str_eq(str_at(a, "type"), arena_printf(a->arena, "urn:parley:error:%s", code_of(a)));
}

/* JSON lines: one value each, the last ends too. */
static void check_lines(const struct answer *a)
{
	struct jsonx_flaw flaw;

	for (const char *p = a->body.p, *end = p + a->body.n; p < end;) {
		const char *eol = memchr(p, '\n', (size_t)(end - p));

		cr_assert_not_null(eol, "the last line does not end");
		cr_assert(jsonx_check_strict(a->arena, (struct bytes){ p, (size_t)(eol - p) }, &flaw), "%s in: %.*s", flaw.reason, (int)(eol - p), p);
		p = eol + 1;
	}
}

void answer_check(struct answer *r, bool is_cut)
{
	const char *type = header_of(r, "Content-Type"), *length = header_of(r, "Content-Length");

	cr_assert_not_null(header_of(r, "X-Request-Id"));
	if (r->status == 204) {
		cr_assert_eq(r->body.n, 0);
		return;
	}
	cr_assert_not_null(type);
	if (is_cut)
		return;
	if (length && r->body.n)
		cr_assert_eq((size_t)atol(length), r->body.n);
	if (strcmp(type, "text/event-stream") == 0)
		parse_events(r);
	else if (strcmp(type, "application/x-ndjson") == 0)
		check_lines(r);
	else if (strstr(type, "json") && r->body.n)
		check_json(r, type);
	cr_assert(r->status < 400 || strcmp(type, "application/problem+json") == 0 || r->status == 503, "%d as %s", r->status, type);
}
