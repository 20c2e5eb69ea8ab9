/* SPDX-License-Identifier: MIT */
/*
 * convert_anthropic: messages as Anthropic's Messages API has them. System texts stand beside the turns, and turns alternate between user and
 * assistant; answers of tools are blocks of a user's turn and come first in it. Text that is blank is refused by the service and so not said.
 */
#include "llm/convert_private.h"

#define NAME "anthropic"

/* Blocks that are read; all others are kept as they are. */
enum block { BLOCK_TEXT, BLOCK_IMAGE, BLOCK_DOCUMENT, BLOCK_TOOL_USE, BLOCK_TOOL_RESULT, BLOCK_THINKING, BLOCK_OTHER };

static const char *const text_names[] = { "type", "text", NULL };
static const char *const source_names[] = { "type", "source", NULL };
static const char *const use_names[] = { "type", "id", "name", "input", NULL };
static const char *const result_names[] = { "type", "tool_use_id", "content", "is_error", "turn", NULL };
static const char *const thinking_names[] = { "type", "thinking", NULL };
static const char *const turn_names[] = { "role", "content", NULL };

static enum block block_of(struct arena *a, struct bytes raw_type, enum convert_side side)
{
	static const char *const names[] = { "text", "image", "document", "tool_use", "tool_result", "thinking" };
	static const bool is_allowed[][3] = { /* system, user, model */
		{ true, true, true }, { false, true, false }, { false, true, false }, { false, false, true }, { false, true, false }, { false, false, true },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (convert_is(a, raw_type, names[i]))
			return is_allowed[i][side] ? (enum block)i : BLOCK_OTHER;
	}
	return BLOCK_OTHER;
}

/* ---- taking a document apart ---- */

/* Adds the units of a content; is_start is set where a message begins. */
static enum err split_content(struct task *t, struct bytes content, enum convert_side side, const struct convert_spot *at, struct convert_units *us,
			      size_t turn, bool has_head)
{
	bool is_start = !has_head;
	size_t n = 0;
	struct jsonx_walk w;

	if (convert_is_string(content)) {
		struct convert_unit *u = convert_add_unit(us, side, content);

		u->at = at;
		u->turn = turn;
		u->is_start = is_start;
		return ERR_OK;
	}
	if (jsonx_type(content) != JSONX_ARRAY)
		return convert_fail(t, at, "", "type", "must be a string or an array");
	for (jsonx_walk_begin(&w, content); jsonx_walk_next(&w); n++) {
		struct convert_unit *u = convert_add_unit(us, side, w.value);
		struct bytes type;
		enum err e;

		u->at = convert_below(t->arena, at, NULL, n);
		u->turn = turn;
		e = convert_block_type(t, w.value, u->at, &type);
		if (e)
			return e;
		u->is_result = block_of(t->arena, type, side) == BLOCK_TOOL_RESULT;
		u->is_start = is_start || (u->is_result && n > 0);
		is_start = u->is_result;
	}
	if (n == 0 && side != SIDE_SYSTEM)
		return split_content(t, BYTES("\"\""), side, at, us, turn, has_head);
	return ERR_OK;
}

static enum err split_turn(struct task *t, struct bytes message, const struct convert_spot *at, struct convert_units *us, size_t turn)
{
	struct bytes v[2], rest;
	enum convert_side side;

	if (jsonx_type(message) != JSONX_OBJECT)
		return convert_fail(t, at, "", "type", "must be an object");
	convert_take(t->arena, message, turn_names, false, v, &rest);
	if (convert_is(t->arena, v[0], "user"))
		side = SIDE_USER;
	else if (convert_is(t->arena, v[0], "assistant"))
		side = SIDE_MODEL;
	else
		return convert_fail(t, at, "role", v[0].p ? "value" : "required", "must be user or assistant");
	if (!v[1].p)
		return convert_fail(t, at, "content", "required", "is missing");
	if (rest.p) {
		struct convert_unit *u = convert_add_unit(us, side, rest);

		u->is_head = u->is_start = true;
		u->at = at;
		u->turn = turn;
	}
	return split_content(t, v[1], side, convert_below(t->arena, at, "content", 0), us, turn, rest.p != NULL);
}

static enum err split(struct task *t, struct bytes document, struct convert_units *units_r)
{
	static const char *const names[] = { "system", "messages", NULL };
	static const struct convert_spot root = { NULL, "input", 0 };
	const struct convert_spot *at = convert_below(t->arena, &root, "messages", 0);
	struct bytes v[2], rest;
	struct jsonx_walk w;
	size_t n = 0;
	enum err e = ERR_OK;

