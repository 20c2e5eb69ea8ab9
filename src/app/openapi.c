/* SPDX-License-Identifier: MIT */
/* openapi: documents from the tables that serve the requests, so that they cannot disagree. */
#include "app/openapi.h"

#include <ctype.h>

#include "app/dispatch.h"

#define ROUTES_MAX 256

/* All routes ordered by path, then method. */
static size_t sorted_routes(const struct api_route *list[ROUTES_MAX])
{
	size_t n = 0;
	for (const struct feature *const *f = app_features; *f; f++)
		for (size_t i = 0; i < (*f)->n_routes && n < ROUTES_MAX; i++) {
			const struct api_route *r = &(*f)->routes[i];
			size_t at = n++;
			for (; at > 0; at--) {
				int order = strcmp(list[at - 1]->path, r->path);
				if (order < 0 || (order == 0 && list[at - 1]->method < r->method))
					break;
				list[at] = list[at - 1];
			}
			list[at] = r;
		}
	return n;
}

static void add_path_parameters(struct buf *b, const char *path, bool *is_first)
{
	for (const char *open = strchr(path, '{'); open; open = strchr(open + 1, '{')) {
		size_t n = strcspn(open + 1, "}");
		buf_addf(b, "%s{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"}}", *is_first ? "" : ",", (int)n, open + 1);
		*is_first = false;
	}
}

static void add_query_parameters(struct buf *b, const struct field_table *table, bool *is_first)
{
	for (const struct field *f = table ? table->fields : NULL; f && f->name; f++) {
		struct field one[2] = { *f, { .name = NULL } };
		struct field_table single = { one, table->size };
		one[0].flags &= ~(unsigned)FIELD_REQUIRED;
		buf_addf(b, "%s{\"name\":\"%s\",\"in\":\"query\",\"required\":%s,\"description\":", *is_first ? "" : ",", f->name,
			 f->flags & FIELD_REQUIRED ? "true" : "false");
		buf_add_json_str(b, f->help);
		/* the schema of the one field is inside that of an object with it */
		struct buf schema;
		buf_init(&schema, b->arena, 256);
		field_format_schema(&single, &schema);
		buf_member_json(b, "schema", jsonx_member(jsonx_member(buf_bytes(&schema), "properties"), f->name));
		buf_add_char(b, '}');
		*is_first = false;
	}
}

static void add_header_parameter(struct buf *b, const char *name, bool *is_first)
{
	buf_addf(b, "%s{\"name\":\"%s\",\"in\":\"header\",\"required\":false,\"schema\":{\"type\":\"string\"}}", *is_first ? "" : ",", name);
	*is_first = false;
}

#define DEFAULT_RESPONSE \
	",\"default\":{\"description\":\"A problem\",\"content\":{\"application/problem+json\":{\"schema\":{\"$ref\":\"#/components/schemas/Problem\"}}}}}"

static void add_responses(struct buf *b, const struct api_route *r)
{
	if (r->method == HTTP_DELETE) {
		buf_add_str(b, ",\"responses\":{\"204\":{\"description\":\"Deleted\"}" DEFAULT_RESPONSE);
		return;
	}
	buf_add_str(b, ",\"responses\":{\"200\":{\"description\":\"Success\",\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\"}}");
	if (r->flags & ROUTE_STREAMS)
		buf_add_str(b, ",\"text/event-stream\":{\"schema\":{\"type\":\"string\"}}");
	buf_add_str(b, "}}");
	if (r->method == HTTP_POST)
		buf_add_str(b, ",\"201\":{\"description\":\"Created\",\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\"}}}}");
	buf_add_str(b, DEFAULT_RESPONSE);
}

/* get_v1_sessions_s: unique, and stable as long as the route is. */
static void add_operation_id(struct buf *b, const struct api_route *r)
{
	buf_add_member(b, "operationId");
	buf_add_char(b, '"');
	for (const char *m = http_method_name(r->method); *m; m++)
		buf_add_char(b, (char)tolower((unsigned char)*m));
	for (const char *p = r->path; *p; p++)
		if (isalnum((unsigned char)*p) || *p == '/')
			buf_add_char(b, *p == '/' ? '_' : *p);
	buf_add_char(b, '"');
}

