/* SPDX-License-Identifier: MIT */
/*
 * fuzz_field: any JSON and any query against a table with a field of every type: what is accepted keeps what the table promises,
 * what is refused says why in valid UTF-8.
 */
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base/field.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct item {
	struct bytes s;
	int64_t i;
	struct field_list l;
};

struct input {
	struct bytes s, u, e, o, a, c, t, p, j;
	int64_t i, w;
	double r;
	bool b, s_given, i_given, j_given;
	struct field_list l;
};

static const struct field leaf_fields[] = {
	{ "s", FIELD_STRING, FIELD_REQUIRED, 0, 4, offsetof(struct item, s), 0, NULL, NULL, NULL, NULL },
	{ 0 },
};
static const struct field_table leaf_table = { leaf_fields, sizeof(struct item) };

static const struct field item_fields[] = {
	{ "s", FIELD_STRING, FIELD_REQUIRED, 1, 4, offsetof(struct item, s), 0, NULL, NULL, NULL, NULL },
	{ "i", FIELD_INT, 0, -9, 9, offsetof(struct item, i), 0, NULL, NULL, NULL, NULL },
	{ "l", FIELD_LIST, 0, 0, 0, offsetof(struct item, l), 0, NULL, &leaf_table, NULL, NULL },
	{ 0 },
};
static const struct field_table item_table = { item_fields, sizeof(struct item) };

#define ROW(m, type, flags, min, max, given, choices, sub) { #m, type, flags, min, max, offsetof(struct input, m), given, choices, sub, NULL, NULL }

static const struct field fields[] = {
	ROW(s, FIELD_STRING, FIELD_NULLABLE, 1, 6, offsetof(struct input, s_given), NULL, NULL),
	ROW(u, FIELD_STRING, FIELD_IDENT, 0, 0, 0, NULL, NULL),
	ROW(e, FIELD_ENUM, 0, 0, 0, 0, "x|yy", NULL),
	ROW(i, FIELD_INT, FIELD_NULLABLE, -3, 7, offsetof(struct input, i_given), NULL, NULL),
	ROW(w, FIELD_TIME, 0, 0, 0, 0, NULL, NULL),
	ROW(b, FIELD_BOOL, 0, 0, 0, 0, NULL, NULL),
	ROW(r, FIELD_REAL, 0, -2, 2, 0, NULL, NULL),
	ROW(o, FIELD_OBJECT, 0, 0, 20, 0, NULL, NULL),
	ROW(a, FIELD_ARRAY, 0, 1, 2, 0, NULL, NULL),
	ROW(c, FIELD_TEXT_OR_ARRAY, 0, 1, 40, 0, NULL, NULL),
	ROW(t, FIELD_STRINGS, 0, 0, 3, 0, NULL, NULL),
	ROW(p, FIELD_PAIRS, FIELD_NULLS, 0, 2, 0, NULL, NULL),
	ROW(j, FIELD_JSON, FIELD_NULLABLE, 0, 0, offsetof(struct input, j_given), NULL, NULL),
	ROW(l, FIELD_LIST, 0, 1, 30, 0, NULL, &item_table),
	{ 0 },
};
static const struct field_table table = { fields, sizeof(struct input) };

/* The rows that a query may have. */
static const struct field_table query_table = { (const struct field[]){
	ROW(s, FIELD_STRING, 0, 1, 6, 0, NULL, NULL),
	ROW(u, FIELD_STRING, FIELD_IDENT, 0, 0, 0, NULL, NULL),
	ROW(e, FIELD_ENUM, 0, 0, 0, 0, "x|yy", NULL),
	ROW(i, FIELD_INT, 0, -3, 7, 0, NULL, NULL),
	ROW(w, FIELD_TIME, 0, 0, 0, 0, NULL, NULL),
	ROW(b, FIELD_BOOL, 0, 0, 0, 0, NULL, NULL),
	{ 0 },
}, sizeof(struct input) };

static void expect_utf8(struct arena *a, const char *text)
{
	struct jsonx_flaw flaw;
	struct buf b;

	buf_init(&b, a, 0);
	buf_add_json_str(&b, text);
	assert(jsonx_check_strict(a, buf_bytes(&b), &flaw));
}

static void expect_reasons(struct task *t, enum err e)
{
	int n = 0;

	assert(e == ERR_INVALID && t->fault.code == ERR_INVALID && t->fault.detail);
	for (const struct fault_field *f = t->fault.fields; f; f = f->next, n++) {
		expect_utf8(t->arena, f->field);
		expect_utf8(t->arena, f->detail);
		assert(f->code[0]);
	}
	assert(n <= 20);
}

static bool holds_no_nul(struct bytes s)
{
	return s.n == 0 || !memchr(s.p, '\0', s.n);
}

static void expect_promises(const struct input *in)
{
	assert(in->s.n <= 6 && (in->s.n > 0 || !in->s.p) && (!in->s.p || in->s_given) && holds_no_nul(in->s));
	assert(in->u.n == 0 || (!memchr(in->u.p, ' ', in->u.n) && holds_no_nul(in->u)));
	assert(!in->e.p || bytes_equal(in->e, BYTES("x")) || bytes_equal(in->e, BYTES("yy")));
	assert(in->i >= -3 && in->i <= 7 && (in->i == 0 || in->i_given));
	assert(in->r >= -2 && in->r <= 2);
	assert(in->o.n <= 20 && (in->o.n == 0 || jsonx_type(in->o) == JSONX_OBJECT));
	assert(in->t.n == 0 || jsonx_type(in->t) == JSONX_ARRAY);
	assert(in->l.n <= 30);
	for (size_t k = 0; k < in->l.n; k++) {
		const struct item *item = (const struct item *)in->l.items + k;

		assert(item->s.n >= 1 && item->s.n <= 4 && item->i >= -9 && item->i <= 9);
		for (size_t m = 0; m < item->l.n; m++)
			assert(((const struct item *)item->l.items)[m].s.n <= 4);
	}
}

static void read_body(struct task *t, struct bytes text)
{
	struct input in;
	struct jsonx_flaw flaw;
	enum err e;

	if (!jsonx_check_strict(t->arena, text, &flaw))
		return;
	memset(&in, 0, sizeof(in));
	e = field_parse(t, &table, text, "", &in);
	if (e)
		expect_reasons(t, e);
	else
		expect_promises(&in);
}

static void read_query(struct task *t, struct bytes text)
{
	struct input in;
	enum err e;

	memset(&in, 0, sizeof(in));
	task_clear_fault(t);
	e = field_parse_query(t, &query_table, text, &in);
	if (e)
		expect_reasons(t, e);
	else
		assert(in.s.n <= 6 && holds_no_nul(in.s) && holds_no_nul(in.u) && in.i >= -3 && in.i <= 7);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena *a;
	struct task t;

	if (!a)
		a = arena_open(1 << 16);
	memset(&t, 0, sizeof(t));
	t.arena = a;
	read_body(&t, (struct bytes){ (const char *)data, size });
	read_query(&t, (struct bytes){ (const char *)data, size });
	arena_reset(a);
	return 0;
}
