/* SPDX-License-Identifier: MIT */
/* schema_parse: reads definitions of schemas, and refuses what it cannot promise to check. */
#include <stdlib.h>
#include <string.h>

#include "base/schema_private.h"

struct parser {
	struct arena *arena;
	struct schema_flaw *flaw;
	struct schema *first, *last; /* all schemas, in the order they were read */
	size_t n;
	/* What $ref may name: "#/$defs/x" by its bytes. */
	struct target {
		struct bytes ref;
		struct schema *schema;
	} *targets;
	size_t n_targets, room;
};

/* Where in the definition, from the inside out. */
struct place {
	const struct place *up;
	struct bytes key; /* unescaped */
	size_t index;     /* where key has no p */
};

const char *const schema_type_names[SCHEMA_TYPES] = { "null", "boolean", "integer", "number", "string", "array", "object" };

static const char *const annotations[] = {
	"title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "format", "contentEncoding",
	"contentMediaType", "contentSchema", "$schema", "$anchor", "$comment", NULL,
};

static bool parse_schema(struct parser *p, const struct place *at, struct bytes text, struct schema **schema_r);

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

static const char *place_text(struct parser *p, const struct place *at)
{
	struct buf b;

	buf_init(&b, p->arena, 64);
	buf_add_char(&b, '#');
	add_place(&b, at);
	return buf_bytes(&b).p;
}

static bool fail(struct parser *p, const struct place *at, const char *reason)
{
	*p->flaw = (struct schema_flaw){ place_text(p, at), reason };
	return false;
}

/* ---- values of keywords ---- */

static bool parse_number(struct parser *p, const struct place *at, struct bytes v, struct schema *s, enum schema_bound which)
{
	enum jsonx_type type = jsonx_type(v);

	if (type != JSONX_INT && type != JSONX_REAL)
		return fail(p, at, "must be a number");
	if (which == MULTIPLE && !(schema_number(v) > 0))
		return fail(p, at, "must be more than 0");
	s->number[which] = v;
	s->numbers |= 1U << which;
	return true;
}

static bool parse_count(struct parser *p, const struct place *at, struct bytes v, struct schema *s, enum schema_count which)
{
	if (jsonx_type(v) != JSONX_INT || jsonx_int(v) < 0)
		return fail(p, at, "must be a whole number, 0 or more");
	s->count[which] = jsonx_int(v);
	s->counts |= 1U << which;
	return true;
}

static bool parse_bool(struct parser *p, const struct place *at, struct bytes v, bool *is_r)
{
	if (jsonx_type(v) != JSONX_BOOL)
		return fail(p, at, "must be true or false");
	*is_r = jsonx_bool(v);
	return true;
}

static unsigned find_type(struct parser *p, struct bytes raw)
{
	struct bytes name;

	if (jsonx_type(raw) != JSONX_STRING)
		return 0;
	name = jsonx_string(p->arena, raw);
	for (unsigned i = 0; i < SCHEMA_TYPES; i++) {
		if (bytes_equal(name, bytes_of(schema_type_names[i])))
			return 1U << i;
	}
	return 0;
}

static bool parse_types(struct parser *p, const struct place *at, struct bytes v, struct schema *s)
{
	struct jsonx_walk w;

	if (jsonx_type(v) != JSONX_ARRAY) {
		s->types = find_type(p, v);
	} else {
		jsonx_walk_begin(&w, v);
		while (jsonx_walk_next(&w)) {
			unsigned type = find_type(p, w.value);

			if (type == 0 || s->types & type)
				return fail(p, at, "must name each type once");
			s->types |= type;
		}
	}
	if (s->types == 0)
		return fail(p, at, "must be null, boolean, integer, number, string, array or object, or a list of these");
	return true;
}

