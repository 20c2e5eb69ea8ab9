/* SPDX-License-Identifier: MIT */
/*
 * convert_openai: messages as chat completions have them. A document's message is one of ours, so it is the unit, and nothing moves. Users say
 * text, images, sound and files; an assistant text, refusals and tool calls; everybody else text.
 */
#include "llm/convert_openai.h"

#include "llm/convert_private.h"

#define NAME "openai"
#define NAME_MAX_BYTES 64

static const char *const message_names[] = { "role", "content", "name", "tool_calls", "tool_call_id", "refusal", NULL };
static const char *const call_names[] = { "id", "type", "function", NULL };

/* ---- reading ---- */

static enum err split(struct task *t, struct bytes document, struct convert_units *units_r)
{
	static const char *const names[] = { "messages", NULL };
	static const struct convert_spot root = { NULL, "input", 0 };
	const struct convert_spot *at = convert_below(t->arena, &root, "messages", 0);
	struct bytes messages, rest;
	struct jsonx_walk w;

	convert_take(t->arena, document, names, false, &messages, &rest);
	if (rest.p)
		return convert_fail_rest(t, &root, rest, "is no part of a conversation: input holds messages");
	if (!messages.p)
		return convert_fail(t, at, "", "required", "is missing");
	if (jsonx_type(messages) != JSONX_ARRAY)
		return convert_fail(t, at, "", "type", "must be an array");
	for (jsonx_walk_begin(&w, messages); jsonx_walk_next(&w);) {
		struct convert_unit *u = convert_add_unit(units_r, SIDE_USER, w.value);

		u->at = convert_below(t->arena, at, NULL, units_r->n - 1);
		u->turn = units_r->n;
		u->is_start = true;
		if (jsonx_type(w.value) != JSONX_OBJECT)
			return convert_fail(t, u->at, "", "type", "must be an object");
	}
	return ERR_OK;
}

/* A part's known inner object: the values of its names, if it has no other members and all are strings. */
static bool take_inner(struct arena *a, struct bytes inner, const char *const *names, struct bytes *values)
{
	struct bytes rest;

	if (jsonx_type(inner) != JSONX_OBJECT)
		return false;
	convert_take(a, inner, names, false, values, &rest);
	for (size_t i = 0; names[i]; i++) {
		if (values[i].p && !convert_is_string(values[i]))
			return false;
	}
	return !rest.p;
}

static struct bytes read_image(struct arena *a, struct bytes block)
{
	static const char *const outer[] = { "type", "image_url", NULL }, *const inner[] = { "url", "detail", NULL };
	struct convert_media m = { .kind = "image" };
	struct bytes o[2], v[2], rest;

	convert_take(a, block, outer, false, o, &rest);
	if (!take_inner(a, o[1], inner, v) || !v[0].p)
		return NOTHING;
	m.detail = v[1];
	if (!convert_data_url(a, v[0], &m.media_type, &m.data))
		m.url = v[0];
	return convert_media_part(a, &m, NAME, rest);
}

static struct bytes read_audio(struct arena *a, struct bytes block)
{
	static const char *const outer[] = { "type", "input_audio", NULL }, *const inner[] = { "data", "format", NULL };
	struct convert_media m = { .kind = "audio" };
	struct bytes o[2], v[2], rest;

	convert_take(a, block, outer, false, o, &rest);
	if (!take_inner(a, o[1], inner, v) || !v[0].p)
		return NOTHING;
	m.data = v[0];
	if (convert_is(a, v[1], "wav"))
		m.media_type = BYTES("\"audio/wav\"");
	else if (convert_is(a, v[1], "mp3"))
		m.media_type = BYTES("\"audio/mp3\"");
	else
		return NOTHING;
	return convert_media_part(a, &m, NAME, rest);
}

static struct bytes read_file(struct arena *a, struct bytes block)
{
	static const char *const outer[] = { "type", "file", NULL }, *const inner[] = { "file_data", "file_id", "filename", NULL };
	struct convert_media m = { .kind = "file" };
	struct bytes o[2], v[3], rest;

	convert_take(a, block, outer, false, o, &rest);
	if (!take_inner(a, o[1], inner, v) || (v[0].p != NULL) == (v[1].p != NULL))
		return NOTHING;
	m.file_id = v[1];
	m.filename = v[2];
	if (v[0].p && !convert_data_url(a, v[0], &m.media_type, &m.data))
		return NOTHING;
	return convert_media_part(a, &m, NAME, rest);
}

