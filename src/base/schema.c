/* SPDX-License-Identifier: MIT */
/* schema: checks values against schemas, in bounded time, and says what is wrong so that a model can mend it. */
#include "base/schema.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/schema_private.h"

#define WORK_MAX (16U << 20) /* bytes looked at, with something for each schema that is applied */
#define DEPTH_MAX 256        /* schemas one inside the other, those of a value and of its parts */
#define STEP_MAX 64          /* bytes of a key that a pointer shows */
#define SHOWN_MAX 200        /* bytes of a list of choices or names that a problem shows */

/* Where in the value, from the inside out. */
struct place {
	const struct place *up;
	struct bytes key; /* unescaped */
	size_t index;     /* where key has no p */
};

struct checker {
	struct arena *scratch, *arena;
	const char **problems;
	size_t n;
	int quiet; /* alternatives are tried: what is wrong is not told */
	size_t work;
	int depth;
	bool is_over; /* the bounds were reached; nothing that is found counts */
};

/* ---- forms of values ---- */

int schema_compare(struct bytes a, struct bytes b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int order = n > 0 ? memcmp(a.p, b.p, n) : 0;

	return order ? order : (a.n > b.n) - (a.n < b.n);
}

long double schema_number(struct bytes raw)
{
	return jsonx_type(raw) == JSONX_INT ? (long double)jsonx_int(raw) : (long double)jsonx_real(raw);
}

static bool is_whole(struct bytes raw)
{
	return jsonx_type(raw) == JSONX_INT || floorl(schema_number(raw)) == schema_number(raw);
}

size_t schema_length(struct bytes text)
{
	size_t n = 0;

	for (size_t i = 0; i < text.n; i++)
		n += ((unsigned char)text.p[i] & 0xc0) != 0x80;
	return n;
}

void schema_add_step(struct buf *b, struct bytes key)
{
	size_t n = key.n;

	if (n > STEP_MAX) {
		for (n = STEP_MAX; n > 0 && ((unsigned char)key.p[n] & 0xc0) == 0x80; n--)
			;
	}
	for (size_t i = 0; i < n; i++) {
		if (key.p[i] == '~' || key.p[i] == '/')
			buf_add_str(b, key.p[i] == '~' ? "~0" : "~1");
		else
			buf_add_char(b, key.p[i]);
	}
	if (n < key.n)
		buf_add_str(b, "...");
}

static void add_canonical(struct buf *b, struct bytes value);

struct member {
	struct bytes key, value;
};

static int by_key(const void *a, const void *b)
{
	return schema_compare(((const struct member *)a)->key, ((const struct member *)b)->key);
}

static void add_canonical_object(struct buf *b, struct bytes value)
{
	struct member *members;
	struct jsonx_walk w;
	size_t n = 0;

	jsonx_walk_begin(&w, value);
	while (jsonx_walk_next(&w))
		n++;
	members = arena_array(b->arena, n, sizeof(*members));
	n = 0;
	jsonx_walk_begin(&w, value);
	while (jsonx_walk_next(&w))
		members[n++] = (struct member){ jsonx_string(b->arena, w.raw_key), w.value };
	if (n > 0)
		qsort(members, n, sizeof(*members), by_key);
	buf_add_char(b, '{');
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_add_char(b, ',');
		buf_add_json(b, members[i].key);
		buf_add_char(b, ':');
		add_canonical(b, members[i].value);
	}
	buf_add_char(b, '}');
}

static void add_canonical_array(struct buf *b, struct bytes value)
{
	struct jsonx_walk w;
	bool is_first = true;

	buf_add_char(b, '[');
	jsonx_walk_begin(&w, value);
	while (jsonx_walk_next(&w)) {
		if (!is_first)
			buf_add_char(b, ',');
		add_canonical(b, w.value);
		is_first = false;
	}
	buf_add_char(b, ']');
}

static void add_canonical_number(struct buf *b, struct bytes value)
{
	long double v = schema_number(value);

	if (is_whole(value) && v >= (long double)INT64_MIN && v <= (long double)INT64_MAX)
		buf_add_int(b, (int64_t)v);
	else
		buf_addf(b, "%.17Lg", v);
}

static void add_canonical(struct buf *b, struct bytes value)
{
	switch (jsonx_type(value)) {
	case JSONX_OBJECT:
		add_canonical_object(b, value);
		break;
	case JSONX_ARRAY:
		add_canonical_array(b, value);
		break;
	case JSONX_STRING:
		buf_add_json(b, jsonx_string(b->arena, value));
		break;
	case JSONX_INT:
	case JSONX_REAL:
		add_canonical_number(b, value);
		break;
	case JSONX_BOOL:
		buf_add_str(b, jsonx_bool(value) ? "true" : "false");
		break;
	default:
		buf_add_str(b, "null");
	}
}

