/* SPDX-License-Identifier: MIT */
/*
 * convert_gemini: messages as Gemini's generateContent has them. Turns of user and model made of parts, of which each has one member that says what it is;
 * system texts beside them; answers of tools in a user's turn, in front, matched with their calls by id or, failing that, by name.
 * Calls that come without an id get one made of what they say and where; it is not sent back.
 */
#include <stdlib.h>

#include "base/secret.h"
#include "llm/convert_private.h"

#define NAME "gemini"
#define MADE_ID "parley_"
#define MADE_ID_HASH 8 /* bytes of it behind that */

enum part { PART_TEXT, PART_INLINE, PART_FILE, PART_CALL, PART_RESPONSE, PART_OTHER };

static const char *const part_names[] = { "text", "inlineData", "fileData", "functionCall", "functionResponse", "thought", "turn", NULL };
enum { N_KINDS = 5, THOUGHT = 5, N_PART_NAMES = 7 };

/* Without the one that only a text's reader looks at. */
static const char *const other_names[] = { "text", "inlineData", "fileData", "functionCall", "functionResponse", "turn", NULL };

static const char *const turn_names[] = { "role", "parts", NULL };
static const char *const response_names[] = { "id", "name", "response", NULL };
static const char *const call_names[] = { "id", "name", "args", NULL };

/* A part taken apart. */
struct taken {
	enum part kind;
	struct bytes value; /* of the member that says what it is */
	bool is_thought;    /* of a text */
	struct bytes rest;
};

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

static void take_part(struct arena *a, struct bytes part, struct taken *p_r)
{
	struct bytes v[N_PART_NAMES];

	*p_r = (struct taken){ .kind = PART_OTHER };
	convert_take(a, part, part_names, true, v, &p_r->rest);
	for (int i = 0; i < N_KINDS; i++) {
		if (!v[i].p)
			continue;
		if (p_r->value.p) { /* two at once */
			p_r->kind = PART_OTHER;
			return;
		}
		p_r->kind = (enum part)i;
		p_r->value = v[i];
	}
	if (v[THOUGHT + 1].p) /* is what extra calls the members of the turn */
		p_r->kind = PART_OTHER;
	if (v[THOUGHT].p && p_r->kind == PART_TEXT)
		p_r->is_thought = jsonx_type(v[THOUGHT]) == JSONX_BOOL && jsonx_bool(v[THOUGHT]);
	else if (v[THOUGHT].p)
		p_r->rest = with_member(a, "thought", v[THOUGHT], p_r->rest);
}

/* ---- taking a document apart ---- */

static enum err add_part_unit(struct task *t, struct bytes part, enum convert_side side, const struct convert_spot *at, struct convert_units *us)
{
	struct convert_unit *u = convert_add_unit(us, side, part);
	struct taken p;

	u->at = at;
	if (jsonx_type(part) != JSONX_OBJECT)
		return convert_fail(t, at, "", "type", "must be an object");
	take_part(t->arena, part, &p);
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

/* ---- which call an answer answers ---- */

struct call {
	struct bytes id, name;
	size_t unit;
	bool is_answered;
};

struct calls {
	struct call *items;    /* in the document's order */
	size_t *by_id, *by_name; /* sorted indices */
	size_t *next;          /* of each run in by_name: the first that may be open, kept at the run's first place */
	size_t n;
};

static int compare_by_id(const void *x, const void *y, void *arg)
{
	const struct call *items = arg, *a = &items[*(const size_t *)x], *b = &items[*(const size_t *)y];
	int c = convert_compare(a->id, b->id);

	return c ? c : (a->unit > b->unit) - (a->unit < b->unit);
}

static int compare_by_name(const void *x, const void *y, void *arg)
{
	const struct call *items = arg, *a = &items[*(const size_t *)x], *b = &items[*(const size_t *)y];
	int c = convert_compare(a->name, b->name);

	return c ? c : (a->unit > b->unit) - (a->unit < b->unit);
}

/* The string members of a call or an answer, plain; no bytes where there is none or it is empty. */
static void read_names(struct arena *a, struct bytes value, struct bytes *id_r, struct bytes *name_r)
{
	struct bytes id = convert_member(value, "id"), name = convert_member(value, "name");

	*id_r = convert_is_string(id) ? jsonx_string(a, id) : NOTHING;
	*name_r = convert_is_string(name) ? jsonx_string(a, name) : NOTHING;
	if (id_r->n == 0)
		*id_r = NOTHING;
	if (name_r->n == 0)
		*name_r = NOTHING;
}

static struct bytes make_id(struct arena *a, const struct convert_unit *u, size_t ordinal)
{
	struct bytes parts[2] = { bytes_of(arena_printf(a, "%zu", ordinal)) };
	char hex[2 * MADE_ID_HASH + 1];
	unsigned char hash[SECRET_HASH_SIZE];
	struct buf b;

