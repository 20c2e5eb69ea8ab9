/* SPDX-License-Identifier: MIT */
/* move_line: one line of an export, read and written. It knows the form of a line alone; what lines mean to each other is move_walk's. */
#include "app/move_line.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/policy.h"
#include "app/session.h"
#include "base/stamp.h"

#define TIME_MAX INT64_C(253402300799999) /* the end of the year 9999 */
#define SEQ_MAX (INT64_C(1) << 48)
#define VERSION_MAX (INT64_C(1) << 48) /* it is counted on */
#define ID_TIME_FIRST INT64_C(1577836800000) /* 2020: no id is older ... */
#define ID_TIME_AHEAD INT64_C(86400000)      /* ... and no clock a day fast */
#define TOKENS_MAX INT64_C(1000000000000) /* sums of them stay within 64 bits */
#define CONTENT_MAX (64 << 20)

/* What the field tables fill; ids and words are turned into what they mean behind them. */
struct line_in {
	struct bytes type, id, own_id, name, user, client_type, context, title, website_domain, ip_address, agent, agent_name, status;
	struct bytes tags, metadata, state, config, conversation, parent, role, content, extra, turn, method;
	struct bytes instructions, provider, model, language, preset, required_context, memory_categories, tools, tool_mode;
	struct field_list fallbacks; /* of struct agent_fallback */
	int64_t version, created_at, updated_at, active_at, ended_at, expires_at, idle_ttl, base_seq, seq, tokens;
	int64_t upto_seq, tokens_before, tokens_after, max_output_tokens, max_iterations;
	double temperature;
	bool has_temperature;
};

#define AT(member) .offset = offsetof(struct line_in, member)
#define TYPE { .name = "type", .type = FIELD_STRING, .flags = FIELD_REQUIRED, .max = 16, AT(type) }
#define TEXT(field, least, most) { .name = #field, .type = FIELD_STRING, .flags = FIELD_REQUIRED | FIELD_ANY_TEXT, .min = (least), .max = (most), AT(field) }
#define NULLABLE_TEXT(field, most) { .name = #field, .type = FIELD_STRING, .flags = FIELD_REQUIRED | FIELD_NULLABLE, .min = 1, .max = (most), AT(field) }
#define OPTIONAL_TEXT(field, most) { .name = #field, .type = FIELD_STRING, .min = 1, .max = (most), AT(field) }
#define NUMBER(field, most) { .name = #field, .type = FIELD_INT, .flags = FIELD_REQUIRED, .min = 0, .max = (most), AT(field) }
#define TIME(field) NUMBER(field, TIME_MAX)
#define RAW(field, kind, most) { .name = #field, .type = (kind), .flags = FIELD_REQUIRED, .max = (most), AT(field) }
#define END { .name = NULL }