/* A part whose one known member is a string of the type's name. */
static enum err read_string_part(struct task *t, struct bytes block, const char *type, const struct convert_spot *at, struct bytes *part_r)
{
	const char *const names[] = { "type", type, NULL };
	struct bytes v[2], rest;

	convert_take(t->arena, block, names, false, v, &rest);
	if (!v[1].p)
		return convert_fail(t, at, type, "required", "is missing");
	if (!convert_is_string(v[1]))
		return convert_fail(t, at, type, "type", "must be a string");
	*part_r = convert_part(t->arena, type, type, v[1], NAME, rest);
	return ERR_OK;
}

static enum err read_part(struct task *t, struct bytes block, const struct convert_spot *at, struct bytes *part_r)
{
	struct arena *a = t->arena;
	struct bytes type;
	enum err e = convert_block_type(t, block, at, &type);

	if (e)
		return e;
	if (convert_is(a, type, "text"))
		return read_string_part(t, block, "text", at, part_r);
	if (convert_is(a, type, "refusal"))
		return read_string_part(t, block, "refusal", at, part_r);
	*part_r = NOTHING;
	if (convert_is(a, type, "image_url"))
		*part_r = read_image(a, block);
	else if (convert_is(a, type, "input_audio"))
		*part_r = read_audio(a, block);
	else if (convert_is(a, type, "file"))
		*part_r = read_file(a, block);
	if (!part_r->p)
		*part_r = convert_raw_part(a, NAME, block);
	return ERR_OK;
}

static enum err read_content(struct task *t, struct bytes content, bool may_miss, const struct convert_spot *up, struct convert_draft *d)
{
	const struct convert_spot at = { up, "content", 0 };
	struct jsonx_walk w;
	size_t n = 0;

	if (!content.p || jsonx_type(content) == JSONX_NULL) {
		if (!may_miss)
			return convert_fail(t, &at, "", "required", "is missing");
		return ERR_OK;
	}
	if (convert_is_string(content)) {
		convert_draft_text(d, content);
		return ERR_OK;
	}
	if (jsonx_type(content) != JSONX_ARRAY)
		return convert_fail(t, &at, "", "type", "must be a string or an array");
	for (jsonx_walk_begin(&w, content); jsonx_walk_next(&w); n++) {
		const struct convert_spot here = { &at, NULL, n };
		struct bytes part;
		enum err e = read_part(t, w.value, &here, &part);

		if (e)
			return e;
		convert_draft_part(d, part);
	}
	return ERR_OK;
}

/* A call of a function is one of ours; another kind of tool stays as it is. */
static enum err read_call(struct task *t, struct bytes call, const struct convert_spot *at, struct convert_draft *d)
{
	static const char *const inner[] = { "name", "arguments", NULL };
	struct bytes v[3], f[2], rest;
	struct convert_call c;

	if (jsonx_type(call) != JSONX_OBJECT)
		return convert_fail(t, at, "", "type", "must be an object");
	convert_take(t->arena, call, call_names, false, v, &rest);
	if (!convert_is_string(v[0]) || jsonx_string(t->arena, v[0]).n == 0)
		return convert_fail(t, at, "id", v[0].p ? "type" : "required", "must be a string that is not empty");
	if (v[1].p && !convert_is_string(v[1]))
		return convert_fail(t, at, "type", "type", "must be a string");
	if (v[1].p && !convert_is(t->arena, v[1], "function")) {
		convert_list_add(&d->calls, convert_raw_part(t->arena, NAME, call));
		return ERR_OK;
	}
	if (!v[2].p || jsonx_type(v[2]) != JSONX_OBJECT)
		return convert_fail(t, at, "function", v[2].p ? "type" : "required", "must be an object");
	if (!convert_is_string(convert_member(v[2], "name")) || jsonx_string(t->arena, jsonx_member(v[2], "name")).n == 0)
		return convert_fail(t, at, "function.name", "required", "must be a string that is not empty");
	if (!convert_is_string(convert_member(v[2], "arguments")))
		return convert_fail(t, at, "function.arguments", "required", "must be a string");
	if (!take_inner(t->arena, v[2], inner, f)) {
		convert_list_add(&d->calls, convert_raw_part(t->arena, NAME, call));
		return ERR_OK;
	}
	c = (struct convert_call){ jsonx_string(t->arena, v[0]), jsonx_string(t->arena, f[0]), jsonx_string(t->arena, f[1]) };
	convert_list_add(&d->calls, convert_call_part(t->arena, &c, NAME, rest));
	return ERR_OK;
}