	convert_take(t->arena, document, names, true, v, &rest);
	if (rest.p)
		return convert_fail_rest(t, &root, rest, "is no part of a conversation: input holds system and messages");
	if (!v[1].p)
		return convert_fail(t, at, "", "required", "is missing");
	if (jsonx_type(v[1]) != JSONX_ARRAY)
		return convert_fail(t, at, "", "type", "must be an array");
	if (v[0].p)
		e = split_content(t, v[0], SIDE_SYSTEM, convert_below(t->arena, &root, "system", 0), units_r, 0, false);
	for (jsonx_walk_begin(&w, v[1]); !e && jsonx_walk_next(&w); n++)
		e = split_turn(t, w.value, convert_below(t->arena, at, NULL, n), units_r, n + 1);
	return e;
}

/* ---- reading ---- */

static enum err require_string(struct task *t, struct bytes raw, const struct convert_spot *at, const char *name)
{
	if (!raw.p)
		return convert_fail(t, at, name, "required", "is missing");
	return convert_is_string(raw) ? ERR_OK : convert_fail(t, at, name, "type", "must be a string");
}

/* An image or document, if its source is of a known kind; else no bytes. */
static struct bytes read_media(struct arena *a, struct bytes block, const char *kind)
{
	static const char *const names[] = { "type", "media_type", "data", "url", "file_id", NULL };
	struct convert_media m = { .kind = kind };
	struct bytes o[2], v[5], rest, source_rest;

	convert_take(a, block, source_names, false, o, &rest);
	if (jsonx_type(o[1]) != JSONX_OBJECT)
		return NOTHING;
	convert_take(a, o[1], names, false, v, &source_rest);
	if (source_rest.p)
		return NOTHING;
	if (convert_is(a, v[0], "base64") && convert_is_string(v[1]) && convert_is_string(v[2]) && !v[3].p && !v[4].p) {
		m.media_type = v[1];
		m.data = v[2];
	} else if (convert_is(a, v[0], "url") && convert_is_string(v[3]) && !v[1].p && !v[2].p && !v[4].p) {
		m.url = v[3];
	} else if (convert_is(a, v[0], "file") && convert_is_string(v[4]) && !v[1].p && !v[2].p && !v[3].p) {
		m.file_id = v[4];
	} else {
		return NOTHING;
	}
	return convert_media_part(a, &m, NAME, rest);
}

static enum err read_thinking(struct task *t, struct bytes block, const struct convert_spot *at, struct bytes *part_r)
{
	struct bytes v[2], rest;
	enum err e;

	convert_take(t->arena, block, thinking_names, false, v, &rest);
	e = require_string(t, v[1], at, "thinking");
	if (!e)
		*part_r = convert_part(t->arena, "thinking", "thinking", v[1], NAME, bytes_or(rest, BYTES("{}")));
	return e;
}

static enum err read_text(struct task *t, struct bytes block, const struct convert_spot *at, struct bytes *part_r)
{
	struct bytes v[2], rest;
	enum err e;

	convert_take(t->arena, block, text_names, false, v, &rest);
	e = require_string(t, v[1], at, "text");
	if (!e)
		*part_r = convert_part(t->arena, "text", "text", v[1], NAME, rest);
	return e;
}

/* Any block but tool_use and tool_result, as a part. */
static enum err read_part(struct task *t, struct bytes block, enum block kind, const struct convert_spot *at, struct bytes *part_r)
{
	*part_r = NOTHING;
	if (kind == BLOCK_TEXT)
		return read_text(t, block, at, part_r);
	if (kind == BLOCK_THINKING)
		return read_thinking(t, block, at, part_r);
	if (kind == BLOCK_IMAGE || kind == BLOCK_DOCUMENT)
		*part_r = read_media(t->arena, block, kind == BLOCK_IMAGE ? "image" : "file");
	if (!part_r->p)
		*part_r = convert_raw_part(t->arena, NAME, block);
	return ERR_OK;
}

static enum err read_tool_use(struct task *t, struct bytes block, const struct convert_spot *at, struct convert_draft *d)
{
	struct bytes v[4], rest;
	struct convert_call c;
	enum err e;

