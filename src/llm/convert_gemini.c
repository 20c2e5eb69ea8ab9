/* SPDX-License-Identifier: MIT */
/*
 * convert_gemini: messages as Gemini's generateContent has them. Turns of user and model made of parts, of which each has one member that says what it is;
 * system texts beside them; answers of tools in a user's turn, in front, matched with their calls by id or, failing that, by name.
 * Calls that come without an id get one made of what they say and where; it is not sent back.
 */
#include "llm/convert_gemini.h"

static const char *const part_names[] = { "text", "inlineData", "fileData", "functionCall", "functionResponse", "thought", "turn", NULL };
enum { N_KINDS = 5, THOUGHT = 5, N_PART_NAMES = 7 };

static const char *const turn_names[] = { "role", "parts", NULL };
static const char *const response_names[] = { "id", "name", "response", NULL };
static const char *const call_names[] = { "id", "name", "args", NULL };

/* Puts a member in front of an object that may be absent. */
static struct bytes with_member(struct arena *a, const char *name, struct bytes value, struct bytes rest)
{
	struct buf b;

	buf_init(&b, a, 32 + value.n + rest.n);
	buf_add_char(&b, '{');
	buf_member_json(&b, name, value);
	if (!rest.p) {
		buf_add_char(&b, '}');
	} else {
		buf_add_char(&b, ',');
		buf_add(&b, rest.p + 1, rest.n - 1);
	}
	return buf_bytes(&b);
}

void gemini_take(struct arena *a, struct bytes part, struct gemini_part *p_r)
{
	struct bytes v[N_PART_NAMES];

	*p_r = (struct gemini_part){ .kind = PART_OTHER };
	convert_take(a, part, part_names, true, v, &p_r->rest);
	for (int i = 0; i < N_KINDS; i++) {
		if (!v[i].p)
			continue;
		if (p_r->value.p) { /* two at once */
			p_r->kind = PART_OTHER;
			return;
		}
		p_r->kind = (enum gemini_kind)i;
		p_r->value = v[i];
	}
	if (v[THOUGHT + 1].p) /* is what extra calls the members of the turn */
		p_r->kind = PART_OTHER;
	if (v[THOUGHT].p && p_r->kind == PART_TEXT)
		p_r->is_thought = jsonx_type(v[THOUGHT]) == JSONX_BOOL && jsonx_bool(v[THOUGHT]);
	else if (v[THOUGHT].p)
		p_r->rest = with_member(a, "thought", v[THOUGHT], p_r->rest);
}

void gemini_names(struct arena *a, struct bytes value, struct bytes *id_r, struct bytes *name_r)
{
	struct bytes id = convert_member(value, "id"), name = convert_member(value, "name");

	*id_r = convert_is_string(id) ? jsonx_string(a, id) : NOTHING;
	*name_r = convert_is_string(name) ? jsonx_string(a, name) : NOTHING;
	if (id_r->n == 0)
		*id_r = NOTHING;
	if (name_r->n == 0)
		*name_r = NOTHING;
}

/* ---- taking a document apart ---- */

static enum err add_part_unit(struct task *t, struct bytes part, enum convert_side side, const struct convert_spot *at, struct convert_units *us)
{
	struct convert_unit *u = convert_add_unit(us, side, part);
	struct gemini_part p;

	u->at = at;
	if (jsonx_type(part) != JSONX_OBJECT)
		return convert_fail(t, at, "", "type", "must be an object");
	gemini_take(t->arena, part, &p);
	u->is_result = side == SIDE_USER && p.kind == PART_RESPONSE;
	return ERR_OK;
}

static enum err split_parts(struct task *t, struct bytes parts, enum convert_side side, const struct convert_spot *up, struct convert_units *us,
			    size_t turn, bool has_head)
{
	const struct convert_spot *at = convert_below(t->arena, up, "parts", 0);
	bool is_start = !has_head;
	struct jsonx_walk w;
	size_t n = 0;
	enum err e = ERR_OK;

	if (!parts.p)
		return convert_fail(t, at, "", "required", "is missing");
	if (jsonx_type(parts) != JSONX_ARRAY)
		return convert_fail(t, at, "", "type", "must be an array");
	jsonx_walk_begin(&w, parts);
	for (bool has_next = jsonx_walk_next(&w); !e && (has_next || (n == 0 && side != SIDE_SYSTEM)); has_next = has_next && jsonx_walk_next(&w), n++) {
		struct convert_unit *u;

		/* a turn without parts reads as one with an empty text */
		e = add_part_unit(t, has_next ? w.value : BYTES("{\"text\":\"\"}"), side, convert_below(t->arena, at, NULL, n), us);
		u = &us->items[us->n - 1];
		u->turn = turn;
		u->is_start = is_start || (u->is_result && n > 0);
		is_start = u->is_result;
	}
	return e;
}

