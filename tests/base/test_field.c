/* SPDX-License-Identifier: MIT */
/* test_field: what tables of fields let through, and how every problem is named. */
#include <criterion/criterion.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/field.h"

struct part {
	struct bytes role;
	int64_t seq;
};

struct input {
	struct bytes name, kind, user, raw_text;
	int64_t count, at;
	double heat;
	bool is_public;
	struct bytes state, items, content, tags, pairs, patch, any;
	struct field_list messages;
	bool has_name, has_count, has_public, has_any;
};

static const struct field part_fields[] = {
	{ "role", FIELD_ENUM, FIELD_REQUIRED, 0, 0, offsetof(struct part, role), 0, "user|assistant", NULL, "Who speaks", NULL },
	{ "seq", FIELD_INT, 0, 0, 0, offsetof(struct part, seq), 0, NULL, NULL, NULL, NULL },
	{ 0 },
};
static const struct field_table part_table = { part_fields, sizeof(struct part) };

#define AT(member) offsetof(struct input, member)

static const struct field fields[] = {
	{ "name", FIELD_STRING, FIELD_NULLABLE, 1, 8, AT(name), AT(has_name), NULL, NULL, "A \"name\"", NULL },
	{ "kind", FIELD_ENUM, 0, 0, 0, AT(kind), 0, "a|bb|ccc", NULL, NULL, NULL },
	{ "user", FIELD_STRING, FIELD_IDENT, 0, 0, AT(user), 0, NULL, NULL, NULL, NULL },
	{ "raw_text", FIELD_STRING, FIELD_ANY_TEXT, 0, 0, AT(raw_text), 0, NULL, NULL, NULL, NULL },
	{ "count", FIELD_INT, FIELD_NULLABLE, -5, 10, AT(count), AT(has_count), NULL, NULL, NULL, NULL },
	{ "at", FIELD_TIME, 0, 0, 0, AT(at), 0, NULL, NULL, NULL, NULL },
	{ "heat", FIELD_REAL, 0, 0, 2, AT(heat), 0, NULL, NULL, NULL, NULL },
	{ "public", FIELD_BOOL, 0, 0, 0, AT(is_public), AT(has_public), NULL, NULL, NULL, NULL },
	{ "state", FIELD_OBJECT, 0, 0, 16, AT(state), 0, NULL, NULL, NULL, NULL },
	{ "items", FIELD_ARRAY, 0, 1, 3, AT(items), 0, NULL, NULL, NULL, NULL },
	{ "content", FIELD_TEXT_OR_ARRAY, 0, 1, 64, AT(content), 0, NULL, NULL, NULL, NULL },
	{ "tags", FIELD_STRINGS, 0, 0, 3, AT(tags), 0, NULL, NULL, NULL, NULL },
	{ "pairs", FIELD_PAIRS, 0, 0, 2, AT(pairs), 0, NULL, NULL, NULL, NULL },
	{ "patch", FIELD_PAIRS, FIELD_NULLS, 0, 2, AT(patch), 0, NULL, NULL, NULL, NULL },
	{ "any", FIELD_JSON, FIELD_NULLABLE, 0, 0, AT(any), AT(has_any), NULL, NULL, NULL, NULL },
	{ "messages", FIELD_LIST, 0, 1, 50, AT(messages), 0, NULL, &part_table, NULL, NULL },
	{ 0 },
};
static const struct field_table table = { fields, sizeof(struct input) };

static struct task task;
static struct input in;

static void start(void)
{
	memset(&task, 0, sizeof(task));
	task_init(&task, arena_open(4096));
}

static void stop(void)
{
	arena_close(&task.arena);
}

TestSuite(field, .init = start, .fini = stop);

static enum err parse(const char *json)
{
	struct jsonx_flaw flaw;
	struct bytes text = bytes_of(json);

	cr_assert(jsonx_check(task.arena, text, &flaw), "%s: %s", json, flaw.reason);
	memset(&in, 0, sizeof(in));
	task_clear_fault(&task);
	return field_parse(&task, &table, text, "", &in);
}

static enum err parse_query(struct bytes query)
{
	memset(&in, 0, sizeof(in));
	task_clear_fault(&task);
	return field_parse_query(&task, &table, query, &in);
}

static void expect_ok(const char *json)
{
	cr_assert_eq(parse(json), ERR_OK, "%s: %s", json, task.fault.detail);
	cr_assert_null(task.fault.fields);
}

