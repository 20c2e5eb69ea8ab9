/* SPDX-License-Identifier: MIT */
/* openapi: documents from the tables that serve the requests, so that they cannot disagree. */
#include "app/openapi.h"

#include <ctype.h>

#include "app/dispatch.h"
#include "app/openapi_answers.h"
#include "app/openapi_schemas.h"

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
		struct bytes name = { open + 1, strcspn(open + 1, "}") };
		const struct path_parameter *p = path_parameter_find(name);
		buf_addf(b, "%s{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true", *is_first ? "" : ",", (int)name.n, name.p);
		*is_first = false;
		buf_member_str(b, "description", p ? p->help : "");
		buf_add_str(b, ",\"schema\":{\"type\":\"string\"");
		if (p && p->pattern)
			buf_member_str(b, "pattern", p->pattern);
		else
			buf_add_str(b, ",\"minLength\":1,\"maxLength\":255");
		buf_add_char(b, '}');
		if (p)
			buf_member_str(b, "example", p->example);
		buf_add_char(b, '}');
	}
}

static void add_query_parameters(struct buf *b, const struct field_table *table, bool *is_first)
{
	for (const struct field *f = table ? table->fields : NULL; f && f->name; f++) {
		buf_addf(b, "%s{\"name\":\"%s\",\"in\":\"query\",\"required\":%s", *is_first ? "" : ",", f->name,
			 f->flags & FIELD_REQUIRED ? "true" : "false");
		*is_first = false;
		buf_member_str(b, "description", f->help);
		buf_add_member(b, "schema");
		field_format_schema_of(f, b);
		buf_add_member(b, "example");
		field_format_example_of(f, b);
		buf_add_char(b, '}');
	}
}

static void add_header_parameter(struct buf *b, const char *name, bool *is_first)
{
	buf_addf(b, "%s{\"$ref\":\"#/components/parameters/%s\"}", *is_first ? "" : ",", name);
	*is_first = false;
}

static void add_parameters(struct buf *b, const struct api_route *r)
{
	bool is_first = true;
	buf_add_str(b, ",\"parameters\":[");
	add_path_parameters(b, r->path, &is_first);
	add_query_parameters(b, r->query, &is_first);
	if (r->method == HTTP_POST)
		add_header_parameter(b, "Idempotency-Key", &is_first);
	if (route_may_fail(r, ERR_PRECONDITION))
		add_header_parameter(b, "If-Match", &is_first);
	if (r->method == HTTP_GET && r->flags & ROUTE_STREAMS)
		add_header_parameter(b, "Last-Event-ID", &is_first);
	buf_add_char(b, ']');
}

static const char raw_help[] = "JSON lines; the first is the header of an export";

static const char raw_example[] =
	"{\"parley_export\":1,\"scope\":\"session\",\"site\":\"shop\",\"sessions\":1,\"conversations\":1,\"messages\":2,\"lines\":5,\"checksum\":\"...\"}\n";

static void add_raw_body(struct buf *b)
{
	buf_add_str(b, ",\"requestBody\":{\"required\":true,\"content\":{\"application/x-ndjson\":{\"schema\":{\"type\":\"string\"");
	buf_member_str(b, "description", raw_help);
	buf_add_char(b, '}');
	buf_member_str(b, "example", raw_example);
	buf_add_str(b, "}}}");
}

static void add_body(struct buf *b, const struct api_route *r)
{
	buf_addf(b, ",\"requestBody\":{\"required\":%s,\"content\":{\"application/json\":{\"schema\":", r->flags & ROUTE_BODY_OPTIONAL ? "false" : "true");
	field_format_schema(r->body, b);
	const char *more = route_notes_find(r)->body;
	if (more) {
		b->n--; /* its brace */
		buf_add_char(b, ',');
		openapi_add_quoted(b, more);
		buf_add_char(b, '}');
	}
	buf_add_member(b, "example");
	field_format_example(r->body, b);
	buf_add_str(b, "}}}");
}