	convert_take(t->arena, block, use_names, false, v, &rest);
	e = require_string(t, v[1], at, "id");
	if (!e)
		e = require_string(t, v[2], at, "name");
	if (e)
		return e;
	if (jsonx_type(v[3]) != JSONX_OBJECT)
		return convert_fail(t, at, "input", v[3].p ? "type" : "required", "must be an object");
	c = (struct convert_call){ jsonx_string(t->arena, v[1]), jsonx_string(t->arena, v[2]), v[3] };
	if (c.id.n == 0 || c.name.n == 0)
		return convert_fail(t, at, c.id.n == 0 ? "id" : "name", "value", "must not be empty");
	convert_list_add(&d->calls, convert_call_part(t->arena, &c, NAME, rest));
	return ERR_OK;
}

static enum err read_result_content(struct task *t, struct bytes content, const struct convert_spot *up, struct convert_draft *d)
{
	const struct convert_spot at = { up, "content", 0 };
	struct jsonx_walk w;
	size_t n = 0;

	if (!content.p || convert_is_string(content)) {
		convert_draft_text(d, bytes_or(content, BYTES("\"\"")));
		return ERR_OK;
	}
	if (jsonx_type(content) != JSONX_ARRAY)
		return convert_fail(t, &at, "", "type", "must be a string or an array");
	for (jsonx_walk_begin(&w, content); jsonx_walk_next(&w); n++) {
		const struct convert_spot here = { &at, NULL, n };
		struct bytes type, part;
		enum block kind;
		enum err e = convert_block_type(t, w.value, &here, &type);

		if (e)
			return e;
		kind = block_of(t->arena, type, SIDE_USER);
		e = read_part(t, w.value, kind == BLOCK_TOOL_RESULT ? BLOCK_OTHER : kind, &here, &part);
		if (e)
			return e;
		convert_draft_part(d, part);
	}
	if (n == 0)
		convert_draft_text(d, BYTES("\"\""));
	return ERR_OK;
}

static enum err read_tool_result(struct task *t, struct bytes block, struct bytes turn, const struct convert_spot *at, struct convert_draft *d)
{
	struct bytes v[5], rest;
	enum err e;

	convert_take(t->arena, block, result_names, true, v, &rest);
	e = require_string(t, v[1], at, "tool_use_id");
	if (e)
		return e;
	if (jsonx_string(t->arena, v[1]).n == 0)
		return convert_fail(t, at, "tool_use_id", "value", "must not be empty");
	if (v[4].p)
		return convert_fail(t, at, "turn", "unknown", "is not known");
	if (v[3].p && jsonx_type(v[3]) != JSONX_BOOL)
		return convert_fail(t, at, "is_error", "type", "must be true or false");
	buf_member_json(&d->extra, "tool_call_id", v[1]);
	if (v[3].p && jsonx_bool(v[3]))
		buf_member_bool(&d->extra, "is_error", true);
	convert_draft_rest(d, NAME, rest, turn);
	return read_result_content(t, v[2], at, d);
}

static enum err read_unit(struct task *t, const struct convert_unit *u, struct convert_draft *d)
{
	struct bytes type, part;
	enum block kind;
	enum err e;

	if (u->is_head) {
		convert_draft_rest(d, NAME, NOTHING, u->raw);
		return ERR_OK;
	}
	if (convert_is_string(u->raw)) {
		convert_draft_text(d, u->raw);
		return ERR_OK;
	}
	e = convert_block_type(t, u->raw, u->at, &type);
	if (e)
		return e;
	kind = block_of(t->arena, type, u->side);
	if (kind == BLOCK_TOOL_USE)
		return read_tool_use(t, u->raw, u->at, d);
	e = read_part(t, u->raw, kind, u->at, &part);
	if (!e)
		convert_draft_part(d, part);
	return e;
}

static enum err read_message(struct task *t, const struct convert_unit *units, size_t n, struct convert_draft *d_r)
{
	static const char *const roles[] = { [SIDE_SYSTEM] = "system", [SIDE_USER] = "user", [SIDE_MODEL] = "assistant" };
	const struct convert_unit *last = &units[n - 1];
	enum err e = ERR_OK;

	convert_draft_init(d_r, t, last->is_result ? "tool" : roles[last->side]);
	if (last->is_result) /* alone, or behind a head */
		return read_tool_result(t, last->raw, n > 1 && units->is_head ? units->raw : NOTHING, last->at, d_r);
	for (size_t i = 0; !e && i < n; i++)
		e = read_unit(t, &units[i], d_r);
	if (!e && d_r->parts.n == 0 && d_r->calls.n > 0)
		convert_draft_text(d_r, BYTES("\"\""));
	return e;
}

/* ---- saying ---- */

struct saying {
	const struct convert_say *s;
	enum convert_side side;
	struct buf *inner; /* of a tool's answer: its blocks, joined by commas; NULL: they are units */
};

