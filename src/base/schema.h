/* SPDX-License-Identifier: MIT */
/*
 * schema: JSON Schema for the arguments of tools: a stated part of draft 2020-12. What it does not know and what would decide over a value is
 * refused when a schema is defined, never skipped.
 *
 * Known: type (one or a list), enum, const, properties, required, additionalProperties, items, prefixItems, minimum, maximum,
 * exclusiveMinimum, exclusiveMaximum, multipleOf, minLength, maxLength (characters), minItems, maxItems, uniqueItems, minProperties,
 * maxProperties, anyOf, oneOf, allOf, not, $ref to "#", "#/$defs/NAME" or "#/definitions/NAME", and true and false as schemas.
 * Taken and not looked at: title, description, default, example, examples, deprecated, readOnly, writeOnly, format, contentEncoding,
 * contentMediaType, contentSchema, $schema, $id (at the top), $anchor, $comment, and everything that begins with x-.
 */
#ifndef PARLEY_BASE_SCHEMA_H
#define PARLEY_BASE_SCHEMA_H

#include <stdbool.h>

#include "base/arena.h"

#define SCHEMA_NODES 2000   /* most schemas inside of one */
#define SCHEMA_PROBLEMS 8   /* most that a check tells */

struct schema;

/* Why and where a definition is not acceptable. */
struct schema_flaw {
	const char *place;  /* JSON pointer: "#/properties/city/pattern" */
	const char *reason; /* "the keyword pattern is not supported" */
};

/*
 * Reads a definition: strictly validated JSON (jsonx_check_strict), which the schema borrows, with all else in `a`. False, and the first
 * flaw, for what is no schema or asks for more than is known here.
 */
bool schema_parse(struct arena *a, struct bytes definition, const struct schema **schema_r, struct schema_flaw *flaw_r);

/*
 * Checks a value, strictly validated JSON as well. Returns the number of problems, 0: it is valid. Each is a sentence in `a` that begins with a JSON
 * pointer into the value ("/items/0/price: must be a number"). Takes bounded time and stack whatever the two are: a value that would take
 * more has that as its problem.
 */
size_t schema_check(struct arena *a, const struct schema *schema, struct bytes value, const char *problems_r[SCHEMA_PROBLEMS]);

#endif