struct bytes schema_canonical(struct arena *a, struct bytes value)
{
	struct buf b;

	buf_init(&b, a, value.n + 1);
	add_canonical(&b, value);
	return buf_bytes(&b);
}

/* ---- problems ---- */

static void add_place(struct buf *b, const struct place *at)
{
	if (!at)
		return;
	add_place(b, at->up);
	buf_add_char(b, '/');
	if (at->key.p)
		schema_add_step(b, at->key);
	else
		buf_add_int(b, (int64_t)at->index);
}

__attribute__((format(printf, 3, 4))) static bool problem(struct checker *ck, const struct place *at, const char *fmt, ...)
{
	struct buf b;
	va_list ap;

	if (ck->quiet > 0 || ck->n == SCHEMA_PROBLEMS)
		return false;
	buf_init(&b, ck->arena, 128);
	if (at)
		add_place(&b, at);
	else
		buf_add_str(&b, "the whole value");
	buf_add_str(&b, ": ");
	va_start(ap, fmt);
	buf_add_str(&b, arena_vprintf(ck->scratch, fmt, ap));
	va_end(ap);
	ck->problems[ck->n++] = buf_bytes(&b).p;
	return false;
}

/* The beginning of a text as a problem shows it, cut between characters. */
static const char *shown(struct checker *ck, struct bytes text)
{
	size_t n = text.n;

	if (n <= SHOWN_MAX)
		return arena_copy(ck->scratch, text.p, n);
	for (n = SHOWN_MAX; n > 0 && ((unsigned char)text.p[n] & 0xc0) == 0x80; n--)
		;
	return arena_printf(ck->scratch, "%.*s ...", (int)n, text.p);
}

/* Whether there is no reason to go on with a value that is wrong already. */
static bool is_enough(const struct checker *ck, bool is_valid)
{
	return !is_valid && (ck->quiet > 0 || ck->is_over || ck->n == SCHEMA_PROBLEMS);
}

/* Takes from what a check may cost; false when that is used up. */
static bool spend(struct checker *ck, size_t work)
{
	ck->work += work;
	if (ck->work > WORK_MAX)
		ck->is_over = true;
	return !ck->is_over;
}

/* ---- the keywords ---- */

static bool check(struct checker *ck, const struct schema *s, struct bytes value, const struct place *at);

static unsigned types_of(struct bytes value)
{
	switch (jsonx_type(value)) {
	case JSONX_NULL:
		return SCHEMA_NULL;
	case JSONX_BOOL:
		return SCHEMA_BOOLEAN;
	case JSONX_INT:
		return SCHEMA_INTEGER | SCHEMA_NUMBER;
	case JSONX_REAL:
		return SCHEMA_NUMBER | (is_whole(value) ? SCHEMA_INTEGER : 0);
	case JSONX_STRING:
		return SCHEMA_STRING;
	case JSONX_ARRAY:
		return SCHEMA_ARRAY;
	default:
		return SCHEMA_OBJECT;
	}
}

/* "string", "string or null". */
static const char *words_of(struct checker *ck, unsigned types)
{
	struct buf b;

	buf_init(&b, ck->scratch, 64);
	for (unsigned i = 0; i < SCHEMA_TYPES; i++) {
		if (!(types & 1U << i))
			continue;
		buf_add_str(&b, b.n > 0 ? " or " : "");
		buf_add_str(&b, schema_type_names[i]);
	}
	return buf_bytes(&b).p;
}

