/* SPDX-License-Identifier: MIT */
/* test_openapi: the document is JSON, has every route with all that it takes and gives, and names nothing that it does not explain. */
#include "harness.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/openapi.h"
#include "app/openapi_answers.h"
#include "app/openapi_schemas.h"

/* The document, asked for once a test. */
struct document {
	struct api *h;
	struct answer a;
	struct bytes paths, schemas, examples;
};

static struct document open_document(void)
{
	struct document d = { .h = api_open() };
	d.a = api_get(d.h, NULL, "/v1/openapi.json");
	must_be(d.a, 200);
	d.paths = raw_at(&d.a, "paths");
	d.schemas = raw_at(&d.a, "components.schemas");
	d.examples = raw_at(&d.a, "components.examples");
	return d;
}

static struct bytes operation_of(const struct document *d, const struct api_route *r)
{
	char method[16] = "";
	for (size_t k = 0; http_method_name(r->method)[k]; k++)
		method[k] = (char)tolower((unsigned char)http_method_name(r->method)[k]);
	struct bytes op = jsonx_member(jsonx_member(d->paths, r->path), method);
	cr_assert_eq(jsonx_type(op), JSONX_OBJECT, "%s %s", method, r->path);
	return op;
}

/* Runs fn for every route. */
static size_t each_route(const struct document *d, void (*fn)(const struct document *d, const struct api_route *r, struct bytes op))
{
	size_t n = 0;
	for (const struct feature *const *f = app_features; *f; f++)
		for (size_t i = 0; i < (*f)->n_routes; i++, n++)
			fn(d, &(*f)->routes[i], operation_of(d, &(*f)->routes[i]));
	return n;
}

static struct bytes body_of(struct bytes op)
{
	return jsonx_member(json_at(jsonx_member(op, "requestBody"), "content"), "application/json");
}

static struct bytes response_of(struct bytes op, int status)
{
	char name[16];
	snprintf(name, sizeof name, "%d", status);
	return jsonx_member(jsonx_member(op, "responses"), name);
}

static void check_row(const struct document *d, const struct api_route *r, struct bytes op)
{
	struct bytes summary = jsonx_string(d->h->arena, jsonx_member(op, "summary"));
	bool is_open = r->scope == SCOPE_PUBLIC || r->scope == SCOPE_LOCAL;
	cr_assert(bytes_equal(summary, bytes_of(r->help)));
	cr_assert_eq(jsonx_member(op, "security").n == 2, is_open);
	cr_assert_eq(jsonx_member(op, "requestBody").n > 0, r->body || r->flags & ROUTE_RAW_BODY);
	for (const struct field *field = r->body ? r->body->fields : NULL; field && field->name; field++)
		cr_assert(jsonx_member(json_at(body_of(op), "schema.properties"), field->name).n > 0, "%s of %s", field->name, r->path);
}

Test(openapi, has_every_route_with_its_fields)
{
	struct document d = open_document();
	assert_str(d.a, "openapi", "3.1.0");
	size_t n_routes = each_route(&d, check_row), n_operations = 0;
	struct jsonx_walk w, ops;
	jsonx_walk_begin(&w, d.paths);
	while (jsonx_walk_next(&w)) {
		jsonx_walk_begin(&ops, w.value);
		while (jsonx_walk_next(&ops))
			n_operations++;
	}
	cr_assert_eq(n_operations, n_routes);
	api_close(&d.h);
}

/* A table's rows are explained, and an example of the whole passes the table itself. */
static void check_table(const struct document *d, const struct api_route *r, const struct field_table *table)
{
	for (const struct field *f = table->fields; f->name; f++) {
		cr_assert(f->help && *f->help, "%s of %s %s has no help", f->name, http_method_name(r->method), r->path);
		if (f->type == FIELD_LIST)
			check_table(d, r, f->sub);
	}
	struct task t = { 0 };
	struct jsonx_flaw flaw;
	struct buf b;
	task_init(&t, d->h->arena);
	buf_init(&b, d->h->arena, 0);
	field_format_example(table, &b);
	cr_assert(jsonx_check_strict(d->h->arena, buf_bytes(&b), &flaw), "%s: %s", r->path, b.p);
	cr_assert_eq(field_parse(&t, table, buf_bytes(&b), "", arena_alloc(d->h->arena, table->size)), ERR_OK, "%s: %s: %s", r->path, b.p,
		     t.fault.fields ? t.fault.fields->detail : "");
}

