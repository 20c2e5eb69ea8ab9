/* SPDX-License-Identifier: MIT */
/* test_openapi: the document is JSON, has every route, and repeats nothing. */
#include "harness.h"

#include <ctype.h>

#include "app/openapi.h"

Test(openapi, has_every_route_with_its_fields)
{
	struct api *h = api_open();
	struct answer a = api_get(h, NULL, "/v1/openapi.json");
	must_be(a, 200);
	assert_str(a, "openapi", "3.1.0");
	struct bytes paths = raw_at(&a, "paths");
	size_t n_routes = 0, n_operations = 0;
	for (const struct feature *const *f = app_features; *f; f++)
		for (size_t i = 0; i < (*f)->n_routes; i++, n_routes++) {
			const struct api_route *r = &(*f)->routes[i];
			char method[16] = "";
			for (size_t k = 0; http_method_name(r->method)[k]; k++)
				method[k] = (char)tolower((unsigned char)http_method_name(r->method)[k]);
			struct bytes op = jsonx_member(jsonx_member(paths, r->path), method);
			cr_assert_eq(jsonx_type(op), JSONX_OBJECT, "%s %s", method, r->path);
			struct bytes summary = jsonx_string(h->arena, jsonx_member(op, "summary"));
			cr_assert(bytes_equal(summary, bytes_of(r->help)));
			bool is_open = r->scope == SCOPE_PUBLIC || r->scope == SCOPE_LOCAL;
			cr_assert_eq(jsonx_member(op, "security").n == 2, is_open);
			cr_assert_eq(jsonx_member(op, "requestBody").n > 0, r->body != NULL);
			for (const struct field *field = r->body ? r->body->fields : NULL; field && field->name; field++) {
				struct bytes schema = json_at(jsonx_member(op, "requestBody"), "content");
				schema = json_at(jsonx_member(schema, "application/json"), "schema.properties");
				cr_assert(jsonx_member(schema, field->name).n > 0, "%s of %s", field->name, r->path);
			}
		}
	struct jsonx_walk w, ops;
	jsonx_walk_begin(&w, paths);
	while (jsonx_walk_next(&w)) {
		jsonx_walk_begin(&ops, w.value);
		while (jsonx_walk_next(&ops))
			n_operations++;
	}
	cr_assert_eq(n_operations, n_routes);
	api_close(&h);
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
