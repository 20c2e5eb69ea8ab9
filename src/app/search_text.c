/* SPDX-License-Identifier: MIT */
/* search_text: text out of content; it may be any bytes, since a record can be damaged. */
#include "app/search_text.h"

#include "base/buf.h"

#define DEPTH 4 /* of parts inside of parts */

static void add_text(struct buf *b, struct bytes raw)
{
	if (jsonx_type(raw) != JSONX_STRING)
		return;
	if (b->n)
		buf_add_char(b, '\n');
	buf_add_bytes(b, jsonx_string(b->arena, raw));
}

static bool ends_with(struct bytes s, struct bytes end)
{
	return s.n >= end.n && memcmp(s.p + s.n - end.n, end.p, end.n) == 0;
}

/* A string, or parts: "text", "input_text" and their like, a refusal, and what a tool's result holds. */
static void add_content(struct buf *b, struct bytes content, int depth)
{
	struct jsonx_walk w;
	add_text(b, content);
	if (jsonx_type(content) != JSONX_ARRAY || depth == DEPTH)
		return;
	jsonx_walk_begin(&w, content);
	while (jsonx_walk_next(&w)) {
		struct bytes raw = jsonx_type(w.value) == JSONX_OBJECT ? jsonx_member(w.value, "type") : (struct bytes){ NULL, 0 };
		if (jsonx_type(raw) != JSONX_STRING)
			continue;
		struct bytes type = jsonx_string(b->arena, raw);
		if (ends_with(type, BYTES("text")))
			add_text(b, jsonx_member(w.value, "text"));
		else if (bytes_equal(type, BYTES("refusal")))
			add_text(b, jsonx_member(w.value, "refusal"));
		else if (ends_with(type, BYTES("tool_result")))
			add_content(b, jsonx_member(w.value, "content"), depth + 1);
	}
}

static bool is_hex4(const char *p, size_t n)
{
	for (size_t i = 0; i < 4; i++)
		if (i >= n || bytes_hex_value(p[i]) < 0)
			return false;
	return true;
}

/* Bytes of the escape at p, where n are left of the string, or 0 when it is none. */
static size_t escape_size(const char *p, size_t n)
{
	if (n < 2 || !p[1])
		return 0;
	if (p[1] != 'u')
		return strchr("\"\\/bfnrt", p[1]) ? 2 : 0;
	if (!is_hex4(p + 2, n - 2))
		return 0;
	if (bytes_hex_value(p[2]) != 0xd || bytes_hex_value(p[3]) < 8)
		return 6;
	return n >= 12 && p[6] == '\\' && p[7] == 'u' && is_hex4(p + 8, n - 8) ? 12 : 0;
}

/* Whether a string with its quotes can be unescaped without harm: it was validated when it was stored, and this is read far more often than shown. */
static bool is_sound_string(struct bytes s)
{
	if (s.p[0] != '"' || s.p[s.n - 1] != '"')
		return false;
	const char *p = s.p + 1, *end = s.p + s.n - 1;
	while ((p = memchr(p, '\\', (size_t)(end - p)))) {
		size_t n = escape_size(p, (size_t)(end - p));
		if (n == 0)
			return false;
		p += n;
	}
	return true;
}

struct bytes search_text(struct arena *a, struct bytes content)
{
	static const struct bytes none = { NULL, 0 };
	struct jsonx_flaw flaw;
	if (content.n <= 2)
		return none;
	if (is_sound_string(content))
		return jsonx_string(a, content);
	if (!jsonx_check(a, content, &flaw))
		return none;
	struct buf b;
	buf_init(&b, a, content.n);
	add_content(&b, content, 0);
	return b.n ? buf_bytes(&b) : none;
}
