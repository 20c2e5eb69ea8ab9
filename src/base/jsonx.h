/* SPDX-License-Identifier: MIT */
/*
 * jsonx: JSON from outside. A strict validator first (RFC 8259, UTF-8, depth, duplicate keys, integer range); then a reader that
 * walks validated text and hands out the very bytes that came, so that what is stored is what was sent. Trees are json-c's,
 * made only from validated text.
 */
#ifndef PARLEY_BASE_JSONX_H
#define PARLEY_BASE_JSONX_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/task.h"

#define JSONX_DEPTH 64 /* deepest nesting accepted */

/* Why and where a text is not acceptable. */
struct jsonx_flaw {
	const char *reason; /* a constant phrase: "a comma or } is missing", "the text is not UTF-8", "a key appears twice" ... */
	size_t offset;      /* byte offset of the first wrong byte */
};

/*
 * Whether text is one JSON value and nothing else: the RFC 8259 grammar, well-formed UTF-8 (no surrogates, no overlongs, not
 * past U+10FFFF), no lone \u surrogates, no BOM, depth <= JSONX_DEPTH, integers (no fraction, no exponent) within int64, other
 * numbers finite as a double. Linear time, no recursion. Scratch memory comes from `a`.
 */
bool jsonx_check(struct arena *a, struct bytes text, struct jsonx_flaw *flaw_r);

/*
 * As jsonx_check, and what the grammar leaves open but no two readers agree on is refused as well: a key twice in one object (compared after
 * unescaping; found in O(n log n)), and a key with \u0000 in it (values may have it). For everything that is stored or decided upon.
 */
bool jsonx_check_strict(struct arena *a, struct bytes text, struct jsonx_flaw *flaw_r);

/* As jsonx_check_strict, for an object whose members are stored values, each of which may have all of JSONX_DEPTH to itself. */
bool jsonx_check_line(struct arena *a, struct bytes text, struct jsonx_flaw *flaw_r);

enum jsonx_type { JSONX_NONE, JSONX_NULL, JSONX_BOOL, JSONX_INT, JSONX_REAL, JSONX_STRING, JSONX_ARRAY, JSONX_OBJECT };

/* The functions below take validated text only. */

/* The type of a value by its first byte(s); JSONX_NONE for no bytes. */
enum jsonx_type jsonx_type(struct bytes value);

/* A walk over the members of an object or the elements of an array. */
struct jsonx_walk {
	struct bytes text;
	size_t at;
	struct bytes raw_key; /* of an object's member: the key as written, with its quotes; empty in arrays */
	struct bytes value;   /* the value as written */
};
void jsonx_walk_begin(struct jsonx_walk *w, struct bytes object_or_array);
/* Steps to the next member or element; false at the end. */
bool jsonx_walk_next(struct jsonx_walk *w);

/* The raw value of a member of an object by its (unescaped) name; no bytes if it is absent. */
struct bytes jsonx_member(struct bytes object, const char *name);

/* Unescapes a string value (quotes included in `raw`) into the arena; a string without escapes is borrowed, not copied. */
struct bytes jsonx_string(struct arena *a, struct bytes raw);

int64_t jsonx_int(struct bytes raw);   /* of a JSONX_INT */
double jsonx_real(struct bytes raw);   /* of a JSONX_INT or JSONX_REAL */
bool jsonx_bool(struct bytes raw);     /* of a JSONX_BOOL */

/* Parses validated text with json-c; the tree is released with the arena. NULL value for JSON null, as json-c has it. */
struct json_object *jsonx_tree(struct arena *a, struct bytes text);

/* Writes a json-c tree compactly, `/` unescaped; the bytes are in the arena. */
struct bytes jsonx_print(struct arena *a, struct json_object *tree);

/* Applies an RFC 7396 merge patch: both texts validated, `target` empty means absent. The result is in the arena, compact. */
struct bytes jsonx_merge(struct arena *a, struct bytes target, struct bytes patch);

#endif