static int by_bytes(const void *a, const void *b)
{
	return schema_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

/* Of an array or object; 0 for anything else. */
static size_t count_items(struct bytes value)
{
	struct jsonx_walk w;
	size_t n = 0;

	if (jsonx_type(value) != JSONX_ARRAY && jsonx_type(value) != JSONX_OBJECT)
		return 0;
	jsonx_walk_begin(&w, value);
	while (jsonx_walk_next(&w))
		n++;
	return n;
}

static bool parse_choices(struct parser *p, const struct place *at, struct bytes v, struct schema *s)
{
	struct jsonx_walk w;

	if (jsonx_type(v) != JSONX_ARRAY || count_items(v) == 0)
		return fail(p, at, "must be a list of values");
	s->choices = arena_array(p->arena, count_items(v), sizeof(*s->choices));
	jsonx_walk_begin(&w, v);
	while (jsonx_walk_next(&w))
		s->choices[s->n_choices++] = schema_canonical(p->arena, w.value);
	qsort(s->choices, s->n_choices, sizeof(*s->choices), by_bytes);
	s->choices_text = v;
	return true;
}

static bool parse_constant(struct parser *p, struct bytes v, struct schema *s)
{
	s->constant = schema_canonical(p->arena, v);
	s->constant_text = v;
	return true;
}

/* ---- schemas inside ---- */

static bool parse_list(struct parser *p, const struct place *at, struct bytes v, struct schema_list *list_r)
{
	struct jsonx_walk w;

	if (jsonx_type(v) != JSONX_ARRAY || count_items(v) == 0)
		return fail(p, at, "must be a list of schemas");
	list_r->items = arena_array(p->arena, count_items(v), sizeof(*list_r->items));
	jsonx_walk_begin(&w, v);
	while (jsonx_walk_next(&w)) {
		struct place here = { .up = at, .index = list_r->n };

		if (!parse_schema(p, &here, w.value, &list_r->items[list_r->n]))
			return false;
		list_r->n++;
	}
	return true;
}

static int by_name(const void *a, const void *b)
{
	return schema_compare(((const struct schema_property *)a)->name, ((const struct schema_property *)b)->name);
}

static bool parse_properties(struct parser *p, const struct place *at, struct bytes v, struct schema *s)
{
	struct jsonx_walk w;

	if (jsonx_type(v) != JSONX_OBJECT)
		return fail(p, at, "must be an object of schemas");
	jsonx_walk_begin(&w, v);
	while (jsonx_walk_next(&w)) {
		struct schema_property *one = &s->properties[s->n_properties++];
		struct place here = { .up = at };

		here.key = one->name = jsonx_string(p->arena, w.raw_key);
		if (!parse_schema(p, &here, w.value, &one->schema))
			return false;
	}
	return true;
}

static bool parse_required(struct parser *p, const struct place *at, struct bytes v, struct schema *s)
{
	struct jsonx_walk w;

	if (jsonx_type(v) != JSONX_ARRAY)
		return fail(p, at, "must be a list of names");
	jsonx_walk_begin(&w, v);
	while (jsonx_walk_next(&w)) {
		if (jsonx_type(w.value) != JSONX_STRING)
			return fail(p, at, "must be a list of names");
		s->properties[s->n_properties++] = (struct schema_property){ .name = jsonx_string(p->arena, w.value), .is_required = true };
	}
	return true;
}

/* Sorts what properties and required named, and makes one of each pair. */
static void join_properties(struct schema *s)
{
	size_t n = 0;

	if (s->n_properties > 0)
		qsort(s->properties, s->n_properties, sizeof(*s->properties), by_name);
	for (size_t i = 0; i < s->n_properties; i++) {
		struct schema_property *one = &s->properties[i];

		if (n > 0 && bytes_equal(s->properties[n - 1].name, one->name)) {
			s->properties[n - 1].is_required |= one->is_required;
			if (one->schema)
				s->properties[n - 1].schema = one->schema;
		} else {
			s->properties[n++] = *one;
		}
	}
	s->n_properties = n;
}

static void add_target(struct parser *p, const struct place *at, struct schema *s)
{
	struct buf b;

	if (p->n_targets == p->room) {
		size_t room = p->room ? p->room * 2 : 16;

		p->targets = arena_grow(p->arena, p->targets, p->room * sizeof(*p->targets), room * sizeof(*p->targets));
		p->room = room;
	}
	buf_init(&b, p->arena, 64);
	buf_addf(&b, "#/%s/", at->up->key.p[0] == '$' ? "$defs" : "definitions");
	for (size_t i = 0; i < at->key.n; i++) {
		if (at->key.p[i] == '~' || at->key.p[i] == '/')
			buf_add_str(&b, at->key.p[i] == '~' ? "~0" : "~1");
		else
			buf_add_char(&b, at->key.p[i]);
	}
	p->targets[p->n_targets++] = (struct target){ buf_bytes(&b), s };
}

/* Definitions stand at the top alone, where references find them. */
static bool parse_definitions(struct parser *p, const struct place *at, struct bytes v)
{
	struct jsonx_walk w;

	if (at->up)
		return fail(p, at, "definitions can stand at the top alone");
	if (jsonx_type(v) != JSONX_OBJECT)
		return fail(p, at, "must be an object of schemas");
	jsonx_walk_begin(&w, v);
	while (jsonx_walk_next(&w)) {
		struct place here = { .up = at, .key = jsonx_string(p->arena, w.raw_key) };
		struct schema *s;

		if (!parse_schema(p, &here, w.value, &s))
			return false;
		add_target(p, &here, s);
	}
	return true;
}

static bool parse_ref(struct parser *p, const struct place *at, struct bytes v, struct schema *s)
{
	if (jsonx_type(v) != JSONX_STRING)
		return fail(p, at, "must be a text");
	s->ref_text = jsonx_string(p->arena, v);
	s->place = place_text(p, at);
	return true;
}

/* ---- one schema ---- */

static bool is_annotation(struct bytes key, const struct place *at)
{
	if (key.n >= 2 && memcmp(key.p, "x-", 2) == 0)
		return true;
	if (bytes_equal(key, BYTES("$id")) && !at->up)
		return true;
	for (const char *const *a = annotations; *a; a++) {
		if (bytes_equal(key, bytes_of(*a)))
			return true;
	}
	return false;
}

static bool refuse_keyword(struct parser *p, const struct place *at)
{
	if (bytes_equal(at->key, BYTES("nullable")))
		return fail(p, at, "the keyword nullable is not supported: name null among the types");
	return fail(p, at, "this keyword is not supported");
}

static bool parse_keyword(struct parser *p, const struct place *at, struct bytes v, struct schema *s)
{
	static const char *const numbers[N_NUMBERS] = { "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf" };
	static const char *const counts[N_COUNTS] = { "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties" };
	const struct {
		const char *name;
		struct schema_list *list;
	} lists[] = { { "prefixItems", &s->prefix }, { "anyOf", &s->any }, { "oneOf", &s->one }, { "allOf", &s->all } };
	const struct {
		const char *name;
		struct schema **schema;
	} inner[] = { { "items", &s->items }, { "additionalProperties", &s->additional }, { "not", &s->not } };
#define IS(word) bytes_equal(at->key, BYTES(word))

	for (size_t i = 0; i < N_NUMBERS; i++) {
		if (bytes_equal(at->key, bytes_of(numbers[i])))
			return parse_number(p, at, v, s, (enum schema_bound)i);
	}
	for (size_t i = 0; i < N_COUNTS; i++) {
		if (bytes_equal(at->key, bytes_of(counts[i])))
			return parse_count(p, at, v, s, (enum schema_count)i);
	}
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (bytes_equal(at->key, bytes_of(lists[i].name)))
			return parse_list(p, at, v, lists[i].list);
	}
	for (size_t i = 0; i < sizeof(inner) / sizeof(inner[0]); i++) {
		if (bytes_equal(at->key, bytes_of(inner[i].name)))
			return parse_schema(p, at, v, inner[i].schema);
	}
	if (IS("type"))
		return parse_types(p, at, v, s);
	if (IS("enum"))
		return parse_choices(p, at, v, s);
	if (IS("const"))
		return parse_constant(p, v, s);
	if (IS("properties"))
		return parse_properties(p, at, v, s);
	if (IS("required"))
		return parse_required(p, at, v, s);
	if (IS("uniqueItems"))
		return parse_bool(p, at, v, &s->is_unique);
	if (IS("$ref"))
		return parse_ref(p, at, v, s);
	if (IS("$defs") || IS("definitions"))
		return parse_definitions(p, at, v);
	return is_annotation(at->key, at) || refuse_keyword(p, at);
#undef IS
}

