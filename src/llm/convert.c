/* SPDX-License-Identifier: MIT */
/*
 * convert: messages into documents and back, for any format. A format takes documents apart into units, reads messages from units and says
 * messages in units; here is what is common: the order of units, which units are whose, and the aside. Whatever a document is written
 * from, the aside is made against what reading that very document gives, so the two cannot disagree.
 */
#include <assert.h>
#include <stdlib.h>

#include "llm/convert_private.h"

static const struct convert_driver *const drivers[] = {
	[CONVERT_OPENAI] = &convert_openai,
	[CONVERT_ANTHROPIC] = &convert_anthropic,
	[CONVERT_GEMINI] = &convert_gemini,
};

const struct convert_driver *convert_driver_of(enum convert_kind kind)
{
	return drivers[kind];
}

enum convert_kind convert_find(struct bytes name)
{
	for (int i = CONVERT_OPENAI; i <= CONVERT_GEMINI; i++) {
		if (bytes_equal(name, bytes_of(drivers[i]->name)))
			return (enum convert_kind)i;
	}
	return CONVERT_NONE;
}

const char *convert_name(enum convert_kind kind)
{
	return drivers[kind]->name;
}

/* ---- spots ---- */

static void add_path(struct buf *b, const struct convert_spot *at)
{
	if (at->up)
		add_path(b, at->up);
	if (!at->name)
		buf_addf(b, "[%zu]", at->index);
	else
		buf_addf(b, "%s%s", b->n > 0 ? "." : "", at->name);
}

const char *convert_path(struct arena *a, const struct convert_spot *at)
{
	struct buf path;

	buf_init(&path, a, 64);
	add_path(&path, at);
	return buf_bytes(&path).p;
}

enum err convert_fail(struct task *t, const struct convert_spot *at, const char *name, const char *code, const char *detail)
{
	const char *path = convert_path(t->arena, at);

	if (*name)
		path = arena_printf(t->arena, "%s.%s", path, name);
	return task_fail_field(t, path, code, "%s", detail);
}

enum err convert_fail_rest(struct task *t, const struct convert_spot *at, struct bytes rest, const char *detail)
{
	struct jsonx_walk w;
	struct bytes key;

	jsonx_walk_begin(&w, rest);
	jsonx_walk_next(&w);
	key = jsonx_string(t->arena, w.raw_key);
	return convert_fail(t, at, arena_copy(t->arena, key.p, key.n), "unknown", detail);
}

struct convert_spot *convert_below(struct arena *a, const struct convert_spot *up, const char *name, size_t index)
{
	struct convert_spot *at = arena_alloc(a, sizeof(*at));

	*at = (struct convert_spot){ up, name, index };
	return at;
}

/* ---- lists ---- */

struct convert_unit *convert_add_unit(struct convert_units *us, enum convert_side side, struct bytes raw)
{
	struct convert_unit *u;

	if (us->n == us->cap) {
		size_t cap = us->cap > 0 ? 2 * us->cap : 16;

		us->items = arena_grow(us->arena, us->items, us->cap * sizeof(*us->items), cap * sizeof(*us->items));
		us->cap = cap;
	}
	u = &us->items[us->n++];
	*u = (struct convert_unit){ .side = side, .raw = raw, .owner = NO_OWNER };
	return u;
}

void convert_list_add(struct convert_list *l, struct bytes raw)
{
	if (l->n == l->cap) {
		size_t cap = l->cap > 0 ? 2 * l->cap : 4;

		l->items = arena_grow(l->arena, l->items, l->cap * sizeof(*l->items), cap * sizeof(*l->items));
		l->cap = cap;
	}
	l->items[l->n++] = raw;
}

/* ---- documents from messages ---- */

/* Members of extra that no message can be given are facts of the store, not of the conversation. */
static struct bytes given_extra(struct arena *a, struct bytes extra)
{
	struct jsonx_walk w;
	struct buf b;

