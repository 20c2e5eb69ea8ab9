/* SPDX-License-Identifier: MIT */
/* convert_read: messages from a document and its aside; what a message may hold is checked here, wherever it came from. */
#include "llm/convert_private.h"

#define METADATA_MAX 16384

/* ---- drafts ---- */

void convert_draft_init(struct convert_draft *d, struct task *t, const char *role)
{
	*d = (struct convert_draft){ .task = t, .role = bytes_of(role) };
	d->parts.arena = d->calls.arena = t->arena;
	buf_init(&d->extra, t->arena, 64);
	buf_add_char(&d->extra, '{');
}

void convert_draft_text(struct convert_draft *d, struct bytes raw_string)
{
	d->is_text = true;
	convert_list_add(&d->parts, convert_part(d->task->arena, "text", "text", raw_string, NULL, NOTHING));
}

void convert_draft_part(struct convert_draft *d, struct bytes part)
{
	for (; d->n_placed < d->calls.n; d->n_placed++)
		convert_list_add(&d->parts, bytes_of(arena_printf(d->task->arena, "{\"type\":\"tool_call\",\"index\":%zu}", d->n_placed)));
	convert_list_add(&d->parts, part);
}

void convert_draft_rest(struct convert_draft *d, const char *provider, struct bytes rest, struct bytes turn)
{
	if (!rest.p && !turn.p)
		return;
	buf_add_member(&d->extra, provider);
	if (!turn.p) {
		buf_add_bytes(&d->extra, rest);
		return;
	}
	buf_add_char(&d->extra, '{');
	if (rest.p)
		buf_add(&d->extra, rest.p + 1, rest.n - 2);
	buf_member_json(&d->extra, "turn", turn);
	buf_add_char(&d->extra, '}');
}

static void add_array(struct buf *b, const struct convert_list *l)
{
	buf_add_char(b, '[');
	for (size_t i = 0; i < l->n; i++) {
		if (i > 0)
			buf_add_char(b, ',');
		buf_add_bytes(b, l->items[i]);
	}
	buf_add_char(b, ']');
}

static struct bytes draft_content(const struct convert_draft *d)
{
	struct buf b;

	if (d->is_text)
		return d->parts.n == 1 ? convert_member(d->parts.items[0], "text") : NOTHING;
	buf_init(&b, d->task->arena, 64);
	add_array(&b, &d->parts);
	return buf_bytes(&b);
}

static struct bytes draft_extra(struct convert_draft *d)
{
	if (d->calls.n > 0) {
		buf_add_member(&d->extra, "tool_calls");
		add_array(&d->extra, &d->calls);
	}
	if (d->extra.n == 1)
		return NOTHING;
	buf_add_char(&d->extra, '}');
	return buf_bytes(&d->extra);
}

/* ---- checking what was read ---- */

/* A member of extra: its type, and the least and most bytes of a string, elements of an array, or values of a number. */
struct extra_rule {
	const char *name;
	enum jsonx_type type;
	int64_t min, max;
};

static const struct extra_rule extra_rules[] = {
	{ "name", JSONX_STRING, 1, 64 },
	{ "tool_calls", JSONX_ARRAY, 1, CONVERT_CALLS_MAX },
	{ "tool_call_id", JSONX_STRING, 1, 128 },
	{ "is_error", JSONX_BOOL, 0, 0 },
	{ "audio_url", JSONX_STRING, 1, 2048 },
	{ "model", JSONX_STRING, 1, 128 },
	{ "client_id", JSONX_STRING, 1, 128 },
	{ "tokens_used", JSONX_INT, 0, 1000000000 },
	{ "latency_ms", JSONX_INT, 0, 1000000000 },
	{ "openai", JSONX_OBJECT, 0, 0 },
	{ "anthropic", JSONX_OBJECT, 0, 0 },
	{ "gemini", JSONX_OBJECT, 0, 0 },
};

static const struct extra_rule *find_rule(struct bytes name)
{
	for (size_t i = 0; i < sizeof(extra_rules) / sizeof(extra_rules[0]); i++) {
		if (bytes_equal(name, bytes_of(extra_rules[i].name)))
			return &extra_rules[i];
	}
	return NULL;
}

bool convert_is_given(struct bytes name)
{
	return find_rule(name) != NULL;
}

static bool is_plain_text(struct bytes s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f)
			return false;
	}
	return true;
}

static enum err check_member(struct task *t, const struct extra_rule *rule, struct bytes value, const struct convert_spot *at)
{
	enum jsonx_type type = jsonx_type(value);
	int64_t size = 0;
	struct jsonx_walk w;

