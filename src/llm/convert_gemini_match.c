/* SPDX-License-Identifier: MIT */
/* convert_gemini_match: which call an answer answers. Calls that came without an id get one made of what they say and where. */
#include <stdlib.h>

#include "base/secret.h"
#include "llm/convert_gemini.h"

#define MADE_ID "parley_"
#define MADE_ID_HASH 8 /* bytes of it behind that */

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

struct bytes gemini_make_id(struct arena *a, const struct bytes *parts, size_t n)
{
	char hex[2 * MADE_ID_HASH + 1];
	unsigned char hash[SECRET_HASH_SIZE];

	secret_hash(parts, n, hash);
	secret_hex(hash, MADE_ID_HASH, hex);
	return bytes_of(arena_printf(a, MADE_ID "%s", hex));
}

static struct bytes make_id(struct arena *a, const struct convert_unit *u, size_t ordinal)
{
	struct bytes parts[2] = { bytes_of(arena_printf(a, "%zu", ordinal)) };
	struct buf b;

	buf_init(&b, a, u->raw.n + 16);
	convert_canon(&b, u->raw);
	parts[1] = buf_bytes(&b);
	return gemini_make_id(a, parts, 2);
}

bool gemini_is_made_id(struct bytes id)
{
	return id.n == sizeof(MADE_ID) - 1 + 2 * MADE_ID_HASH && memcmp(id.p, MADE_ID, sizeof(MADE_ID) - 1) == 0;
}

static void list_calls(struct arena *a, struct convert_units *us, struct calls *c_r)
{
	struct gemini_part p;

	*c_r = (struct calls){ .items = arena_array(a, us->n, sizeof(*c_r->items)) };
	for (size_t i = 0; i < us->n; i++) {
		struct convert_unit *u = &us->items[i];
		struct call *c = &c_r->items[c_r->n];

		if (u->is_head || u->side != SIDE_MODEL)
			continue;
		gemini_take(a, u->raw, &p);
		if (p.kind != PART_CALL)
			continue;
		c->unit = i;
		gemini_names(a, p.value, &c->id, &c->name);
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

void gemini_match(struct arena *a, struct convert_units *us)
{
	struct calls calls;
	struct gemini_part p;

	list_calls(a, us, &calls);
	for (size_t i = 0; i < us->n; i++) {
		struct convert_unit *u = &us->items[i];
		struct bytes id, name;
		struct call *c;

		if (!u->is_result)
			continue;
		gemini_take(a, u->raw, &p);
		gemini_names(a, p.value, &id, &name);
		c = id.p ? find_by_id(&calls, id, i) : name.p ? find_by_name(&calls, name, i) : NULL;
		u->call_id = c ? c->id : id;
		u->call_name = c ? c->name : NOTHING;
		if (c)
			c->is_answered = true;
	}
}