/* --- answers --- */

/* Whether an answer of this schema may come with its version as the ETag. */
static bool is_versioned(const char *schema)
{
	static const char *const versioned[] = { "Agent", "Session", "SessionFull", "SessionInfo", "SessionWithMessages", "SessionWithToken", "Template", "Tool", "ToolWithSecret" };
	for (size_t i = 0; i < COUNT(versioned); i++)
		if (strcmp(versioned[i], schema) == 0)
			return true;
	return false;
}

/* The headers that an answer of this status may have. */
static void add_headers(struct buf *b, const struct api_route *r, int status)
{
	bool has_version = r->answer && is_versioned(r->answer);
	buf_add_str(b, ",\"headers\":{\"X-Request-Id\":{\"$ref\":\"#/components/headers/X-Request-Id\"}");
	if (status < 300 && has_version)
		buf_add_str(b, ",\"ETag\":{\"$ref\":\"#/components/headers/ETag\"}");
	if (status < 300 && r->method == HTTP_POST)
		buf_add_str(b, ",\"Idempotent-Replayed\":{\"$ref\":\"#/components/headers/Idempotent-Replayed\"}");
	if (status == 409 || status == 429 || status == 503)
		buf_add_str(b, ",\"Retry-After\":{\"$ref\":\"#/components/headers/Retry-After\"}");
	buf_add_char(b, '}');
}

static void add_json_content(struct buf *b, const char *schema)
{
	buf_addf(b, "\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/%s\"},", schema);
	buf_addf(b, "\"examples\":{\"%s\":{\"$ref\":\"#/components/examples/%s\"}}}", schema, schema);
}

static void add_text_content(struct buf *b, const char *media, const char *help, const char *example)
{
	buf_add_json_str(b, media);
	buf_add_str(b, ":{\"schema\":{\"type\":\"string\"");
	buf_member_str(b, "description", help);
	buf_add_char(b, '}');
	buf_member_str(b, "example", example);
	buf_add_char(b, '}');
}

static const char stream_help[] =
	"With \"stream\":true: server-sent events. First `turn` with session_id, turn_id and user_message (and token and token_expires_at when this call "
	"made the session); then `delta` with text for each piece, `step` with text and tool_calls when the model asks for tools (the text so far is this step's, "
	"and begins anew), `tool` with each result, `reset` when the text so far came to nothing and begins anew; then exactly one of `done`, whose data is the "
	"whole answer, or `error` with code, status, detail, session_id, turn_id and perhaps retry_after. A turn that waits for another sends `queued` with "
	"position before. Each id is the turn's, a colon and a position, from which .../stream goes on; comments keep the connection open.";
static const char stream_example[] =
	"id: trn_01jcx3f2m8e4a6s9h1k3q7v5xy:14\nevent: delta\ndata: {\"text\":\"Every morning.\"}\n\n";

static void add_success(struct buf *b, const struct api_route *r, int status, const char *help)
{
	const struct route_notes *notes = route_notes_find(r);
	buf_addf(b, "\"%d\":{", status);
	buf_member_str(b, "description", help);
	add_headers(b, r, status);
	if (r->answer || notes->media) {
		buf_add_str(b, ",\"content\":{");
		if (r->answer)
			add_json_content(b, r->answer);
		if (r->answer && (notes->media || r->flags & ROUTE_STREAMS))
			buf_add_char(b, ',');
		if (r->flags & ROUTE_STREAMS)
			add_text_content(b, "text/event-stream", stream_help, stream_example);
		else if (notes->media)
			add_text_content(b, notes->media, notes->media_help, notes->media_example);
		buf_add_char(b, '}');
	}
	buf_add_char(b, '}');
}

