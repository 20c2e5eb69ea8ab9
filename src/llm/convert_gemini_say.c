/* SPDX-License-Identifier: MIT */
/* convert_gemini_say: messages said in parts. */
#include "llm/convert_gemini.h"

static const char *const text_names[] = { "text", "inlineData", "fileData", "functionCall", "functionResponse", "thought", "turn", NULL };
/* Without the one that only a text's reader looks at. */
static const char *const other_names[] = { "text", "inlineData", "fileData", "functionCall", "functionResponse", "turn", NULL };
static const char *const turn_names[] = { "role", "parts", NULL };
static const char *const response_names[] = { "id", "name", "response", NULL };

struct saying {
	const struct convert_say *s;
	enum convert_side side;
};

static void end_part(struct saying *sy, struct buf *b, struct bytes part, const char *const *names)
{
	convert_add_rest(b, part, GEMINI, names);
	buf_add_char(b, '}');
	convert_add_unit(sy->s->units, sy->side, buf_bytes(b));
}

static void begin_part(struct saying *sy, struct buf *b)
{
	buf_init(b, sy->s->task->arena, 128);
	buf_add_char(b, '{');
}

static void say_text(struct saying *sy, struct bytes part, struct bytes text, bool is_thought)
{
	struct buf b;

	if (jsonx_string(sy->s->task->arena, text).n == 0 && jsonx_type(convert_member(part, GEMINI)) != JSONX_OBJECT)
		return;
	begin_part(sy, &b);
	buf_member_json(&b, "text", text);
	if (is_thought)
		buf_member_bool(&b, "thought", true);
	end_part(sy, &b, part, text_names);
}

static void say_media(struct saying *sy, struct bytes part, const struct convert_media *m)
{
	struct arena *a = sy->s->task->arena;
	struct bytes type = m->media_type;
	struct buf b;

	if (sy->side == SIDE_SYSTEM || (!m->data.p && !m->url.p))
		return;
	if (!type.p)
		type = gemini_guess_type(a, m->url);
	begin_part(sy, &b);
	buf_add_member(&b, m->data.p ? "inlineData" : "fileData");
	buf_add_char(&b, '{');
	if (type.p)
		buf_member_json(&b, "mimeType", type);
	buf_member_json(&b, m->data.p ? "data" : "fileUri", m->data.p ? m->data : m->url);
	buf_add_char(&b, '}');
	end_part(sy, &b, part, other_names);
}

/* A raw part is said if its reader will take it for one again. */
static void say_raw(struct saying *sy, struct bytes part)
{
	struct arena *a = sy->s->task->arena;
	static const struct convert_spot nowhere = { NULL, "", 0 };
	struct convert_unit u = { .side = sy->side, .raw = part, .at = &nowhere, .call_id = BYTES("-") };
	struct task quiet = { .arena = a };
	struct convert_draft d;
	struct gemini_part p;

	gemini_take(a, part, &p);
	if (p.kind == PART_RESPONSE && sy->side == SIDE_USER)
		return;
	convert_draft_init(&d, &quiet, "");
	if (!gemini_read_unit(&quiet, &u, &d) && d.parts.n == 1 && convert_is(a, jsonx_member(d.parts.items[0], "type"), GEMINI))
		convert_add_unit(sy->s->units, sy->side, part);
}

static void say_part(struct saying *sy, struct bytes part)
{
	struct arena *a = sy->s->task->arena;
	struct bytes type = jsonx_member(part, "type"), thinking = jsonx_member(part, "thinking"), block, text;
	struct convert_media m;

	if (convert_raw_of(a, part, GEMINI, &block)) {
		say_raw(sy, block);
	} else if (convert_is(a, type, "thinking")) { /* its own thoughts alone */
		if (sy->side == SIDE_MODEL && convert_is_string(thinking) && jsonx_type(jsonx_member(part, GEMINI)) == JSONX_OBJECT)
			say_text(sy, part, thinking, true);
	} else if (convert_media_of(a, part, &m)) {
		say_media(sy, part, &m);
	} else {
		text = convert_text_of(a, part);
		if (text.p)
			say_text(sy, part, text, false);
	}
}

