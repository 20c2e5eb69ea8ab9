/* SPDX-License-Identifier: MIT */
/* jsonx: reads validated JSON without copying it, and goes through json-c where a tree is needed. */
#include "base/jsonx.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

/* json-c counts the scalar inside the innermost array, and refuses the last level it was given room for. */
#define TREE_DEPTH (JSONX_DEPTH + 2)

static bool is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* A value without the blanks around it. */
static struct bytes trim(struct bytes v)
{
	while (v.n > 0 && is_blank(v.p[0])) {
		v.p++;
		v.n--;
	}
	while (v.n > 0 && is_blank(v.p[v.n - 1]))
		v.n--;
	return v;
}

static enum jsonx_type number_type(struct bytes v)
{
	for (size_t i = 0; i < v.n && !is_blank(v.p[i]); i++) {
		if (v.p[i] == '.' || v.p[i] == 'e' || v.p[i] == 'E')
			return JSONX_REAL;
	}
	return JSONX_INT;
}

enum jsonx_type jsonx_type(struct bytes value)
{
	value = trim(value);
	if (value.n == 0)
		return JSONX_NONE;
	switch (value.p[0]) {
	case '{':
		return JSONX_OBJECT;
	case '[':
		return JSONX_ARRAY;
	case '"':
		return JSONX_STRING;
	case 't':
	case 'f':
		return JSONX_BOOL;
	case 'n':
		return JSONX_NULL;
	default:
		return number_type(value);
	}
}

/* From an opening quote to behind the closing one. */
static size_t skip_string(struct bytes t, size_t at)
{
	for (at++; t.p[at] != '"'; at++) {
		if (t.p[at] == '\\')
			at++;
	}
	return at + 1;
}

/* From an opening bracket to behind its closing one. */
static size_t skip_nested(struct bytes t, size_t at)
{
	int depth = 0;

	do {
		char c = t.p[at];

		if (c == '"') {
			at = skip_string(t, at);
			continue;
		}
		if (c == '{' || c == '[')
			depth++;
		else if (c == '}' || c == ']')
			depth--;
		at++;
	} while (depth > 0);
	return at;
}

static size_t skip_value(struct bytes t, size_t at)
{
	if (t.p[at] == '"')
		return skip_string(t, at);
	if (t.p[at] == '{' || t.p[at] == '[')
		return skip_nested(t, at);
	while (at < t.n && !is_blank(t.p[at]) && t.p[at] != ',' && t.p[at] != '}' && t.p[at] != ']')
		at++;
	return at;
}

static size_t skip_blanks(struct bytes t, size_t at)
{
	while (is_blank(t.p[at]))
		at++;
	return at;
}

void jsonx_walk_begin(struct jsonx_walk *w, struct bytes object_or_array)
{
	struct bytes text = trim(object_or_array);

	assert(text.n >= 2 && (text.p[0] == '{' || text.p[0] == '['));
	*w = (struct jsonx_walk){ .text = text, .at = 1 };
}

bool jsonx_walk_next(struct jsonx_walk *w)
{
	size_t at = skip_blanks(w->text, w->at), end;

	w->raw_key = w->value = (struct bytes){ NULL, 0 };
	if (w->text.p[at] == ',')
		at = skip_blanks(w->text, at + 1);
	if (w->text.p[at] == '}' || w->text.p[at] == ']') {
		w->at = at;
		return false;
	}
	if (w->text.p[0] == '{') {
		end = skip_string(w->text, at);
		w->raw_key = (struct bytes){ w->text.p + at, end - at };
		at = skip_blanks(w->text, end);
		at = skip_blanks(w->text, at + 1);
	}
	end = skip_value(w->text, at);
	w->value = (struct bytes){ w->text.p + at, end - at };
	w->at = end;
	return true;
}

static unsigned hex4(const char *p)
{
	unsigned v = 0;

	for (int i = 0; i < 4; i++)
		v = v << 4 | (unsigned)(p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
	return v;
}

static size_t put_utf8(unsigned code, char out[4])
{
	size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
	static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };

	for (size_t i = n - 1; i > 0; i--) {
		out[i] = (char)(0x80 | (code & 0x3f));
		code >>= 6;
	}
	out[0] = (char)(lead[n] | code);
	return n;
}

static bool is_surrogate(unsigned code)
{
	return code >= 0xd800 && code <= 0xdfff;
}

/* Decodes the escape at p (its backslash) into out; returns how many bytes it takes in the text. */
static size_t read_escape(const char *p, char out[4], size_t *n_r)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	unsigned code;

	if (p[1] != 'u') {
		out[0] = to[strchr(from, p[1]) - from];
		*n_r = 1;
		return 2;
	}
	code = hex4(p + 2);
	if (!is_surrogate(code)) {
		*n_r = put_utf8(code, out);
		return 6;
	}
	*n_r = put_utf8(0x10000 + ((code - 0xd800) << 10) + (hex4(p + 8) - 0xdc00), out);
	return 12;
}

struct bytes jsonx_string(struct arena *a, struct bytes raw)
{
	struct bytes in = trim(raw);
	char *out;
	size_t n = 0, got;

	assert(in.n >= 2 && in.p[0] == '"');
	in = (struct bytes){ in.p + 1, in.n - 2 };
	if (in.n == 0 || !memchr(in.p, '\\', in.n))
		return in;
	out = arena_alloc(a, in.n); /* no escape is shorter than what it stands for */
	for (size_t i = 0; i < in.n;) {
		const char *escape = memchr(in.p + i, '\\', in.n - i);
		size_t plain = escape ? (size_t)(escape - in.p) - i : in.n - i;

		memcpy(out + n, in.p + i, plain);
		n += plain;
		i += plain;
		if (!escape)
			break;
		i += read_escape(escape, out + n, &got);
		n += got;
	}
	return (struct bytes){ out, n };
}

