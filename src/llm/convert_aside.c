/* SPDX-License-Identifier: MIT */
/*
 * convert_aside: what a document cannot say, beside it.
 *
 *   {"format":F, "units":"<16 hex digits for each unit of the document>", "messages":[ENTRY...]}
 *
 * An entry, in the order of the messages, is [start,n], the units that say the message, or an object: "units":[start,n] (absent: the document is
 * silent about it) and what has to change in what the units read as: "role"; "bare" (whether the content is a string); "parts" and "calls", lists of
 * which each element is the index of one that was read, [index, members to add or replace], or the element itself; "extra", "without":
 * members to set and to take away; "metadata". Elements that are no objects, and what nests deep, is written as a string that holds its JSON.
 * Units belong to one entry at most and indices rise, so that an aside never makes more of a document than is in it.
 */
#include "llm/convert_private.h"

#define MEMBERS_MAX 12 /* more than any part has that was read */

/* ---- writing ---- */

static void add_encoded(struct buf *b, struct bytes raw)
{
	if (jsonx_type(raw) == JSONX_OBJECT && convert_is_flat(raw))
		buf_add_bytes(b, raw);
	else
		buf_add_json(b, raw);
}

/* A read object's members, to look names up without going over the values again. */
struct members {
	struct bytes names[MEMBERS_MAX], values[MEMBERS_MAX];
	size_t n;
};

static bool members_of(struct arena *a, struct bytes object, struct members *m_r)
{
	struct jsonx_walk w;

	m_r->n = 0;
	for (jsonx_walk_begin(&w, object); jsonx_walk_next(&w); m_r->n++) {
		if (m_r->n == MEMBERS_MAX)
			return false;
		m_r->names[m_r->n] = jsonx_string(a, w.raw_key);
		m_r->values[m_r->n] = w.value;
	}
	return true;
}

static size_t find_member(const struct members *m, struct bytes name)
{
	size_t i = 0;

	while (i < m->n && !bytes_equal(m->names[i], name))
		i++;
	return i;
}

static bool may_change(struct bytes name)
{
	return bytes_equal(name, BYTES("type")) || bytes_equal(name, BYTES("media_type")) || bytes_equal(name, BYTES("id"));
}

/* The members that make `wanted` of what was read, as an object: "{}" if it is that already; no bytes if the two have little in common. */
static struct bytes make_patch(struct arena *a, struct bytes read, struct bytes wanted)
{
	struct members m;
	struct jsonx_walk w;
	size_t n_same = 0;
	struct buf b;

	if (jsonx_type(read) != JSONX_OBJECT || jsonx_type(wanted) != JSONX_OBJECT || !members_of(a, read, &m))
		return NOTHING;
	buf_init(&b, a, 64);
	buf_add_char(&b, '{');
	for (jsonx_walk_begin(&w, wanted); jsonx_walk_next(&w);) {
		struct bytes name = jsonx_string(a, w.raw_key);
		size_t i = find_member(&m, name);

		n_same += i < m.n;
		if (i < m.n && convert_same(a, m.values[i], w.value))
			continue;
		if (i < m.n && !may_change(name))
			return NOTHING;
		if (b.n > 1)
			buf_add_char(&b, ',');
		buf_add_bytes(&b, w.raw_key);
		buf_add_char(&b, ':');
		buf_add_bytes(&b, w.value);
	}
	buf_add_char(&b, '}');
	return n_same == m.n ? buf_bytes(&b) : NOTHING;
}

/* Writes how to make a list of the one that was read; false when it is that one. */
static bool add_list(struct arena *a, struct buf *out, const struct convert_list *wanted, const struct convert_list *read)
{
	bool is_other = wanted->n != read->n;
	size_t at = 0;

	buf_add_char(out, '[');
	for (size_t i = 0; i < wanted->n; i++) {
		struct bytes patch = at < read->n ? make_patch(a, read->items[at], wanted->items[i]) : NOTHING;

		if (i > 0)
			buf_add_char(out, ',');
		if (patch.n == 2) {
			buf_add_int(out, (int64_t)at++);
		} else if (patch.p && convert_is_flat(patch)) {
			buf_addf(out, "[%zu,", at++);
			buf_add_bytes(out, patch);
			buf_add_char(out, ']');
		} else {
			add_encoded(out, wanted->items[i]);
		}
		is_other = is_other || patch.n != 2;
	}
	buf_add_char(out, ']');
	return is_other;
}

