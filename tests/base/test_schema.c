/* SPDX-License-Identifier: MIT */
/* test_schema: what schemas accept and refuse, what they say about it, and what is refused as a schema. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/buf.h"
#include "base/jsonx.h"
#include "base/schema.h"
#include "base/stamp.h"

static struct arena *arena;

static void setup(void)
{
	arena = arena_open(4096);
}

static void teardown(void)
{
	arena_close(&arena);
}

TestSuite(schema, .init = setup, .fini = teardown, .timeout = 20);

/* ' stands for ". */
static struct bytes json(const char *text)
{
	char *copy = arena_strdup(arena, text);
	struct jsonx_flaw flaw;

	for (char *p = copy; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	cr_assert(jsonx_check_strict(arena, bytes_of(copy), &flaw), "%s: %s", copy, flaw.reason);
	return bytes_of(copy);
}

static const struct schema *schema_of(const char *text)
{
	const struct schema *s;
	struct schema_flaw flaw;

	cr_assert(schema_parse(arena, json(text), &s, &flaw), "%s: %s %s", text, flaw.place, flaw.reason);
	return s;
}

/* The first problem, or "" for a valid value. */
static const char *first_problem(const struct schema *s, const char *value)
{
	const char *problems[SCHEMA_PROBLEMS];

	return schema_check(arena, s, json(value), problems) ? problems[0] : "";
}

/* A schema, the values it accepts and those it refuses. */
struct row {
	const char *schema;
	const char *good[8], *bad[8];
};

static void check_rows(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct schema *s = schema_of(rows[i].schema);

		for (const char *const *v = rows[i].good; *v; v++)
			cr_expect_str_eq(first_problem(s, *v), "", "%s takes %s", rows[i].schema, *v);
		for (const char *const *v = rows[i].bad; *v; v++)
			cr_expect_str_neq(first_problem(s, *v), "", "%s refuses %s", rows[i].schema, *v);
	}
}
#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

Test(schema, knows_types)
{
	static const struct row rows[] = {
		{ "{}", { "null", "1", "'x'", "[]", "{}" }, { NULL } },
		{ "true", { "null", "{}" }, { NULL } },
		{ "false", { NULL }, { "null", "{}" } },
		{ "{'type':'integer'}", { "1", "-3", "1.0", "1e3", "0", "-0.0", "1e300" }, { "1.5", "'1'", "null", "true", "[1]" } },
		{ "{'type':'number'}", { "1", "1.5", "-1e-9" }, { "'1'", "null" } },
		{ "{'type':'string'}", { "''", "'x'" }, { "1", "null", "{}", "[]" } },
		{ "{'type':'boolean'}", { "true", "false" }, { "0", "'true'", "null" } },
		{ "{'type':'null'}", { "null" }, { "0", "false", "''" } },
		{ "{'type':'array'}", { "[]", "[1]" }, { "{}", "'[]'" } },
		{ "{'type':'object'}", { "{}", "{'a':1}" }, { "[]", "null" } },
		{ "{'type':['string','null']}", { "'x'", "null" }, { "1", "{}" } },
		{ "{'type':['integer','string']}", { "1", "2.0", "'x'" }, { "1.5", "null" } },
	};

	CHECK(rows);
}

Test(schema, knows_numbers)
{
	static const struct row rows[] = {
		{ "{'minimum':1,'maximum':3}", { "1", "3", "2.5", "'x'", "null" }, { "0", "3.0001", "0.9999", "-1e300" } },
		{ "{'exclusiveMinimum':1,'exclusiveMaximum':3}", { "2", "1.0001" }, { "1", "3", "1.0", "3e0" } },
		{ "{'minimum':9223372036854775807}", { "9223372036854775807", "1e19" }, { "9223372036854775806" } },
		{ "{'maximum':-9223372036854775808}", { "-9223372036854775808" }, { "-9223372036854775807" } },
		{ "{'multipleOf':3}", { "0", "9", "-3", "6.0", "'x'" }, { "1", "4.0", "3.1" } },
		{ "{'multipleOf':0.1}", { "0.3", "1.1", "7", "-0.7", "0" }, { "0.35", "0.01" } },
		{ "{'multipleOf':0.01}", { "19.99", "0.29", "4.35" }, { "19.995" } },
		{ "{'multipleOf':1}", { "-9223372036854775808", "5" }, { "1000000.5" } },
	};

	CHECK(rows);
}