/* Whether a key as written, quotes included, stands for this name. */
static bool key_is(struct bytes raw_key, struct bytes name)
{
	const char *p = raw_key.p + 1, *end = raw_key.p + raw_key.n - 1;
	char piece[4];
	size_t at = 0, n;

	while (p < end) {
		if (*p == '\\') {
			p += read_escape(p, piece, &n);
		} else {
			piece[0] = *p++;
			n = 1;
		}
		if (n > name.n - at || memcmp(piece, name.p + at, n) != 0)
			return false;
		at += n;
	}
	return at == name.n;
}

struct bytes jsonx_member(struct bytes object, const char *name)
{
	struct bytes wanted = bytes_of(name);
	struct jsonx_walk w;

	jsonx_walk_begin(&w, object);
	while (jsonx_walk_next(&w)) {
		if (key_is(w.raw_key, wanted))
			return w.value;
	}
	return (struct bytes){ NULL, 0 };
}

int64_t jsonx_int(struct bytes raw)
{
	struct bytes v = trim(raw);
	bool is_negative = v.n > 0 && v.p[0] == '-';
	uint64_t n = 0;

	for (size_t i = is_negative; i < v.n; i++)
		n = n * 10 + (uint64_t)(v.p[i] - '0');
	return (int64_t)(is_negative ? -n : n);
}

double jsonx_real(struct bytes raw)
{
	struct bytes v = trim(raw);
	char local[64], *number = v.n < sizeof(local) ? local : malloc(v.n + 1);
	double d;

	if (!number)
		abort();
	memcpy(number, v.p, v.n);
	number[v.n] = '\0';
	d = strtod(number, NULL);
	if (number != local)
		free(number);
	return d;
}

bool jsonx_bool(struct bytes raw)
{
	struct bytes v = trim(raw);

	return v.n > 0 && v.p[0] == 't';
}

static void release_tree(void *tree)
{
	json_object_put(tree);
}

/*
 * The text with the characters themselves where it has escaped surrogate pairs: json-c 0.16 takes U+1D800 to U+1DFFF, and the
 * same stretch of every further plane, for lone surrogates and makes U+FFFD of them.
 */
static struct bytes decode_pairs(struct arena *a, struct bytes text)
{
	char *out;
	size_t n = 0, got;

	if (!memmem(text.p, text.n, "\\u", 2))
		return text;
	out = arena_alloc(a, text.n);
	for (size_t i = 0; i < text.n;) {
		if (text.p[i] != '\\') {
			out[n++] = text.p[i++];
		} else if (text.p[i + 1] == 'u' && is_surrogate(hex4(text.p + i + 2))) {
			i += read_escape(text.p + i, out + n, &got);
			n += got;
		} else {
			out[n++] = text.p[i++];
			out[n++] = text.p[i++];
		}
	}
	return (struct bytes){ out, n };
}

struct json_object *jsonx_tree(struct arena *a, struct bytes text)
{
	struct json_tokener *tok = json_tokener_new_ex(TREE_DEPTH);
	struct json_object *tree;

	if (!tok)
		abort();
	text = decode_pairs(a, text);
	assert(text.n <= INT_MAX);
	tree = json_tokener_parse_ex(tok, text.p, (int)text.n);
	/* A number that nothing follows is not finished until the text is said to end. */
	if (json_tokener_get_error(tok) == json_tokener_continue)
		tree = json_tokener_parse_ex(tok, "", 1);
	assert(json_tokener_get_error(tok) == json_tokener_success);
	json_tokener_free(tok);
	if (tree)
		arena_defer(a, release_tree, tree);
	return tree;
}

struct bytes jsonx_print(struct arena *a, struct json_object *tree)
{
	size_t n;
	const char *text = json_object_to_json_string_length(tree, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);

	if (!text)
		abort();
	return (struct bytes){ arena_copy(a, text, n), n };
}

static void add_member(struct json_object *object, const char *name, struct json_object *value)
{
	if (json_object_object_add(object, name, value) != 0)
		abort();
}

/* Changes target; what it takes over from the patch is shared, and never changed later since a key comes once. */
static void merge_members(struct json_object *target, struct json_object *patch)
{
	json_object_object_foreach(patch, name, value)
	{
		struct json_object *old = NULL;

		if (!value) {
			json_object_object_del(target, name);
			continue;
		}
		if (!json_object_is_type(value, json_type_object)) {
			add_member(target, name, json_object_get(value));
			continue;
		}
		if (!json_object_object_get_ex(target, name, &old) || !json_object_is_type(old, json_type_object)) {
			old = json_object_new_object();
			add_member(target, name, old);
		}
		merge_members(old, value);
	}
}

struct bytes jsonx_merge(struct arena *a, struct bytes target, struct bytes patch)
{
	struct json_object *change = jsonx_tree(a, patch), *tree = NULL;

	if (!json_object_is_type(change, json_type_object))
		return jsonx_print(a, change);
	if (jsonx_type(target) == JSONX_OBJECT) {
		tree = jsonx_tree(a, target);
	} else {
		tree = json_object_new_object();
		arena_defer(a, release_tree, tree);
	}
	merge_members(tree, change);
	return jsonx_print(a, tree);
}