static void diff_list(struct arena *a, struct buf *b, const char *name, const struct convert_list *wanted, const struct convert_list *read)
{
	struct buf list;

	buf_init(&list, a, 64);
	if (add_list(a, &list, wanted, read))
		buf_member_json(b, name, buf_bytes(&list));
}

static void list_elements(struct convert_list *l, struct bytes array)
{
	struct jsonx_walk w;

	for (jsonx_walk_begin(&w, array); jsonx_walk_next(&w);)
		convert_list_add(l, w.value);
}

static bool has_elements(struct bytes raw)
{
	struct jsonx_walk w;

	if (jsonx_type(raw) != JSONX_ARRAY)
		return false;
	jsonx_walk_begin(&w, raw);
	return jsonx_walk_next(&w);
}

static void diff_content(struct task *t, struct buf *b, struct bytes content, const struct convert_draft *d)
{
	struct convert_list parts = { .arena = t->arena };
	bool is_text = convert_is_string(content);

	if (is_text)
		convert_list_add(&parts, convert_part(t->arena, "text", "text", content, NULL, NOTHING));
	else
		list_elements(&parts, content);
	if (is_text != d->is_text)
		buf_member_bool(b, "bare", is_text);
	diff_list(t->arena, b, "parts", &parts, &d->parts);
}

/* The extra members that were read but not meant, and those that were meant but not so read. */
static void diff_extra(struct task *t, struct buf *b, struct bytes extra, const struct convert_draft *d)
{
	struct convert_list calls = { .arena = t->arena };
	struct buf read = d->extra, set, without;
	struct jsonx_walk w;
	struct members m;
	bool is_meant[MEMBERS_MAX] = { false };

	buf_add_char(&read, '}');
	members_of(t->arena, buf_bytes(&read), &m);
	buf_init(&set, t->arena, 64);
	buf_init(&without, t->arena, 64);
	buf_add_char(&set, '{');
	for (jsonx_walk_begin(&w, extra); jsonx_walk_next(&w);) {
		struct bytes name = jsonx_string(t->arena, w.raw_key);
		size_t i = find_member(&m, name);

		if (i < m.n)
			is_meant[i] = true;
		if (bytes_equal(name, BYTES("tool_calls")) && has_elements(w.value)) {
			list_elements(&calls, w.value);
		} else if (i == m.n || !convert_same(t->arena, m.values[i], w.value)) {
			buf_add_str(&set, set.n > 1 ? "," : "");
			buf_add_bytes(&set, w.raw_key);
			buf_add_char(&set, ':');
			buf_add_bytes(&set, w.value);
		}
	}
	diff_list(t->arena, b, "calls", &calls, &d->calls);
	buf_add_char(&set, '}');
	if (set.n > 2) {
		buf_add_member(b, "extra");
		add_encoded(b, buf_bytes(&set));
	}
	for (size_t i = 0; i < m.n; i++) {
		if (is_meant[i])
			continue;
		buf_add_char(&without, without.n > 0 ? ',' : '[');
		buf_add_json(&without, m.names[i]);
	}
	if (without.n > 0) {
		buf_add_char(&without, ']');
		buf_member_json(b, "without", buf_bytes(&without));
	}
}

struct bytes convert_diff(struct task *t, const struct convert_message *m, const struct convert_draft *d)
{
	struct buf b;

	buf_init(&b, t->arena, 64);
	buf_add_char(&b, '{');
	if (!bytes_equal(m->role, d->role))
		buf_member_string(&b, "role", m->role);
	diff_content(t, &b, m->content, d);
	diff_extra(t, &b, m->extra.n > 0 ? m->extra : BYTES("{}"), d);
	if (m->metadata.n > 0) {
		buf_add_member(&b, "metadata");
		add_encoded(&b, m->metadata);
	}
	if (b.n == 1)
		return NOTHING;
	buf_add_char(&b, '}');
	return buf_bytes(&b);
}