static void check_parameters(const struct document *d, const struct api_route *r, struct bytes op)
{
	struct jsonx_walk w;
	size_t n = 0, n_wanted = r->method == HTTP_POST || r->flags & ROUTE_STREAMS;
	for (const char *p = r->path; (p = strchr(p, '{')); p++, n_wanted++) {
		struct bytes name = { p + 1, strcspn(p + 1, "}") };
		cr_assert(path_parameter_find(name), "{%.*s} of %s is not in openapi_answers.c", (int)name.n, name.p, r->path);
	}
	for (const struct field *f = r->query ? r->query->fields : NULL; f && f->name; f++)
		n_wanted++;
	jsonx_walk_begin(&w, jsonx_member(op, "parameters"));
	for (; jsonx_walk_next(&w); n++) {
		if (jsonx_member(w.value, "$ref").n)
			continue;
		cr_assert(jsonx_member(w.value, "description").n > 2, "%.*s", (int)w.value.n, w.value.p);
		cr_assert(jsonx_member(w.value, "example").n > 0, "%.*s", (int)w.value.n, w.value.p);
		cr_assert_eq(jsonx_type(jsonx_member(w.value, "schema")), JSONX_OBJECT);
	}
	cr_assert_eq(n, n_wanted + route_may_fail(r, ERR_PRECONDITION), "%s", r->path);
	if (r->query)
		check_table(d, r, r->query);
	if (r->body) {
		check_table(d, r, r->body);
		cr_assert_eq(jsonx_type(jsonx_member(body_of(op), "example")), JSONX_OBJECT, "%s", r->path);
	}
}

Test(openapi, explains_every_parameter_and_body_with_an_example)
{
	struct document d = open_document();
	(void)each_route(&d, check_parameters);
	api_close(&d.h);
}

static void check_success(const struct document *d, const struct api_route *r, struct bytes op)
{
	const struct route_notes *notes = route_notes_find(r);
	int statuses[] = { r->status, notes->also };
	cr_assert(r->status >= 200 && r->status < 300, "%s %s has no status of success", http_method_name(r->method), r->path);
	for (size_t i = 0; i < COUNT(statuses) && statuses[i]; i++) {
		struct bytes rs = response_of(op, statuses[i]), content = jsonx_member(rs, "content");
		cr_assert(jsonx_member(rs, "description").n > 2);
		cr_assert_eq(content.n == 0, statuses[i] == 204, "%s %s: %d", http_method_name(r->method), r->path, statuses[i]);
		if (r->answer) {
			cr_assert(jsonx_member(d->schemas, r->answer).n > 0, "%s of %s is not in openapi_schemas.c", r->answer, r->path);
			cr_assert(jsonx_member(d->examples, r->answer).n > 0, "%s of %s has no example", r->answer, r->path);
			cr_assert(json_at(content, "application/json").n > 0);
		}
		cr_assert_eq(json_at(content, "text/event-stream").n > 0, (r->flags & ROUTE_STREAMS) != 0);
		if (notes->media)
			cr_assert(jsonx_member(json_at(content, notes->media), "example").n > 2);
	}
}

Test(openapi, names_status_schema_and_example_of_every_answer)
{
	struct document d = open_document();
	(void)each_route(&d, check_success);
	api_close(&d.h);
}

