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

/* A table's 0, 0 says that there are no bounds. */
static void format_bounds(const struct field *f, const char *least, const char *most, struct buf *out)
{
	if (f->min == 0 && f->max == 0)
		return;
	buf_member_int(out, least, f->min);
	if (f->max >= f->min)
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

/* A schema counts characters where our bounds count bytes, so that minLength says no more than "not empty". */
static void format_string(const struct field *f, struct buf *out)
{
	if (f->min > 0)
		buf_member_int(out, "minLength", 1);
	if (f->max > 0)
		buf_member_int(out, "maxLength", f->max);
	if (f->flags & FIELD_IDENT)
		buf_member_str(out, "pattern", "^[A-Za-z0-9._:@-]*$");
}

static void format_pairs(const struct field *f, struct buf *out)
{
	format_raw(out, "propertyNames", "{\"minLength\":1,\"maxLength\":64}");
	format_raw(out, "additionalProperties", f->flags & FIELD_NULLS ? "{\"type\":[\"string\",\"null\"],\"maxLength\":512}"
								       : "{\"type\":\"string\",\"maxLength\":512}");
	format_bounds(f, "minProperties", "maxProperties", out);
}

static void format_text_or_array(const struct field *f, struct buf *out)
{
	buf_add_member(out, "oneOf");
	buf_add_str(out, "[{\"type\":\"string\"},{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"object\","
			 "\"properties\":{\"type\":{\"type\":\"string\"}},\"required\":[\"type\"]}}");
	buf_add_str(out, f->flags & FIELD_NULLABLE ? ",{\"type\":\"null\"}]" : "]");
}

static void format_rest(const struct field *f, struct buf *out)
{
	switch (f->type) {
	case FIELD_STRING:
		format_string(f, out);
		break;
	case FIELD_INT:
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
		format_raw(out, "items", "{\"type\":\"string\",\"minLength\":1,\"maxLength\":64}");
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
	case FIELD_BOOL:
	case FIELD_OBJECT:
	case FIELD_JSON:
		break;
	}
}

void field_format_schema(const struct field_table *table, struct buf *out)
{
	bool has_required = false;

	buf_add_str(out, "{\"type\":\"object\"");
	buf_add_member(out, "properties");
	buf_add_char(out, '{');
	for (const struct field *f = table->fields; f->name; f++) {
		buf_add_member(out, f->name);
		buf_add_char(out, '{');
		format_type(f, out);
		format_rest(f, out);
		if (f->help)
			buf_member_str(out, "description", f->help);
		buf_add_char(out, '}');
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