	buf_init(&b, a, u->raw.n + 16);
	convert_canon(&b, u->raw);
	parts[1] = buf_bytes(&b);
	secret_hash(parts, 2, hash);
	secret_hex(hash, MADE_ID_HASH, hex);
	return bytes_of(arena_printf(a, MADE_ID "%s", hex));
}

static bool is_made_id(struct bytes id)
{
	return id.n == sizeof(MADE_ID) - 1 + 2 * MADE_ID_HASH && memcmp(id.p, MADE_ID, sizeof(MADE_ID) - 1) == 0;
}

static void list_calls(struct arena *a, struct convert_units *us, struct calls *c_r)
{
	struct taken p;

	*c_r = (struct calls){ .items = arena_array(a, us->n, sizeof(*c_r->items)) };
	for (size_t i = 0; i < us->n; i++) {
		struct convert_unit *u = &us->items[i];
		struct call *c = &c_r->items[c_r->n];

		if (u->is_head || u->side != SIDE_MODEL)
			continue;
		take_part(a, u->raw, &p);
		if (p.kind != PART_CALL)
			continue;
		c->unit = i;
		read_names(a, p.value, &c->id, &c->name);
		if (!c->id.p)
			c->id = make_id(a, u, c_r->n);
		u->call_id = c->id;
		c_r->n++;
	}
	c_r->by_id = arena_array(a, c_r->n, sizeof(*c_r->by_id));
	c_r->by_name = arena_array(a, c_r->n, sizeof(*c_r->by_name));
	c_r->next = arena_array(a, c_r->n, sizeof(*c_r->next));
	for (size_t i = 0; i < c_r->n; i++)
		c_r->by_id[i] = c_r->by_name[i] = c_r->next[i] = i;
	qsort_r(c_r->by_id, c_r->n, sizeof(*c_r->by_id), compare_by_id, c_r->items);
	qsort_r(c_r->by_name, c_r->n, sizeof(*c_r->by_name), compare_by_name, c_r->items);
}

/* The newest call of this id before a unit. */
static struct call *find_by_id(const struct calls *c, struct bytes id, size_t before)
{
	size_t lo = 0, hi = c->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const struct call *at = &c->items[c->by_id[mid]];
		int order = convert_compare(at->id, id);

		if (order < 0 || (order == 0 && at->unit < before))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo > 0 && bytes_equal(c->items[c->by_id[lo - 1]].id, id) ? &c->items[c->by_id[lo - 1]] : NULL;
}

/* The oldest call of this name before a unit that nothing answered yet. */
static struct call *find_by_name(const struct calls *c, struct bytes name, size_t before)
{
	size_t lo = 0, hi = c->n, run;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (convert_compare(c->items[c->by_name[mid]].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	run = lo;
	for (size_t i = run < c->n ? c->next[run] : c->n; i < c->n; i++) {
		struct call *at = &c->items[c->by_name[i]];

		if (!bytes_equal(at->name, name) || at->unit >= before)
			return NULL;
		c->next[run] = i;
		if (!at->is_answered)
			return at;
	}
	return NULL;
}

static void match_answers(struct arena *a, struct convert_units *us)
{
	struct calls calls;
	struct taken p;

	list_calls(a, us, &calls);
	for (size_t i = 0; i < us->n; i++) {
		struct convert_unit *u = &us->items[i];
		struct bytes id, name;
		struct call *c;

		if (!u->is_result)
			continue;
		take_part(a, u->raw, &p);
		read_names(a, p.value, &id, &name);
		c = id.p ? find_by_id(&calls, id, i) : name.p ? find_by_name(&calls, name, i) : NULL;
		u->call_id = c ? c->id : id;
		u->call_name = c ? c->name : NOTHING;
		if (c)
			c->is_answered = true;
	}
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
		match_answers(t->arena, units_r);
	return e;
}

/* ---- reading ---- */

static struct bytes read_inline(struct arena *a, const struct taken *p)
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
	return convert_media_part(a, &m, NAME, p->rest);
}

/* The type that an address ends like, as a raw string; no bytes for others. */
static struct bytes guess_type(struct arena *a, struct bytes raw_url)
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

static struct bytes read_file(struct arena *a, const struct taken *p)
{
	static const char *const names[] = { "mimeType", "fileUri", NULL };
	struct convert_media m = { 0 };
	struct bytes v[2], rest, guess;