static void add_entry(struct buf *b, const struct convert_entry *e)
{
	if (!e->change.p) {
		buf_addf(b, "[%zu,%zu]", e->start, e->n);
		return;
	}
	if (e->n == 0) {
		buf_add_bytes(b, e->change);
		return;
	}
	buf_addf(b, "{\"units\":[%zu,%zu],", e->start, e->n);
	buf_add(b, e->change.p + 1, e->change.n - 1);
}

struct bytes convert_aside_format(struct task *t, const char *format, const struct convert_units *us, const struct convert_entry *entries, size_t n)
{
	struct buf b;

	buf_init(&b, t->arena, 128 + 16 * us->n + 16 * n);
	buf_add_char(&b, '{');
	buf_member_str(&b, "format", format);
	buf_add_member(&b, "units");
	buf_add_char(&b, '"');
	for (size_t i = 0; i < us->n; i++)
		buf_addf(&b, "%016llx", (unsigned long long)us->items[i].digest);
	buf_add_char(&b, '"');
	buf_add_member(&b, "messages");
	buf_add_char(&b, '[');
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_add_char(&b, ',');
		add_entry(&b, &entries[i]);
	}
	buf_add_str(&b, "]}");
	return buf_bytes(&b);
}

/* ---- reading ---- */

/* The value that add_encoded wrote. */
static enum err decode(struct task *t, struct bytes raw, const struct convert_spot *at, struct bytes *value_r)
{
	struct jsonx_flaw flaw;

	*value_r = raw;
	if (jsonx_type(raw) == JSONX_OBJECT)
		return ERR_OK;
	if (!convert_is_string(raw))
		return convert_fail(t, at, "", "type", "must be an object, or a string that holds JSON");
	*value_r = jsonx_string(t->arena, raw);
	return jsonx_check_strict(t->arena, *value_r, &flaw) ? ERR_OK : convert_fail(t, at, "", "format", "must hold JSON");
}

static enum err decode_object(struct task *t, struct bytes raw, const struct convert_spot *up, const char *name, struct bytes *value_r)
{
	const struct convert_spot *at = convert_below(t->arena, up, name, 0);
	enum err e = decode(t, raw, at, value_r);

	if (!e && jsonx_type(*value_r) != JSONX_OBJECT)
		return convert_fail(t, at, "", "type", "must be an object");
	return e;
}

static void add_pair(struct buf *b, struct bytes name, struct bytes value)
{
	buf_add_str(b, b->n > 1 ? "," : "");
	buf_add_json(b, name);
	buf_add_char(b, ':');
	buf_add_bytes(b, value);
}

/* The first object with the members of the second added or replaced, without its last brace. */
static struct buf patched(struct arena *a, const struct members *m, struct bytes patch)
{
	struct members left = *m;
	struct jsonx_walk w;
	struct buf b;

	buf_init(&b, a, 64 + patch.n);
	buf_add_char(&b, '{');
	for (jsonx_walk_begin(&w, patch); jsonx_walk_next(&w);) {
		struct bytes name = jsonx_string(a, w.raw_key);
		size_t i = find_member(&left, name);

		if (i < left.n)
			left.values[i] = NOTHING;
		add_pair(&b, name, w.value);
	}
	for (size_t i = 0; i < left.n; i++) {
		if (left.values[i].p)
			add_pair(&b, left.names[i], left.values[i]);
	}
	return b;
}

/* An index that rises, or fails. */
static bool take_index(struct bytes raw, const struct convert_list *read, size_t *next)
{
	int64_t i = jsonx_type(raw) == JSONX_INT ? jsonx_int(raw) : -1;

	if (i < (int64_t)*next || (uint64_t)i >= read->n)
		return false;
	*next = (size_t)i + 1;
	return true;
}

static enum err apply_element(struct task *t, const struct convert_list *read, struct bytes element, const struct convert_spot *at, size_t *next,
			      struct bytes *out_r)
{
	enum jsonx_type type = jsonx_type(element);
	struct jsonx_walk w;
	struct members m;
	struct buf b;