static enum err split_turn(struct task *t, struct bytes content, const struct convert_spot *at, struct convert_units *us, size_t turn)
{
	struct bytes v[2], rest;
	enum convert_side side = SIDE_USER;

	if (jsonx_type(content) != JSONX_OBJECT)
		return convert_fail(t, at, "", "type", "must be an object");
	convert_take(t->arena, content, turn_names, true, v, &rest);
	if (convert_is(t->arena, v[0], "model"))
		side = SIDE_MODEL;
	else if (v[0].p && !convert_is(t->arena, v[0], "user") && !convert_is(t->arena, v[0], "function"))
		return convert_fail(t, at, "role", "value", "must be user or model");
	if (rest.p) {
		struct convert_unit *u = convert_add_unit(us, side, rest);

		u->is_head = u->is_start = true;
		u->at = at;
		u->turn = turn;
	}
	return split_parts(t, v[1], side, at, us, turn, rest.p != NULL);
}

static enum err split_system(struct task *t, struct bytes system, const struct convert_spot *at, struct convert_units *us)
{
	struct bytes v[2], rest;

	if (!system.p)
		return ERR_OK;
	if (jsonx_type(system) != JSONX_OBJECT)
		return convert_fail(t, at, "", "type", "must be an object");
	convert_take(t->arena, system, turn_names, true, v, &rest); /* clients give it a role, which says nothing */
	if (rest.p)
		return convert_fail_rest(t, at, rest, "is not known");
	return split_parts(t, v[1], SIDE_SYSTEM, at, us, 0, false);
}

static enum err split(struct task *t, struct bytes document, struct convert_units *units_r)
{
	static const char *const names[] = { "contents", "systemInstruction", "system_instruction", NULL };
	static const struct convert_spot root = { NULL, "input", 0 };
	const struct convert_spot *at = convert_below(t->arena, &root, "contents", 0);
	struct bytes v[3], rest;
	struct jsonx_walk w;
	size_t n = 0;
	enum err e;

	convert_take(t->arena, document, names, true, v, &rest);
	if (rest.p)
		return convert_fail_rest(t, &root, rest, "is no part of a conversation: input holds systemInstruction and contents");
	if (v[1].p && v[2].p)
		return convert_fail(t, &root, "system_instruction", "conflict", "is given beside systemInstruction");
	if (!v[0].p)
		return convert_fail(t, at, "", "required", "is missing");
	if (jsonx_type(v[0]) != JSONX_ARRAY)
		return convert_fail(t, at, "", "type", "must be an array");
	e = split_system(t, bytes_or(v[1], v[2]), convert_below(t->arena, &root, v[2].p ? "system_instruction" : "systemInstruction", 0), units_r);
	for (jsonx_walk_begin(&w, v[0]); !e && jsonx_walk_next(&w); n++)
		e = split_turn(t, w.value, convert_below(t->arena, at, NULL, n), units_r, n + 1);
	if (!e)
		gemini_match(t->arena, units_r);
	return e;
}

/* ---- reading ---- */

static struct bytes read_inline(struct arena *a, const struct gemini_part *p)
{
	static const char *const names[] = { "mimeType", "data", NULL };
	struct convert_media m = { 0 };
	struct bytes v[2], rest;

	if (jsonx_type(p->value) != JSONX_OBJECT)
		return NOTHING;
	convert_take(a, p->value, names, false, v, &rest);
	if (rest.p || !convert_is_string(v[0]) || !convert_is_string(v[1]))
		return NOTHING;
	m.kind = convert_media_kind(a, v[0]);
	m.media_type = v[0];
	m.data = v[1];
	return convert_media_part(a, &m, GEMINI, p->rest);
}

struct bytes gemini_guess_type(struct arena *a, struct bytes raw_url)
{
	static const struct {
		const char *end, *raw_type;
	} types[] = {
		{ ".png", "\"image/png\"" }, { ".jpg", "\"image/jpeg\"" }, { ".jpeg", "\"image/jpeg\"" }, { ".webp", "\"image/webp\"" },
		{ ".gif", "\"image/gif\"" }, { ".pdf", "\"application/pdf\"" }, { ".mp3", "\"audio/mp3\"" }, { ".wav", "\"audio/wav\"" },
	};
	struct bytes url = jsonx_string(a, raw_url);

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		size_t n = strlen(types[i].end);

		if (url.n > n && memcmp(url.p + url.n - n, types[i].end, n) == 0)
			return bytes_of(types[i].raw_type);
	}
	return NOTHING;
}