/* Every status is a number, and the errors of a status say which codes there can be. */
static void check_problems(const struct document *d, const struct api_route *r, struct bytes op)
{
	(void)d;
	struct jsonx_walk w;
	jsonx_walk_begin(&w, jsonx_member(op, "responses"));
	while (jsonx_walk_next(&w)) {
		int status = atoi(w.raw_key.p + 1);
		struct bytes content = json_at(jsonx_member(w.value, "content"), "application/problem+json");
		cr_assert(status >= 200 && status < 600, "%.*s of %s", (int)w.raw_key.n, w.raw_key.p, r->path);
		if (status < 400 || content.n == 0)
			continue;
		struct bytes codes = json_at(content, "schema.properties.code.enum");
		cr_assert(codes.n > 2, "%s: %d", r->path, status);
		struct jsonx_walk c;
		jsonx_walk_begin(&c, codes);
		while (jsonx_walk_next(&c)) {
			struct bytes code = jsonx_string(d->h->arena, c.value);
			enum err e = err_find(arena_copy(d->h->arena, code.p, code.n));
			cr_assert(e < ERR_COUNT && err_status(e) == status && route_may_fail(r, e));
		}
	}
	bool is_guarded = r->scope > SCOPE_LOCAL;
	cr_assert_eq(response_of(op, 401).n > 0, is_guarded);
	cr_assert_eq(response_of(op, 404).n > 0, route_may_fail(r, ERR_NOT_FOUND));
	cr_assert_eq(response_of(op, 415).n > 0, r->body || r->flags & ROUTE_RAW_BODY);
	cr_assert(response_of(op, 400).n > 0 && response_of(op, 413).n > 0);
	cr_assert_eq(jsonx_member(jsonx_member(op, "responses"), "default").n, 0);
}

Test(openapi, lists_every_error_by_status_and_code)
{
	struct document d = open_document();
	(void)each_route(&d, check_problems);
	api_close(&d.h);
}

static bool has_route(enum http_method method, const char *path)
{
	for (const struct feature *const *f = app_features; *f; f++)
		for (size_t i = 0; i < (*f)->n_routes; i++)
			if ((*f)->routes[i].method == method && strcmp((*f)->routes[i].path, path) == 0)
				return true;
	return false;
}

Test(openapi, notes_are_on_routes_and_codes_that_there_are)
{
	for (const struct route_notes *n = route_notes_list(); n->path; n++) {
		char code[64];
		cr_assert(has_route(n->method, n->path), "%s", n->path);
		for (const char *p = n->codes; p && *p; p += *p == '|') {
			size_t len = strcspn(p, "|"), skip = *p == '-';
			snprintf(code, sizeof code, "%.*s", (int)(len - skip), p + skip);
			cr_assert_lt(err_find(code), ERR_COUNT, "%s of %s", code, n->path);
			p += len;
		}
	}
}

/* Every "$ref" below a value leads somewhere. */
static void check_references(const struct document *d, struct bytes json)
{
	struct jsonx_walk w;
	enum jsonx_type type = jsonx_type(json);
	if (type != JSONX_OBJECT && type != JSONX_ARRAY)
		return;
	jsonx_walk_begin(&w, json);
	while (jsonx_walk_next(&w)) {
		if (type == JSONX_OBJECT && bytes_equal(w.raw_key, BYTES("\"$ref\""))) {
			struct bytes text = jsonx_string(d->h->arena, w.value), at = d->a.body;
			char *path = arena_copy(d->h->arena, text.p, text.n), *step = strtok(path, "/");
			cr_assert_str_eq(step, "#");
			while ((step = strtok(NULL, "/")))
				at = jsonx_member(at, step);
			cr_assert(at.n > 0, "%.*s leads nowhere", (int)text.n, text.p);
		}
		check_references(d, w.value);
	}
}

Test(openapi, schemas_stand_once_in_order_and_no_reference_dangles)
{
	struct document d = open_document();
	for (const struct openapi_schema *s = openapi_schemas(); s[0].name && s[1].name; s++)
		cr_assert_lt(strcmp(s[0].name, s[1].name), 0, "%s stands before %s", s[0].name, s[1].name);
	check_references(&d, d.a.body);
	api_close(&d.h);
}

Test(openapi, lists_routes_as_text)
{
	struct arena *a = arena_open(0);
	struct buf b;
	buf_init(&b, a, 0);
	openapi_format_routes(&b);
	size_t lines = 0, n_routes = 0;
	for (const char *p = b.p; (p = strchr(p, '\n')); p++)
		lines++;
	for (const struct feature *const *f = app_features; *f; f++)
		n_routes += (*f)->n_routes;
	cr_assert_eq(lines, n_routes);
	cr_assert(strstr(b.p, "POST    /v1/chat/{agent}/message"));
	cr_assert_null(strchr(b.p, '?'));
	arena_close(&a);
}

Test(openapi, the_command_line_prints_the_same_bytes)
{
	struct document d = open_document();
	struct buf b;
	buf_init(&b, d.h->arena, 0);
	openapi_format(&b);
	cr_assert(bytes_equal(buf_bytes(&b), d.a.body));
	api_close(&d.h);
}