	if (type != rule->type)
		return convert_fail(t, at, rule->name, "type", "has the wrong type");
	if (type == JSONX_STRING) {
		struct bytes s = jsonx_string(t->arena, value);

		size = (int64_t)s.n;
		if (!is_plain_text(s))
			return convert_fail(t, at, rule->name, "format", "must not hold control characters");
	} else if (type == JSONX_INT) {
		size = jsonx_int(value);
	} else if (type == JSONX_ARRAY) {
		for (jsonx_walk_begin(&w, value); jsonx_walk_next(&w);)
			size++;
	}
	if (size < rule->min || size > rule->max)
		return convert_fail(t, at, rule->name, "range",
				    arena_printf(t->arena, "must be %lld to %lld in size", (long long)rule->min, (long long)rule->max));
	return ERR_OK;
}

static enum err check_extra(struct task *t, struct bytes extra, const struct convert_spot *at)
{
	struct jsonx_walk w;
	enum err e = ERR_OK;

	if (!extra.p)
		return ERR_OK;
	for (jsonx_walk_begin(&w, extra); !e && jsonx_walk_next(&w);) {
		const struct extra_rule *rule = find_rule(jsonx_string(t->arena, w.raw_key));

		e = rule ? check_member(t, rule, w.value, at) : convert_fail(t, at, "extra", "unknown", "has a member that no message may be given");
	}
	return e;
}

bool convert_is_role(struct bytes role)
{
	static const char *const roles[] = { "system", "developer", "user", "assistant", "tool" };

	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
		if (bytes_equal(role, bytes_of(roles[i])))
			return true;
	}
	return false;
}

static bool is_content(struct arena *a, struct bytes content)
{
	struct jsonx_walk w;
	size_t n = 0;

	if (convert_is_string(content))
		return true;
	if (jsonx_type(content) != JSONX_ARRAY)
		return false;
	for (jsonx_walk_begin(&w, content); jsonx_walk_next(&w); n++) {
		struct bytes type = convert_member(w.value, "type");

		if (!convert_is_string(type) || jsonx_string(a, type).n == 0)
			return false;
	}
	return n > 0;
}

/* Whether what was put together of a document and an aside, each of them within bounds, still is. */
static bool is_shallow(struct arena *a, struct bytes raw)
{
	struct jsonx_flaw flaw;

	return raw.n == 0 || jsonx_check_strict(a, raw, &flaw);
}

static enum err check_message(struct task *t, const struct convert_message *m, const struct convert_spot *at)
{
	if (!convert_is_role(m->role))
		return convert_fail(t, at, "role", "value", "must be system, developer, user, assistant or tool");
	if (!is_content(t->arena, m->content))
		return convert_fail(t, at, "content", "type", "must be a string, or one or more objects with a type");
	if (!is_shallow(t->arena, m->content))
		return convert_fail(t, at, "content", "range", "is nested too deeply");
	if (!is_shallow(t->arena, m->extra))
		return convert_fail(t, at, "extra", "range", "is nested too deeply");
	if (m->metadata.n > METADATA_MAX)
		return convert_fail(t, at, "metadata", "range", "must be at most 16384 bytes");
	return check_extra(t, m->extra, at);
}

/* ---- messages from documents ---- */

enum err convert_read(struct task *t, const struct convert_driver *driver, const struct convert_unit *units, size_t n, struct convert_draft *d_r)
{
	if (n > 0)
		return driver->read(t, units, n, d_r);
	convert_draft_init(d_r, t, "");
	return ERR_OK;
}

/* A message that the aside does not know, and the entry it comes behind. */
struct group {
	size_t start, n;
	size_t after; /* BEFORE_ALL, BEFORE_BODY, or an entry */
};

#define BEFORE_ALL ((size_t)-1)
#define BEFORE_BODY ((size_t)-2)

#define NO_GROUP ((size_t)-1)

struct reading {
	struct task *task;
	const struct convert_driver *driver;
	struct convert_units units;
	struct convert_aside aside;
	struct group *groups;
	size_t n_groups;
	size_t first_group, body_group; /* of those before all and before the body */
	size_t *group_of;               /* of each entry: the first of the groups behind it */
	struct convert_message *out;
	size_t n_out;
};

static enum err emit(struct reading *r, size_t start, size_t n, struct bytes change, const struct convert_spot *at)
{
	struct convert_message *m = &r->out[r->n_out++];
	struct convert_draft d;
	enum err e = convert_read(r->task, r->driver, n > 0 ? &r->units.items[start] : NULL, n, &d);