	if (type == JSONX_INT) {
		if (!take_index(element, read, next))
			return convert_fail(t, at, "", "range", "must be the index of a later part of the document");
		*out_r = read->items[*next - 1];
		return ERR_OK;
	}
	if (type != JSONX_ARRAY)
		return decode(t, element, at, out_r);
	jsonx_walk_begin(&w, element);
	if (!jsonx_walk_next(&w) || !take_index(w.value, read, next) || !jsonx_walk_next(&w) || jsonx_type(w.value) != JSONX_OBJECT ||
	    jsonx_type(read->items[*next - 1]) != JSONX_OBJECT || !members_of(t->arena, read->items[*next - 1], &m))
		return convert_fail(t, at, "", "format", "must be the index of a later part and an object");
	b = patched(t->arena, &m, w.value);
	buf_add_char(&b, '}');
	*out_r = buf_bytes(&b);
	return ERR_OK;
}

static enum err apply_list(struct task *t, struct convert_list *list, struct bytes raw, const struct convert_spot *up, const char *name)
{
	const struct convert_spot *at = convert_below(t->arena, up, name, 0);
	struct convert_list out = { .arena = t->arena };
	struct jsonx_walk w;
	size_t next = 0;

	if (!raw.p)
		return ERR_OK;
	if (jsonx_type(raw) != JSONX_ARRAY)
		return convert_fail(t, at, "", "type", "must be an array");
	for (jsonx_walk_begin(&w, raw); jsonx_walk_next(&w);) {
		struct convert_spot here = { at, NULL, out.n };
		struct bytes value;
		enum err e = apply_element(t, list, w.value, &here, &next, &value);

		if (e)
			return e;
		convert_list_add(&out, value);
	}
	*list = out;
	return ERR_OK;
}

static enum err apply_extra(struct task *t, struct convert_draft *d, struct bytes set, struct bytes without, const struct convert_spot *at)
{
	struct buf read = d->extra;
	struct jsonx_walk w;
	struct members m;
	enum err e = set.p ? decode_object(t, set, at, "extra", &set) : ERR_OK;

	if (e)
		return e;
	if (without.p && jsonx_type(without) != JSONX_ARRAY)
		return convert_fail(t, at, "without", "type", "must be an array");
	buf_add_char(&read, '}');
	members_of(t->arena, buf_bytes(&read), &m);
	if (without.p) {
		for (jsonx_walk_begin(&w, without); jsonx_walk_next(&w);) {
			size_t i = convert_is_string(w.value) ? find_member(&m, jsonx_string(t->arena, w.value)) : m.n;

			if (i < m.n)
				m.values[i] = NOTHING;
		}
	}
	d->extra = patched(t->arena, &m, bytes_or(set, BYTES("{}")));
	if (set.p && jsonx_member(set, "tool_calls").p)
		d->calls.n = 0;
	return ERR_OK;
}

enum err convert_apply(struct task *t, struct convert_draft *d, struct bytes change, const struct convert_spot *at, struct bytes *metadata_r)
{
	static const char *const names[] = { "units", "role", "bare", "parts", "calls", "extra", "without", "metadata", NULL };
	struct bytes v[8], rest;
	enum err e;

	*metadata_r = NOTHING;
	convert_take(t->arena, change, names, false, v, &rest);
	if (rest.p)
		return convert_fail_rest(t, at, rest, "is not known");
	if (v[1].p && !convert_is_string(v[1]))
		return convert_fail(t, at, "role", "type", "must be a string");
	if (v[2].p && jsonx_type(v[2]) != JSONX_BOOL)
		return convert_fail(t, at, "bare", "type", "must be true or false");
	d->role = v[1].p ? jsonx_string(t->arena, v[1]) : d->role;
	d->is_text = v[2].p ? jsonx_bool(v[2]) : d->is_text;
	e = apply_list(t, &d->parts, v[3], at, "parts");
	if (!e)
		e = apply_list(t, &d->calls, v[4], at, "calls");
	if (!e)
		e = apply_extra(t, d, v[5], v[6], at);
	return e || !v[7].p ? e : decode_object(t, v[7], at, "metadata", metadata_r);
}

static enum err parse_digests(struct task *t, struct bytes raw, const struct convert_spot *at, struct convert_aside *aside)
{
	struct bytes hex = convert_is_string(raw) ? jsonx_string(t->arena, raw) : NOTHING;