static void add_block(struct saying *sy, struct buf *b)
{
	if (!sy->inner) {
		convert_add_unit(sy->s->units, sy->side, buf_bytes(b));
		return;
	}
	buf_add_str(sy->inner, sy->inner->n > 0 ? "," : "");
	buf_add_bytes(sy->inner, buf_bytes(b));
}

static void begin_block(struct saying *sy, struct buf *b, const char *type)
{
	buf_init(b, sy->s->task->arena, 128);
	buf_add_char(b, '{');
	buf_member_str(b, "type", type);
}

static void end_block(struct saying *sy, struct buf *b, struct bytes part, const char *const *names)
{
	convert_add_rest(b, part, NAME, names);
	buf_add_char(b, '}');
	add_block(sy, b);
}

static void say_text(struct saying *sy, struct bytes part, struct bytes text)
{
	struct buf b;

	if (convert_is_blank(sy->s->task->arena, text))
		return;
	begin_block(sy, &b, "text");
	buf_member_json(&b, "text", text);
	end_block(sy, &b, part, text_names);
}

/* Thoughts that Anthropic has signed; those of others mean nothing to it. */
static void say_thinking(struct saying *sy, struct bytes part)
{
	struct bytes thinking = jsonx_member(part, "thinking");
	struct buf b;

	if (sy->side != SIDE_MODEL || !convert_is_string(thinking) || !convert_is_string(convert_member(jsonx_member(part, NAME), "signature")))
		return;
	begin_block(sy, &b, "thinking");
	buf_member_json(&b, "thinking", thinking);
	end_block(sy, &b, part, thinking_names);
}

static bool is_web_url(struct arena *a, struct bytes raw)
{
	struct bytes url = raw.p ? jsonx_string(a, raw) : NOTHING;

	return (url.n > 7 && memcmp(url.p, "http://", 7) == 0) || (url.n > 8 && memcmp(url.p, "https://", 8) == 0);
}

/* Whether the service reads media of this type. */
static bool is_known_type(struct arena *a, const struct convert_media *m, bool is_image)
{
	static const char *const images[] = { "image/jpeg", "image/png", "image/gif", "image/webp", NULL };

	for (size_t i = 0; is_image && images[i]; i++) {
		if (convert_is(a, m->media_type, images[i]))
			return true;
	}
	return !is_image && convert_is(a, m->media_type, "application/pdf");
}

static void say_media(struct saying *sy, struct bytes part, const struct convert_media *m)
{
	struct arena *a = sy->s->task->arena;
	bool is_image = strcmp(m->kind, "image") == 0;
	struct buf b;

	if (sy->side != SIDE_USER || (!is_image && strcmp(m->kind, "file") != 0) || (m->media_type.p && !is_known_type(a, m, is_image)))
		return;
	if (!m->data.p && !m->file_id.p && !is_web_url(a, m->url))
		return;
	begin_block(sy, &b, is_image ? "image" : "document");
	buf_add_member(&b, "source");
	buf_add_char(&b, '{');
	buf_member_str(&b, "type", m->data.p ? "base64" : m->file_id.p ? "file" : "url");
	if (m->data.p) {
		buf_member_json(&b, "media_type", m->media_type);
		buf_member_json(&b, "data", m->data);
	} else {
		buf_member_json(&b, m->file_id.p ? "file_id" : "url", m->file_id.p ? m->file_id : m->url);
	}
	buf_add_char(&b, '}');
	end_block(sy, &b, part, source_names);
}

/* A raw block is said unless its reader would take it for a block of ours, and perhaps for a wrong one. */
static void say_raw(struct saying *sy, struct bytes block)
{
	struct arena *a = sy->s->task->arena;
	struct bytes type = jsonx_member(block, "type");
	enum block kind = block_of(a, type, sy->side);
	struct buf b;

	if (!convert_is_string(type) || (kind != BLOCK_OTHER && kind != BLOCK_IMAGE && kind != BLOCK_DOCUMENT))
		return;
	buf_init(&b, a, block.n);
	buf_add_bytes(&b, block);
	add_block(sy, &b);
}

static void say_part(struct saying *sy, struct bytes part)
{
	struct arena *a = sy->s->task->arena;
	struct convert_media m;
	struct bytes block, text;

	if (convert_raw_of(a, part, NAME, &block)) {
		say_raw(sy, block);
	} else if (convert_is(a, jsonx_member(part, "type"), "thinking")) {
		say_thinking(sy, part);
	} else if (convert_media_of(a, part, &m)) {
		say_media(sy, part, &m);
	} else {
		text = convert_text_of(a, part);
		if (text.p)
			say_text(sy, part, text);
	}
}