static void expect_one(const char *what, const char *path, const char *code, const char *detail)
{
	const struct fault_field *f = task.fault.fields;

	cr_assert_eq(task.fault.code, ERR_INVALID, "%s", what);
	cr_assert_not_null(f, "%s", what);
	cr_assert_str_eq(f->field, path, "%s: field %s", what, f->field);
	cr_assert_str_eq(f->code, code, "%s: code %s", what, f->code);
	cr_assert_str_eq(f->detail, detail, "%s: %s", what, f->detail);
	cr_assert_null(f->next, "%s: more than one problem", what);
}

static void expect_problem(const char *json, const char *path, const char *code, const char *detail)
{
	cr_assert_eq(parse(json), ERR_INVALID, "%s was accepted", json);
	expect_one(json, path, code, detail);
}

static void expect_query_problem(const char *query, const char *path, const char *code, const char *detail)
{
	cr_assert_eq(parse_query(bytes_of(query)), ERR_INVALID, "%s was accepted", query);
	expect_one(query, path, code, detail);
}

static bool is_text(struct bytes b, const char *want)
{
	return bytes_equal(b, bytes_of(want));
}

Test(field, every_type_reaches_its_member)
{
	expect_ok("{\"name\":\"a\\u0062\",\"kind\":\"bb\",\"user\":\"A.b_c:d@e-1\",\"raw_text\":\"\\u0000\",\"count\":-5,"
		  "\"at\":\"1970-01-01T00:00:01Z\",\"heat\":1.5,\"public\":true,\"state\":{\"a\": 1},\"items\":[1,[2,3]],"
		  "\"content\":\"hi\",\"tags\":[\"x\",\"y\"],\"pairs\":{\"k\":\"v\"},\"patch\":{\"k\":null},\"any\":[ 1 ],"
		  "\"messages\":[{\"role\":\"user\",\"seq\":7},{\"role\":\"assistant\"}]}");
	cr_assert(is_text(in.name, "ab"));
	cr_assert(is_text(in.kind, "bb"));
	cr_assert(is_text(in.user, "A.b_c:d@e-1"));
	cr_assert(bytes_equal(in.raw_text, BYTES("\0")));
	cr_assert_eq(in.count, -5);
	cr_assert_eq(in.at, 1000);
	cr_assert_eq(in.heat, 1.5);
	cr_assert(in.is_public);
	cr_assert(is_text(in.state, "{\"a\": 1}"));
	cr_assert(is_text(in.items, "[1,[2,3]]"));
	cr_assert(is_text(in.content, "\"hi\""));
	cr_assert(is_text(in.tags, "[\"x\",\"y\"]"));
	cr_assert(is_text(in.pairs, "{\"k\":\"v\"}"));
	cr_assert(is_text(in.patch, "{\"k\":null}"));
	cr_assert(is_text(in.any, "[ 1 ]"));
	cr_assert(in.has_name && in.has_count && in.has_public && in.has_any);
}

Test(field, a_list_fills_one_struct_for_each_element)
{
	const struct part *parts;

	expect_ok(" {\"messages\" : [ {\"role\":\"user\",\"seq\":7}, {\"role\":\"assistant\"} ] } ");
	cr_assert_eq(in.messages.n, 2);
	parts = in.messages.items;
	cr_assert(is_text(parts[0].role, "user"));
	cr_assert_eq(parts[0].seq, 7);
	cr_assert(is_text(parts[1].role, "assistant"));
	cr_assert_eq(parts[1].seq, 0);
	cr_assert(is_text(in.messages.raw, "[ {\"role\":\"user\",\"seq\":7}, {\"role\":\"assistant\"} ]"));
}

Test(field, what_is_absent_is_not_given_and_stays_as_it_was)
{
	expect_ok("{}");
	cr_assert_not(in.has_name || in.has_count || in.has_public || in.has_any);
	cr_assert_null(in.name.p);
	cr_assert_eq(in.messages.n, 0);
}

Test(field, null_counts_as_given_where_it_is_allowed_and_leaves_the_value_zero)
{
	expect_ok("{\"name\":null,\"count\":null,\"any\":null}");
	cr_assert(in.has_name && in.has_count && in.has_any);
	cr_assert_null(in.name.p);
	cr_assert_eq(in.count, 0);
	cr_assert_null(in.any.p);
	expect_problem("{\"public\":null}", "public", "type", "must be true or false");
	expect_problem("{\"name\":7}", "name", "type", "must be a string or null");
	expect_ok("{\"public\":false}");
	cr_assert(in.has_public && !in.is_public);
}