static struct schema *add_schema(struct parser *p)
{
	struct schema *s = arena_alloc(p->arena, sizeof(*s));

	if (p->last)
		p->last->next = s;
	else
		p->first = s;
	p->last = s;
	p->n++;
	return s;
}

static bool parse_schema(struct parser *p, const struct place *at, struct bytes text, struct schema **schema_r)
{
	struct schema *s;
	struct jsonx_walk w;

	if (p->n == SCHEMA_NODES)
		return fail(p, at, "there are too many schemas in this one");
	*schema_r = s = add_schema(p);
	if (jsonx_type(text) == JSONX_BOOL) {
		s->is_never = !jsonx_bool(text);
		return true;
	}
	if (jsonx_type(text) != JSONX_OBJECT)
		return fail(p, at, "must be a schema: an object, true or false");
	s->properties = arena_array(p->arena, count_items(jsonx_member(text, "properties")) + count_items(jsonx_member(text, "required")),
				    sizeof(*s->properties));
	jsonx_walk_begin(&w, text);
	while (jsonx_walk_next(&w)) {
		struct place here = { .up = at, .key = jsonx_string(p->arena, w.raw_key) };

		if (!parse_keyword(p, &here, w.value, s))
			return false;
	}
	join_properties(s);
	return true;
}