	if (!e && change.p)
		e = convert_apply(r->task, &d, change, at, &m->metadata);
	if (e)
		return e;
	m->path = convert_path(r->task->arena, at);
	m->role = d.role;
	m->content = draft_content(&d);
	m->extra = draft_extra(&d);
	return check_message(r->task, m, at);
}

static void add_group(struct reading *r, size_t start, size_t after)
{
	size_t *first = after == BEFORE_ALL ? &r->first_group : after == BEFORE_BODY ? &r->body_group : &r->group_of[after];

	if (*first == NO_GROUP)
		*first = r->n_groups;
	r->groups[r->n_groups++] = (struct group){ start, 1, after };
}

/* The groups of units that no known message owns, in the document's order. */
static void find_groups(struct reading *r)
{
	const struct convert_unit *u = r->units.items;
	size_t after = BEFORE_ALL;

	r->groups = arena_array(r->task->arena, r->units.n, sizeof(*r->groups));
	r->group_of = arena_array(r->task->arena, r->aside.n_entries, sizeof(*r->group_of));
	r->first_group = r->body_group = NO_GROUP;
	for (size_t i = 0; i < r->aside.n_entries; i++)
		r->group_of[i] = NO_GROUP;
	for (size_t i = 0; i < r->units.n; i++) {
		struct group *last = r->n_groups > 0 ? &r->groups[r->n_groups - 1] : NULL;

		if (u[i].side != SIDE_SYSTEM && (i == 0 || u[i - 1].side == SIDE_SYSTEM))
			after = BEFORE_BODY;
		if (u[i].owner != NO_OWNER)
			after = u[i].owner;
		else if (!u[i].is_start && last && last->start + last->n == i)
			last->n++;
		else
			add_group(r, i, after);
	}
}

static enum err emit_groups(struct reading *r, size_t *first)
{
	size_t i = *first;
	enum err e = ERR_OK;

	*first = NO_GROUP;
	for (; !e && i < r->n_groups; i++) {
		const struct group *g = &r->groups[i];

		e = emit(r, g->start, g->n, NOTHING, r->units.items[g->start].at);
		if (i + 1 < r->n_groups && r->groups[i + 1].after != g->after)
			break;
	}
	return e;
}

/*
 * The messages in the order that the aside has, without those the document has no more. What is new comes behind the message that it follows in the
 * document, and behind the silent ones that follow that.
 */
static enum err emit_all(struct reading *r)
{
	size_t none = NO_GROUP, *pending = &none;
	enum err e = emit_groups(r, &r->first_group);

	for (size_t i = 0; !e && i < r->aside.n_entries; i++) {
		const struct convert_entry *entry = &r->aside.entries[i];

		if (entry->n > 0)
			e = emit_groups(r, pending);
		if (!e && entry->n > 0 && !(entry->is_restored && r->units.items[entry->first].side == SIDE_SYSTEM))
			e = emit_groups(r, &r->body_group);
		if (e || (entry->n > 0 && !entry->is_restored))
			continue;
		e = emit(r, entry->n > 0 ? entry->first : 0, entry->n, entry->change, entry->at);
		if (entry->n > 0)
			pending = &r->group_of[i];
	}
	if (!e)
		e = emit_groups(r, pending);
	return e ? e : emit_groups(r, &r->body_group);
}

enum err convert_parse(struct task *t, enum convert_kind kind, struct bytes document, struct bytes aside, struct convert_message **messages_r,
		       size_t *n_r)
{
	static const struct convert_spot at = { NULL, "input", 0 };
	struct reading r = { .task = t, .driver = convert_driver_of(kind), .units.arena = t->arena };
	struct jsonx_flaw flaw;
	enum err e;

	if (!jsonx_check_strict(t->arena, document, &flaw))
		return convert_fail(t, &at, "", "format", arena_printf(t->arena, "is not JSON: %s at byte %zu", flaw.reason, flaw.offset));
	if (jsonx_type(document) != JSONX_OBJECT)
		return convert_fail(t, &at, "", "type", "must be an object");
	e = r.driver->split(t, document, &r.units);
	if (!e)
		e = convert_aside_parse(t, r.driver->name, aside, &r.aside);
	if (e)
		return e;
	if (r.aside.n_entries > 0)
		convert_align(t, &r.aside, &r.units);
	find_groups(&r);
	r.out = arena_array(t->arena, r.n_groups + r.aside.n_entries, sizeof(*r.out));
	e = emit_all(&r);
	*messages_r = r.out;
	*n_r = e ? 0 : r.n_out;
	return e;
}
