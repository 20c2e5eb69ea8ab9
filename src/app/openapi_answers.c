/* SPDX-License-Identifier: MIT */
/* openapi_answers: which answers a route can give, by its row and by the few facts that no row tells. */
#include "app/openapi_answers.h"

#define PROVIDER_CODES "provider_refused|provider_failed|provider_cut|provider_invalid|provider_rate_limited|provider_unreachable|provider_timeout"
#define TURN_CODES "session_ended|turn_running|conflict|request_running|idempotency_key_reused|busy|commit_unknown|spend_cap_reached|cancelled|" PROVIDER_CODES

#define EITHER_OR_NONE "'not':{'required':['at','message']}"
#define STREAM_HELP                                                                                                            \
	"Server-sent events as those of POST .../turns with \"stream\":true, from where the reader is, to the end of the turn. `turn` comes first when it is at the " \
	"beginning; `reset` when nothing can be told from where it says it is: the text begins anew."
#define STREAM_EXAMPLE "id: trn_01jcx3f2m8e4a6s9h1k3q7v5xy:14\nevent: delta\ndata: {\"text\":\"Every morning.\"}\n\n"
#define EXPORT_HELP                                                                                                            \
	"JSON lines: a header with counts and a checksum of what follows, then agents and templates, then each session with its conversations, " \
	"messages and summaries"
#define EXPORT_EXAMPLE \
	"{\"parley_export\":1,\"scope\":\"session\",\"site\":\"shop\",\"sessions\":1,\"conversations\":1,\"messages\":2,\"lines\":5,\"checksum\":\"...\"}\n"
#define TOOL_RULES "'url':{'pattern':'^https?://'},'parameters':{'required':['type'],'properties':{'type':{'const':'object'}}}"
#define NO_GIVEN_ID "'allOf':[{'properties':{'id':{'not':{'pattern':'^ses_'}}}}]"