static enum err read_calls(struct task *t, struct bytes calls, const struct convert_spot *up, struct convert_draft *d)
{
	const struct convert_spot at = { up, "tool_calls", 0 };
	struct jsonx_walk w;
	enum err e = ERR_OK;

	if (!calls.p)
		return ERR_OK;
	if (jsonx_type(calls) != JSONX_ARRAY)
		return convert_fail(t, &at, "", "type", "must be an array");
	for (jsonx_walk_begin(&w, calls); !e && jsonx_walk_next(&w);) {
		const struct convert_spot here = { &at, NULL, d->calls.n };

		e = read_call(t, w.value, &here, d);
	}
	d->n_placed = d->calls.n;
	return e;
}

static const char *read_role(struct task *t, struct bytes raw)
{
	static const char *const roles[] = { "system", "developer", "user", "assistant", "tool", NULL };
	size_t i = 0;

	while (roles[i] && !convert_is(t->arena, raw, roles[i]))
		i++;
	return roles[i];
}

static enum err read_string_member(struct task *t, struct convert_draft *d, const char *name, struct bytes raw, const struct convert_spot *at)
{
	if (!raw.p)
		return ERR_OK;
	if (!convert_is_string(raw))
		return convert_fail(t, at, name, "type", "must be a string");
	buf_member_json(&d->extra, name, raw);
	return ERR_OK;
}

/* The members that only some roles may have. */
static enum err check_members(struct task *t, const char *role, const struct bytes *v, const struct convert_spot *at)
{
	bool is_assistant = strcmp(role, "assistant") == 0, is_tool = strcmp(role, "tool") == 0;

	if (v[3].p && !is_assistant)
		return convert_fail(t, at, "tool_calls", "value", "belongs to an assistant's message");
	if (v[5].p && !is_assistant)
		return convert_fail(t, at, "refusal", "value", "belongs to an assistant's message");
	if (v[5].p && !convert_is_string(v[5]))
		return convert_fail(t, at, "refusal", "type", "must be a string");
	if (v[4].p && !is_tool)
		return convert_fail(t, at, "tool_call_id", "value", "belongs to a tool's message");
	if (!v[4].p && is_tool)
		return convert_fail(t, at, "tool_call_id", "required", "is missing");
	return ERR_OK;
}

static enum err read_message(struct task *t, const struct convert_unit *units, size_t n, struct convert_draft *d_r)
{
	const struct convert_spot *at = units->at;
	struct bytes v[6], rest;
	const char *role;
	enum err e;

	(void)n; /* always one */
	convert_take(t->arena, units->raw, message_names, true, v, &rest);
	role = read_role(t, v[0]);
	if (!role)
		return convert_fail(t, at, "role", v[0].p ? "value" : "required", "must be system, developer, user, assistant or tool");
	convert_draft_init(d_r, t, role);
	e = check_members(t, role, v, at);
	if (!e)
		e = read_calls(t, v[3], at, d_r);
	if (!e)
		e = read_content(t, v[1], strcmp(role, "assistant") == 0, at, d_r);
	if (!e)
		e = read_string_member(t, d_r, "name", v[2], at);
	if (!e)
		e = read_string_member(t, d_r, "tool_call_id", v[4], at);
	if (e)
		return e;
	if (v[5].p) {
		if (d_r->is_text && jsonx_string(t->arena, v[1]).n == 0)
			d_r->parts.n = 0;
		d_r->is_text = false;
		convert_draft_part(d_r, convert_part(t->arena, "refusal", "refusal", v[5], NULL, NOTHING));
	}
	if (d_r->parts.n == 0 && !d_r->is_text)
		convert_draft_text(d_r, BYTES("\"\""));
	convert_draft_rest(d_r, NAME, rest, NOTHING);
	return ERR_OK;
}

/* ---- saying ---- */

struct saying {
	const struct convert_say *s;
	struct buf parts, calls; /* elements, joined by commas */
};

static void begin_element(struct buf *b)
{
	if (b->n > 0)
		buf_add_char(b, ',');
}