static int by_bytes(const void *a, const void *b)
{
	return schema_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static bool check_choices(struct checker *ck, const struct schema *s, struct bytes value, const struct place *at)
{
	struct bytes form;

	if (s->n_choices == 0 && !s->constant.p)
		return true;
	if (!spend(ck, value.n * 2))
		return false;
	form = schema_canonical(ck->scratch, value);
	if (s->constant.p && !bytes_equal(form, s->constant))
		return problem(ck, at, "must be %s", shown(ck, s->constant_text));
	if (s->n_choices > 0 && !bsearch(&form, s->choices, s->n_choices, sizeof(form), by_bytes))
		return problem(ck, at, "must be one of %s", shown(ck, s->choices_text));
	return true;
}

static bool is_multiple(struct bytes value, struct bytes of)
{
	long double v = schema_number(value), step = schema_number(of), rest;

	if (jsonx_type(value) == JSONX_INT && jsonx_type(of) == JSONX_INT)
		return jsonx_int(value) % jsonx_int(of) == 0;
	rest = fabsl(remainderl(v, step)); /* decimal fractions are none inside: 0.3 is a multiple of 0.1 but for the last bits */
	return rest <= step * 1e-9L || rest <= fabsl(v) * 1e-15L;
}

static bool check_number(struct checker *ck, const struct schema *s, struct bytes value, const struct place *at)
{
	static const char *const words[N_NUMBERS] = { "must be at least", "must be at most", "must be more than", "must be less than",
						      "must be a multiple of" };
	long double v = schema_number(value);
	bool is_valid = true;

	for (unsigned i = 0; i < N_NUMBERS; i++) {
		long double bound;

		if (!(s->numbers & 1U << i))
			continue;
		bound = schema_number(s->number[i]);
		if (i == MINIMUM ? v >= bound : i == MAXIMUM ? v <= bound : i == ABOVE ? v > bound : i == BELOW ? v < bound :
		    is_multiple(value, s->number[i]))
			continue;
		is_valid = problem(ck, at, "%s %s", words[i], shown(ck, s->number[i]));
	}
	return is_valid;
}

/* Checks how many of something there are against a pair of bounds. */
static bool check_count(struct checker *ck, const struct schema *s, enum schema_count least, size_t n, const char *what, const struct place *at)
{
	if (s->counts & 1U << least && (int64_t)n < s->count[least])
		return problem(ck, at, "must have at least %lld %s", (long long)s->count[least], what);
	if (s->counts & 1U << (least + 1) && (int64_t)n > s->count[least + 1])
		return problem(ck, at, "must have at most %lld %s", (long long)s->count[least + 1], what);
	return true;
}

static bool check_string(struct checker *ck, const struct schema *s, struct bytes value, const struct place *at)
{
	if (!(s->counts & (1U << MIN_LENGTH | 1U << MAX_LENGTH)))
		return true;
	return check_count(ck, s, MIN_LENGTH, schema_length(jsonx_string(ck->scratch, value)), "characters", at);
}

static bool check_unique(struct checker *ck, struct bytes value, size_t n, const struct place *at)
{
	struct bytes *forms;
	struct jsonx_walk w;
	size_t i = 0;

	if (n < 2)
		return true;
	if (!spend(ck, value.n * 4 + n * 16))
		return false;
	forms = arena_array(ck->scratch, n, sizeof(*forms));
	jsonx_walk_begin(&w, value);
	while (jsonx_walk_next(&w))
		forms[i++] = schema_canonical(ck->scratch, w.value);
	qsort(forms, n, sizeof(*forms), by_bytes);
	for (i = 1; i < n; i++) {
		if (bytes_equal(forms[i - 1], forms[i]))
			return problem(ck, at, "must not hold the same value twice");
	}
	return true;
}

static bool check_array(struct checker *ck, const struct schema *s, struct bytes value, const struct place *at)
{
	struct jsonx_walk w;
	bool is_valid = true;
	size_t n = 0;

	jsonx_walk_begin(&w, value);
	while (!is_enough(ck, is_valid) && jsonx_walk_next(&w)) {
		const struct schema *item = n < s->prefix.n ? s->prefix.items[n] : s->items;
		struct place here = { .up = at, .index = n++ };

		if (item && !check(ck, item, w.value, &here))
			is_valid = false;
	}
	if (is_enough(ck, is_valid))
		return false;
	if (!check_count(ck, s, MIN_ITEMS, n, "items", at))
		is_valid = false;
	if (s->is_unique && !check_unique(ck, value, n, at))
		is_valid = false;
	return is_valid;
}

/* The names a schema knows, for whoever took another one. */
static const char *known_names(struct checker *ck, const struct schema *s)
{
	struct buf b;

	buf_init(&b, ck->scratch, SHOWN_MAX);
	for (size_t i = 0; i < s->n_properties && b.n <= SHOWN_MAX; i++) {
		if (i > 0)
			buf_add_str(&b, ", ");
		buf_add_bytes(&b, s->properties[i].name);
	}
	return b.n > 0 ? shown(ck, buf_bytes(&b)) : "none";
}

static bool check_member(struct checker *ck, const struct schema *s, struct bytes key, struct bytes value, bool *seen, const struct place *at)
{
	struct schema_property wanted = { .name = key };
	struct place here = { .up = at, .key = key };
	size_t low = 0, high = s->n_properties;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = schema_compare(wanted.name, s->properties[middle].name);

		if (order == 0) {
			const struct schema *inner = s->properties[middle].schema;

			seen[middle] = true;
			if (inner)
				return check(ck, inner, value, &here);
			break; /* required alone knows no more than the name */
		}
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	if (s->additional && s->additional->is_never)
		return problem(ck, &here, "is not known here; known names: %s", known_names(ck, s));
	return !s->additional || check(ck, s->additional, value, &here);
}

static bool check_object(struct checker *ck, const struct schema *s, struct bytes value, const struct place *at)
{
	bool *seen, is_valid = true;
	struct jsonx_walk w;
	size_t n = 0;

	if (!spend(ck, s->n_properties))
		return false;
	seen = arena_array(ck->scratch, s->n_properties, sizeof(*seen));
	jsonx_walk_begin(&w, value);
	while (!is_enough(ck, is_valid) && jsonx_walk_next(&w)) {
		n++;
		if (!check_member(ck, s, jsonx_string(ck->scratch, w.raw_key), w.value, seen, at))
			is_valid = false;
	}
	for (size_t i = 0; i < s->n_properties && !is_enough(ck, is_valid); i++) {
		struct place here = { .up = at, .key = s->properties[i].name };

		if (s->properties[i].is_required && !seen[i])
			is_valid = problem(ck, &here, "is required");
	}
	if (is_enough(ck, is_valid))
		return false;
	return check_count(ck, s, MIN_PROPERTIES, n, "members", at) && is_valid;
}

/* How many of the schemas the value matches, but no more than `enough`. */
static size_t count_matches(struct checker *ck, const struct schema_list *list, struct bytes value, const struct place *at, size_t enough)
{
	size_t n = 0;

	ck->quiet++;
	for (size_t i = 0; i < list->n && n < enough && !ck->is_over; i++)
		n += check(ck, list->items[i], value, at);
	ck->quiet--;
	return n;
}

/* The schemas that are about the same value. */
static bool check_joined(struct checker *ck, const struct schema *s, struct bytes value, const struct place *at)
{
	bool is_valid = true;

	if (s->ref && !check(ck, s->ref, value, at))
		is_valid = false;
	for (size_t i = 0; i < s->all.n && !is_enough(ck, is_valid); i++) {
		if (!check(ck, s->all.items[i], value, at))
			is_valid = false;
	}
	if (s->any.n == 1 && !check(ck, s->any.items[0], value, at))
		is_valid = false;
	if (s->any.n > 1 && count_matches(ck, &s->any, value, at, 1) == 0)
		is_valid = problem(ck, at, "matches none of the %zu forms that are allowed", s->any.n);
	if (s->one.n > 0) {
		size_t n = count_matches(ck, &s->one, value, at, 2);

		if (n != 1)
			is_valid = problem(ck, at, "must match exactly one of %zu forms, and matches %s", s->one.n, n ? "several" : "none");
	}
	if (s->not) {
		const struct schema_list list = { (struct schema *[]){ s->not }, 1 };

		if (count_matches(ck, &list, value, at, 1) > 0)
			is_valid = problem(ck, at, "has a form that is not allowed");
	}
	return is_valid;
}

static bool check_kind(struct checker *ck, const struct schema *s, struct bytes value, const struct place *at)
{
	switch (jsonx_type(value)) {
	case JSONX_INT:
	case JSONX_REAL:
		return check_number(ck, s, value, at);
	case JSONX_STRING:
		return check_string(ck, s, value, at);
	case JSONX_ARRAY:
		return check_array(ck, s, value, at);
	case JSONX_OBJECT:
		return check_object(ck, s, value, at);
	default:
		return true;
	}
}

static bool check(struct checker *ck, const struct schema *s, struct bytes value, const struct place *at)
{
	bool is_valid;

	if (ck->depth >= DEPTH_MAX)
		ck->is_over = true;
	if (!spend(ck, value.n + 32))
		return false;
	if (s->is_never)
		return problem(ck, at, "is not allowed");
	if (s->types && !(s->types & types_of(value)))
		return problem(ck, at, "must be %s", words_of(ck, s->types));
	ck->depth++;
	is_valid = check_choices(ck, s, value, at);
	if (!is_enough(ck, is_valid) && !check_kind(ck, s, value, at))
		is_valid = false;
	if (!is_enough(ck, is_valid) && !check_joined(ck, s, value, at))
		is_valid = false;
	ck->depth--;
	return is_valid;
}

size_t schema_check(struct arena *a, const struct schema *schema, struct bytes value, const char *problems_r[SCHEMA_PROBLEMS])
{
	struct checker ck = { .scratch = arena_open(4096), .arena = a, .problems = problems_r };
	bool is_valid = check(&ck, schema, value, NULL);

	if (ck.is_over) {
		ck.n = 1;
		problems_r[0] = "the whole value: is too large or too deeply nested to be checked";
	}
	arena_close(&ck.scratch);
	return is_valid && !ck.is_over ? 0 : ck.n;
}