Test(field, a_value_of_the_wrong_type_is_named_with_the_right_one)
{
	expect_problem("{\"kind\":1}", "kind", "type", "must be a string");
	expect_problem("{\"user\":null}", "user", "type", "must be a string");
	expect_problem("{\"count\":1.0}", "count", "type", "must be an integer or null");
	expect_problem("{\"count\":\"1\"}", "count", "type", "must be an integer or null");
	expect_problem("{\"heat\":\"1\"}", "heat", "type", "must be a number");
	expect_problem("{\"public\":1}", "public", "type", "must be true or false");
	expect_problem("{\"at\":0}", "at", "type", "must be a string");
	expect_problem("{\"state\":[]}", "state", "type", "must be an object");
	expect_problem("{\"items\":{}}", "items", "type", "must be an array");
	expect_problem("{\"content\":{}}", "content", "type", "must be a string or an array");
	expect_problem("{\"tags\":\"x\"}", "tags", "type", "must be an array of strings");
	expect_problem("{\"pairs\":[]}", "pairs", "type", "must be an object");
	expect_problem("{\"messages\":{}}", "messages", "type", "must be an array of objects");
}

Test(field, bounds_count_what_the_type_says)
{
	expect_ok("{\"name\":\"12345678\"}");
	expect_problem("{\"name\":\"\"}", "name", "range", "must be at least 1 byte");
	expect_problem("{\"name\":\"123456789\"}", "name", "range", "must be at most 8 bytes");
	expect_problem("{\"name\":\"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\"}", "name", "range", "must be at most 8 bytes");
	expect_ok("{\"name\":\"\\u20ac\\u20ac\"}");
	expect_problem("{\"count\":-6}", "count", "range", "must be at least -5");
	expect_problem("{\"count\":11}", "count", "range", "must be at most 10");
	expect_ok("{\"heat\":2}");
	expect_problem("{\"heat\":2.01}", "heat", "range", "must be at most 2");
	expect_problem("{\"heat\":-1e-9}", "heat", "range", "must be at least 0");
	expect_ok("{\"state\":{\"a\":\"12345678\"}}");
	expect_problem("{\"state\":{\"a\":\"123456789\"}}", "state", "range", "must be at most 16 bytes");
	expect_problem("{\"items\":[]}", "items", "range", "must have at least 1 element");
	expect_problem("{\"items\":[1,2,3,4]}", "items", "range", "must have at most 3 elements");
	expect_problem("{\"tags\":[\"a\",\"b\",\"c\",\"d\"]}", "tags", "range", "must have at most 3 elements");
	expect_problem("{\"pairs\":{\"a\":\"\",\"b\":\"\",\"c\":\"\"}}", "pairs", "range", "must have at most 2 pairs");
	expect_problem("{\"messages\":[]}", "messages", "range", "must have at least 1 element");
}

Test(field, a_row_with_a_least_bound_alone_has_no_upper_one)
{
	static const struct field rows[] = {
		{ "n", FIELD_INT, 0, 1, 0, 0, 0, NULL, NULL, NULL, NULL },
		{ 0 },
	};
	static const struct field_table t = { rows, sizeof(int64_t) };
	int64_t n = 0;

	cr_assert_eq(field_parse(&task, &t, BYTES("{\"n\":9223372036854775807}"), "", &n), ERR_OK);
	cr_assert_eq(n, INT64_MAX);
	cr_assert_eq(field_parse(&task, &t, BYTES("{\"n\":0}"), "", &n), ERR_INVALID);
	cr_assert_str_eq(task.fault.fields->detail, "must be at least 1");
}

Test(field, control_characters_are_refused_but_layout)
{
	expect_ok("{\"name\":\"a\\t\\r\\nb\"}");
	expect_ok("{\"name\":\"\xc2\xa0\xc3\x80\"}");
	expect_problem("{\"name\":\"a\\u0000\"}", "name", "format", "must not hold control characters");
	expect_problem("{\"name\":\"a\\u001b\"}", "name", "format", "must not hold control characters");
	expect_problem("{\"name\":\"\x7f\"}", "name", "format", "must not hold control characters");
	expect_problem("{\"name\":\"\xc2\x9b\"}", "name", "format", "must not hold control characters");
	expect_ok("{\"raw_text\":\"\\u0000\\u001b\x7f\"}");
}