static const struct route_notes notes[] = {
	{ HTTP_POST, "/v1/sessions", .codes = "forbidden|session_exists", .body = NO_GIVEN_ID,
	  .also = 200, .also_help = "The session that had this id already, as `if_exists` asks for" },
	{ HTTP_GET, "/v1/sessions", .codes = "not_found|corrupt_record" },
	{ HTTP_PATCH, "/v1/sessions/{s}", .codes = "precondition_failed|session_ended",
	  .body = "'allOf':[{'properties':{'metrics':{'additionalProperties':{'type':'number'}}}}]" },
	{ HTTP_DELETE, "/v1/sessions/{s}", .codes = "precondition_failed" },
	{ HTTP_POST, "/v1/sessions/{s}/end", .codes = "precondition_failed" },
	{ HTTP_POST, "/v1/sessions/{s}/resume", .codes = "precondition_failed" },
	{ HTTP_POST, "/v1/sessions/{s}/archive", .codes = "precondition_failed" },
	{ HTTP_POST, "/v1/sessions/{s}/token", .codes = "-commit_unknown" },
	{ HTTP_POST, "/v1/sessions/{s}/messages", .codes = "session_ended",
	  .body = "'oneOf':[{'required':['role','content'],'properties':{'messages':false}},{'required':['messages'],'maxProperties':1},"
		  "{'required':['format','input'],'propertyNames':{'enum':['format','input','aside']}}]" },
	{ HTTP_POST, "/v1/sessions/{s}/clone", .codes = "forbidden|session_exists|corrupt_record", .body = EITHER_OR_NONE "," NO_GIVEN_ID,
	  .also = 200, .also_help = "The session that had this id already, as `if_exists` asks for" },
	{ HTTP_POST, "/v1/sessions/{s}/conversations", .codes = "session_ended" },
	{ HTTP_GET, "/v1/sessions/{s}/conversations", .codes = "corrupt_record" },
	{ HTTP_GET, "/v1/sessions/{s}/conversations/{c}", .codes = "corrupt_record" },
	{ HTTP_PATCH, "/v1/sessions/{s}/conversations/{c}", .codes = "corrupt_record" },
	{ HTTP_DELETE, "/v1/sessions/{s}/conversations/{c}", .codes = "conflict|corrupt_record" },
	{ HTTP_POST, "/v1/sessions/{s}/conversations/{c}/branch", .codes = "session_ended|corrupt_record", .body = EITHER_OR_NONE },
	{ HTTP_POST, "/v1/sessions/{s}/conversations/{c}/rewind", .codes = "session_ended|corrupt_record",
	  .body = "'oneOf':[{'required':['at']},{'required':['message']}],'allOf':[{'properties':{'at':{'minimum':1}}}]" },
	{ HTTP_DELETE, "/v1/sessions/{s}/messages/{m}", .codes = "forbidden" },
	{ HTTP_POST, "/v1/sessions/{s}/messages/{m}/edit", .codes = "forbidden|session_ended|corrupt_record" },
	{ HTTP_POST, "/v1/sessions/{s}/messages/{m}/redact", .codes = "forbidden" },
	{ HTTP_GET, "/v1/sessions/{s}/context", .codes = "corrupt_record" },
	{ HTTP_POST, "/v1/sessions/{s}/compress", .codes = "conflict|spend_cap_reached|busy|corrupt_record|" PROVIDER_CODES },
	{ HTTP_POST, "/v1/sessions/{s}/turns", .codes = TURN_CODES,
	  .body = "'oneOf':[{'required':['message'],'properties':{'regenerate':false}},{'required':['regenerate'],"
		  "'properties':{'message':false,'metadata':false,'client_id':false}}]" },
	{ HTTP_GET, "/v1/sessions/{s}/turns/{t}/stream", .codes = "busy", .media = "text/event-stream", .media_help = STREAM_HELP, .media_example = STREAM_EXAMPLE },
	{ HTTP_POST, "/v1/chat/{agent}/message", .codes = TURN_CODES "|corrupt_record" },
	{ HTTP_POST, "/v1/agents", .codes = "conflict" },
	{ HTTP_PATCH, "/v1/agents/{a}", .codes = "conflict|precondition_failed" },
	{ HTTP_POST, "/v1/templates", .codes = "conflict" },
	{ HTTP_GET, "/v1/templates", .codes = "corrupt_record" },
	{ HTTP_GET, "/v1/templates/{name}", .codes = "corrupt_record" },
	{ HTTP_PATCH, "/v1/templates/{name}", .codes = "conflict|precondition_failed|corrupt_record" },
	{ HTTP_GET, "/v1/sessions/{s}/export", .media = "application/x-ndjson", .media_help = EXPORT_HELP, .media_example = EXPORT_EXAMPLE },
	{ HTTP_GET, "/v1/export", .codes = "corrupt_record", .media = "application/x-ndjson", .media_help = EXPORT_HELP, .media_example = EXPORT_EXAMPLE },
	{ HTTP_POST, "/v1/import", .codes = "conflict" },
	{ HTTP_GET, "/v1/search", .codes = "not_found|corrupt_record" },
	{ HTTP_POST, "/v1/tools", .codes = "conflict", .body = "'allOf':[{'properties':{'name':{'pattern':'^[A-Za-z0-9_-]+$'}," TOOL_RULES "}}]" },
	{ HTTP_PATCH, "/v1/tools/{tool}", .codes = "precondition_failed", .body = "'allOf':[{'properties':{" TOOL_RULES "}}]" },
	{ HTTP_GET, "/readyz", .also = 503, .also_help = "The database is out of reach" },
	{ HTTP_GET, "/metrics", .media = "text/plain", .media_help = "Metrics in the Prometheus text format, version 0.0.4",
	  .media_example = "# TYPE parley_requests_total counter\nparley_requests_total 1042\n" },
	{ .path = NULL },
};

#define IDENT_PATTERN(prefix) "^" prefix "_[0-9a-hjkmnp-tv-z]{26}$"