static struct bytes read_file(struct arena *a, const struct gemini_part *p)
{
	static const char *const names[] = { "mimeType", "fileUri", NULL };
	struct convert_media m = { 0 };
	struct bytes v[2], rest, guess;

	if (jsonx_type(p->value) != JSONX_OBJECT)
		return NOTHING;
	convert_take(a, p->value, names, false, v, &rest);
	if (rest.p || !convert_is_string(v[1]) || (v[0].p && !convert_is_string(v[0])))
		return NOTHING;
	guess = gemini_guess_type(a, v[1]);
	m.kind = convert_media_kind(a, bytes_or(v[0], guess));
	m.media_type = v[0].p && convert_same(a, v[0], guess) ? NOTHING : v[0];
	m.url = v[1];
	return convert_media_part(a, &m, GEMINI, p->rest);
}

static enum err read_text(struct task *t, const struct gemini_part *p, const struct convert_spot *at, struct convert_draft *d)
{
	const char *type = p->is_thought ? "thinking" : "text";

	if (!convert_is_string(p->value))
		return convert_fail(t, at, "text", "type", "must be a string");
	convert_draft_part(d, convert_part(t->arena, type, type, p->value, GEMINI, p->is_thought ? bytes_or(p->rest, BYTES("{}")) : p->rest));
	return ERR_OK;
}

/* Reads a call; is_known_r says whether it has the members of one alone. */
static enum err read_call(struct task *t, const struct gemini_part *p, const struct convert_unit *u, struct convert_draft *d, bool *is_known_r)
{
	const struct convert_spot *at = convert_below(t->arena, u->at, "functionCall", 0);
	struct bytes v[3], rest;
	struct convert_call c;

	if (jsonx_type(p->value) != JSONX_OBJECT)
		return convert_fail(t, at, "", "type", "must be an object");
	convert_take(t->arena, p->value, call_names, true, v, &rest);
	*is_known_r = !rest.p;
	if (v[0].p && !convert_is_string(v[0]))
		return convert_fail(t, at, "id", "type", "must be a string");
	if (!convert_is_string(v[1]) || jsonx_string(t->arena, v[1]).n == 0)
		return convert_fail(t, at, "name", v[1].p ? "type" : "required", "must be a string that is not empty");
	if (v[2].p && jsonx_type(v[2]) != JSONX_OBJECT)
		return convert_fail(t, at, "args", "type", "must be an object");
	if (rest.p)
		return ERR_OK;
	c = (struct convert_call){ u->call_id, jsonx_string(t->arena, v[1]), bytes_or(v[2], BYTES("{}")) };
	convert_list_add(&d->calls, convert_call_part(t->arena, &c, GEMINI, p->rest));
	return ERR_OK;
}

enum err gemini_read_unit(struct task *t, const struct convert_unit *u, struct convert_draft *d)
{
	struct bytes part = NOTHING;
	bool is_known = false;
	struct gemini_part p;
	enum err e;

	if (u->is_head) {
		convert_draft_rest(d, GEMINI, NOTHING, u->raw);
		return ERR_OK;
	}
	gemini_take(t->arena, u->raw, &p);
	if (p.kind == PART_TEXT)
		return read_text(t, &p, u->at, d);
	if (p.kind == PART_CALL && u->side == SIDE_MODEL) {
		e = read_call(t, &p, u, d, &is_known);
		if (e || is_known)
			return e;
	}
	if (p.kind == PART_INLINE && u->side != SIDE_SYSTEM)
		part = read_inline(t->arena, &p);
	else if (p.kind == PART_FILE && u->side != SIDE_SYSTEM)
		part = read_file(t->arena, &p);
	convert_draft_part(d, part.p ? part : convert_raw_part(t->arena, GEMINI, u->raw));
	return ERR_OK;
}

/* Whether an answer is one text or several, under "output" or "error" alone, and which. */
static bool take_texts(struct arena *a, struct bytes response, struct bytes *value_r, bool *is_error_r)
{
	struct jsonx_walk w;
	struct bytes key;
	size_t n = 0;

	jsonx_walk_begin(&w, response);
	if (!jsonx_walk_next(&w))
		return false;
	key = jsonx_string(a, w.raw_key);
	*value_r = w.value;
	*is_error_r = bytes_equal(key, BYTES("error"));
	if (jsonx_walk_next(&w) || (!*is_error_r && !bytes_equal(key, BYTES("output"))))
		return false;
	if (convert_is_string(*value_r))
		return true;
	if (jsonx_type(*value_r) != JSONX_ARRAY)
		return false;
	for (jsonx_walk_begin(&w, *value_r); jsonx_walk_next(&w); n++) {
		if (!convert_is_string(w.value))
			return false;
	}
	return n > 0;
}