static const struct field agent_fields[] = {
	TYPE, TEXT(name, 1, 64), TEXT(title, 0, 200), TEXT(instructions, 0, 1 << 20), TEXT(provider, 1, 64), TEXT(model, 0, 128), TEXT(language, 0, 35),
	{ .name = "temperature", .type = FIELD_REAL, .flags = FIELD_REQUIRED | FIELD_NULLABLE, .min = 0, .max = 2, AT(temperature) },
	NUMBER(max_output_tokens, 1000000), NUMBER(version, VERSION_MAX), TIME(created_at), TIME(updated_at),
	/* absent where they say nothing, as in the files of older versions */
	{ .name = "tools", .type = FIELD_STRINGS, .min = 1, .max = 64, AT(tools) },
	{ .name = "tool_mode", .type = FIELD_ENUM, .choices = "native|text", AT(tool_mode) },
	{ .name = "max_iterations", .type = FIELD_INT, .min = 1, .max = 50, AT(max_iterations) },
	{ .name = "fallbacks", .type = FIELD_LIST, .min = 1, .max = AGENT_FALLBACKS, .sub = &agent_fallback_table, AT(fallbacks) }, END,
};
static const struct field template_fields[] = {
	TYPE, TEXT(name, 1, 64), TEXT(title, 0, 200), TEXT(preset, 0, 64), RAW(config, FIELD_OBJECT, TEMPLATE_CONFIG_MAX),
	RAW(required_context, FIELD_STRINGS, 32), RAW(memory_categories, FIELD_STRINGS, 32), NUMBER(version, VERSION_MAX), TIME(created_at), TIME(updated_at), END,
};
static const struct field session_fields[] = {
	TYPE, OPTIONAL_TEXT(id, IDENT_SIZE), OPTIONAL_TEXT(own_id, 128), TEXT(name, 1, 255), NULLABLE_TEXT(agent, 64), TEXT(agent_name, 0, 64),
	TEXT(user, 1, 128), TEXT(client_type, 1, 32), TEXT(context, 1, 128), TEXT(title, 0, 200),
	{ .name = "status", .type = FIELD_ENUM, .flags = FIELD_REQUIRED, .choices = "active|ended|archived", AT(status) },
	RAW(tags, FIELD_STRINGS, 32), RAW(metadata, FIELD_PAIRS, SESSION_METADATA_PAIRS), RAW(state, FIELD_OBJECT, SESSION_DOCUMENT_MAX),
	RAW(config, FIELD_OBJECT, SESSION_DOCUMENT_MAX), TEXT(conversation, 1, IDENT_SIZE), TEXT(website_domain, 0, 255), TEXT(ip_address, 0, 63),
	NUMBER(version, VERSION_MAX), TIME(created_at), TIME(updated_at), TIME(active_at), TIME(ended_at), TIME(expires_at),
	NUMBER(idle_ttl, TIME_MAX), END,
};
static const struct field conversation_fields[] = {
	TYPE, TEXT(id, 1, IDENT_SIZE), NULLABLE_TEXT(parent, IDENT_SIZE), NUMBER(base_seq, SEQ_MAX), TEXT(title, 0, 200), TIME(created_at), END,
};
static const struct field message_fields[] = {
	TYPE, TEXT(conversation, 1, IDENT_SIZE), NUMBER(seq, SEQ_MAX), TEXT(id, 1, IDENT_SIZE),
	{ .name = "role", .type = FIELD_ENUM, .flags = FIELD_REQUIRED, .choices = ROLE_CHOICES, AT(role) },
	{ .name = "content", .type = FIELD_TEXT_OR_ARRAY, .flags = FIELD_REQUIRED | FIELD_NULLABLE, .max = CONTENT_MAX, AT(content) },
	{ .name = "metadata", .type = FIELD_OBJECT, .max = 16384, AT(metadata) }, { .name = "extra", .type = FIELD_OBJECT, .max = CONTENT_MAX, AT(extra) },
	OPTIONAL_TEXT(turn, IDENT_SIZE), { .name = "tokens", .type = FIELD_INT, .min = 0, .max = TOKENS_MAX, AT(tokens) }, TIME(created_at), END,
};
static const struct field summary_fields[] = {
	TYPE, TEXT(conversation, 1, IDENT_SIZE), NUMBER(upto_seq, SEQ_MAX), TEXT(method, 1, 16), TEXT(content, 0, CONTENT_MAX),
	NUMBER(tokens_before, TOKENS_MAX), NUMBER(tokens_after, TOKENS_MAX), TIME(created_at), END,
};

static const struct {
	const char *name;
	const struct field *fields;
} types[] = {
	[MOVE_AGENT] = { "agent", agent_fields }, [MOVE_TEMPLATE] = { "template", template_fields }, [MOVE_SESSION] = { "session", session_fields },
	[MOVE_CONVERSATION] = { "conversation", conversation_fields }, [MOVE_MESSAGE] = { "message", message_fields },
	[MOVE_SUMMARY] = { "summary", summary_fields },
};

struct header_in {
	int64_t parley_export;
	struct bytes scope, site, checksum;
	struct move_counts counts;
};

#define HEADER(field, member, most) \
	{ .name = field, .type = FIELD_INT, .flags = FIELD_REQUIRED, .min = 0, .max = (most), .offset = offsetof(struct header_in, member) }
static const struct field header_fields[] = {
	HEADER("parley_export", parley_export, INT64_MAX),
	{ .name = "scope", .type = FIELD_ENUM, .flags = FIELD_REQUIRED, .choices = "session|user|site", .offset = offsetof(struct header_in, scope) },
	{ .name = "site", .type = FIELD_STRING, .flags = FIELD_REQUIRED, .min = 1, .max = 64, .offset = offsetof(struct header_in, site) },
	HEADER("sessions", counts.sessions, INT64_MAX), HEADER("conversations", counts.conversations, INT64_MAX),
	HEADER("messages", counts.messages, INT64_MAX), HEADER("lines", counts.lines, INT64_MAX),
	{ .name = "checksum", .type = FIELD_STRING, .flags = FIELD_REQUIRED, .min = 64, .max = 64, .offset = offsetof(struct header_in, checksum) }, END,
};
static const struct field_table header_table = { header_fields, sizeof(struct header_in) };