Test(field, an_ident_holds_no_other_characters)
{
	expect_ok("{\"user\":\"\"}");
	expect_problem("{\"user\":\"a b\"}", "user", "format", "may hold only letters, digits and . _ : @ -");
	expect_problem("{\"user\":\"a\\u0000\"}", "user", "format", "may hold only letters, digits and . _ : @ -");
	expect_problem("{\"user\":\"\xc3\xa9\"}", "user", "format", "may hold only letters, digits and . _ : @ -");
	expect_problem("{\"user\":\"a/b\"}", "user", "format", "may hold only letters, digits and . _ : @ -");
}

Test(field, a_name_is_lower_case_and_begins_with_no_dash)
{
	static const struct field rows[] = { { .name = "n", .type = FIELD_STRING, .flags = FIELD_NAME, .min = 1, .max = 8 }, { .name = NULL } };
	static const struct field_table t = { rows, sizeof(struct bytes) };
	static const char *const bad[] = { "-a", "A", "a_b", "a b", "\xc3\xa9" };
	struct bytes n;

	cr_assert_eq(field_parse(&task, &t, BYTES("{\"n\":\"0-a-\"}"), "", &n), ERR_OK);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		task_clear_fault(&task);
		cr_assert_eq(field_parse(&task, &t, bytes_of(arena_printf(task.arena, "{\"n\":\"%s\"}", bad[i])), "", &n), ERR_INVALID, "%s", bad[i]);
		cr_assert_str_eq(task.fault.fields->code, "format");
	}
}

Test(field, an_enum_is_one_whole_word_of_its_choices)
{
	expect_ok("{\"kind\":\"a\"}");
	expect_ok("{\"kind\":\"ccc\"}");
	expect_problem("{\"kind\":\"\"}", "kind", "choice", "must be one of a|bb|ccc");
	expect_problem("{\"kind\":\"b\"}", "kind", "choice", "must be one of a|bb|ccc");
	expect_problem("{\"kind\":\"a|bb\"}", "kind", "choice", "must be one of a|bb|ccc");
	expect_problem("{\"kind\":\"A\"}", "kind", "choice", "must be one of a|bb|ccc");
}

Test(field, a_time_is_rfc_3339)
{
	expect_problem("{\"at\":\"yesterday\"}", "at", "format", "must be an RFC 3339 time such as 2026-01-02T03:04:05Z");
	expect_problem("{\"at\":\"\"}", "at", "format", "must be an RFC 3339 time such as 2026-01-02T03:04:05Z");
}

Test(field, content_is_text_or_parts_that_name_their_type)
{
	expect_ok("{\"content\":[{\"type\":\"text\",\"text\":\"\"},{\"type\":\"\",\"x\":1}]}");
	expect_problem("{\"content\":\"\"}", "content", "range", "must be at least 1 byte");
	expect_problem("{\"content\":[]}", "content", "range", "must have at least 1 element");
	expect_problem("{\"content\":[{\"type\":\"text\"},7]}", "content[1]", "type", "must be an object");
	expect_problem("{\"content\":[{\"text\":\"x\"}]}", "content[0].type", "required", "is required");
	expect_problem("{\"content\":[{\"type\":1}]}", "content[0].type", "type", "must be a string");
	expect_problem("{\"content\":[{\"type\":{\"type\":\"x\"}}]}", "content[0].type", "type", "must be a string");
	expect_ok(arena_printf(task.arena, "{\"content\":\"%064d\"}", 0));
	expect_problem(arena_printf(task.arena, "{\"content\":\"%065d\"}", 0), "content", "range", "must be at most 64 bytes");
}

Test(field, tags_are_distinct_words)
{
	expect_ok("{\"tags\":[]}");
	expect_ok(arena_printf(task.arena, "{\"tags\":[\"%064d\"]}", 0));
	expect_problem(arena_printf(task.arena, "{\"tags\":[\"%065d\"]}", 0), "tags[0]", "range", "must be 1 to 64 bytes");
	expect_problem("{\"tags\":[\"a\",\"\"]}", "tags[1]", "range", "must be 1 to 64 bytes");
	expect_problem("{\"tags\":[\"a\",null]}", "tags[1]", "type", "must be a string");
	expect_problem("{\"tags\":[\"a\\n\"]}", "tags[0]", "format", "must not hold control characters");
	expect_problem("{\"tags\":[\"a\",\"b\",\"\\u0061\"]}", "tags", "repeated", "holds \"a\" twice");
}