Test(schema, knows_texts)
{
	static const struct row rows[] = {
		{ "{'minLength':2,'maxLength':3}", { "'ab'", "'abc'", "'äöü'", "'\\u00e4\\u00f6'", "'\\ud83d\\ude00b'", "5", "[]" }, { "'a'", "'abcd'", "'ä'", "'\\ud83d\\ude00'" } },
		{ "{'maxLength':0}", { "''" }, { "'\\u0000'" } },
	};

	CHECK(rows);
}

Test(schema, knows_arrays)
{
	static const struct row rows[] = {
		{ "{'items':{'type':'integer'}}", { "[]", "[1,2]", "{}", "'x'" }, { "['x']", "[1,null]" } },
		{ "{'items':false}", { "[]" }, { "[1]" } },
		{ "{'prefixItems':[{'type':'string'},{'type':'integer'}]}", { "[]", "['a']", "['a',1]", "['a',1,null]" }, { "[1]", "['a','b']" } },
		{ "{'prefixItems':[{'type':'string'}],'items':{'type':'integer'}}", { "['a']", "['a',1,2]" }, { "[1]", "['a',1,'b']" } },
		{ "{'minItems':1,'maxItems':2}", { "[1]", "[1,2]", "'abc'" }, { "[]", "[1,2,3]" } },
		{ "{'uniqueItems':true}", { "[]", "[1]", "[1,2,'1',true,null]", "[{'a':1},{'a':2}]", "[[1,2],[2,1]]", "[1,true]", "[0,false]" },
		  { "[1,1]", "[1,2,1.0]", "['a','b','a']", "[{'a':1,'b':2},{'b':2,'a':1.0}]", "['\\u0061','a']", "[0,-0.0]", "[null,null]" } },
		{ "{'uniqueItems':false}", { "[1,1]" }, { NULL } },
	};

	CHECK(rows);
}

Test(schema, knows_objects)
{
	static const struct row rows[] = {
		{ "{'properties':{'a':{'type':'string'}}}", { "{}", "{'a':'x'}", "{'b':1}", "[]", "1" }, { "{'a':1}", "{'\\u0061':1}" } },
		{ "{'required':['a','b']}", { "{'a':1,'b':null}", "{'b':1,'c':2,'a':3}", "[]" }, { "{}", "{'a':1}", "{'b':1}" } },
		{ "{'properties':{'a':{}},'additionalProperties':false}", { "{}", "{'a':1}" }, { "{'b':1}", "{'a':1,'c':2}" } },
		{ "{'properties':{'a':{}},'required':['b'],'additionalProperties':false}", { NULL }, { "{}", "{'b':1}", "{'a':1}" } },
		{ "{'additionalProperties':{'type':'integer'}}", { "{}", "{'x':1}" }, { "{'x':'1'}" } },
		{ "{'additionalProperties':true}", { "{'x':'1'}" }, { NULL } },
		{ "{'properties':{'a':false}}", { "{}", "{'b':1}" }, { "{'a':1}" } },
		{ "{'minProperties':1,'maxProperties':2}", { "{'a':1}", "{'a':1,'b':1}" }, { "{}", "{'a':1,'b':1,'c':1}" } },
		{ "{'properties':{'':{'type':'null'}},'required':['']}", { "{'':null}" }, { "{}", "{'':1}" } },
		{ "{'type':'object','properties':{'o':{'type':'object','properties':{'n':{'type':'integer','minimum':0}},'required':['n']}}}",
		  { "{}", "{'o':{'n':1}}" }, { "{'o':{}}", "{'o':{'n':-1}}", "{'o':[]}" } },
	};

	CHECK(rows);
}

Test(schema, knows_values)
{
	static const struct row rows[] = {
		{ "{'enum':['a',1,null,{'x':[1,2]}]}", { "'a'", "1", "1.0", "null", "{'x':[1,2]}", "{ 'x' : [1.0, 2] }" }, { "'b'", "2", "{}", "{'x':[2,1]}", "'1'" } },
		{ "{'const':{'a':1,'b':2}}", { "{'b':2,'a':1}" }, { "{'a':1}", "{'a':1,'b':2,'c':3}", "null" } },
		{ "{'const':null}", { "null" }, { "0", "false" } },
		{ "{'const':1,'enum':[1,2]}", { "1" }, { "2" } },
		{ "{'const':'\\u00e4/'}", { "'ä\\/'" }, { "'a'" } },
		{ "{'const':9223372036854775807}", { "9223372036854775807" }, { "9223372036854775806", "9223372036854775807.5" } },
		{ "{'const':0.1}", { "0.1", "1e-1", "0.10" }, { "0.10000000000000002" } },
	};

	CHECK(rows);
}