	if (!hex.p || hex.n % 16 != 0)
		return convert_fail(t, at, "units", "format", "must be a string of 16 hexadecimal digits for each unit");
	aside->n_digests = hex.n / 16;
	aside->digests = arena_array(t->arena, aside->n_digests, sizeof(*aside->digests));
	for (size_t i = 0; i < hex.n; i++) {
		int v = bytes_hex_value(hex.p[i]);

		if (v < 0)
			return convert_fail(t, at, "units", "format", "must be a string of 16 hexadecimal digits for each unit");
		aside->digests[i / 16] = aside->digests[i / 16] << 4 | (unsigned)v;
	}
	return ERR_OK;
}

/* Two numbers: a run of units that no entry before it has. */
static enum err parse_run(struct task *t, struct bytes raw, struct convert_aside *aside, bool *is_taken, struct convert_entry *e)
{
	static const char why[] = "must be the first and the number of some units, of which no other message has one";
	int64_t v[2] = { -1, -1 }, n = (int64_t)aside->n_digests;
	struct jsonx_walk w;

	if (jsonx_type(raw) != JSONX_ARRAY)
		return convert_fail(t, e->at, "units", "type", why);
	jsonx_walk_begin(&w, raw);
	for (size_t i = 0; i < 2 && jsonx_walk_next(&w); i++)
		v[i] = jsonx_type(w.value) == JSONX_INT ? jsonx_int(w.value) : -1;
	if (v[0] < 0 || v[1] < 1 || v[0] >= n || v[1] > n - v[0] || jsonx_walk_next(&w))
		return convert_fail(t, e->at, "units", "range", why);
	e->start = (size_t)v[0];
	e->n = (size_t)v[1];
	for (size_t i = e->start; i < e->start + e->n; i++) {
		if (is_taken[i])
			return convert_fail(t, e->at, "units", "range", why);
		is_taken[i] = true;
	}
	return ERR_OK;
}

static enum err parse_entries(struct task *t, struct bytes raw, const struct convert_spot *up, struct convert_aside *aside)
{
	const struct convert_spot *at = convert_below(t->arena, up, "messages", 0);
	bool *is_taken = arena_array(t->arena, aside->n_digests, sizeof(*is_taken));
	struct jsonx_walk w;
	size_t n = 0;
	enum err e = ERR_OK;

	if (jsonx_type(raw) != JSONX_ARRAY)
		return convert_fail(t, at, "", "type", "must be an array");
	for (jsonx_walk_begin(&w, raw); jsonx_walk_next(&w);)
		n++;
	aside->entries = arena_array(t->arena, n, sizeof(*aside->entries));
	for (jsonx_walk_begin(&w, raw); !e && jsonx_walk_next(&w); aside->n_entries++) {
		struct convert_entry *entry = &aside->entries[aside->n_entries];
		struct bytes run = w.value;

		entry->at = convert_below(t->arena, at, NULL, aside->n_entries);
		if (jsonx_type(w.value) == JSONX_OBJECT) {
			entry->change = w.value;
			run = jsonx_member(w.value, "units");
		}
		if (run.p)
			e = parse_run(t, run, aside, is_taken, entry);
	}
	return e;
}

enum err convert_aside_parse(struct task *t, const char *format, struct bytes raw, struct convert_aside *aside_r)
{
	static const char *const names[] = { "format", "units", "messages", NULL };
	static const struct convert_spot at = { NULL, "aside", 0 };
	struct bytes v[3], rest;
	struct jsonx_flaw flaw;
	enum err e;

	*aside_r = (struct convert_aside){ 0 };
	if (raw.n == 0)
		return ERR_OK;
	if (!jsonx_check_strict(t->arena, raw, &flaw))
		return convert_fail(t, &at, "", "format", "must be JSON");
	if (jsonx_type(raw) == JSONX_NULL)
		return ERR_OK;
	if (jsonx_type(raw) != JSONX_OBJECT)
		return convert_fail(t, &at, "", "type", "must be an object or null");
	convert_take(t->arena, raw, names, false, v, &rest);
	if (rest.p)
		return convert_fail_rest(t, &at, rest, "is not known");
	if (!convert_is(t->arena, v[0], format))
		return convert_fail(t, &at, "format", "value", "must be the document's format");
	e = parse_digests(t, v[1], &at, aside_r);
	return e ? e : parse_entries(t, v[2], &at, aside_r);
}