Test(field, pairs_are_bounded_in_characters)
{
	char value[2 * 513 + 1];

	for (int i = 0; i < 513; i++)
		memcpy(value + 2 * i, "\xc3\xa9", 3);
	expect_problem(arena_printf(task.arena, "{\"pairs\":{\"k\":\"%s\"}}", value), "pairs.k", "range", "must be at most 512 characters");
	value[2 * 512] = '\0';
	expect_ok(arena_printf(task.arena, "{\"pairs\":{\"k\":\"%s\"}}", value));
	value[2 * 64] = '\0';
	expect_ok(arena_printf(task.arena, "{\"pairs\":{\"%s\":\"\"}}", value));
	expect_problem("{\"pairs\":{\"\":\"x\"}}", "pairs.", "range", "a key must be 1 to 64 characters");
	expect_problem(arena_printf(task.arena, "{\"pairs\":{\"%065d\":\"\"}}", 0), arena_printf(task.arena, "pairs.%064d...", 0), "range",
		       "a key must be 1 to 64 characters");
	expect_problem("{\"pairs\":{\"a\\n\":\"\"}}", "pairs.a\n", "format", "a key must not hold control characters");
	expect_problem("{\"pairs\":{\"k\":1}}", "pairs.k", "type", "must be a string");
	expect_problem("{\"pairs\":{\"k\":null}}", "pairs.k", "type", "must be a string");
	expect_problem("{\"patch\":{\"k\":1}}", "patch.k", "type", "must be a string or null");
}

Test(field, an_unknown_field_is_named_and_a_near_one_suggested)
{
	expect_problem("{\"zzz\":1}", "zzz", "unknown", "\"zzz\" is not known here");
	expect_problem("{\"contnet\":1}", "contnet", "unknown", "\"contnet\" is not known here; did you mean \"content\"?");
	expect_problem("{\"nam\":1}", "nam", "unknown", "\"nam\" is not known here; did you mean \"name\"?");
	expect_problem("{\"Name\":1}", "Name", "unknown", "\"Name\" is not known here; did you mean \"name\"?");
	expect_problem("{\"mees\":1}", "mees", "unknown", "\"mees\" is not known here");
	expect_problem("{\"\":1}", "", "unknown", "\"\" is not known here");
	expect_problem("{\"messages\":[{\"role\":\"user\",\"sec\":1}]}", "messages[0].sec", "unknown",
		       "\"sec\" is not known here; did you mean \"seq\"?");
}

Test(field, a_long_unknown_name_is_cut_between_characters)
{
	const char *path;

	cr_assert_eq(parse(arena_printf(task.arena, "{\"%063d\xc3\xa9%0100000d\":1}", 0, 0)), ERR_INVALID);
	path = task.fault.fields->field;
	cr_assert_str_eq(path, arena_printf(task.arena, "%063d...", 0));
}

Test(field, what_is_required_is_missed_at_every_level)
{
	static const struct field rows[] = {
		{ "a", FIELD_BOOL, FIELD_REQUIRED, 0, 0, 0, 0, NULL, NULL, NULL, NULL },
		{ "b", FIELD_INT, FIELD_REQUIRED | FIELD_NULLABLE, 0, 0, 8, 0, NULL, NULL, NULL, NULL },
		{ 0 },
	};
	static const struct field_table t = { rows, 16 };
	struct { bool a; int64_t b; } target = { 0 };

	cr_assert_eq(field_parse(&task, &t, BYTES("{}"), "", &target), ERR_INVALID);
	cr_assert_str_eq(task.fault.fields->field, "a");
	cr_assert_str_eq(task.fault.fields->code, "required");
	cr_assert_str_eq(task.fault.fields->next->field, "b");
	task_clear_fault(&task);
	cr_assert_eq(field_parse(&task, &t, BYTES("{\"a\":true,\"b\":null}"), "", &target), ERR_OK);
	expect_problem("{\"messages\":[{\"role\":\"user\"},{\"seq\":1}]}", "messages[1].role", "required", "is required");
	expect_problem("{\"messages\":[{\"role\":\"user\"},{\"role\":\"x\"}]}", "messages[1].role", "choice", "must be one of user|assistant");
	expect_problem("{\"messages\":[{\"role\":\"user\"},7]}", "messages[1]", "type", "must be an object");
}

Test(field, the_path_given_stands_in_front)
{
	struct part p = { 0 };

	cr_assert_eq(field_parse(&task, &part_table, BYTES("{\"role\":1}"), "a.b[2]", &p), ERR_INVALID);
	cr_assert_str_eq(task.fault.fields->field, "a.b[2].role");
	task_clear_fault(&task);
	cr_assert_eq(field_parse(&task, &part_table, BYTES("[]"), "a", &p), ERR_INVALID);
	cr_assert_str_eq(task.fault.fields->field, "a");
}