/* The errors of one status that the route can give; false when there are none. */
static bool add_problems(struct buf *b, const struct api_route *r, int status)
{
	struct buf codes, examples, help;
	buf_init(&codes, b->arena, 128);
	buf_init(&examples, b->arena, 512);
	buf_init(&help, b->arena, 256);
	for (enum err e = 1; e < ERR_COUNT; e++) {
		if (err_status(e) != status || !route_may_fail(r, e))
			continue;
		const char *comma = codes.n ? "," : "";
		buf_addf(&codes, "%s\"%s\"", comma, err_code(e));
		buf_addf(&examples, "%s\"%s\":{\"$ref\":\"#/components/examples/%s\"}", comma, err_code(e), err_code(e));
		buf_addf(&help, "%s`%s`: %s", codes.n && help.n ? ". " : "", err_code(e), err_title(e));
	}
	if (codes.n == 0)
		return false;
	buf_addf(b, ",\"%d\":{", status);
	buf_member_string(b, "description", buf_bytes(&help));
	add_headers(b, r, status);
	buf_addf(b, ",\"content\":{\"application/problem+json\":{\"schema\":{\"$ref\":\"#/components/schemas/Problem\",\"properties\":{\"status\":{\"const\":%d},"
		    "\"code\":{\"enum\":[%.*s]}}},\"examples\":{%.*s}}}}",
		 status, (int)codes.n, codes.p, (int)examples.n, examples.p);
	return true;
}

static const char *success_help(int status)
{
	return status == 201 ? "Created" : status == 202 ? "Accepted" : status == 204 ? "Done; there is no body" : "Success";
}

static void add_responses(struct buf *b, const struct api_route *r)
{
	const struct route_notes *notes = route_notes_find(r);
	buf_add_str(b, ",\"responses\":{");
	add_success(b, r, r->status, success_help(r->status));
	if (notes->also) {
		buf_add_char(b, ',');
		add_success(b, r, notes->also, notes->also_help);
	}
	for (int status = 400; status < 600; status++)
		(void)add_problems(b, r, status);
	buf_add_char(b, '}');
}

/* --- operations --- */

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

/* Who may call it, in words and as the security requirement. */
static void add_security(struct buf *b, const struct api_route *r)
{
	static const char *const who[] = {
		[SCOPE_UNSET] = "",
		[SCOPE_PUBLIC] = "Open to anybody.",
		[SCOPE_LOCAL] = "Open to the operator's own machine, unless the settings open it.",
		[SCOPE_SITE] = "With the site's secret key.",
		[SCOPE_START] = "With any credential: a publishable key may only start sessions, a session token only goes on with its own.",
		[SCOPE_SESSION] = "With the secret key, or the token of this very session.",
		[SCOPE_USER] = "With the secret key, or a session token, which reaches what is its user's.",
	};
	bool is_open = r->scope == SCOPE_PUBLIC || r->scope == SCOPE_LOCAL;
	buf_member_str(b, "description", who[r->scope]);
	buf_add_str(b, ",\"security\":");
	buf_add_str(b, is_open ? "[]" : "[{\"bearer\":[]}]");
}

/* The part of the API: the first word of the path that is not the version. */
static void add_tag(struct buf *b, const struct api_route *r)
{
	const char *word = r->path + (strncmp(r->path, "/v1/", 4) == 0 ? 4 : 1);
	buf_addf(b, ",\"tags\":[\"%.*s\"]", (int)strcspn(word, "/"), word);
}

static void add_operation(struct buf *b, const struct api_route *r)
{
	for (const char *m = http_method_name(r->method); *m; m++)
		buf_addf(b, "%s%c", m == http_method_name(r->method) ? "\"" : "", tolower((unsigned char)*m));
	buf_add_str(b, "\":{");
	buf_member_str(b, "summary", r->help);
	add_operation_id(b, r);
	add_tag(b, r);
	add_security(b, r);
	add_parameters(b, r);
	if (r->body)
		add_body(b, r);
	else if (r->flags & ROUTE_RAW_BODY)
		add_raw_body(b);
	add_responses(b, r);
	buf_add_char(b, '}');
}

