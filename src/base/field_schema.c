/* SPDX-License-Identifier: MIT */
/* field_schema: writes a field table as JSON Schema (2020-12, what OpenAPI 3.1 speaks). */
#include <string.h>

#include "base/field.h"

static const char *const types[] = {
	[FIELD_STRING] = "string", [FIELD_INT] = "integer",  [FIELD_REAL] = "number",  [FIELD_BOOL] = "boolean",
	[FIELD_ENUM] = "string",   [FIELD_TIME] = "string",  [FIELD_OBJECT] = "object", [FIELD_ARRAY] = "array",
	[FIELD_STRINGS] = "array", [FIELD_PAIRS] = "object", [FIELD_LIST] = "array",
	[FIELD_TEXT_OR_ARRAY] = NULL, /* one of two */
	[FIELD_JSON] = NULL,          /* any */
};

static void format_type(const struct field *f, struct buf *out)
{
	if (!types[f->type])
		return;
	buf_add_member(out, "type");
	if (f->flags & FIELD_NULLABLE)
		buf_addf(out, "[\"%s\",\"null\"]", types[f->type]);
	else
		buf_add_json_str(out, types[f->type]);
}

/* A table's 0, 0 says that there are no bounds; the greatest integer is none that a reader could tell from its neighbours. */
static void format_bounds(const struct field *f, const char *least, const char *most, struct buf *out)
{
	if (f->min == 0 && f->max == 0)
		return;
	buf_member_int(out, least, f->min);
	if (f->max >= f->min && f->max != INT64_MAX)
		buf_member_int(out, most, f->max);
}

static void format_choices(const struct field *f, struct buf *out)
{
	buf_add_member(out, "enum");
	buf_add_char(out, '[');
	for (const char *word = f->choices; *word;) {
		size_t n = strcspn(word, "|");

		if (word != f->choices)
			buf_add_char(out, ',');
		buf_add_json(out, (struct bytes){ word, n });
		word += n + (word[n] == '|');
	}
	buf_add_str(out, f->flags & FIELD_NULLABLE ? ",null]" : "]");
}

static void format_raw(struct buf *out, const char *name, const char *json)
{
	buf_member_json(out, name, bytes_of(json));
}

/* The characters that texts and words may hold, as field.c checks them. */
#define NO_CONTROL "^[^\\\\u0000-\\\\u0008\\\\u000b\\\\u000c\\\\u000e-\\\\u001f\\\\u007f-\\\\u009f]*$"
#define NO_CONTROL_AT_ALL "^[^\\\\u0000-\\\\u001f\\\\u007f-\\\\u009f]*$"
#define WORD "\"minLength\":1,\"maxLength\":64,\"pattern\":\"" NO_CONTROL_AT_ALL "\""

static void format_max_bytes(const struct field *f, struct buf *out)
{
	if (f->max > 0)
		buf_member_int(out, "x-maxBytes", f->max);
}

/* The bytes of an ident or a name are its characters; any other text may have fewer characters than bytes. */
static void format_string(const struct field *f, struct buf *out)
{
	bool is_exact = (f->flags & (FIELD_IDENT | FIELD_NAME | FIELD_CHARACTERS)) != 0;

	if (f->min > 0)
		buf_member_int(out, "minLength", is_exact ? f->min : 1);
	if (f->max > 0)
		buf_member_int(out, "maxLength", f->max);
	if (!is_exact)
		format_max_bytes(f, out);
	if (f->flags & FIELD_IDENT)
		format_raw(out, "pattern", "\"^[A-Za-z0-9._:@-]*$\"");
	else if (f->flags & FIELD_NAME)
		format_raw(out, "pattern", "\"^([a-z0-9][a-z0-9-]*)?$\"");
	else if (!(f->flags & FIELD_ANY_TEXT))
		format_raw(out, "pattern", "\"" NO_CONTROL "\"");
}

static void format_pairs(const struct field *f, struct buf *out)
{
	format_raw(out, "propertyNames", "{" WORD "}");
	format_raw(out, "additionalProperties", f->flags & FIELD_NULLS ? "{\"type\":[\"string\",\"null\"],\"maxLength\":512}"
								       : "{\"type\":\"string\",\"maxLength\":512}");
	format_bounds(f, "minProperties", "maxProperties", out);
}

static void format_text_or_array(const struct field *f, struct buf *out)
{
	buf_add_member(out, "oneOf");
	buf_addf(out, "[{\"type\":\"string\"%s},{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"object\","
		      "\"properties\":{\"type\":{\"type\":\"string\"}},\"required\":[\"type\"]}}%s]",
		 f->min > 0 ? ",\"minLength\":1" : "", f->flags & FIELD_NULLABLE ? ",{\"type\":\"null\"}" : "");
	format_max_bytes(f, out);
}

static void format_known_members(const struct field_table *table, struct buf *out)
{
	buf_add_member(out, "properties");
	buf_add_char(out, '{');
	for (const struct field *f = table->fields; f->name; f++) {
		struct field member = *f;

		member.flags |= FIELD_NULLABLE;
		buf_add_member(out, f->name);
		field_format_schema_of(&member, out);
	}
	buf_add_char(out, '}');
}