static void say_call(struct saying *sy, struct bytes call)
{
	struct arena *a = sy->s->task->arena;
	struct convert_call c;
	struct buf b;

	if (!convert_call_of(a, call, &c))
		return;
	begin_block(sy, &b, "tool_use");
	buf_member_string(&b, "id", convert_safe_id(a, c.id));
	buf_member_string(&b, "name", c.name);
	buf_member_json(&b, "input", convert_arguments(a, c.arguments));
	end_block(sy, &b, call, use_names);
}

static void say_found(void *arg, struct bytes raw, bool is_call)
{
	struct saying *sy = arg;

	if (is_call)
		say_call(sy, raw);
	else if (!convert_is_string(raw))
		say_part(sy, raw);
	else if (!convert_is_blank(sy->s->task->arena, raw))
		convert_add_unit(sy->s->units, sy->side, raw);
}

static void say_tool_result(const struct convert_say *s)
{
	struct arena *a = s->task->arena;
	struct bytes id = jsonx_member(s->extra, "tool_call_id"), is_error = jsonx_member(s->extra, "is_error");
	struct saying sy = { s, SIDE_USER, NULL };
	struct buf b, inner;

	id = convert_is_string(id) ? jsonx_string(a, id) : NOTHING;
	if (id.n == 0)
		return;
	buf_init(&b, a, 128 + s->content.n);
	buf_add_char(&b, '{');
	buf_member_str(&b, "type", "tool_result");
	buf_member_string(&b, "tool_use_id", convert_safe_id(a, id));
	if (!convert_is_string(s->content)) {
		buf_init(&inner, a, 0);
		sy.inner = &inner;
		convert_each(s, say_found, &sy);
		buf_add_member(&b, "content");
		buf_add_char(&b, '[');
		buf_add_bytes(&b, buf_bytes(&inner));
		buf_add_char(&b, ']');
	} else if (jsonx_string(a, s->content).n > 0) {
		buf_member_json(&b, "content", s->content);
	}
	if (jsonx_type(is_error) == JSONX_BOOL && jsonx_bool(is_error))
		buf_member_bool(&b, "is_error", true);
	convert_add_rest(&b, s->extra, NAME, result_names);
	buf_add_char(&b, '}');
	convert_add_unit(s->units, SIDE_USER, buf_bytes(&b))->is_result = true;
}

static void say(const struct convert_say *s)
{
	struct saying sy = { s, convert_side_of(s->role), NULL };
	size_t first = s->units->n;

	convert_say_head(s, NAME, sy.side, turn_names);
	if (bytes_equal(s->role, BYTES("tool")))
		say_tool_result(s);
	else
		convert_each(s, say_found, &sy);
	convert_drop_lone_head(s->units, first);
}

static void join_unit(struct buf *b, struct bytes raw)
{
	if (b->p[b->n - 1] != '[')
		buf_add_char(b, ',');
	if (!convert_is_string(raw)) {
		buf_add_bytes(b, raw);
		return;
	}
	buf_add_char(b, '{');
	buf_member_str(b, "type", "text");
	buf_member_json(b, "text", raw);
	buf_add_char(b, '}');
}

/* One string as it is, or a list of blocks. */
static void join_content(struct buf *b, const struct convert_unit *u, size_t n)
{
	if (n == 1 && convert_is_string(u->raw)) {
		buf_add_bytes(b, u->raw);
		return;
	}
	buf_add_char(b, '[');
	for (size_t i = 0; i < n; i++)
		join_unit(b, u[i].raw);
	buf_add_char(b, ']');
}

static void join_turn(struct buf *b, const struct convert_unit *u, size_t n)
{
	size_t skip = u->is_head ? 1 : 0;

	buf_add_char(b, '{');
	buf_member_str(b, "role", u->side == SIDE_MODEL ? "assistant" : "user");
	buf_add_member(b, "content");
	join_content(b, u + skip, n - skip);
	if (skip) {
		buf_add_char(b, ',');
		buf_add(b, u->raw.p + 1, u->raw.n - 1);
	} else {
		buf_add_char(b, '}');
	}
}

static struct bytes join(struct task *t, const struct convert_units *units)
{
	static const struct convert_frame frame = { "system", "messages", join_content, join_turn };

	return convert_join(t, units, &frame);
}

const struct convert_driver convert_anthropic = { .name = NAME, .split = split, .read = read_message, .say = say, .join = join };