/* An id of the line; an optional one that is absent stays zero. */
static enum err read_id(struct task *t, const char *field, const char *prefix, struct bytes text, struct ident *id_r)
{
	memset(id_r, 0, sizeof *id_r);
	if (!text.p || (ident_parse(prefix, text, id_r) && !ident_is_zero(id_r)))
		return ERR_OK;
	return task_fail_field(t, field, "format", "is no id of the form %s...", prefix);
}

bool move_message_id_fits(const struct ident *id, int64_t seq)
{
	int64_t carried = (int64_t)(id->b[8] & 0x3f) << 24 | (int64_t)id->b[9] << 16 | (int64_t)id->b[10] << 8 | id->b[11];
	return (id->b[8] & 0xc0) == 0x80 && carried == (seq & 0x3fffffff);
}

static void take_agent(const struct line_in *in, struct agent *a_r)
{
	*a_r = (struct agent){
		.name = in->name, .title = in->title, .instructions = in->instructions, .provider = in->provider, .model = in->model,
		.language = in->language, .has_temperature = in->has_temperature, .temperature = in->temperature,
		.max_output_tokens = in->max_output_tokens, .version = in->version, .created_at = in->created_at, .updated_at = in->updated_at,
		.tools = bytes_or(in->tools, BYTES("[]")), .tool_mode = bytes_or(in->tool_mode, BYTES("native")),
		.max_iterations = in->max_iterations, .fallbacks = bytes_or(in->fallbacks.raw, BYTES("[]")),
	};
}

static enum err take_template(struct task *t, const struct line_in *in, struct template *tp_r)
{
	*tp_r = (struct template){
		.name = in->name, .title = in->title, .preset = in->preset, .config = in->config, .required_context = in->required_context,
		.memory_categories = in->memory_categories, .version = in->version, .created_at = in->created_at, .updated_at = in->updated_at,
	};
	return policy_check_config(t, "config", in->config);
}

static int status_find(struct bytes word)
{
	int status = SESSION_ACTIVE;
	while (!bytes_equal(word, bytes_of(session_status_name(status))))
		status++; /* the table has seen that it is one of them */
	return status;
}

/*
 * Whether an id was made by chance and a time that has been. The id of a session with an own id is the hash of that and its site: nobody shall take the
 * place that another site's session will need, and of hashes hardly one in a hundred thousand looks like this.
 */
static bool is_made(const struct ident *id)
{
	int64_t ms = 0;
	for (int i = 0; i < 6; i++)
		ms = ms << 8 | id->b[i];
	return id->b[6] >> 4 == 7 && id->b[8] >> 6 == 2 && ms >= ID_TIME_FIRST && ms <= stamp_now() + ID_TIME_AHEAD;
}

static enum err take_session(struct task *t, const struct line_in *in, struct move_session *s_r)
{
	*s_r = (struct move_session){
		.own_id = in->own_id, .name = in->name, .user = in->user, .client_type = in->client_type, .context = in->context, .title = in->title,
		.website_domain = in->website_domain, .ip_address = in->ip_address, .agent = in->agent, .agent_name = in->agent_name,
		.status = status_find(in->status), .tags = in->tags, .metadata = in->metadata, .state = in->state, .config = in->config,
		.version = in->version, .created_at = in->created_at, .updated_at = in->updated_at, .active_at = in->active_at,
		.ended_at = in->ended_at, .expires_at = in->expires_at, .idle_ttl = in->idle_ttl,
	};
	enum err e = read_id(t, "id", PREFIX_SESSION, in->id, &s_r->id);
	if (!e)
		e = read_id(t, "conversation", PREFIX_CONVERSATION, in->conversation, &s_r->conversation);
	if (!e && in->id.p && !is_made(&s_r->id))
		e = task_fail_field(t, "id", "value", "is none that a session was given");
	if (!in->id.p == !in->own_id.p)
		e = task_fail_field(t, "id", "conflict", "a session has either an id or an own_id");
	else if (in->own_id.p && !session_is_own_id(in->own_id))
		e = task_fail_field(t, "own_id", "format", "must be letters, digits and . _ : @ -, and must not begin with ses_");
	return e ? e : policy_check_config(t, "config", in->config);
}