	if (extra.n == 0)
		return BYTES("{}");
	buf_init(&b, a, extra.n);
	buf_add_char(&b, '{');
	for (jsonx_walk_begin(&w, extra); jsonx_walk_next(&w);) {
		if (!convert_is_given(jsonx_string(a, w.raw_key)))
			continue;
		buf_add_str(&b, b.n > 1 ? "," : "");
		buf_add_bytes(&b, w.raw_key);
		buf_add_char(&b, ':');
		buf_add_bytes(&b, w.value);
	}
	buf_add_char(&b, '}');
	return buf_bytes(&b);
}

/* The messages that are not deleted, as they are to be said. */
static struct convert_message *pick_messages(struct task *t, const struct convert_message *messages, size_t n, size_t *n_r)
{
	struct convert_message *kept = arena_array(t->arena, n, sizeof(*kept));

	*n_r = 0;
	for (size_t i = 0; i < n; i++) {
		enum jsonx_type type = jsonx_type(messages[i].content);

		if ((type != JSONX_STRING && type != JSONX_ARRAY) || !convert_is_role(messages[i].role))
			continue;
		kept[*n_r] = messages[i];
		kept[(*n_r)++].extra = given_extra(t->arena, messages[i].extra);
	}
	return kept;
}

/* The tool calls of all messages, to find the name of what an answer answers. */
struct named_call {
	struct bytes id, name;
	size_t at; /* its message */
};

struct named_calls {
	struct named_call *items;
	size_t n;
};

static int compare_calls(const void *x, const void *y)
{
	const struct named_call *a = x, *b = y;
	int c = convert_compare(a->id, b->id);

	return c ? c : (a->at > b->at) - (a->at < b->at);
}

static void list_calls(struct task *t, const struct convert_message *messages, size_t n, struct named_calls *calls_r)
{
	struct jsonx_walk w;
	struct convert_call c;
	size_t cap = 0;

	*calls_r = (struct named_calls){ 0 };
	for (size_t i = 0; i < n; i++) {
		struct bytes list = jsonx_member(messages[i].extra, "tool_calls");

		if (jsonx_type(list) != JSONX_ARRAY)
			continue;
		for (jsonx_walk_begin(&w, list); jsonx_walk_next(&w);) {
			if (!convert_call_of(t->arena, w.value, &c))
				continue;
			if (calls_r->n == cap) {
				size_t size = sizeof(*calls_r->items);

				calls_r->items = arena_grow(t->arena, calls_r->items, cap * size, (2 * cap + 8) * size);
				cap = 2 * cap + 8;
			}
			calls_r->items[calls_r->n++] = (struct named_call){ c.id, c.name, i };
		}
	}
	if (calls_r->n > 0)
		qsort(calls_r->items, calls_r->n, sizeof(*calls_r->items), compare_calls);
}

/* The name of the newest call of this id before a message; no bytes when there is none. */
static struct bytes find_call_name(const struct named_calls *calls, struct bytes id, size_t before)
{
	size_t lo = 0, hi = calls->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = convert_compare(calls->items[mid].id, id);

		if (c < 0 || (c == 0 && calls->items[mid].at < before))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo > 0 && bytes_equal(calls->items[lo - 1].id, id) ? calls->items[lo - 1].name : NOTHING;
}

/* Name of the tool whose answer a message is. */
static struct bytes tool_name_of(struct task *t, const struct convert_message *m, const struct named_calls *calls, size_t at)
{
	struct bytes name = jsonx_member(m->extra, "name"), id = jsonx_member(m->extra, "tool_call_id"), found = NOTHING;

	if (convert_is_string(id))
		found = find_call_name(calls, jsonx_string(t->arena, id), at);
	return found.p || !convert_is_string(name) ? found : jsonx_string(t->arena, name);
}

static void say_all(struct task *t, const struct convert_driver *driver, const struct convert_message *messages, size_t n, struct convert_units *us)
{
	struct named_calls calls = { 0 };

	if (driver->knows_names)
		list_calls(t, messages, n, &calls);
	for (size_t i = 0; i < n; i++) {
		const struct convert_message *m = &messages[i];
		struct convert_say s = { .task = t, .units = us, .role = m->role, .content = m->content, .extra = m->extra };
		size_t first = us->n;

		if (driver->knows_names && bytes_equal(m->role, BYTES("tool")))
			s.tool_name = tool_name_of(t, m, &calls, i);
		driver->say(&s);
		for (size_t k = first; k < us->n; k++)
			us->items[k].owner = i;
	}
}

