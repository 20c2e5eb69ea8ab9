/* SPDX-License-Identifier: MIT */
/* field: checks input against the tables that declare it, and fills the structs that handlers read. */
#include "base/field.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/stamp.h"

#define MAX_PROBLEMS 20 /* reported at once: a client that errs more often gains nothing from the rest */
#define SHOWN_NAME 64   /* bytes of a name from outside that an answer repeats */
#define MAX_GUESSED 32  /* longest name that a near one is looked for */
#define WORD_MAX 64     /* characters of an element of FIELD_STRINGS and of a key of FIELD_PAIRS */
#define PAIR_VALUE_MAX 512

/* One call of field_parse. */
struct reading {
	struct task *t;
	bool has_failed;
};

/* Writes a value of an accepted type to `out`, or reports why it cannot. */
typedef void field_reader(struct reading *r, const struct field *f, struct bytes raw, const char *path, void *out);

struct kind {
	unsigned accepts;   /* bits of enum jsonx_type */
	const char *phrase; /* "must be ..." */
	field_reader *read;
};

static const struct kind kinds[];

/* --- problems --- */

static bool is_full(const struct task *t)
{
	int n = 0;

	for (const struct fault_field *f = t->fault.fields; f; f = f->next)
		n++;
	return n >= MAX_PROBLEMS;
}

static void problem(struct reading *r, const char *path, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void problem(struct reading *r, const char *path, const char *code, const char *fmt, ...)
{
	va_list ap;

	r->has_failed = true;
	if (is_full(r->t))
		return;
	va_start(ap, fmt);
	(void)task_fail_field(r->t, path, code, "%s", arena_vprintf(r->t->arena, fmt, ap));
	va_end(ap);
}

static const char *join_path(struct task *t, const char *path, const char *name)
{
	return path[0] ? arena_printf(t->arena, "%s.%s", path, name) : name;
}

static const char *element_path(struct task *t, const char *path, size_t i)
{
	return arena_printf(t->arena, "%s[%zu]", path, i);
}

const char *field_shown_name(struct task *t, struct bytes name)
{
	size_t n = SHOWN_NAME;

	if (name.n <= SHOWN_NAME)
		return arena_copy(t->arena, name.p, name.n);
	while (n > 0 && ((unsigned char)name.p[n] & 0xc0) == 0x80)
		n--;
	return arena_printf(t->arena, "%.*s...", (int)n, name.p);
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* How many letters must be changed, added or dropped to make one name of the other; both at most MAX_GUESSED long. */
static size_t name_distance(struct bytes a, struct bytes b)
{
	size_t row[MAX_GUESSED + 1];

	for (size_t k = 0; k <= b.n; k++)
		row[k] = k;
	for (size_t i = 1; i <= a.n; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t k = 1; k <= b.n; k++) {
			size_t changed = diagonal + (a.p[i - 1] != b.p[k - 1]);

			diagonal = row[k];
			row[k] = least(changed, least(row[k], row[k - 1]) + 1);
		}
	}
	return row[b.n];
}

/* The name that was perhaps meant, or NULL. */
static const char *nearest_name(const struct field_table *table, struct bytes name)
{
	size_t best = name.n < 5 ? 2 : 3; /* not as far as this */
	const char *nearest = NULL;

	if (name.n > MAX_GUESSED)
		return NULL;
	for (const struct field *f = table->fields; f->name; f++) {
		struct bytes known = bytes_of(f->name);
		size_t far = known.n <= MAX_GUESSED ? name_distance(name, known) : best;

		if (far < best) {
			best = far;
			nearest = f->name;
		}
	}
	return nearest;
}

static void report_unknown(struct reading *r, const struct field_table *table, struct bytes name, const char *path)
{
	const char *shown = field_shown_name(r->t, name), *nearest = nearest_name(table, name);

	if (nearest)
		problem(r, join_path(r->t, path, shown), "unknown", "\"%s\" is not known here; did you mean \"%s\"?", shown, nearest);
	else
		problem(r, join_path(r->t, path, shown), "unknown", "\"%s\" is not known here", shown);
}

static void report_missing(struct reading *r, const struct field_table *table, const char *path, const bool *seen)
{
	for (const struct field *f = table->fields; f->name; f++) {
		if (f->flags & FIELD_REQUIRED && !seen[f - table->fields])
			problem(r, join_path(r->t, path, f->name), "required", "is required");
	}
}

/* --- bounds and characters --- */

struct unit {
	const char *verb, *noun;
};

static const struct unit unit_value = { "be", "" }, unit_bytes = { "be", " byte" }, unit_elements = { "have", " element" },
			 unit_characters = { "be", " character" },
			 unit_pairs = { "have", " pair" };

static bool report_bound(struct reading *r, const char *path, const char *which, int64_t bound, struct unit u)
{
	problem(r, path, "range", "must %s %s %" PRId64 "%s%s", u.verb, which, bound, u.noun, u.noun[0] && bound != 1 ? "s" : "");
	return false;
}

static bool check_bounds(struct reading *r, const struct field *f, const char *path, int64_t n, struct unit u)
{
	if (f->min == 0 && f->max == 0)
		return true;
	if (n < f->min)
		return report_bound(r, path, "at least", f->min, u);
	if (n > f->max && f->max >= f->min)
		return report_bound(r, path, "at most", f->max, u);
	return true;
}

/* Whether there is a control character (C0, DEL or C1) in s; tab and line ends pass when they are layout. */
static bool has_control(struct bytes s, bool is_layout_fine)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == 0x7f || (c < 0x20 && !(is_layout_fine && (c == '\t' || c == '\n' || c == '\r'))))
			return true;
		if (c == 0xc2 && i + 1 < s.n && (unsigned char)s.p[i + 1] < 0xa0)
			return true;
	}
	return false;
}