	if (jsonx_type(p->value) != JSONX_OBJECT)
		return NOTHING;
	convert_take(a, p->value, names, false, v, &rest);
	if (rest.p || !convert_is_string(v[1]) || (v[0].p && !convert_is_string(v[0])))
		return NOTHING;
	guess = guess_type(a, v[1]);
	m.kind = convert_media_kind(a, bytes_or(v[0], guess));
	m.media_type = v[0].p && convert_same(a, v[0], guess) ? NOTHING : v[0];
	m.url = v[1];
	return convert_media_part(a, &m, NAME, p->rest);
}

static enum err read_text(struct task *t, const struct taken *p, const struct convert_spot *at, struct convert_draft *d)
{
	const char *type = p->is_thought ? "thinking" : "text";

	if (!convert_is_string(p->value))
		return convert_fail(t, at, "text", "type", "must be a string");
	convert_draft_part(d, convert_part(t->arena, type, type, p->value, NAME, p->is_thought ? bytes_or(p->rest, BYTES("{}")) : p->rest));
	return ERR_OK;
}

/* Reads a call; is_known_r says whether it has the members of one alone. */
static enum err read_call(struct task *t, const struct taken *p, const struct convert_unit *u, struct convert_draft *d, bool *is_known_r)
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
	convert_list_add(&d->calls, convert_call_part(t->arena, &c, NAME, p->rest));
	return ERR_OK;
}

static enum err read_unit(struct task *t, const struct convert_unit *u, struct convert_draft *d)
{
	struct bytes part = NOTHING;
	bool is_known = false;
	struct taken p;
	enum err e;

	if (u->is_head) {
		convert_draft_rest(d, NAME, NOTHING, u->raw);
		return ERR_OK;
	}
	take_part(t->arena, u->raw, &p);
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
	convert_draft_part(d, part.p ? part : convert_raw_part(t->arena, NAME, u->raw));
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
	struct taken p;