/* Adds one turn: its head, then answers of tools, then the rest, each in its order. */
static void arrange_turn(struct convert_units *out, const struct convert_units *in, size_t from, size_t to, size_t turn)
{
	for (int pass = 0; pass < 3; pass++) {
		for (size_t i = from; i < to; i++) {
			const struct convert_unit *u = &in->items[i];

			if (pass != (u->is_head ? 0 : u->is_result ? 1 : 2))
				continue;
			*convert_add_unit(out, u->side, u->raw) = *u;
			out->items[out->n - 1].turn = turn;
		}
	}
}

/* The units in the order of the document: system texts, then turns of alternating sides. A message with a head has its turn for itself. */
static void arrange(const struct convert_units *in, struct convert_units *out)
{
	struct convert_units body = { .arena = in->arena };
	size_t turn = 0;

	for (size_t i = 0; i < in->n; i++) {
		const struct convert_unit *u = &in->items[i];

		*convert_add_unit(u->side == SIDE_SYSTEM ? out : &body, u->side, u->raw) = *u;
	}
	for (size_t from = 0, to; from < body.n; from = to) {
		const struct convert_unit *u = &body.items[from];

		for (to = from + 1; to < body.n && body.items[to].side == u->side && !body.items[to].is_head; to++) {
			if (u->is_head && body.items[to].owner != u->owner)
				break;
		}
		arrange_turn(out, &body, from, to, ++turn);
	}
}

/* Whether reading the document alone gives the messages. */
static bool says_all(const struct convert_units *us, const struct convert_entry *entries, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (entries[i].change.p || entries[i].n == 0 || (i > 0 && entries[i].start < entries[i - 1].start))
			return false;
	}
	for (size_t i = 0; i < us->n; i++) {
		if (us->items[i].is_start != (i == 0 || us->items[i].owner != us->items[i - 1].owner))
			return false;
	}
	return true;
}

/* Takes the document apart again, as its reader will, and notes what is missing of each message. */
static struct bytes make_aside(struct task *t, const struct convert_driver *driver, const struct convert_message *messages, size_t n, struct bytes document,
			       const struct convert_units *said)
{
	struct convert_units us = { .arena = t->arena };
	struct convert_entry *entries = arena_array(t->arena, n, sizeof(*entries));
	struct convert_draft d;
	enum err e = driver->split(t, document, &us);

	assert(!e && us.n == said->n);
	for (size_t i = us.n; i-- > 0;) {
		us.items[i].owner = said->items[i].owner;
		us.items[i].digest = convert_digest(t->arena, &us.items[i]);
		entries[us.items[i].owner].start = i;
		entries[us.items[i].owner].n++;
	}
	for (size_t i = 0; i < n; i++) {
		e = convert_read(t, driver, entries[i].n > 0 ? &us.items[entries[i].start] : NULL, entries[i].n, &d);
		assert(!e);
		entries[i].change = convert_diff(t, &messages[i], &d);
	}
	return says_all(&us, entries, n) ? BYTES("null") : convert_aside_format(t, driver->name, &us, entries, n);
}

void convert_format(struct task *t, enum convert_kind kind, const struct convert_message *messages, size_t n, struct bytes *document_r,
		    struct bytes *aside_r)
{
	const struct convert_driver *driver = drivers[kind];
	struct convert_units said = { .arena = t->arena }, arranged = { .arena = t->arena };
	struct convert_message *kept = pick_messages(t, messages, n, &n);

	say_all(t, driver, kept, n, &said);
	arrange(&said, &arranged);
	*document_r = driver->join(t, &arranged);
	if (aside_r)
		*aside_r = make_aside(t, driver, kept, n, *document_r, &arranged);
}