Test(field, a_body_that_is_no_object_is_refused)
{
	static const char *const bodies[] = { "[]", "null", "1", "\"{}\"", "true" };

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		cr_assert_eq(parse(bodies[i]), ERR_INVALID);
		cr_assert_eq(task.fault.code, ERR_INVALID);
		cr_assert_str_eq(task.fault.detail, "The body must be a JSON object");
	}
}

static int count_problems(void)
{
	int n = 0;

	for (const struct fault_field *f = task.fault.fields; f; f = f->next)
		n++;
	return n;
}

Test(field, all_problems_are_told_together_in_their_order)
{
	cr_assert_eq(parse("{\"kind\":1,\"x\":2,\"count\":99,\"name\":\"ok\"}"), ERR_INVALID);
	cr_assert_eq(count_problems(), 3);
	cr_assert_str_eq(task.fault.fields->field, "kind");
	cr_assert_str_eq(task.fault.fields->next->field, "x");
	cr_assert_str_eq(task.fault.fields->next->next->field, "count");
	cr_assert(is_text(in.name, "ok"));
}

Test(field, no_more_than_twenty_problems_are_told)
{
	struct buf b;

	buf_init(&b, task.arena, 0);
	buf_add_char(&b, '{');
	for (int i = 0; i < 1000; i++)
		buf_addf(&b, "%s\"unknown%d\":1", i ? "," : "", i);
	buf_add_char(&b, '}');
	cr_assert_eq(parse(b.p), ERR_INVALID);
	cr_assert_eq(count_problems(), 20);

	buf_clear(&b);
	buf_add_str(&b, "{\"messages\":[");
	for (int i = 0; i < 50; i++)
		buf_addf(&b, "%s{}", i ? "," : "");
	buf_add_str(&b, "]}");
	cr_assert_eq(parse(b.p), ERR_INVALID);
	cr_assert_eq(count_problems(), 20);
	/* A task that is full already is never told that all is well. */
	cr_assert_eq(field_parse(&task, &table, BYTES("{}"), "", &in), ERR_INVALID);
	cr_assert_eq(count_problems(), 20);
}

Test(field, a_query_fills_the_same_struct)
{
	cr_assert_eq(parse_query(BYTES("name=a%20b%2B+c&count=-3&public=true&kind=ccc&at=1970-01-01T00%3a00%3A01%2e5Z&user=x")), ERR_OK,
		     "%s", task.fault.detail);
	cr_assert(is_text(in.name, "a b+ c"));
	cr_assert_eq(in.count, -3);
	cr_assert(in.is_public && in.has_public);
	cr_assert(is_text(in.kind, "ccc"));
	cr_assert_eq(in.at, 1500);
	cr_assert(is_text(in.user, "x"));
	cr_assert_eq(parse_query(BYTES("%6Eame=%E2%82%AC")), ERR_OK);
	cr_assert(is_text(in.name, "\xe2\x82\xac"));
	cr_assert_eq(parse_query(BYTES("user=a=b")), ERR_INVALID);
	cr_assert_eq(parse_query(BYTES("raw_text=a=b%00\"\\")), ERR_OK);
	cr_assert(bytes_equal(in.raw_text, BYTES("a=b\0\"\\")));
}

Test(field, an_empty_query_or_parameter_is_nothing_or_an_empty_string)
{
	cr_assert_eq(parse_query((struct bytes){ NULL, 0 }), ERR_OK);
	cr_assert_eq(parse_query(BYTES("&&")), ERR_OK);
	cr_assert_eq(parse_query(BYTES("user&raw_text=&")), ERR_OK);
	cr_assert_not_null(in.user.p);
	cr_assert_eq(in.user.n, 0);
	cr_assert_eq(in.raw_text.n, 0);
	expect_query_problem("=1", "", "unknown", "\"\" is not known here");
	expect_query_problem("name=", "name", "range", "must be at least 1 byte");
}