	take_part(t->arena, u->raw, &p);
	if (jsonx_type(p.value) != JSONX_OBJECT)
		return convert_fail(t, at, "", "type", "must be an object");
	convert_take(t->arena, p.value, response_names, true, v, &rest);
	if (v[0].p && !convert_is_string(v[0]))
		return convert_fail(t, at, "id", "type", "must be a string");
	if (v[1].p && !convert_is_string(v[1]))
		return convert_fail(t, at, "name", "type", "must be a string");
	read_names(t->arena, p.value, &id, &name);
	if (!id.p && !name.p)
		return convert_fail(t, at, "name", "required", "is missing");
	if (jsonx_type(v[2]) != JSONX_OBJECT)
		return convert_fail(t, at, "response", v[2].p ? "type" : "required", "must be an object");
	if (u->call_id.p)
		buf_member_string(&d->extra, "tool_call_id", u->call_id);
	if (name.p && !bytes_equal(name, u->call_name))
		buf_member_string(&d->extra, "name", name);
	read_response(d, v[2]);
	convert_draft_rest(d, NAME, rest.p ? with_member(t->arena, "functionResponse", rest, p.rest) : p.rest, turn);
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
		e = read_unit(t, &units[i], d_r);
	if (e)
		return e;
	if (d_r->parts.n == 0 && d_r->calls.n > 0)
		convert_draft_text(d_r, BYTES("\"\""));
	only = d_r->parts.n == 1 && !d_r->is_text ? d_r->parts.items[0] : NOTHING;
	if (convert_is(t->arena, convert_member(only, "type"), "text") && !jsonx_member(only, NAME).p)
		d_r->is_text = true; /* there are no plain strings here: one text is one */
	return ERR_OK;
}

/* ---- saying ---- */

struct saying {
	const struct convert_say *s;
	enum convert_side side;
};

static void end_part(struct saying *sy, struct buf *b, struct bytes part, const char *const *names)
{
	convert_add_rest(b, part, NAME, names);
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

	if (jsonx_string(sy->s->task->arena, text).n == 0 && jsonx_type(convert_member(part, NAME)) != JSONX_OBJECT)
		return;
	begin_part(sy, &b);
	buf_member_json(&b, "text", text);
	if (is_thought)
		buf_member_bool(&b, "thought", true);
	end_part(sy, &b, part, part_names);
}

static void say_media(struct saying *sy, struct bytes part, const struct convert_media *m)
{
	struct arena *a = sy->s->task->arena;
	struct bytes type = m->media_type;
	struct buf b;

	if (sy->side == SIDE_SYSTEM || (!m->data.p && !m->url.p))
		return;
	if (!type.p)
		type = guess_type(a, m->url);
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
	struct taken p;

	take_part(a, part, &p);
	if (p.kind == PART_RESPONSE && sy->side == SIDE_USER)
		return;
	convert_draft_init(&d, &quiet, "");
	if (!read_unit(&quiet, &u, &d) && d.parts.n == 1 && convert_is(a, jsonx_member(d.parts.items[0], "type"), NAME))
		convert_add_unit(sy->s->units, sy->side, part);
}

static void say_part(struct saying *sy, struct bytes part)
{
	struct arena *a = sy->s->task->arena;
	struct bytes type = jsonx_member(part, "type"), thinking = jsonx_member(part, "thinking"), block, text;
	struct convert_media m;

	if (convert_raw_of(a, part, NAME, &block)) {
		say_raw(sy, block);
	} else if (convert_is(a, type, "thinking")) { /* its own thoughts alone */
		if (sy->side == SIDE_MODEL && convert_is_string(thinking) && jsonx_type(jsonx_member(part, NAME)) == JSONX_OBJECT)
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
	if (!is_made_id(c.id))
		buf_member_string(&b, "id", c.id);
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
	struct bytes own = convert_member(s->extra, NAME);
	struct buf b;

	if (s->tool_name.n == 0) /* nothing to match it by on this side */
		return;
	buf_init(&b, a, 128 + s->content.n);
	buf_add_str(&b, "{\"functionResponse\":{");
	if (id.n > 0 && !is_made_id(id))
		buf_member_string(&b, "id", id);
	buf_member_string(&b, "name", s->tool_name);
	add_response(&b, s);
	convert_add_rest(&b, own, "functionResponse", response_names);
	buf_add_char(&b, '}');
	convert_add_rest(&b, s->extra, NAME, other_names);
	buf_add_char(&b, '}');
	convert_add_unit(s->units, SIDE_USER, buf_bytes(&b))->is_result = true;
}

static void say(const struct convert_say *s)
{
	struct saying sy = { s, SIDE_USER };
	size_t first = s->units->n;

	if (bytes_equal(s->role, BYTES("system")) || bytes_equal(s->role, BYTES("developer")))
		sy.side = SIDE_SYSTEM;
	else if (bytes_equal(s->role, BYTES("assistant")))
		sy.side = SIDE_MODEL;
	convert_say_head(s, NAME, sy.side, turn_names);
	if (bytes_equal(s->role, BYTES("tool")))
		say_answer(s);
	else
		convert_each(s, say_found, &sy);
	if (s->units->n == first + 1 && s->units->items[first].is_head) /* nothing follows it */
		s->units->n = first;
}

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
	const struct convert_unit *u = units->items;
	size_t from = 0, to;
	struct buf b;

	buf_init(&b, t->arena, 4096);
	buf_add_char(&b, '{');
	while (from < units->n && u[from].side == SIDE_SYSTEM)
		from++;
	if (from > 0) {
		buf_add_member(&b, "systemInstruction");
		join_turn(&b, u, from);
	}
	buf_add_member(&b, "contents");
	buf_add_char(&b, '[');
	for (; from < units->n; from = to) {
		for (to = from + 1; to < units->n && u[to].turn == u[from].turn; to++) {}
		if (b.p[b.n - 1] != '[')
			buf_add_char(&b, ',');
		join_turn(&b, u + from, to - from);
	}
	buf_add_str(&b, "]}");
	return buf_bytes(&b);
}

const struct convert_driver convert_gemini = {
	.name = NAME, .knows_names = true, .split = split, .read = read_message, .say = say, .join = join,
};
