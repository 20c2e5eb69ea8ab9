/* SPDX-License-Identifier: MIT */
/* field_query: turns a URL query into the JSON object it stands for, so that one set of checks serves both. */
#include <assert.h>
#include <string.h>

#include "base/field.h"

static const struct field *find_field(const struct field_table *table, struct bytes name)
{
	for (const struct field *f = table->fields; f->name; f++) {
		if (bytes_equal(bytes_of(f->name), name))
			return f;
	}
	return NULL;
}

/* The byte behind a % at p, or -1; `left` counts the % itself. */
static int escaped_byte(const char *p, size_t left)
{
	int high = left > 2 ? bytes_hex_value(p[1]) : -1, low = high < 0 ? -1 : bytes_hex_value(p[2]);

	return low < 0 ? -1 : high << 4 | low;
}

/* Percent-decodes a name or value into a JSON string; no bytes when it is broken or not UTF-8. */
static struct bytes decode(struct arena *a, struct bytes in)
{
	char *out = arena_alloc(a, in.n);
	struct jsonx_flaw flaw;
	struct buf b;
	size_t n = 0;

	for (size_t i = 0; i < in.n; i++) {
		int c = in.p[i] == '+' ? ' ' : in.p[i];

		if (c == '%') {
			c = escaped_byte(in.p + i, in.n - i);
			if (c < 0)
				return (struct bytes){ NULL, 0 };
			i += 2;
		}
		out[n++] = (char)c;
	}
	buf_init(&b, a, n + 2);
	buf_add_json(&b, (struct bytes){ out, n });
	return jsonx_check(a, buf_bytes(&b), &flaw) ? buf_bytes(&b) : (struct bytes){ NULL, 0 };
}

/* A value as JSON: bare if it is the number or truth value that is wanted, else the string that it is. */
static struct bytes as_json(struct arena *a, const struct field *f, struct bytes quoted)
{
	struct bytes bare = { quoted.p + 1, quoted.n - 2 };
	struct jsonx_flaw flaw;

	assert(f->type == FIELD_STRING || f->type == FIELD_INT || f->type == FIELD_BOOL || f->type == FIELD_ENUM ||
	       f->type == FIELD_TIME);
	if (f->type == FIELD_BOOL && (bytes_equal(bare, BYTES("true")) || bytes_equal(bare, BYTES("false"))))
		return bare;
	if (f->type == FIELD_INT && !memchr(bare.p, ' ', bare.n) && jsonx_check(a, bare, &flaw) && jsonx_type(bare) == JSONX_INT)
		return bare;
	return quoted;
}

/* Adds one parameter as a member. `seen` has a mark for each row of the table. */
static enum err add_parameter(struct task *t, const struct field_table *table, struct bytes pair, bool *seen, struct buf *object)
{
	const char *equals = memchr(pair.p, '=', pair.n);
	struct bytes value = equals ? (struct bytes){ equals + 1, (size_t)(pair.p + pair.n - equals) - 1 } : BYTES("");
	struct bytes raw_name = decode(t->arena, (struct bytes){ pair.p, equals ? (size_t)(equals - pair.p) : pair.n });
	const struct field *f;

	if (raw_name.n == 0)
		return task_fail_field(t, "query", "format", "the name of a parameter is not percent-encoded UTF-8");
	f = find_field(table, jsonx_string(t->arena, raw_name));
	if (f && seen[f - table->fields])
		return task_fail_field(t, f->name, "repeated", "is given twice");
	value = decode(t->arena, value);
	if (f && value.n == 0)
		return task_fail_field(t, f->name, "format", "is not percent-encoded UTF-8");
	if (f)
		seen[f - table->fields] = true;
	if (object->n > 1)
		buf_add_char(object, ',');
	buf_add_bytes(object, raw_name);
	buf_add_char(object, ':');
	buf_add_bytes(object, f ? as_json(t->arena, f, value) : BYTES("null"));
	return ERR_OK;
}

enum err field_parse_query(struct task *t, const struct field_table *table, struct bytes query, void *target)
{
	size_t at = 0, n_fields = 0;
	struct buf object;
	bool *seen;

	while (table->fields[n_fields].name)
		n_fields++;
	seen = arena_array(t->arena, n_fields, sizeof(*seen));
	buf_init(&object, t->arena, query.n + 64);
	buf_add_char(&object, '{');
	while (at < query.n) {
		const char *end = memchr(query.p + at, '&', query.n - at);
		size_t n = end ? (size_t)(end - query.p) - at : query.n - at;
		enum err e = n > 0 ? add_parameter(t, table, (struct bytes){ query.p + at, n }, seen, &object) : ERR_OK;

		if (e)
			return e;
		at += n + 1;
	}
	buf_add_char(&object, '}');
	return field_parse(t, table, buf_bytes(&object), "", target);
}