Test(field, a_query_is_checked_as_strictly_as_a_body)
{
	static const char *const no_ints[] = { "count=", "count=x", "count=1.0", "count=+1", "count=%2B1", "count=1+", "count=01", "count=0x1",
					       "count=1e1", "count=%221%22", "count=99999999999999999999", "count=null", "count=%5B1%5D", "count=1%0A2",
					       "count" };

	for (size_t i = 0; i < sizeof(no_ints) / sizeof(no_ints[0]); i++)
		expect_query_problem(no_ints[i], "count", "type", "must be an integer or null");
	expect_query_problem("count=11", "count", "range", "must be at most 10");
	expect_query_problem("public=1", "public", "type", "must be true or false");
	expect_query_problem("public=True", "public", "type", "must be true or false");
	expect_query_problem("public", "public", "type", "must be true or false");
	expect_query_problem("kind=d", "kind", "choice", "must be one of a|bb|ccc");
	expect_query_problem("limit=1", "limit", "unknown", "\"limit\" is not known here");
	expect_query_problem("cuont=1", "cuont", "unknown", "\"cuont\" is not known here; did you mean \"count\"?");
	expect_query_problem("name=a%00", "name", "format", "must not hold control characters");
}

Test(field, a_repeated_or_broken_parameter_is_refused)
{
	expect_query_problem("count=1&count=1", "count", "repeated", "is given twice");
	expect_query_problem("count=1&%63ount=2", "count", "repeated", "is given twice");
	expect_query_problem("name=%", "name", "format", "is not percent-encoded UTF-8");
	expect_query_problem("name=%4", "name", "format", "is not percent-encoded UTF-8");
	expect_query_problem("name=%zz", "name", "format", "is not percent-encoded UTF-8");
	expect_query_problem("name=%e2%82", "name", "format", "is not percent-encoded UTF-8");
	expect_query_problem("name=\xff", "name", "format", "is not percent-encoded UTF-8");
	expect_query_problem("na%me=1", "query", "format", "the name of a parameter is not percent-encoded UTF-8");
	expect_query_problem("%ff=1", "query", "format", "the name of a parameter is not percent-encoded UTF-8");
}

Test(field, required_parameters_are_missed)
{
	struct part p = { 0 };

	cr_assert_eq(field_parse_query(&task, &part_table, BYTES("seq=1"), &p), ERR_INVALID);
	expect_one("seq=1", "role", "required", "is required");
	task_clear_fault(&task);
	cr_assert_eq(field_parse_query(&task, &part_table, BYTES("seq=1&role=user"), &p), ERR_OK);
	cr_assert_eq(p.seq, 1);
}

static struct bytes schema_of(struct bytes schema, const char *name, const char *member)
{
	return jsonx_member(jsonx_member(jsonx_member(schema, "properties"), name), member);
}

Test(field, the_schema_says_what_the_table_says)
{
	struct jsonx_flaw flaw;
	struct bytes s;
	struct buf b;

	buf_init(&b, task.arena, 0);
	field_format_schema(&table, &b);
	s = buf_bytes(&b);
	cr_assert(jsonx_check(task.arena, s, &flaw), "%s at %zu of %s", flaw.reason, flaw.offset, s.p);
	cr_assert(is_text(jsonx_member(s, "type"), "\"object\""));
	cr_assert(is_text(jsonx_member(s, "additionalProperties"), "false"));
	cr_assert_eq(jsonx_member(s, "required").n, 0);
	cr_assert(is_text(schema_of(s, "name", "type"), "[\"string\",\"null\"]"));
	cr_assert(is_text(schema_of(s, "name", "minLength"), "1"));
	cr_assert(is_text(schema_of(s, "name", "maxLength"), "8"));
	cr_assert(is_text(schema_of(s, "name", "description"), "\"A \\\"name\\\"\""));
	cr_assert(is_text(schema_of(s, "kind", "enum"), "[\"a\",\"bb\",\"ccc\"]"));
	cr_assert(is_text(schema_of(s, "count", "minimum"), "-5"));
	cr_assert(is_text(schema_of(s, "heat", "minimum"), "0"));
	cr_assert(is_text(schema_of(s, "heat", "maximum"), "2"));
	cr_assert(is_text(schema_of(s, "at", "format"), "\"date-time\""));
	cr_assert(is_text(schema_of(s, "items", "maxItems"), "3"));
	cr_assert(is_text(schema_of(s, "pairs", "maxProperties"), "2"));
	cr_assert_eq(schema_of(s, "any", "type").n, 0);
	cr_assert_eq(jsonx_type(schema_of(s, "content", "oneOf")), JSONX_ARRAY);
	s = schema_of(s, "messages", "items");
	cr_assert(is_text(jsonx_member(s, "required"), "[\"role\"]"));
	cr_assert(is_text(schema_of(s, "role", "enum"), "[\"user\",\"assistant\"]"));
	cr_assert_eq(schema_of(s, "seq", "minimum").n, 0);
}