static void read_response(struct convert_draft *d, struct bytes response)
{
	struct arena *a = d->task->arena;
	struct jsonx_walk w;
	struct bytes value;
	bool is_error;

	if (!take_texts(a, response, &value, &is_error)) {
		convert_draft_part(d, convert_part(a, "json", "json", response, NULL, NOTHING));
		return;
	}
	if (is_error)
		buf_member_bool(&d->extra, "is_error", true);
	if (convert_is_string(value)) {
		convert_draft_text(d, value);
		return;
	}
	for (jsonx_walk_begin(&w, value); jsonx_walk_next(&w);)
		convert_draft_part(d, convert_part(a, "text", "text", w.value, NULL, NOTHING));
}

static enum err read_answer(struct task *t, const struct convert_unit *u, struct bytes turn, struct convert_draft *d)
{
	const struct convert_spot *at = convert_below(t->arena, u->at, "functionResponse", 0);
	struct bytes v[3], rest, id, name;
	struct gemini_part p;

	gemini_take(t->arena, u->raw, &p);
	if (jsonx_type(p.value) != JSONX_OBJECT)
		return convert_fail(t, at, "", "type", "must be an object");
	convert_take(t->arena, p.value, response_names, true, v, &rest);
	if (v[0].p && !convert_is_string(v[0]))
		return convert_fail(t, at, "id", "type", "must be a string");
	if (v[1].p && !convert_is_string(v[1]))
		return convert_fail(t, at, "name", "type", "must be a string");
	gemini_names(t->arena, p.value, &id, &name);
	if (!id.p && !name.p)
		return convert_fail(t, at, "name", "required", "is missing");
	if (jsonx_type(v[2]) != JSONX_OBJECT)
		return convert_fail(t, at, "response", v[2].p ? "type" : "required", "must be an object");
	if (u->call_id.p)
		buf_member_string(&d->extra, "tool_call_id", u->call_id);
	if (name.p && !bytes_equal(name, u->call_name))
		buf_member_string(&d->extra, "name", name);
	read_response(d, v[2]);
	convert_draft_rest(d, GEMINI, rest.p ? with_member(t->arena, "functionResponse", rest, p.rest) : p.rest, turn);
	return ERR_OK;
}

static enum err read_message(struct task *t, const struct convert_unit *units, size_t n, struct convert_draft *d_r)
{
	static const char *const roles[] = { [SIDE_SYSTEM] = "system", [SIDE_USER] = "user", [SIDE_MODEL] = "assistant" };
	const struct convert_unit *last = &units[n - 1];
	struct bytes only;
	enum err e = ERR_OK;

	convert_draft_init(d_r, t, last->is_result ? "tool" : roles[last->side]);
	if (last->is_result) /* alone, or behind a head */
		return read_answer(t, last, n > 1 && units->is_head ? units->raw : NOTHING, d_r);
	for (size_t i = 0; !e && i < n; i++)
		e = gemini_read_unit(t, &units[i], d_r);
	if (e)
		return e;
	if (d_r->parts.n == 0 && d_r->calls.n > 0)
		convert_draft_text(d_r, BYTES("\"\""));
	only = d_r->parts.n == 1 && !d_r->is_text ? d_r->parts.items[0] : NOTHING;
	if (convert_is(t->arena, convert_member(only, "type"), "text") && !jsonx_member(only, GEMINI).p)
		d_r->is_text = true; /* there are no plain strings here: one text is one */
	return ERR_OK;
}

/* ---- joining ---- */

static void join_turn(struct buf *b, const struct convert_unit *u, size_t n)
{
	bool has_head = u->is_head;

	buf_add_char(b, '{');
	if (u->side != SIDE_SYSTEM)
		buf_member_str(b, "role", u->side == SIDE_MODEL ? "model" : "user");
	buf_add_member(b, "parts");
	buf_add_char(b, '[');
	for (size_t i = has_head ? 1 : 0; i < n; i++) {
		if (i > (has_head ? 1u : 0u))
			buf_add_char(b, ',');
		buf_add_bytes(b, u[i].raw);
	}
	buf_add_char(b, ']');
	if (has_head) {
		buf_add_char(b, ',');
		buf_add(b, u->raw.p + 1, u->raw.n - 1);
	} else {
		buf_add_char(b, '}');
	}
}

static struct bytes join(struct task *t, const struct convert_units *units)
{
	static const struct convert_frame frame = { "systemInstruction", "contents", join_turn, join_turn };

	return convert_join(t, units, &frame);
}

const struct convert_driver convert_gemini = {
	.name = GEMINI, .knows_names = true, .split = split, .read = read_message, .say = gemini_say, .join = join,
};