/* --- components --- */

static void add_problem_example(struct buf *b, enum err e)
{
	buf_add_member(b, err_code(e));
	buf_addf(b, "{\"value\":{\"type\":\"urn:parley:error:%s\"", err_code(e));
	buf_member_str(b, "title", err_title(e));
	buf_member_int(b, "status", err_status(e));
	buf_member_str(b, "detail", err_title(e));
	buf_member_str(b, "code", err_code(e));
	buf_member_str(b, "request_id", "0193f2c4a1b27c3d");
	buf_add_str(b, "}}");
}

static void add_schemas(struct buf *b)
{
	buf_add_str(b, ",\"schemas\":{");
	for (const struct openapi_schema *s = openapi_schemas(); s->name; s++) {
		buf_add_member(b, s->name);
		openapi_add_quoted(b, s->schema);
	}
	buf_add_str(b, "},\"examples\":{");
	for (const struct openapi_schema *s = openapi_schemas(); s->name; s++) {
		if (!s->example)
			continue;
		buf_add_member(b, s->name);
		buf_add_str(b, "{\"value\":");
		openapi_add_quoted(b, s->example);
		buf_add_char(b, '}');
	}
	for (enum err e = 1; e < ERR_COUNT; e++)
		add_problem_example(b, e);
	buf_add_char(b, '}');
}

static const char fixed_components[] =
	"'securitySchemes':{'bearer':{'type':'http','scheme':'bearer','description':'A secret key (sk_), a publishable key (pk_) or a session token (st_)'}},"
	"'parameters':{"
	"'Idempotency-Key':{'name':'Idempotency-Key','in':'header','required':false,'description':'Chosen by the caller, one for each change that is meant: a repeated "
	"request with the same key and body gets the first answer again. With a publishable key at least 16 characters',"
	"'schema':{'type':'string','minLength':1,'maxLength':255,'pattern':'^[!-~]+$'},'example':'5f2c1b7e-9a34-4d0b-8a51-3f1d2e6c7b90'},"
	"'If-Match':{'name':'If-Match','in':'header','required':false,'description':'The ETag that was read: the change is made only while it holds',"
	"'schema':{'type':'string'},'example':'\\'7\\''},"
	"'Last-Event-ID':{'name':'Last-Event-ID','in':'header','required':false,'description':'The id of the last event that came: the stream goes on behind it',"
	"'schema':{'type':'string'},'example':'trn_01jcx3f2m8e4a6s9h1k3q7v5xy:14'}},"
	"'headers':{"
	"'X-Request-Id':{'description':'Names the request in the logs','required':true,'schema':{'type':'string'},'example':'0193f2c4a1b27c3d'},"
	"'ETag':{'description':'The version, quoted, for If-Match','schema':{'type':'string'}},"
	"'Idempotent-Replayed':{'description':'true: this is the first answer once more','schema':{'const':'true'}},"
	"'Retry-After':{'description':'Seconds after which to try again','schema':{'type':'integer','minimum':1},'example':1}}";

void openapi_format(struct buf *b)
{
	const struct api_route *list[ROUTES_MAX];
	size_t n = sorted_routes(list);
	buf_add_str(b, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"parley\",\"version\":\"1\","
		       "\"description\":\"Conversations of AI agents. Where a bound counts bytes of UTF-8, x-maxBytes says it exactly.\"},\"paths\":{");
	for (size_t i = 0; i < n; i++) {
		bool is_new = i == 0 || strcmp(list[i - 1]->path, list[i]->path) != 0;
		if (is_new)
			buf_addf(b, "%s\"%s\":{", i ? "}," : "", list[i]->path);
		else
			buf_add_char(b, ',');
		add_operation(b, list[i]);
	}
	buf_add_str(b, "}},\"components\":{");
	openapi_add_quoted(b, fixed_components);
	add_schemas(b);
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