Test(schema, knows_alternatives)
{
	static const struct row rows[] = {
		{ "{'anyOf':[{'type':'string'},{'minimum':5}]}", { "'x'", "5", "null" }, { "4" } },
		{ "{'oneOf':[{'type':'integer'},{'minimum':5}]}", { "3", "5.5", "'x'" }, { "5", "4.5" } },
		{ "{'allOf':[{'type':'integer'},{'minimum':5}]}", { "5" }, { "5.5", "4" } },
		{ "{'not':{'type':'string'}}", { "1" }, { "'x'" } },
		{ "{'not':{'not':{'type':'string'}}}", { "'x'" }, { "1" } },
		{ "{'not':{}}", { NULL }, { "1", "null" } },
		{ "{'type':'object','properties':{'kind':{'enum':['a','b']}},'oneOf':[{'properties':{'kind':{'const':'a'}},'required':['x']},"
		  "{'properties':{'kind':{'const':'b'}},'required':['y']}],'required':['kind']}",
		  { "{'kind':'a','x':1}", "{'kind':'b','y':1}" }, { "{'kind':'a','y':1}", "{'kind':'c','x':1}", "{'x':1,'y':1}" } },
	};

	CHECK(rows);
}

Test(schema, knows_references)
{
	static const struct row rows[] = {
		{ "{'$defs':{'p':{'type':'integer'}},'properties':{'a':{'$ref':'#/$defs/p'},'b':{'$ref':'#/$defs/p','minimum':3}}}",
		  { "{'a':1,'b':3}" }, { "{'a':'x'}", "{'b':1}", "{'b':'x'}" } },
		{ "{'definitions':{'p':{'type':'integer'}},'items':{'$ref':'#/definitions/p'}}", { "[1]" }, { "['x']" } },
		{ "{'properties':{'next':{'$ref':'#'},'n':{'type':'integer'}},'required':['n']}",
		  { "{'n':1,'next':{'n':2,'next':{'n':3}}}" }, { "{'n':1,'next':{}}", "{'n':1,'next':{'n':2,'next':{'n':'x'}}}" } },
		{ "{'$defs':{'a/b~c':{'type':'null'}},'$ref':'#/$defs/a~1b~0c'}", { "null" }, { "1" } },
		{ "{'$defs':{'tree':{'type':'array','items':{'anyOf':[{'type':'integer'},{'$ref':'#/$defs/tree'}]}}},'$ref':'#/$defs/tree'}",
		  { "[1,[2,[3,[]]]]" }, { "[1,[2,['x']]]", "1" } },
	};

	CHECK(rows);
}