static bool is_example(const struct field *f, const char *want)
{
	struct buf b;

	buf_init(&b, task.arena, 0);
	field_format_example_of(f, &b);
	return is_text(buf_bytes(&b), want);
}

Test(field, characters_are_counted_where_a_row_says_so)
{
	static const struct field rows[] = { { .name = "t", .type = FIELD_STRING, .flags = FIELD_CHARACTERS, .min = 2, .max = 3 }, { .name = NULL } };
	static const struct field_table t = { rows, sizeof(struct bytes) };
	struct bytes text;

	cr_assert_eq(field_parse(&task, &t, BYTES("{\"t\":\"\xf0\x9f\x8c\x8d\xf0\x9f\x8c\x8d\xf0\x9f\x8c\x8d\"}"), "", &text), ERR_OK);
	cr_assert_eq(field_parse(&task, &t, BYTES("{\"t\":\"\xf0\x9f\x8c\x8d\"}"), "", &text), ERR_INVALID);
	cr_assert_str_eq(task.fault.fields->detail, "must be at least 2 characters");
}

Test(field, an_example_is_given_or_made_within_the_bounds)
{
	static const struct field rows[] = {
		{ .name = "a", .type = FIELD_STRING, .example = "\"x\"" }, { .name = "b", .type = FIELD_STRING, .min = 6, .max = 8 },
		{ .name = "c", .type = FIELD_STRING, .max = 2 },	   { .name = "d", .type = FIELD_INT, .min = 5, .max = 9 },
		{ .name = "e", .type = FIELD_INT, .min = -5, .max = -2 },  { .name = "f", .type = FIELD_INT },
		{ .name = "g", .type = FIELD_ARRAY, .min = 2, .max = 3 },  { .name = "h", .type = FIELD_ENUM, .choices = "bb|a" },
	};
	static const char *const wanted[] = { "\"x\"", "\"text--\"", "\"te\"", "5", "-2", "1", "[{},{}]", "\"bb\"" };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_assert(is_example(&rows[i], wanted[i]), "%s", rows[i].name);
}

Test(field, the_example_of_a_table_passes_it)
{
	struct buf b;

	for (size_t i = 0; fields[i].name; i++) {
		buf_init(&b, task.arena, 0);
		buf_addf(&b, "{\"%s\":", fields[i].name);
		field_format_example_of(&fields[i], &b);
		buf_add_char(&b, '}');
		expect_ok(b.p);
	}
	buf_init(&b, task.arena, 0);
	field_format_example(&part_table, &b);
	cr_assert_str_eq(b.p, "{\"role\":\"user\"}");
}

Test(field, bounds_in_bytes_stand_beside_those_in_characters)
{
	static const struct field text = { .name = "t", .type = FIELD_STRING, .min = 3, .max = 9 };
	static const struct field ident = { .name = "i", .type = FIELD_STRING, .flags = FIELD_IDENT, .min = 3, .max = 9 };
	static const struct field counted = { .name = "c", .type = FIELD_STRING, .flags = FIELD_CHARACTERS, .min = 3, .max = 4 };
	static const struct field seq = { .name = "s", .type = FIELD_INT, .min = 0, .max = INT64_MAX };
	struct buf b;

	buf_init(&b, task.arena, 0);
	field_format_schema_of(&text, &b);
	cr_assert(is_text(jsonx_member(buf_bytes(&b), "minLength"), "1"));
	cr_assert(is_text(jsonx_member(buf_bytes(&b), "maxLength"), "9"));
	cr_assert(is_text(jsonx_member(buf_bytes(&b), "x-maxBytes"), "9"));
	buf_clear(&b);
	field_format_schema_of(&ident, &b);
	cr_assert(is_text(jsonx_member(buf_bytes(&b), "minLength"), "3"));
	cr_assert_eq(jsonx_member(buf_bytes(&b), "x-maxBytes").n, 0);
	buf_clear(&b);
	field_format_schema_of(&counted, &b);
	cr_assert(is_text(jsonx_member(buf_bytes(&b), "minLength"), "3"));
	cr_assert_eq(jsonx_member(buf_bytes(&b), "x-maxBytes").n, 0);
	buf_clear(&b);
	field_format_schema_of(&seq, &b);
	cr_assert(is_text(jsonx_member(buf_bytes(&b), "minimum"), "0"));
	cr_assert_eq(jsonx_member(buf_bytes(&b), "maximum").n, 0);
}
