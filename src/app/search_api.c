/* SPDX-License-Identifier: MIT */
/* search_api: search over HTTP. */
#include "app/search_api.h"

#include <stddef.h>

#include "app/agent.h"
#include "app/dispatch.h"
#include "app/search.h"
#include "app/session_api.h"

struct search_in {
	struct bytes q, user, session, agent, role, status, after;
	int64_t from, to, limit;
	bool has_to;
};

#define IN(name) offsetof(struct search_in, name)
static const struct field search_fields[] = {
	{ .name = "q", .type = FIELD_STRING, .flags = FIELD_REQUIRED | FIELD_CHARACTERS, .max = WORDS_QUERY_MAX, .offset = IN(q),
	  .help = "Words in any script, \"phrases\" in quotes, -words that must not be there; at most 200 characters and 16 terms" },
	{ .name = "user", .type = FIELD_STRING, .min = 1, .max = 128, .offset = IN(user), .help = "Only this user's sessions (secret key only; a token's are its user's)" },
	{ .name = "session", .type = FIELD_STRING, .min = 1, .max = 255, .offset = IN(session), .help = "Only this session, by id or name" },
	{ .name = "agent", .type = FIELD_STRING, .min = 1, .max = 64, .offset = IN(agent), .help = "Only this agent's sessions, by name or id" },
	{ .name = "role", .type = FIELD_ENUM, .choices = ROLE_CHOICES, .offset = IN(role), .help = "Only messages of this role" },
	{ .name = "status", .type = FIELD_ENUM, .choices = "active|ended|archived", .offset = IN(status), .help = "Only sessions of this status" },
	{ .name = "from", .type = FIELD_TIME, .offset = IN(from), .help = "Only messages of this time or later" },
	{ .name = "to", .type = FIELD_TIME, .offset = IN(to), .given_offset = IN(has_to), .help = "Only messages before this time" },
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 100, .offset = IN(limit), .help = "How many, 20 unless said" },
	{ .name = "after", .type = FIELD_STRING, .max = 64, .offset = IN(after), .help = "`next` of an answer that is not complete: search the older messages" },
	{ .name = NULL },
};
static const struct field_table search_table = { search_fields, sizeof(struct search_in) };

static enum err parse_query(struct task *t, struct bytes text, struct words_query *q_r)
{
	switch (words_parse(t->arena, text, q_r)) {
	case WORDS_SOUND:
		return ERR_OK;
	case WORDS_TOO_LONG:
		return task_fail_field(t, "q", "range", "must be at most %d characters", WORDS_QUERY_MAX);
	case WORDS_TOO_MANY:
		return task_fail_field(t, "q", "range", "must have at most %d terms", WORDS_TERMS_MAX);
	case WORDS_ONLY_EXCLUDED:
		return task_fail_field(t, "q", "value", "only says what must not be there; at least one word to look for is needed");
	default:
		return task_fail_field(t, "q", "value", "has no word to look for");
	}
}

static enum err add_session(struct call *c, struct bytes ref, struct search_scope *scope)
{
	struct head h;
	enum err e = head_find(c->task, c->app, &c->who.site, ref, &h);
	if (!e)
		head_settle(c->task, c->app, &h);
	if (e == ERR_NOT_FOUND || (!e && c->who.who == WHO_SESSION && !ident_equal(&h.user, &c->who.user))) {
		task_clear_fault(c->task);
		return task_fail_field(c->task, "session", "value", "there is no such session");
	}
	scope->session = h.session;
	return e;
}

static enum err add_agent(struct call *c, struct bytes ref, struct search_scope *scope)
{
	struct agent a;
	enum err e = agent_find(c->task, c->app, &c->who.site, ref, &a);
	if (e == ERR_NOT_FOUND)
		return task_fail_field(c->task, "agent", "value", "there is no agent named \"%.*s\"", (int)ref.n, ref.p);
	scope->agent = a.id;
	return e;
}

static enum err read_scope(struct call *c, const struct search_in *in, struct search_scope *scope_r)
{
	enum err e = ERR_OK;
	*scope_r = (struct search_scope){ .site = c->who.site, .user = in->user, .role = in->role.p ? role_find(in->role) : 0, .from = in->from, .to = in->has_to ? in->to : INT64_MAX };
	for (int i = SESSION_ACTIVE; i <= SESSION_ARCHIVED; i++)
		if (in->status.p && bytes_equal(in->status, bytes_of(session_status_name(i))))
			scope_r->status = i;
	if (c->who.who == WHO_SESSION && in->user.p)
		return task_fail_field(c->task, "user", "forbidden", "only the site's secret key may name a user; a token searches its own user's sessions");
	if (c->who.who == WHO_SESSION)
		e = session_api_own_user(c, &scope_r->user);
	if (!e && in->session.p)
		e = add_session(c, in->session, scope_r);
	if (!e && in->agent.p)
		e = add_agent(c, in->agent, scope_r);
	return e;
}

static void render_hit(struct buf *b, const struct search_hit *hit)
{
	buf_add_char(b, '{');
	buf_member_string(b, "session_id", hit->session_id);
	render_ident(b, "conversation_id", PREFIX_CONVERSATION, &hit->message.conversation);
	buf_add_str(b, ",\"message\":{");
	render_ident(b, "id", PREFIX_MESSAGE, &hit->message.id);
	buf_member_int(b, "seq", hit->message.seq);
	buf_member_str(b, "role", role_name(hit->message.role));
	buf_member_time(b, "created_at", hit->message.created_at);
	buf_addf(b, "},\"score\":%.4f", hit->score);
	buf_member_string(b, "snippet", hit->snippet.text);
	buf_add_str(b, ",\"highlights\":[");
	for (size_t i = 0; i < hit->snippet.n_highlights; i++)
		buf_addf(b, "%s[%zu,%zu]", i ? "," : "", hit->snippet.highlights[i].at, hit->snippet.highlights[i].n);
	buf_add_str(b, "]}");
}

static enum err api_search(struct call *c)
{
	const struct search_in *in = c->query;
	struct search_scope scope;
	struct words_query q;
	struct search_result r;
	enum err e = parse_query(c->task, in->q, &q);
	if (!e)
		e = read_scope(c, in, &scope);
	if (!e)
		e = search_run(c->task, c->app, &scope, &q, in->q, in->after, in->limit ? in->limit : 20, &r);
	if (e)
		return e;
	struct buf *b = &c->rs->body;
	render_list_begin(b);
	for (size_t i = 0; i < r.n; i++) {
		render_list_next(b);
		render_hit(b, &r.hits[i]);
	}
	buf_add_char(b, ']');
	buf_member_int(b, "scanned", r.scanned);
	buf_member_bool(b, "complete", r.next == NULL);
	buf_member_str(b, "next", r.next);
	buf_add_char(b, '}');
	dispatch_reply(c, 200);
	return ERR_OK;
}

static const struct api_route routes[] = {
	{ HTTP_GET, "/v1/search", SCOPE_USER, api_search, NULL, &search_table, 0, "Search messages by what they say, best first", 200, "SearchResults" },
};

const struct feature search_api_feature = { .name = "search_api", .routes = routes, .n_routes = COUNT(routes) };
