/* SPDX-License-Identifier: MIT */
/*
 * fuzz_json: whatever the validator accepts, json-c in its strictest mode parses too, and both see the same values; printing
 * and merging give JSON again.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/jsonx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whether an escaped pair stands for a character that json-c 0.16 takes for a lone surrogate, as the tree must not. */
static bool has_hard_pair(struct bytes text)
{
	for (size_t i = 0; i + 12 <= text.n; i++) {
		unsigned high, low;

		if (sscanf(text.p + i, "\\u%4x\\u%4x", &high, &low) == 2 && high >> 10 == 0xd800 >> 10 &&
		    ((high - 0xd800) << 10 & 0xf800) == 0xd800)
			return true;
	}
	return false;
}

/* NULL stands for JSON null; the text is valid for json-c or this aborts. */
static struct json_object *parse_strictly(struct bytes text)
{
	struct json_tokener *tok = json_tokener_new_ex(JSONX_DEPTH + 8);
	struct json_object *tree;

	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	tree = json_tokener_parse_ex(tok, text.p, (int)text.n);
	if (json_tokener_get_error(tok) == json_tokener_continue)
		tree = json_tokener_parse_ex(tok, "", 1);
	assert(json_tokener_get_error(tok) == json_tokener_success);
	json_tokener_free(tok);
	return tree;
}

static bool is_same_string(struct bytes s, struct json_object *tree)
{
	return bytes_equal(s, (struct bytes){ json_object_get_string(tree), (size_t)json_object_get_string_len(tree) });
}

static bool is_same_scalar(struct arena *a, struct bytes raw, struct json_object *tree)
{
	double x, y;

	switch (jsonx_type(raw)) {
	case JSONX_NULL:
		return !tree;
	case JSONX_BOOL:
		return json_object_is_type(tree, json_type_boolean) && jsonx_bool(raw) == (bool)json_object_get_boolean(tree);
	case JSONX_INT:
		return json_object_is_type(tree, json_type_int) && jsonx_int(raw) == json_object_get_int64(tree);
	case JSONX_REAL:
		x = jsonx_real(raw);
		y = json_object_get_double(tree);
		return json_object_is_type(tree, json_type_double) && memcmp(&x, &y, sizeof(x)) == 0;
	case JSONX_STRING:
		return json_object_is_type(tree, json_type_string) && is_same_string(jsonx_string(a, raw), tree);
	default:
		return false;
	}
}

/* Compares what the walk sees with json-c's tree. */
static void compare(struct arena *a, struct bytes raw, struct json_object *tree)
{
	enum jsonx_type type = jsonx_type(raw);
	struct jsonx_walk w;
	size_t n = 0;

	if (type != JSONX_OBJECT && type != JSONX_ARRAY) {
		assert(is_same_scalar(a, raw, tree));
		return;
	}
	assert(json_object_is_type(tree, type == JSONX_OBJECT ? json_type_object : json_type_array));
	jsonx_walk_begin(&w, raw);
	for (; jsonx_walk_next(&w); n++) {
		struct json_object *child;

		if (type == JSONX_OBJECT) {
			struct bytes key = jsonx_string(a, w.raw_key), member;
			const char *name = arena_copy(a, key.p, key.n);

			assert(strlen(name) == key.n);
			assert(json_object_object_get_ex(tree, name, &child));
			member = jsonx_member(raw, name);
			assert(member.p == w.value.p && member.n == w.value.n);
		} else {
			assert(w.raw_key.n == 0);
			child = json_object_array_get_idx(tree, n);
		}
		compare(a, w.value, child);
	}
	assert(n == (type == JSONX_OBJECT ? (size_t)json_object_object_length(tree) : json_object_array_length(tree)));
}

static void expect_valid(struct arena *a, struct bytes text)
{
	struct jsonx_flaw flaw;

	assert(jsonx_check(a, text, &flaw));
}

/* [target, patch, ...]: a patch applied twice changes no more than once, and without a target leaves no null member. */
static void merge(struct arena *a, struct bytes text)
{
	struct bytes target, patch, once, twice;
	struct jsonx_walk w;

	jsonx_walk_begin(&w, text);
	if (!jsonx_walk_next(&w))
		return;
	target = w.value;
	if (!jsonx_walk_next(&w))
		return;
	patch = w.value;
	once = jsonx_merge(a, target, patch);
	expect_valid(a, once);
	twice = jsonx_merge(a, once, patch);
	assert(bytes_equal(once, twice));
	once = jsonx_merge(a, (struct bytes){ NULL, 0 }, patch);
	expect_valid(a, once);
	/* What a patch makes of nothing has no nulls left in its objects, so as a patch for nothing it makes itself again. */
	assert(bytes_equal(jsonx_merge(a, (struct bytes){ NULL, 0 }, once), once));
}

static void print(struct arena *a, struct json_object *tree)
{
	struct bytes printed = jsonx_print(a, tree);
	struct json_object *again;

	expect_valid(a, printed);
	again = parse_strictly(printed);
	assert(json_object_equal(again, tree));
	json_object_put(again);
}

static void write_strings(struct arena *a, struct bytes text)
{
	struct bytes s = jsonx_string(a, text);
	struct buf b;

	buf_init(&b, a, 0);
	buf_add_json(&b, s);
	expect_valid(a, buf_bytes(&b));
	assert(bytes_equal(jsonx_string(a, buf_bytes(&b)), s));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena *a;
	struct bytes text = { (const char *)data, size };
	struct jsonx_flaw flaw = { NULL, 0 };
	struct json_object *tree, *strict;

	if (!a)
		a = arena_open(1 << 16);
	bool is_grammatical = jsonx_check(a, text, &flaw);
	bool is_strict = jsonx_check_strict(a, text, &flaw);
	assert(is_grammatical || !is_strict);
	if (is_strict) {
		tree = jsonx_tree(a, text);
		compare(a, text, tree);
		print(a, tree);
		strict = parse_strictly(text);
		assert(json_object_equal(strict, tree) || has_hard_pair((struct bytes){ arena_copy(a, text.p, text.n), text.n }));
		json_object_put(strict);
		if (jsonx_type(text) == JSONX_ARRAY)
			merge(a, text);
		if (jsonx_type(text) == JSONX_STRING)
			write_strings(a, text);
	} else {
		assert(flaw.reason && flaw.offset <= size);
	}
	arena_reset(a);
	return 0;
}