static void say_call(struct saying *sy, struct bytes call)
{
	struct arena *a = sy->s->task->arena;
	struct convert_call c;
	struct buf b;

	if (!convert_call_of(a, call, &c))
		return;
	begin_part(sy, &b);
	buf_add_member(&b, "functionCall");
	buf_add_char(&b, '{');
	if (!gemini_is_made_id(c.id))
		buf_member_string(&b, "id", convert_fit_id(a, c.id));
	buf_member_string(&b, "name", c.name);
	buf_member_json(&b, "args", convert_arguments(a, c.arguments));
	buf_add_char(&b, '}');
	end_part(sy, &b, call, other_names);
}

static void say_found(void *arg, struct bytes raw, bool is_call)
{
	struct saying *sy = arg;

	if (is_call)
		say_call(sy, raw);
	else if (convert_is_string(raw))
		say_text(sy, NOTHING, raw, false);
	else
		say_part(sy, raw);
}

/* The texts of a content's parts, as elements joined by commas. */
static void list_text(void *arg, struct bytes raw, bool is_call)
{
	struct buf *b = arg;
	struct bytes text = is_call ? NOTHING : convert_text_of(b->arena, raw);

	if (!text.p)
		return;
	buf_add_str(b, b->n > 0 ? "," : "");
	buf_add_bytes(b, text);
}

/* A tool's own object if the content is one and no more. */
static struct bytes only_object(struct arena *a, struct bytes content)
{
	struct bytes json = NOTHING;
	struct jsonx_walk w;

	if (jsonx_type(content) != JSONX_ARRAY)
		return NOTHING;
	jsonx_walk_begin(&w, content);
	if (jsonx_walk_next(&w) && convert_is(a, convert_member(w.value, "type"), "json"))
		json = jsonx_member(w.value, "json");
	if (jsonx_type(json) != JSONX_OBJECT || jsonx_walk_next(&w) || !convert_is_flat(json))
		return NOTHING;
	return json;
}

static void add_list(struct buf *b, struct bytes elements)
{
	buf_add_char(b, '[');
	buf_add_bytes(b, elements);
	buf_add_char(b, ']');
}

static void add_response(struct buf *b, const struct convert_say *s)
{
	struct bytes object = only_object(b->arena, s->content), is_error = jsonx_member(s->extra, "is_error");
	struct buf texts;

	buf_add_member(b, "response");
	if (object.p) {
		buf_add_bytes(b, object);
		return;
	}
	buf_add_char(b, '{');
	buf_add_member(b, jsonx_type(is_error) == JSONX_BOOL && jsonx_bool(is_error) ? "error" : "output");
	buf_init(&texts, b->arena, 0);
	convert_each(s, list_text, &texts);
	if (texts.n == 0 || convert_is_string(s->content))
		buf_add_bytes(b, texts.n > 0 ? buf_bytes(&texts) : BYTES("\"\""));
	else
		add_list(b, buf_bytes(&texts));
	buf_add_char(b, '}');
}

static void say_answer(const struct convert_say *s)
{
	struct arena *a = s->task->arena;
	struct bytes raw_id = jsonx_member(s->extra, "tool_call_id"), id = convert_is_string(raw_id) ? jsonx_string(a, raw_id) : NOTHING;
	struct bytes own = convert_member(s->extra, GEMINI);
	struct buf b;

	if (s->tool_name.n == 0) /* nothing to match it by on this side */
		return;
	buf_init(&b, a, 128 + s->content.n);
	buf_add_str(&b, "{\"functionResponse\":{");
	if (id.n > 0 && !gemini_is_made_id(id))
		buf_member_string(&b, "id", convert_fit_id(a, id));
	buf_member_string(&b, "name", s->tool_name);
	add_response(&b, s);
	convert_add_rest(&b, own, "functionResponse", response_names);
	buf_add_char(&b, '}');
	convert_add_rest(&b, s->extra, GEMINI, other_names);
	buf_add_char(&b, '}');
	convert_add_unit(s->units, SIDE_USER, buf_bytes(&b))->is_result = true;
}

void gemini_say(const struct convert_say *s)
{
	struct saying sy = { s, convert_side_of(s->role) };
	size_t first = s->units->n;

	convert_say_head(s, GEMINI, sy.side, turn_names);
	if (bytes_equal(s->role, BYTES("tool")))
		say_answer(s);
	else
		convert_each(s, say_found, &sy);
	convert_drop_lone_head(s->units, first);
}