static bool is_ident(struct bytes s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c && strchr("._:@-", c))))
			return false;
	}
	return true;
}

static bool is_name(struct bytes s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c == '-' && i > 0)))
			return false;
	}
	return true;
}

/* UTF-8 characters, not bytes. */
static size_t count_characters(struct bytes s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

static size_t count_elements(struct bytes raw)
{
	struct jsonx_walk w;
	size_t n = 0;

	jsonx_walk_begin(&w, raw);
	while (jsonx_walk_next(&w))
		n++;
	return n;
}

/* --- one reader for each type --- */

static void read_string(struct reading *r, const struct field *f, struct bytes raw, const char *path, void *out)
{
	struct bytes s = jsonx_string(r->t->arena, raw);

	bool is_counted = (f->flags & FIELD_CHARACTERS) != 0;

	if (!check_bounds(r, f, path, (int64_t)(is_counted ? count_characters(s) : s.n), is_counted ? unit_characters : unit_bytes))
		return;
	if (f->flags & FIELD_IDENT && !is_ident(s))
		problem(r, path, "format", "may hold only letters, digits and . _ : @ -");
	else if (f->flags & FIELD_NAME && !is_name(s))
		problem(r, path, "format", "may hold only lower-case letters, digits and -, and not begin with -");
	else if (!(f->flags & FIELD_ANY_TEXT) && has_control(s, true))
		problem(r, path, "format", "must not hold control characters");
	else
		*(struct bytes *)out = s;
}

static void read_int(struct reading *r, const struct field *f, struct bytes raw, const char *path, void *out)
{
	int64_t v = jsonx_int(raw);

	if (check_bounds(r, f, path, v, unit_value))
		*(int64_t *)out = v;
}

static void read_real(struct reading *r, const struct field *f, struct bytes raw, const char *path, void *out)
{
	double v = jsonx_real(raw);
	bool is_bounded = f->min != 0 || f->max != 0;

	if (is_bounded && v < (double)f->min)
		(void)report_bound(r, path, "at least", f->min, unit_value);
	else if (is_bounded && v > (double)f->max && f->max >= f->min)
		(void)report_bound(r, path, "at most", f->max, unit_value);
	else
		*(double *)out = v;
}

static void read_bool(struct reading *r, const struct field *f, struct bytes raw, const char *path, void *out)
{
	(void)r, (void)f, (void)path;
	*(bool *)out = jsonx_bool(raw);
}

static void read_enum(struct reading *r, const struct field *f, struct bytes raw, const char *path, void *out)
{
	struct bytes s = jsonx_string(r->t->arena, raw);

	for (const char *word = f->choices; *word;) {
		size_t n = strcspn(word, "|");

		if (bytes_equal(s, (struct bytes){ word, n })) {
			*(struct bytes *)out = s;
			return;
		}
		word += n + (word[n] == '|');
	}
	problem(r, path, "choice", "must be one of %s", f->choices);
}

static void read_time(struct reading *r, const struct field *f, struct bytes raw, const char *path, void *out)
{
	(void)f;
	if (!stamp_parse(jsonx_string(r->t->arena, raw), out))
		problem(r, path, "format", "must be an RFC 3339 time such as 2026-01-02T03:04:05Z");
}

static void read_object(struct reading *r, const struct field *f, struct bytes raw, const char *path, void *out)
{
	if (check_bounds(r, f, path, (int64_t)raw.n, unit_bytes))
		*(struct bytes *)out = raw;
}

static void read_array(struct reading *r, const struct field *f, struct bytes raw, const char *path, void *out)
{
	if (check_bounds(r, f, path, (int64_t)count_elements(raw), unit_elements))
		*(struct bytes *)out = raw;
}

/* A part of a message's content: an object that says of which type it is. The rest of it belongs to the type. */
static bool check_part(struct reading *r, struct bytes part, const char *path)
{
	struct bytes type;

	if (jsonx_type(part) != JSONX_OBJECT) {
		problem(r, path, "type", "must be an object");
		return false;
	}
	type = jsonx_member(part, "type");
	if (type.n == 0)
		problem(r, join_path(r->t, path, "type"), "required", "is required");
	else if (jsonx_type(type) != JSONX_STRING)
		problem(r, join_path(r->t, path, "type"), "type", "must be a string");
	return jsonx_type(type) == JSONX_STRING;
}

static void read_text_or_array(struct reading *r, const struct field *f, struct bytes raw, const char *path, void *out)
{
	struct jsonx_walk w;
	bool is_fine = true;
	size_t i = 0;

	/* The quotes of a string are not its text: with min 1 the empty string is refused. */
	if (!check_bounds(r, f, path, (int64_t)(jsonx_type(raw) == JSONX_STRING ? raw.n - 2 : raw.n), unit_bytes))
		return;
	if (jsonx_type(raw) == JSONX_ARRAY) {
		jsonx_walk_begin(&w, raw);
		for (; !is_full(r->t) && jsonx_walk_next(&w); i++)
			is_fine &= check_part(r, w.value, element_path(r->t, path, i));
		if (i == 0)
			problem(r, path, "range", "must have at least 1 element");
	}
	if (is_fine)
		*(struct bytes *)out = raw;
}

static bool check_word(struct reading *r, struct bytes word, const char *path)
{
	if (word.n < 1 || word.n > WORD_MAX)
		problem(r, path, "range", "must be 1 to %d bytes", WORD_MAX);
	else if (has_control(word, false))
		problem(r, path, "format", "must not hold control characters");
	else
		return true;
	return false;
}

static int compare_words(const void *a, const void *b)
{
	const struct bytes *x = a, *y = b;
	int order = memcmp(x->p, y->p, least(x->n, y->n));

	return order ? order : (x->n > y->n) - (x->n < y->n);
}

static void read_strings(struct reading *r, const struct field *f, struct bytes raw, const char *path, void *out)
{
	size_t n = count_elements(raw), i = 0;
	struct bytes *words = arena_array(r->t->arena, n, sizeof(*words));
	struct jsonx_walk w;

	if (!check_bounds(r, f, path, (int64_t)n, unit_elements))
		return;
	jsonx_walk_begin(&w, raw);
	for (; jsonx_walk_next(&w); i++) {
		if (jsonx_type(w.value) != JSONX_STRING) {
			problem(r, element_path(r->t, path, i), "type", "must be a string");
			return;
		}
		words[i] = jsonx_string(r->t->arena, w.value);
		if (!check_word(r, words[i], element_path(r->t, path, i)))
			return;
	}
	qsort(words, n, sizeof(*words), compare_words);
	for (i = 1; i < n; i++) {
		if (bytes_equal(words[i - 1], words[i])) {
			problem(r, path, "repeated", "holds \"%s\" twice", field_shown_name(r->t, words[i]));
			return;
		}
	}
	*(struct bytes *)out = raw;
}

static bool check_pair(struct reading *r, const struct field *f, const struct jsonx_walk *w, const char *path)
{
	struct bytes key = jsonx_string(r->t->arena, w->raw_key);
	const char *at = join_path(r->t, path, field_shown_name(r->t, key));
	enum jsonx_type type = jsonx_type(w->value);

	if (key.n == 0 || count_characters(key) > WORD_MAX)
		problem(r, at, "range", "a key must be 1 to %d characters", WORD_MAX);
	else if (has_control(key, false))
		problem(r, at, "format", "a key must not hold control characters");
	else if (type == JSONX_NULL && f->flags & FIELD_NULLS)
		return true;
	else if (type != JSONX_STRING)
		problem(r, at, "type", f->flags & FIELD_NULLS ? "must be a string or null" : "must be a string");
	else if (count_characters(jsonx_string(r->t->arena, w->value)) > PAIR_VALUE_MAX)
		problem(r, at, "range", "must be at most %d characters", PAIR_VALUE_MAX);
	else
		return true;
	return false;
}

static void read_pairs(struct reading *r, const struct field *f, struct bytes raw, const char *path, void *out)
{
	struct jsonx_walk w;
	bool is_fine = true;

	if (!check_bounds(r, f, path, (int64_t)count_elements(raw), unit_pairs))
		return;
	jsonx_walk_begin(&w, raw);
	while (!is_full(r->t) && jsonx_walk_next(&w))
		is_fine &= check_pair(r, f, &w, path);
	if (is_fine)
		*(struct bytes *)out = raw;
}

static void read_json(struct reading *r, const struct field *f, struct bytes raw, const char *path, void *out)
{
	(void)r, (void)f, (void)path;
	*(struct bytes *)out = raw;
}

static void read_list(struct reading *r, const struct field *f, struct bytes raw, const char *path, void *out)
{
	struct field_list *list = out;
	size_t n = count_elements(raw);
	struct jsonx_walk w;
	char *items;

	if (!check_bounds(r, f, path, (int64_t)n, unit_elements))
		return;
	items = arena_array(r->t->arena, n, f->sub->size);
	jsonx_walk_begin(&w, raw);
	for (size_t i = 0; !is_full(r->t) && jsonx_walk_next(&w); i++) {
		if (field_parse(r->t, f->sub, w.value, element_path(r->t, path, i), items + i * f->sub->size) != ERR_OK)
			r->has_failed = true;
	}
	*list = (struct field_list){ n, items, raw };
}

#define ACCEPT(type) (1u << JSONX_##type)
#define ACCEPT_ANY (~0u)

static const struct kind kinds[] = {
	[FIELD_STRING] = { ACCEPT(STRING), "a string", read_string },
	[FIELD_INT] = { ACCEPT(INT), "an integer", read_int },
	[FIELD_REAL] = { ACCEPT(INT) | ACCEPT(REAL), "a number", read_real },
	[FIELD_BOOL] = { ACCEPT(BOOL), "true or false", read_bool },
	[FIELD_ENUM] = { ACCEPT(STRING), "a string", read_enum },
	[FIELD_TIME] = { ACCEPT(STRING), "a string", read_time },
	[FIELD_OBJECT] = { ACCEPT(OBJECT), "an object", read_object },
	[FIELD_ARRAY] = { ACCEPT(ARRAY), "an array", read_array },
	[FIELD_TEXT_OR_ARRAY] = { ACCEPT(STRING) | ACCEPT(ARRAY), "a string or an array", read_text_or_array },
	[FIELD_STRINGS] = { ACCEPT(ARRAY), "an array of strings", read_strings },
	[FIELD_PAIRS] = { ACCEPT(OBJECT), "an object", read_pairs },
	[FIELD_JSON] = { ACCEPT_ANY, "any value", read_json },
	[FIELD_LIST] = { ACCEPT(ARRAY), "an array of objects", read_list },
};

/* --- objects --- */

static const struct field *find_field(const struct field_table *table, struct bytes name)
{
	for (const struct field *f = table->fields; f->name; f++) {
		if (bytes_equal(bytes_of(f->name), name))
			return f;
	}
	return NULL;
}

static size_t count_fields(const struct field_table *table)
{
	size_t n = 0;

	while (table->fields[n].name)
		n++;
	return n;
}

static void read_value(struct reading *r, const struct field *f, struct bytes raw, const char *path, void *target)
{
	const struct kind *k = &kinds[f->type];
	enum jsonx_type type = jsonx_type(raw);

	if (f->given_offset)
		*(bool *)((char *)target + f->given_offset) = true;
	if (type == JSONX_NULL && f->flags & FIELD_NULLABLE)
		return;
	if (k->accepts & 1u << type)
		k->read(r, f, raw, path, (char *)target + f->offset);
	else
		problem(r, path, "type", "must be %s%s", k->phrase, f->flags & FIELD_NULLABLE ? " or null" : "");
}

enum err field_parse(struct task *t, const struct field_table *table, struct bytes object, const char *path, void *target)
{
	struct reading r = { t, false };
	bool *seen = arena_array(t->arena, count_fields(table), sizeof(*seen));
	struct jsonx_walk w;

	if (jsonx_type(object) != JSONX_OBJECT) {
		if (!path[0])
			return task_fail(t, ERR_INVALID, "The body must be a JSON object");
		problem(&r, path, "type", "must be an object");
		return ERR_INVALID;
	}
	jsonx_walk_begin(&w, object);
	while (!is_full(t) && jsonx_walk_next(&w)) {
		struct bytes name = jsonx_string(t->arena, w.raw_key);
		const struct field *f = find_field(table, name);

		if (!f) {
			report_unknown(&r, table, name, path);
			continue;
		}
		seen[f - table->fields] = true;
		read_value(&r, f, w.value, join_path(t, path, f->name), target);
	}
	report_missing(&r, table, path, seen);
	/* Full of problems from before: nothing was read. */
	return r.has_failed || is_full(t) ? ERR_INVALID : ERR_OK;
}
