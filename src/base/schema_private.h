/* SPDX-License-Identifier: MIT */
/* schema_private: a schema as schema_parse.c reads it and schema.c applies it. */
#ifndef PARLEY_BASE_SCHEMA_PRIVATE_H
#define PARLEY_BASE_SCHEMA_PRIVATE_H

#include "base/buf.h"
#include "base/jsonx.h"
#include "base/schema.h"

/* The types of a value, as bits. A whole number is both number and integer. */
enum schema_type {
	SCHEMA_NULL = 1,
	SCHEMA_BOOLEAN = 2,
	SCHEMA_INTEGER = 4,
	SCHEMA_NUMBER = 8,
	SCHEMA_STRING = 16,
	SCHEMA_ARRAY = 32,
	SCHEMA_OBJECT = 64,
};

/* Their words, in the order of the bits. */
#define SCHEMA_TYPES 7
extern const char *const schema_type_names[SCHEMA_TYPES];

/* A member that a schema names. */
struct schema_property {
	struct bytes name;
	struct schema *schema; /* NULL: any value */
	bool is_required;
};

struct schema_list {
	struct schema **items;
	size_t n;
};

/* Bounds of numbers and of counts, by these places. */
enum schema_bound { MINIMUM, MAXIMUM, ABOVE, BELOW, MULTIPLE, N_NUMBERS };
enum schema_count { MIN_LENGTH, MAX_LENGTH, MIN_ITEMS, MAX_ITEMS, MIN_PROPERTIES, MAX_PROPERTIES, N_COUNTS };

struct schema {
	bool is_never;   /* the schema false */
	unsigned types;  /* 0: any */
	unsigned numbers, counts; /* which of the two below are given, as bits */
	struct bytes number[N_NUMBERS]; /* as written */
	int64_t count[N_COUNTS];
	bool is_unique;
	struct bytes *choices; /* of enum, canonical and sorted */
	size_t n_choices;
	struct bytes choices_text; /* as written */
	struct bytes constant, constant_text; /* of const; no bytes: none */
	struct schema_property *properties; /* sorted by name */
	size_t n_properties;
	struct schema *additional; /* NULL: anything */
	struct schema *items;      /* of what is behind prefix */
	struct schema_list prefix, any, one, all;
	struct schema *not;
	struct schema *ref;
	/* While it is read. */
	struct bytes ref_text;
	const char *place;
	int mark;
	struct schema *next;
};

/* Order of two runs of bytes. */
int schema_compare(struct bytes a, struct bytes b);

/*
 * The one form of a value that all values share which JSON Schema holds to be the same: members sorted, strings without needless escapes, a number
 * by its value.
 */
struct bytes schema_canonical(struct arena *a, struct bytes value);

/* A number as long double, which holds every int64 and every double. */
long double schema_number(struct bytes raw);

/* Adds a key as a step of a JSON pointer, cut where it is very long. */
void schema_add_step(struct buf *b, struct bytes key);

/* Characters (code points) of a text. */
size_t schema_length(struct bytes text);

#endif