static void say_string_part(struct buf *b, struct bytes part, const char *type, struct bytes raw)
{
	const char *const names[] = { "type", type, NULL };

	begin_element(b);
	buf_add_char(b, '{');
	buf_member_str(b, "type", type);
	buf_member_json(b, type, raw);
	convert_add_rest(b, part, NAME, names);
	buf_add_char(b, '}');
}

static void end_media(struct buf *b, struct bytes part, const char *type)
{
	const char *const names[] = { "type", type, NULL };

	buf_add_char(b, '}');
	convert_add_rest(b, part, NAME, names);
	buf_add_char(b, '}');
}

static void begin_media(struct buf *b, const char *type)
{
	begin_element(b);
	buf_add_char(b, '{');
	buf_member_str(b, "type", type);
	buf_add_member(b, type);
	buf_add_char(b, '{');
}

static void say_image(struct buf *b, struct bytes part, const struct convert_media *m)
{
	if (!m->url.p && !m->data.p)
		return;
	begin_media(b, "image_url");
	buf_add_member(b, "url");
	if (m->data.p)
		convert_add_data_url(b, m->media_type, m->data);
	else
		buf_add_bytes(b, m->url);
	if (m->detail.p)
		buf_member_json(b, "detail", m->detail);
	end_media(b, part, "image_url");
}

static void say_audio(struct buf *b, struct bytes part, const struct convert_media *m)
{
	struct arena *a = b->arena;
	bool is_wav = convert_is(a, m->media_type, "audio/wav") || convert_is(a, m->media_type, "audio/x-wav");

	if (!m->data.p || (!is_wav && !convert_is(a, m->media_type, "audio/mp3") && !convert_is(a, m->media_type, "audio/mpeg")))
		return;
	begin_media(b, "input_audio");
	buf_member_json(b, "data", m->data);
	buf_member_str(b, "format", is_wav ? "wav" : "mp3");
	end_media(b, part, "input_audio");
}

static void say_file(struct buf *b, struct bytes part, const struct convert_media *m)
{
	if (!m->file_id.p && !m->data.p)
		return;
	begin_media(b, "file");
	if (m->file_id.p) {
		buf_member_json(b, "file_id", m->file_id);
	} else {
		buf_add_member(b, "file_data");
		convert_add_data_url(b, m->media_type, m->data);
	}
	if (m->filename.p)
		buf_member_json(b, "filename", m->filename);
	end_media(b, part, "file");
}

static void say_media(struct buf *b, struct bytes part, const struct convert_media *m)
{
	if (strcmp(m->kind, "image") == 0)
		say_image(b, part, m);
	else if (strcmp(m->kind, "audio") == 0)
		say_audio(b, part, m);
	else
		say_file(b, part, m);
}

/* A raw part is said unless its reader would take it for a part of ours, and perhaps for a wrong one. */
static void say_raw(struct buf *b, struct bytes block)
{
	struct bytes type = jsonx_member(block, "type");

	if (!convert_is_string(type) || convert_is(b->arena, type, "text") || convert_is(b->arena, type, "refusal"))
		return;
	begin_element(b);
	buf_add_bytes(b, block);
}

void convert_openai_part(struct buf *b, struct bytes role, struct bytes part)
{
	struct bytes type = convert_member(part, "type"), text, block;
	struct convert_media m;

	if (bytes_equal(role, BYTES("assistant")) && convert_is(b->arena, type, "refusal") && convert_is_string(jsonx_member(part, "refusal"))) {
		say_string_part(b, part, "refusal", jsonx_member(part, "refusal"));
	} else if (convert_raw_of(b->arena, part, NAME, &block)) {
		say_raw(b, block);
	} else if (bytes_equal(role, BYTES("user")) && type.p && convert_media_of(b->arena, part, &m)) {
		say_media(b, part, &m);
	} else if (type.p) {
		text = convert_text_of(b->arena, part);
		if (text.p)
			say_string_part(b, part, "text", text);
	}
}