static enum err take_conversation(struct task *t, const struct line_in *in, struct move_conversation *c_r)
{
	*c_r = (struct move_conversation){ .title = in->title, .base_seq = in->base_seq, .created_at = in->created_at };
	enum err e = read_id(t, "id", PREFIX_CONVERSATION, in->id, &c_r->id);
	if (!e)
		e = read_id(t, "parent", PREFIX_CONVERSATION, in->parent, &c_r->parent);
	if (in->base_seq > 0 && !in->parent.p)
		e = task_fail_field(t, "base_seq", "conflict", "must be 0 without a parent");
	return e;
}

/* Members of extra stand among the message's own, which they must not speak for. */
static enum err check_extra(struct task *t, struct bytes extra)
{
	static const char *const own[] = { "id", "seq", "conversation_id", "role", "content", "corrupt", "metadata", "turn_id", "created_at", "repaired" };
	struct jsonx_walk w;
	if (!extra.p)
		return ERR_OK;
	for (jsonx_walk_begin(&w, extra); jsonx_walk_next(&w);) {
		struct bytes name = jsonx_string(t->arena, w.raw_key);
		for (size_t i = 0; i < COUNT(own); i++)
			if (bytes_equal(name, bytes_of(own[i])))
				return task_fail_field(t, "extra", "value", "must not have the member %s, which is the message's own", own[i]);
	}
	return ERR_OK;
}

static enum err take_message(struct task *t, const struct line_in *in, struct move_message *m_r)
{
	*m_r = (struct move_message){
		.seq = in->seq, .tokens = in->tokens, .created_at = in->created_at, .role = role_find(in->role),
		.content = bytes_or(in->content, BYTES("null")), .metadata = in->metadata, .extra = in->extra,
	};
	enum err e = read_id(t, "id", PREFIX_MESSAGE, in->id, &m_r->id);
	if (!e)
		e = read_id(t, "conversation", PREFIX_CONVERSATION, in->conversation, &m_r->conversation);
	if (!e)
		e = read_id(t, "turn", PREFIX_TURN, in->turn, &m_r->turn);
	if (!e)
		e = check_extra(t, in->extra);
	if (!e && !move_message_id_fits(&m_r->id, m_r->seq))
		e = task_fail_field(t, "id", "value", "is not the id of a message with this seq");
	return e;
}

static enum err take_summary(struct task *t, const struct line_in *in, struct move_summary *s_r)
{
	*s_r = (struct move_summary){ .upto_seq = in->upto_seq, .tokens_before = in->tokens_before, .tokens_after = in->tokens_after,
				      .created_at = in->created_at, .method = in->method, .content = in->content };
	return read_id(t, "conversation", PREFIX_CONVERSATION, in->conversation, &s_r->conversation);
}

static enum err take(struct task *t, const struct line_in *in, struct move_line *line_r)
{
	switch (line_r->type) {
	case MOVE_AGENT:
		take_agent(in, &line_r->agent);
		return ERR_OK;
	case MOVE_TEMPLATE:
		return take_template(t, in, &line_r->template);
	case MOVE_SESSION:
		return take_session(t, in, &line_r->session);
	case MOVE_CONVERSATION:
		return take_conversation(t, in, &line_r->conversation);
	case MOVE_MESSAGE:
		return take_message(t, in, &line_r->message);
	case MOVE_SUMMARY:
		break;
	}
	return take_summary(t, in, &line_r->summary);
}

static enum err check_json(struct task *t, struct bytes text)
{
	struct jsonx_flaw flaw;
	if (!jsonx_check_line(t->arena, text, &flaw))
		return task_fail(t, ERR_INVALID, "this is no JSON: %s, at byte %zu", flaw.reason, flaw.offset);
	return jsonx_type(text) == JSONX_OBJECT ? ERR_OK : task_fail(t, ERR_INVALID, "this is no JSON object");
}

static enum move_type type_find(struct task *t, struct bytes text)
{
	struct bytes raw = jsonx_member(text, "type");
	struct bytes word = jsonx_type(raw) == JSONX_STRING ? jsonx_string(t->arena, raw) : (struct bytes){ NULL, 0 };
	for (enum move_type type = MOVE_AGENT; type <= MOVE_SUMMARY; type++)
		if (bytes_equal(word, bytes_of(types[type].name)))
			return type;
	return 0;
}