/* ---- references ---- */

static struct schema *find_target(const struct parser *p, struct bytes ref)
{
	if (bytes_equal(ref, BYTES("#")))
		return p->first;
	for (size_t i = 0; i < p->n_targets; i++) {
		if (bytes_equal(p->targets[i].ref, ref))
			return p->targets[i].schema;
	}
	return NULL;
}

static bool resolve(struct parser *p)
{
	for (struct schema *s = p->first; s; s = s->next) {
		if (!s->ref_text.p)
			continue;
		s->ref = find_target(p, s->ref_text);
		if (!s->ref) {
			*p->flaw = (struct schema_flaw){ s->place, "names nothing here: a reference is \"#\", \"#/$defs/NAME\" or \"#/definitions/NAME\"" };
			return false;
		}
	}
	return true;
}

#define CHAIN_MAX 64 /* schemas of one value, one inside or behind the other */

enum mark { UNSEEN, OPEN, CLOSED };

static bool ends(struct parser *p, struct schema *s, int depth);

static bool list_ends(struct parser *p, const struct schema_list *list, int depth)
{
	for (size_t i = 0; i < list->n; i++) {
		if (!ends(p, list->items[i], depth))
			return false;
	}
	return true;
}

/* Whether a check that begins with this schema goes on to a part of the value, or ends, however it goes through the schemas of the same value. */
static bool ends(struct parser *p, struct schema *s, int depth)
{
	if (s->mark == CLOSED)
		return true;
	if (s->mark == OPEN || depth > CHAIN_MAX) {
		*p->flaw = (struct schema_flaw){ s->place ? s->place : "#",
						 s->mark == OPEN ? "refers to itself without an end" : "too many schemas stand one behind the other" };
		return false;
	}
	s->mark = OPEN;
	if (!list_ends(p, &s->any, depth + 1) || !list_ends(p, &s->one, depth + 1) || !list_ends(p, &s->all, depth + 1))
		return false;
	if ((s->not && !ends(p, s->not, depth + 1)) || (s->ref && !ends(p, s->ref, depth + 1)))
		return false;
	s->mark = CLOSED;
	return true;
}

static bool all_end(struct parser *p)
{
	for (struct schema *s = p->first; s; s = s->next) {
		if (!ends(p, s, 0))
			return false;
	}
	return true;
}

bool schema_parse(struct arena *a, struct bytes definition, const struct schema **schema_r, struct schema_flaw *flaw_r)
{
	struct parser p = { .arena = a, .flaw = flaw_r };
	struct schema *s;

	if (!parse_schema(&p, NULL, definition, &s) || !resolve(&p) || !all_end(&p))
		return false;
	*schema_r = s;
	return true;
}