Test(schema, says_where_and_what)
{
	static const struct {
		const char *schema, *value, *problem;
	} rows[] = {
		{ "{'type':'object'}", "1", "the whole value: must be object" },
		{ "{'properties':{'a':{'items':{'type':['string','null']}}}}", "{'a':['x',5]}", "/a/1: must be null or string" },
		{ "{'required':['city']}", "{}", "/city: is required" },
		{ "{'properties':{'a':{},'b':{}},'additionalProperties':false}", "{'c':1}", "/c: is not known here; known names: a, b" },
		{ "{'additionalProperties':false}", "{'c':1}", "/c: is not known here; known names: none" },
		{ "{'properties':{'a~/b':{'minimum':1.5}}}", "{'a~/b':1}", "/a~0~1b: must be at least 1.5" },
		{ "{'enum':['a', 'b']}", "'c'", "the whole value: must be one of [\"a\", \"b\"]" },
		{ "{'const':5}", "'c'", "the whole value: must be 5" },
		{ "{'minLength':2}", "'c'", "the whole value: must have at least 2 characters" },
		{ "{'maxItems':0}", "[1]", "the whole value: must have at most 0 items" },
		{ "{'anyOf':[{'type':'null'},{'type':'string'}]}", "1", "the whole value: matches none of the 2 forms that are allowed" },
		{ "{'oneOf':[true,true]}", "1", "the whole value: must match exactly one of 2 forms, and matches several" },
		{ "{'anyOf':[{'type':'null'}]}", "1", "the whole value: must be null" },
		{ "{'not':{}}", "1", "the whole value: has a form that is not allowed" },
		{ "{'uniqueItems':true}", "[1,1]", "the whole value: must not hold the same value twice" },
		{ "{'properties':{'a':false}}", "{'a':1}", "/a: is not allowed" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect_str_eq(first_problem(schema_of(rows[i].schema), rows[i].value), rows[i].problem);
}

Test(schema, tells_several_problems_but_not_all)
{
	const struct schema *s = schema_of("{'properties':{'a':{'type':'null'},'b':{'type':'null'}},'required':['c'],'additionalProperties':{'type':'string'}}");
	const char *problems[SCHEMA_PROBLEMS];

	cr_assert_eq(schema_check(arena, s, json("{'a':1,'b':2}"), problems), 3);
	cr_expect_str_eq(problems[0], "/a: must be null");
	cr_expect_str_eq(problems[1], "/b: must be null");
	cr_expect_str_eq(problems[2], "/c: is required");
	cr_assert_eq(schema_check(arena, s, json("{'0':0,'1':1,'2':2,'3':3,'4':4,'5':5,'6':6,'7':7,'8':8,'9':9}"), problems), SCHEMA_PROBLEMS);
}

Test(schema, cuts_long_names_between_characters)
{
	struct buf b;
	const char *problem;

	buf_init(&b, arena, 0);
	buf_add_str(&b, "{'x");
	for (int i = 0; i < 1000; i++)
		buf_add_str(&b, "ä");
	buf_add_str(&b, "':1}");
	problem = first_problem(schema_of("{'additionalProperties':false}"), buf_bytes(&b).p);
	cr_expect_lt(strlen(problem), 200);
	buf_clear(&b);
	buf_add_json_str(&b, problem);
	cr_expect(jsonx_check_strict(arena, buf_bytes(&b), &(struct jsonx_flaw){ 0 }), "%s", problem);
}

/* ---- definitions ---- */

Test(schema, takes_annotations)
{
	schema_of("{'$schema':'https://json-schema.org/draft/2020-12/schema','$id':'https://x.example/s','title':'T','description':'D','default':{},"
		  "'examples':[1],'example':1,'format':'date','deprecated':true,'readOnly':false,'writeOnly':false,'$comment':'c','x-order':3,"
		  "'contentEncoding':'base64','contentMediaType':'text/plain','contentSchema':{'pattern':1},'$anchor':'a'}");
}

Test(schema, refuses_what_it_cannot_check_by_name_and_place)
{
	static const struct {
		const char *schema, *place, *reason;
	} rows[] = {
		{ "1", "#", "must be a schema" },
		{ "null", "#", "must be a schema" },
		{ "{'pattern':'^x'}", "#/pattern", "not supported" },
		{ "{'properties':{'city':{'pattern':'x'}}}", "#/properties/city/pattern", "not supported" },
		{ "{'items':{'anyOf':[{},{'if':{}}]}}", "#/items/anyOf/1/if", "not supported" },
		{ "{'nullable':true}", "#/nullable", "null among the types" },
		{ "{'minumum':1}", "#/minumum", "not supported" },
		{ "{'items':{'$id':'x'}}", "#/items/$id", "not supported" },
		{ "{'type':'any'}", "#/type", "must be null, boolean" },
		{ "{'type':[]}", "#/type", "must be null, boolean" },
		{ "{'type':['string','string']}", "#/type", "once" },
		{ "{'type':5}", "#/type", "must be null, boolean" },
		{ "{'enum':[]}", "#/enum", "list of values" },
		{ "{'enum':'a'}", "#/enum", "list of values" },
		{ "{'minimum':'1'}", "#/minimum", "a number" },
		{ "{'exclusiveMinimum':true}", "#/exclusiveMinimum", "a number" },
		{ "{'multipleOf':0}", "#/multipleOf", "more than 0" },
		{ "{'multipleOf':-1}", "#/multipleOf", "more than 0" },
		{ "{'minLength':-1}", "#/minLength", "whole number" },
		{ "{'maxItems':1.5}", "#/maxItems", "whole number" },
		{ "{'uniqueItems':1}", "#/uniqueItems", "true or false" },
		{ "{'properties':[]}", "#/properties", "an object of schemas" },
		{ "{'properties':{'a':5}}", "#/properties/a", "must be a schema" },
		{ "{'required':'a'}", "#/required", "a list of names" },
		{ "{'required':[1]}", "#/required", "a list of names" },
		{ "{'items':[{}]}", "#/items", "must be a schema" },
		{ "{'anyOf':[]}", "#/anyOf", "a list of schemas" },
		{ "{'allOf':{}}", "#/allOf", "a list of schemas" },
		{ "{'$ref':1}", "#/$ref", "a text" },
		{ "{'$ref':'#/$defs/x'}", "#/$ref", "names nothing" },
		{ "{'$ref':'https://x.example/s'}", "#/$ref", "names nothing" },
		{ "{'items':{'$defs':{}}}", "#/items/$defs", "at the top" },
		{ "{'$defs':[]}", "#/$defs", "an object of schemas" },
		{ "{'$defs':{'a':{'pattern':''}}}", "#/$defs/a/pattern", "not supported" },
		{ "{'$ref':'#'}", "#/$ref", "without an end" },
		{ "{'not':{'$ref':'#'}}", "#/not/$ref", "without an end" },
		{ "{'$defs':{'a':{'$ref':'#/$defs/b'},'b':{'anyOf':[{'$ref':'#/$defs/a'}]}}}", "#/$defs/", "without an end" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct schema *s;
		struct schema_flaw flaw;

		cr_expect(!schema_parse(arena, json(rows[i].schema), &s, &flaw), "%s", rows[i].schema);
		if (strcmp(rows[i].place, "#/not/$ref") == 0 || strcmp(rows[i].place, "#/$defs/") == 0)
			cr_expect(strncmp(flaw.place, "#", 1) == 0, "%s: %s", rows[i].schema, flaw.place);
		else
			cr_expect_str_eq(flaw.place, rows[i].place);
		cr_expect(strstr(flaw.reason, rows[i].reason), "%s: %s", rows[i].schema, flaw.reason);
	}
}

/* ---- bounds ---- */

/* The middle n times, with its number in place of #. */
static struct bytes repeated(const char *begin, const char *middle, int n, const char *end)
{
	struct buf b;

	buf_init(&b, arena, 0);
	buf_add_str(&b, begin);
	for (int i = 0; i < n; i++) {
		for (const char *p = middle; *p; p++) {
			if (*p == '#')
				buf_add_int(&b, i);
			else
				buf_add_char(&b, *p);
		}
	}
	buf_add_str(&b, end);
	for (size_t i = 0; i < b.n; i++)
		b.p[i] = b.p[i] == '\'' ? '"' : b.p[i];
	return buf_bytes(&b);
}

Test(schema, refuses_too_many_schemas)
{
	const struct schema *s;
	struct schema_flaw flaw;

	cr_expect(schema_parse(arena, repeated("{'anyOf':[{}", ",{}", SCHEMA_NODES - 2, "]}"), &s, &flaw));
	cr_expect(!schema_parse(arena, repeated("{'anyOf':[{}", ",{}", SCHEMA_NODES - 1, "]}"), &s, &flaw));
	cr_expect(strstr(flaw.reason, "too many"));
}

Test(schema, refuses_long_chains_of_references)
{
	const struct schema *s;
	struct schema_flaw flaw;
	struct buf b;

	buf_init(&b, arena, 0);
	buf_add_str(&b, "{'$ref':'#/$defs/d0','$defs':{");
	for (int i = 0; i < 1500; i++)
		buf_addf(&b, "'d%d':{'$ref':'#/$defs/d%d'},", i, i + 1);
	buf_add_str(&b, "'d1500':{}}}");
	cr_expect(!schema_parse(arena, json(buf_bytes(&b).p), &s, &flaw));
	cr_expect(strstr(flaw.reason, "behind the other"), "%s", flaw.reason);
}

/* Each level doubles the work: 2^60 checks, if nobody counted. */
Test(schema, ends_in_time_whatever_is_asked)
{
	const struct schema *s = schema_of("{'$defs':{'a':{'anyOf':[{'items':{'$ref':'#/$defs/a'},'type':'array','minItems':5},"
					   "{'items':{'$ref':'#/$defs/a'},'type':'array','minItems':6}]}},'$ref':'#/$defs/a'}");
	const char *problems[SCHEMA_PROBLEMS];
	struct buf b;
	int64_t began = stamp_mono_ms();

	buf_init(&b, arena, 0);
	for (int i = 0; i < 60; i++)
		buf_add_char(&b, '[');
	for (int i = 0; i < 60; i++)
		buf_add_char(&b, ']');
	cr_assert_eq(schema_check(arena, s, buf_bytes(&b), problems), 1);
	cr_expect(strstr(problems[0], "too large or too deeply nested"), "%s", problems[0]);
	cr_expect_lt(stamp_mono_ms() - began, 1500);
}

Test(schema, checks_a_large_value_against_many_names)
{
	struct bytes definition = repeated("{'properties':{'x':{}", ",'p#':{'type':'integer'}", 1900, "},'required':['p7'],'additionalProperties':false}");
	struct bytes value = repeated("{'x':0", ",'p#':1", 1900, "}");
	const struct schema *s;
	struct schema_flaw flaw;
	const char *problems[SCHEMA_PROBLEMS];
	int64_t began = stamp_mono_ms();

	cr_assert(schema_parse(arena, definition, &s, &flaw), "%s: %s", flaw.place, flaw.reason);
	cr_expect_eq(schema_check(arena, s, value, problems), 0);
	cr_expect_lt(stamp_mono_ms() - began, 500);
}