static void format_rest(const struct field *f, struct buf *out)
{
	switch (f->type) {
	case FIELD_STRING:
		format_string(f, out);
		break;
	case FIELD_INT:
		buf_member_str(out, "format", "int64");
		format_bounds(f, "minimum", "maximum", out);
		break;
	case FIELD_REAL:
		format_bounds(f, "minimum", "maximum", out);
		break;
	case FIELD_ENUM:
		format_choices(f, out);
		break;
	case FIELD_TIME:
		buf_member_str(out, "format", "date-time");
		break;
	case FIELD_ARRAY:
		format_bounds(f, "minItems", "maxItems", out);
		break;
	case FIELD_STRINGS:
		format_raw(out, "items", "{\"type\":\"string\"," WORD ",\"x-maxBytes\":64}");
		buf_member_bool(out, "uniqueItems", true);
		format_bounds(f, "minItems", "maxItems", out);
		break;
	case FIELD_PAIRS:
		format_pairs(f, out);
		break;
	case FIELD_TEXT_OR_ARRAY:
		format_text_or_array(f, out);
		break;
	case FIELD_LIST:
		buf_add_member(out, "items");
		field_format_schema(f->sub, out);
		format_bounds(f, "minItems", "maxItems", out);
		break;
	case FIELD_OBJECT:
		if (f->sub)
			format_known_members(f->sub, out);
		format_max_bytes(f, out);
		break;
	case FIELD_BOOL:
	case FIELD_JSON:
		break;
	}
}

void field_format_schema_of(const struct field *f, struct buf *out)
{
	buf_add_char(out, '{');
	format_type(f, out);
	format_rest(f, out);
	if (f->help)
		buf_member_str(out, "description", f->help);
	if (f->example) {
		buf_add_member(out, "examples");
		buf_addf(out, "[%s]", f->example);
	}
	buf_add_char(out, '}');
}

void field_format_schema(const struct field_table *table, struct buf *out)
{
	bool has_required = false;

	buf_add_str(out, "{\"type\":\"object\"");
	buf_add_member(out, "properties");
	buf_add_char(out, '{');
	for (const struct field *f = table->fields; f->name; f++) {
		buf_add_member(out, f->name);
		field_format_schema_of(f, out);
		has_required |= (f->flags & FIELD_REQUIRED) != 0;
	}
	buf_add_char(out, '}');
	if (has_required) {
		buf_add_member(out, "required");
		buf_add_char(out, '[');
		for (const struct field *f = table->fields; f->name; f++) {
			if (f->flags & FIELD_REQUIRED) {
				buf_add_str(out, out->p[out->n - 1] == '[' ? "" : ",");
				buf_add_json_str(out, f->name);
			}
		}
		buf_add_char(out, ']');
	}
	buf_member_bool(out, "additionalProperties", false);
	buf_add_char(out, '}');
}

/* A text of the least length that a row asks for. */
static void format_text_example(const struct field *f, struct buf *out)
{
	static const char word[] = "text";
	int64_t n = sizeof(word) - 1;

	if (f->max > 0 && f->max < n)
		n = f->max;
	buf_addf(out, "\"%.*s", (int)n, word);
	for (; n < f->min; n++)
		buf_add_char(out, '-');
	buf_add_char(out, '"');
}

static int64_t example_number(const struct field *f)
{
	if (f->min == 0 && f->max == 0)
		return 1;
	if (f->min > 1)
		return f->min;
	return f->max >= f->min && f->max < 1 ? f->max : 1;
}

static void format_elements_example(const struct field *f, struct buf *out)
{
	buf_add_char(out, '[');
	for (int64_t i = 0; i < f->min; i++)
		buf_add_str(out, i ? ",{}" : "{}");
	buf_add_char(out, ']');
}

void field_format_example_of(const struct field *f, struct buf *out)
{
	if (f->example) {
		buf_add_str(out, f->example);
		return;
	}
	switch (f->type) {
	case FIELD_STRING:
		format_text_example(f, out);
		break;
	case FIELD_INT:
	case FIELD_REAL:
		buf_add_int(out, example_number(f));
		break;
	case FIELD_BOOL:
		buf_add_str(out, "true");
		break;
	case FIELD_ENUM:
		buf_add_json(out, (struct bytes){ f->choices, strcspn(f->choices, "|") });
		break;
	case FIELD_TIME:
		buf_add_str(out, "\"2026-01-02T03:04:05.000Z\"");
		break;
	case FIELD_ARRAY:
		format_elements_example(f, out);
		break;
	case FIELD_TEXT_OR_ARRAY:
		buf_add_str(out, "\"Do you bake rye bread?\"");
		break;
	case FIELD_STRINGS:
		buf_add_str(out, "[\"bread\"]");
		break;
	case FIELD_PAIRS:
		buf_add_str(out, "{\"order\":\"1042\"}");
		break;
	case FIELD_OBJECT:
	case FIELD_JSON:
		buf_add_str(out, "{}");
		break;
	case FIELD_LIST:
		buf_add_char(out, '[');
		field_format_example(f->sub, out);
		buf_add_char(out, ']');
		break;
	}
}

void field_format_example(const struct field_table *table, struct buf *out)
{
	buf_add_char(out, '{');
	for (const struct field *f = table->fields; f->name; f++) {
		if (!(f->flags & FIELD_REQUIRED) && !f->example)
			continue;
		buf_add_member(out, f->name);
		field_format_example_of(f, out);
	}
	buf_add_char(out, '}');
}