void convert_openai_call(struct buf *b, struct bytes call)
{
	struct convert_call c;
	struct bytes block;

	if (convert_raw_of(b->arena, call, NAME, &block)) {
		struct convert_draft d;
		struct task quiet = { .arena = b->arena };
		static const struct convert_spot nowhere = { NULL, "", 0 };

		convert_draft_init(&d, &quiet, "assistant");
		if (read_call(&quiet, block, &nowhere, &d) || !convert_is(b->arena, jsonx_member(d.calls.items[0], "type"), NAME))
			return;
		begin_element(b);
		buf_add_bytes(b, block);
		return;
	}
	if (!convert_call_of(b->arena, call, &c))
		return;
	begin_element(b);
	buf_add_char(b, '{');
	buf_member_string(b, "id", convert_safe_id(b->arena, c.id));
	buf_member_str(b, "type", "function");
	buf_add_member(b, "function");
	buf_add_char(b, '{');
	buf_member_string(b, "name", c.name);
	buf_member_string(b, "arguments", c.arguments);
	buf_add_char(b, '}');
	convert_add_rest(b, call, NAME, call_names);
	buf_add_char(b, '}');
}

static void say_found(void *arg, struct bytes raw, bool is_call)
{
	struct saying *sy = arg;

	if (is_call)
		convert_openai_call(&sy->calls, raw);
	else if (!convert_is_string(raw))
		convert_openai_part(&sy->parts, sy->s->role, raw);
}

struct bytes convert_openai_id(struct arena *a, struct bytes id)
{
	return convert_safe_id(a, id);
}

/* Names with blanks or any of < | \ / > are refused. */
bool convert_openai_is_name(struct arena *a, struct bytes raw)
{
	struct bytes s = convert_is_string(raw) ? jsonx_string(a, raw) : NOTHING;

	for (size_t i = 0; i < s.n; i++) {
		if ((unsigned char)s.p[i] <= 0x20 || (unsigned char)s.p[i] == 0x7f || strchr("<|\\/>", s.p[i]))
			return false;
	}
	return s.n > 0 && s.n <= NAME_MAX_BYTES;
}

static void add_content(struct buf *b, const struct saying *sy)
{
	struct bytes content = sy->s->content;

	buf_add_member(b, "content");
	if (convert_is_string(content) && (sy->calls.n == 0 || jsonx_string(b->arena, content).n > 0)) {
		buf_add_bytes(b, content);
	} else if (sy->parts.n > 0) {
		buf_add_char(b, '[');
		buf_add_bytes(b, buf_bytes(&sy->parts));
		buf_add_char(b, ']');
	} else {
		buf_add_str(b, sy->calls.n > 0 ? "null" : "\"\"");
	}
}

static void say(const struct convert_say *s)
{
	struct arena *a = s->task->arena;
	struct saying sy = { .s = s };
	bool is_tool = bytes_equal(s->role, BYTES("tool"));
	struct bytes name = jsonx_member(s->extra, "name"), id = jsonx_member(s->extra, "tool_call_id");
	struct buf b;

	id = is_tool && convert_is_string(id) ? jsonx_string(a, id) : NOTHING;
	if (is_tool && id.n == 0)
		return;
	buf_init(&sy.parts, a, 0);
	buf_init(&sy.calls, a, 0);
	convert_each(s, say_found, &sy);
	if (!convert_is_string(s->content) && sy.parts.n == 0 && sy.calls.n == 0 && !is_tool)
		return;
	buf_init(&b, a, 64 + s->content.n + sy.calls.n);
	buf_add_char(&b, '{');
	buf_member_string(&b, "role", s->role);
	add_content(&b, &sy);
	if (convert_openai_is_name(a, name))
		buf_member_json(&b, "name", name);
	if (is_tool)
		buf_member_string(&b, "tool_call_id", convert_safe_id(a, id));
	if (sy.calls.n > 0) {
		buf_add_member(&b, "tool_calls");
		buf_add_char(&b, '[');
		buf_add_bytes(&b, buf_bytes(&sy.calls));
		buf_add_char(&b, ']');
	}
	convert_add_rest(&b, s->extra, NAME, message_names);
	buf_add_char(&b, '}');
	convert_add_unit(s->units, SIDE_USER, buf_bytes(&b));
}

static struct bytes join(struct task *t, const struct convert_units *units)
{
	struct buf b;

	buf_init(&b, t->arena, 4096);
	buf_add_str(&b, "{\"messages\":[");
	for (size_t i = 0; i < units->n; i++) {
		if (i > 0)
			buf_add_char(&b, ',');
		buf_add_bytes(&b, units->items[i].raw);
	}
	buf_add_str(&b, "]}");
	return buf_bytes(&b);
}

const struct convert_driver convert_openai = { .name = NAME, .split = split, .read = read_message, .say = say, .join = join };