static void add_operation(struct buf *b, const struct api_route *r)
{
	bool is_first = true;
	for (const char *m = http_method_name(r->method); *m; m++)
		buf_addf(b, "%s%c", m == http_method_name(r->method) ? "\"" : "", tolower((unsigned char)*m));
	buf_add_str(b, "\":{");
	buf_member_str(b, "summary", r->help);
	add_operation_id(b, r);
	buf_add_str(b, ",\"security\":");
	buf_add_str(b, r->scope == SCOPE_PUBLIC || r->scope == SCOPE_LOCAL ? "[]" : "[{\"bearer\":[]}]");
	buf_add_str(b, ",\"parameters\":[");
	add_path_parameters(b, r->path, &is_first);
	add_query_parameters(b, r->query, &is_first);
	if (r->method == HTTP_POST)
		add_header_parameter(b, "Idempotency-Key", &is_first);
	if (r->method == HTTP_PATCH)
		add_header_parameter(b, "If-Match", &is_first);
	buf_add_char(b, ']');
	if (r->body) {
		buf_addf(b, ",\"requestBody\":{\"required\":%s,\"content\":{\"application/json\":{\"schema\":", r->flags & ROUTE_BODY_OPTIONAL ? "false" : "true");
		field_format_schema(r->body, b);
		buf_add_str(b, "}}}");
	}
	add_responses(b, r);
	buf_add_char(b, '}');
}

static const char problem_schema[] =
	"{\"Problem\":{\"type\":\"object\",\"description\":\"RFC 9457\",\"required\":[\"type\",\"title\",\"status\",\"code\",\"request_id\"],\"properties\":{"
	"\"type\":{\"type\":\"string\"},\"title\":{\"type\":\"string\"},\"status\":{\"type\":\"integer\"},\"detail\":{\"type\":\"string\"},"
	"\"code\":{\"type\":\"string\"},\"request_id\":{\"type\":\"string\"},\"errors\":{\"type\":\"array\",\"items\":{\"type\":\"object\","
	"\"properties\":{\"field\":{\"type\":\"string\"},\"code\":{\"type\":\"string\"},\"detail\":{\"type\":\"string\"}}}}}}}";

void openapi_format(struct buf *b)
{
	const struct api_route *list[ROUTES_MAX];
	size_t n = sorted_routes(list);
	buf_add_str(b, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"parley\",\"version\":\"1\",\"description\":\"Conversations of AI agents\"},\"paths\":{");
	for (size_t i = 0; i < n; i++) {
		bool is_new = i == 0 || strcmp(list[i - 1]->path, list[i]->path) != 0;
		if (is_new)
			buf_addf(b, "%s\"%s\":{", i ? "}," : "", list[i]->path);
		else
			buf_add_char(b, ',');
		add_operation(b, list[i]);
	}
	buf_add_str(b, "}},\"components\":{\"securitySchemes\":{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\","
		       "\"description\":\"A secret key (sk_), a publishable key (pk_) or a session token (st_)\"}},\"schemas\":");
	buf_add_str(b, problem_schema);
	buf_add_str(b, "}}");
}

void openapi_format_routes(struct buf *b)
{
	static const char *const scopes[] = { "?", "public", "local", "site", "start", "session", "user" };
	const struct api_route *list[ROUTES_MAX];
	size_t n = sorted_routes(list);
	for (size_t i = 0; i < n; i++)
		buf_addf(b, "%-7s %-34s %-8s %s\n", http_method_name(list[i]->method), list[i]->path, scopes[list[i]->scope], list[i]->help);
}

static enum err api_openapi_get(struct call *c)
{
	openapi_format(&c->rs->body);
	dispatch_reply(c, 200);
	return ERR_OK;
}

static const struct api_route routes[] = {
	{ HTTP_GET, "/v1/openapi.json", SCOPE_PUBLIC, api_openapi_get, NULL, NULL, 0, "This interface as an OpenAPI 3.1 document", 200, "OpenApi" },
};

const struct feature openapi_feature = { .name = "openapi", .routes = routes, .n_routes = COUNT(routes) };