enum err move_line_parse(struct task *t, struct bytes text, struct move_line *line_r)
{
	memset(line_r, 0, sizeof *line_r);
	enum err e = check_json(t, text);
	if (e)
		return e;
	line_r->type = type_find(t, text);
	if (!line_r->type)
		return task_fail_field(t, "type", "value", "must be agent, template, session, conversation, message or summary");
	struct field_table table = { types[line_r->type].fields, sizeof(struct line_in) };
	struct line_in in = { .type = { NULL, 0 } };
	e = field_parse(t, &table, text, "", &in);
	if (e)
		return e;
	in.has_temperature = line_r->type == MOVE_AGENT && jsonx_type(jsonx_member(text, "temperature")) != JSONX_NULL;
	return take(t, &in, line_r);
}

enum err move_header_parse(struct task *t, struct bytes text, struct move_header *h_r)
{
	struct header_in in = { .parley_export = 0 };
	enum err e = check_json(t, text);
	if (e || jsonx_type(jsonx_member(text, "parley_export")) != JSONX_INT)
		return task_fail(t, ERR_INVALID, "this is no export of parley, or one that was not finished");
	if (jsonx_int(jsonx_member(text, "parley_export")) != MOVE_VERSION)
		return task_fail(t, ERR_INVALID, "this export is of version %lld; this program reads version %d",
				 (long long)jsonx_int(jsonx_member(text, "parley_export")), MOVE_VERSION);
	e = field_parse(t, &header_table, text, "", &in);
	if (e)
		return e;
	*h_r = (struct move_header){ in.parley_export, in.scope, in.site, in.checksum, in.counts };
	return ERR_OK;
}

/* Raw JSON on one line: a line break can only stand between tokens, where a space does as well. */
static void add_raw(struct buf *b, const char *name, struct bytes raw)
{
	buf_add_member(b, name);
	size_t from = b->n;
	buf_add_bytes(b, raw);
	for (char *p = b->p + from; p < b->p + b->n; p++)
		if (*p == '\n' || *p == '\r')
			*p = ' ';
}

/* The shortest text that reads back as the same number. */
static void add_real(struct buf *b, double v)
{
	char text[40];
	int digits = 15;
	do
		snprintf(text, sizeof text, "%.*g", digits, v);
	while (strtod(text, NULL) != v && ++digits <= 17);
	buf_add_str(b, text);
}

static void format_agent(struct buf *b, const struct agent *a)
{
	buf_member_string(b, "name", a->name);
	buf_member_string(b, "title", a->title);
	buf_member_string(b, "instructions", a->instructions);
	buf_member_string(b, "provider", a->provider);
	buf_member_string(b, "model", a->model);
	buf_member_string(b, "language", a->language);
	buf_add_member(b, "temperature");
	if (a->has_temperature)
		add_real(b, a->temperature);
	else
		buf_add_str(b, "null");
	buf_member_int(b, "max_output_tokens", a->max_output_tokens);
	buf_member_int(b, "version", a->version);
	buf_member_int(b, "created_at", a->created_at);
	buf_member_int(b, "updated_at", a->updated_at);
	if (!bytes_equal(a->tools, BYTES("[]")))
		buf_member_json(b, "tools", a->tools);
	if (!bytes_equal(a->tool_mode, BYTES("native")))
		buf_member_string(b, "tool_mode", a->tool_mode);
	if (a->max_iterations)
		buf_member_int(b, "max_iterations", a->max_iterations);
	if (!bytes_equal(a->fallbacks, BYTES("[]")))
		buf_member_json(b, "fallbacks", a->fallbacks);
}

static void format_template(struct buf *b, const struct template *tp)
{
	buf_member_string(b, "name", tp->name);
	buf_member_string(b, "title", tp->title);
	buf_member_string(b, "preset", tp->preset);
	add_raw(b, "config", tp->config);
	add_raw(b, "required_context", tp->required_context);
	add_raw(b, "memory_categories", tp->memory_categories);
	buf_member_int(b, "version", tp->version);
	buf_member_int(b, "created_at", tp->created_at);
	buf_member_int(b, "updated_at", tp->updated_at);
}

