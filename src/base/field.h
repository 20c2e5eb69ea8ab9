/* SPDX-License-Identifier: MIT */
/* field: tables that declare what a request may carry; checked once, into a struct, before any handler runs. */
#ifndef PARLEY_BASE_FIELD_H
#define PARLEY_BASE_FIELD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/jsonx.h"
#include "base/task.h"

enum field_type {
	FIELD_STRING,  /* struct bytes, unescaped; min..max count bytes; NUL and control characters but \t \n \r are refused unless FIELD_ANY_TEXT */
	FIELD_INT,     /* int64_t; min..max */
	FIELD_REAL,    /* double; min..max */
	FIELD_BOOL,    /* bool */
	FIELD_ENUM,    /* struct bytes, one of the words in `choices`, separated by | */
	FIELD_TIME,    /* int64_t ms since 1970, from RFC 3339 */
	FIELD_OBJECT,  /* struct bytes, raw; min..max count bytes */
	FIELD_ARRAY,   /* struct bytes, raw; min..max count elements */
	FIELD_TEXT_OR_ARRAY, /* struct bytes, raw: a string, or one or more objects with a string "type" (message content);
				min..max count bytes as written, without the quotes of a string */
	FIELD_STRINGS, /* struct bytes, raw: an array of distinct strings, each 1..64 bytes without control characters; min..max count elements */
	FIELD_PAIRS,   /* struct bytes, raw: an object of strings (null allowed with FIELD_NULLS): at most `max` pairs, keys 1..64, values up to 512 characters */
	FIELD_JSON,    /* struct bytes, raw: any value */
	FIELD_LIST,    /* struct field_list: an array of objects, each checked against `sub`; min..max count elements */
};

enum field_flag {
	FIELD_REQUIRED = 1,
	FIELD_NULLABLE = 2, /* null is accepted and means: given, and null */
	FIELD_ANY_TEXT = 4, /* FIELD_STRING may hold any character */
	FIELD_NULLS = 8,    /* FIELD_PAIRS: null values are accepted (they delete) */
	FIELD_IDENT = 16,   /* FIELD_STRING: only letters, digits and . _ : @ - */
	FIELD_NAME = 32,    /* FIELD_STRING: only lower-case letters, digits and -, which is not the first */
	FIELD_CHARACTERS = 64, /* FIELD_STRING: min..max count characters, not bytes */
};

struct field_table;

struct field {
	const char *name;
	enum field_type type;
	unsigned flags;
	int64_t min, max;    /* 0, 0: no bounds */
	size_t offset;       /* of the value's member in the target struct */
	size_t given_offset; /* of a bool (or enum field_given char) set when the field was present; 0: none kept */
	const char *choices; /* FIELD_ENUM */
	const struct field_table *sub; /* FIELD_LIST; FIELD_OBJECT: for the schema alone, members that mean something among any others, or are null */
	const char *help;    /* for the OpenAPI document */
	const char *example; /* for the same, as JSON; NULL: one is made from the type and its bounds */
};

/* Ends with a row whose name is NULL. `size` is that of the struct the rows point into. */
struct field_table {
	const struct field *fields;
	size_t size;
};

/* What FIELD_LIST fills: n structs of sub->size bytes each, one after the other. */
struct field_list {
	size_t n;
	void *items;
	struct bytes raw;
};

/*
 * Checks a validated JSON object against a table and fills *target (zeroed, of table->size bytes). Every problem is added to the task's
 * fault, 20 at most (unknown field, missing, wrong type, out of bounds, wrong word), with the path of the field ("messages[3].role"; `path` is
 * the prefix, "" at the top). Returns ERR_INVALID if there was any. Strings live in the task's arena or in `object`.
 */
enum err field_parse(struct task *t, const struct field_table *table, struct bytes object, const char *path, void *target) MUST_CHECK;

/*
 * The same for a URL query string: names and values percent-decoded, the same tables (STRING, INT, BOOL, ENUM, TIME only); an unknown or
 * repeated parameter is a problem, and one that is repeated or not percent-encoded UTF-8 is reported alone.
 */
enum err field_parse_query(struct task *t, const struct field_table *table, struct bytes query, void *target) MUST_CHECK;

/* A name from outside as an answer may show it: the first 64 bytes or so, cut between characters. */
const char *field_shown_name(struct task *t, struct bytes name);

/*
 * Writes the table, or one of its rows, as a JSON Schema object (for OpenAPI 3.1). A bound that counts bytes stands there as the keyword that
 * counts characters, which is never tighter, and beside it exactly, as "x-maxBytes".
 */
void field_format_schema(const struct field_table *table, struct buf *out);
void field_format_schema_of(const struct field *f, struct buf *out);

/* Writes an object with the rows that are required or name an example, and the example of one row. */
void field_format_example(const struct field_table *table, struct buf *out);
void field_format_example_of(const struct field *f, struct buf *out);

#endif