static const struct path_parameter parameters[] = {
	{ "s", "The session: its id, the id that the site chose for it, or its readable name", NULL, "ses_01jcx3e8q6f0t9v1n4m7r2k5wd" },
	{ "t", "Id of the turn", IDENT_PATTERN("trn"), "trn_01jcx3f2m8e4a6s9h1k3q7v5xy" },
	{ "c", "Id of the conversation", IDENT_PATTERN("cnv"), "cnv_01jcx3e8q6c2p5x8a1d4g7j0ms" },
	{ "m", "Id of the message", IDENT_PATTERN("msg"), "msg_01jcx3f2m8w5y8a1c4e7g0j3np" },
	{ "a", "Name or id of the agent", NULL, "baker" },
	{ "agent", "Name or id of the agent", NULL, "baker" },
	{ "name", "Name of the template", NULL, "support" },
	{ "tool", "Name or id of the tool", NULL, "find_order" },
	{ "u", "The user as the site names it", NULL, "ann" },
	{ .name = NULL },
};

const struct route_notes *route_notes_list(void)
{
	return notes;
}

const struct route_notes *route_notes_find(const struct api_route *r)
{
	const struct route_notes *n = notes;
	while (n->path && !(n->method == r->method && strcmp(n->path, r->path) == 0))
		n++;
	return n;
}

const struct path_parameter *path_parameter_find(struct bytes name)
{
	for (const struct path_parameter *p = parameters; p->name; p++)
		if (bytes_equal(bytes_of(p->name), name))
			return p;
	return NULL;
}

/* 1: the notes name the code; -1: they take it away; 0: neither. */
static int find_code(const char *codes, const char *code)
{
	size_t n = strlen(code);
	while (codes && *codes) {
		bool is_never = *codes == '-';
		size_t here = strcspn(codes, "|");
		if (here == n + is_never && memcmp(codes + is_never, code, n) == 0)
			return is_never ? -1 : 1;
		codes += here + (codes[here] == '|');
	}
	return 0;
}

/* What the dispatcher and the guard do for every route of this kind. */
static bool fails_by_kind(const struct api_route *r, enum err e)
{
	bool is_open = r->scope == SCOPE_PUBLIC || r->scope == SCOPE_LOCAL;
	bool is_keyed = r->method == HTTP_POST && !(r->flags & ROUTE_OWN_IDEMPOTENCY);
	switch (e) {
	case ERR_INVALID:
	case ERR_INCOMPLETE_BODY:
	case ERR_TOO_LARGE:
		return true;
	case ERR_MALFORMED_JSON:
		return r->body != NULL;
	case ERR_MEDIA_TYPE:
		return r->body || r->flags & ROUTE_RAW_BODY;
	case ERR_UNAUTHENTICATED:
	case ERR_TOKEN_EXPIRED:
	case ERR_ORIGIN_REFUSED:
	case ERR_SITE_PAUSED:
	case ERR_INTERNAL:
	case ERR_BUSY:
	case ERR_UNAVAILABLE:
		return !is_open;
	case ERR_FORBIDDEN:
		return r->scope != SCOPE_PUBLIC && r->scope != SCOPE_START;
	case ERR_NOT_FOUND:
		return strchr(r->path, '{') != NULL;
	case ERR_CONFLICT: /* the answer of the key was erased */
	case ERR_REQUEST_RUNNING:
	case ERR_KEY_REUSED:
		return is_keyed;
	case ERR_COMMIT_UNKNOWN:
		return !is_open && r->method != HTTP_GET;
	case ERR_CORRUPT:
		return r->scope == SCOPE_SESSION || is_keyed;
	default:
		return false;
	}
}

bool route_may_fail(const struct api_route *r, enum err e)
{
	int noted = find_code(route_notes_find(r)->codes, err_code(e));
	return noted ? noted > 0 : fails_by_kind(r, e);
}