static void format_session(struct buf *b, const struct move_session *s)
{
	if (s->own_id.p)
		buf_member_string(b, "own_id", s->own_id);
	else
		render_ident(b, "id", PREFIX_SESSION, &s->id);
	buf_member_string(b, "name", s->name);
	buf_member_string(b, "agent", s->agent);
	buf_member_string(b, "agent_name", s->agent_name);
	buf_member_string(b, "user", s->user);
	buf_member_string(b, "client_type", s->client_type);
	buf_member_string(b, "context", s->context);
	buf_member_string(b, "title", s->title);
	buf_member_str(b, "status", session_status_name(s->status));
	add_raw(b, "tags", s->tags);
	add_raw(b, "metadata", s->metadata);
	add_raw(b, "state", s->state);
	add_raw(b, "config", s->config);
	render_ident(b, "conversation", PREFIX_CONVERSATION, &s->conversation);
	buf_member_string(b, "website_domain", s->website_domain);
	buf_member_string(b, "ip_address", s->ip_address);
	buf_member_int(b, "version", s->version);
	buf_member_int(b, "created_at", s->created_at);
	buf_member_int(b, "updated_at", s->updated_at);
	buf_member_int(b, "active_at", s->active_at);
	buf_member_int(b, "ended_at", s->ended_at);
	buf_member_int(b, "expires_at", s->expires_at);
	buf_member_int(b, "idle_ttl", s->idle_ttl);
}

static void format_conversation(struct buf *b, const struct move_conversation *c)
{
	render_ident(b, "id", PREFIX_CONVERSATION, &c->id);
	render_ident(b, "parent", PREFIX_CONVERSATION, &c->parent);
	buf_member_int(b, "base_seq", c->base_seq);
	buf_member_string(b, "title", c->title);
	buf_member_int(b, "created_at", c->created_at);
}

static void format_message(struct buf *b, const struct move_message *m)
{
	render_ident(b, "conversation", PREFIX_CONVERSATION, &m->conversation);
	buf_member_int(b, "seq", m->seq);
	render_ident(b, "id", PREFIX_MESSAGE, &m->id);
	buf_member_str(b, "role", role_name(m->role));
	add_raw(b, "content", m->content.n ? m->content : BYTES("null"));
	if (m->metadata.n)
		add_raw(b, "metadata", m->metadata);
	if (m->extra.n)
		add_raw(b, "extra", m->extra);
	if (!ident_is_zero(&m->turn))
		render_ident(b, "turn", PREFIX_TURN, &m->turn);
	if (m->tokens)
		buf_member_int(b, "tokens", m->tokens);
	buf_member_int(b, "created_at", m->created_at);
}

static void format_summary(struct buf *b, const struct move_summary *s)
{
	render_ident(b, "conversation", PREFIX_CONVERSATION, &s->conversation);
	buf_member_int(b, "upto_seq", s->upto_seq);
	buf_member_string(b, "method", s->method);
	buf_member_string(b, "content", bytes_or(s->content, BYTES("")));
	buf_member_int(b, "tokens_before", s->tokens_before);
	buf_member_int(b, "tokens_after", s->tokens_after);
	buf_member_int(b, "created_at", s->created_at);
}

void move_line_format(struct buf *b, const struct move_line *line)
{
	buf_add_char(b, '{');
	buf_member_str(b, "type", types[line->type].name);
	switch (line->type) {
	case MOVE_AGENT:
		format_agent(b, &line->agent);
		break;
	case MOVE_TEMPLATE:
		format_template(b, &line->template);
		break;
	case MOVE_SESSION:
		format_session(b, &line->session);
		break;
	case MOVE_CONVERSATION:
		format_conversation(b, &line->conversation);
		break;
	case MOVE_MESSAGE:
		format_message(b, &line->message);
		break;
	case MOVE_SUMMARY:
		format_summary(b, &line->summary);
		break;
	}
	buf_add_str(b, "}\n");
}

void move_header_format(const struct move_header *h, char out[MOVE_HEADER_SIZE])
{
	int n = snprintf(out, MOVE_HEADER_SIZE,
			 "{\"parley_export\":%lld,\"scope\":\"%.*s\",\"site\":\"%.*s\",\"sessions\":%lld,\"conversations\":%lld,\"messages\":%lld,"
			 "\"lines\":%lld,\"checksum\":\"%.*s\"}",
			 (long long)h->version, (int)h->scope.n, h->scope.p, (int)h->site.n, h->site.p, (long long)h->counts.sessions,
			 (long long)h->counts.conversations, (long long)h->counts.messages, (long long)h->counts.lines, (int)h->checksum.n, h->checksum.p);
	memset(out + n, ' ', (size_t)(MOVE_HEADER_SIZE - n));
	out[MOVE_HEADER_SIZE - 1] = '\n';
}
