/* SPDX-License-Identifier: MIT */
/* jsonx_check: the strict validator that every JSON text from outside passes first. One pass, no recursion. */
#include "base/jsonx.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FEW_KEYS 8 /* up to here comparing all pairs is cheaper than sorting */

/* A key of an open object, unescaped. */
struct key {
	struct bytes name;
	size_t at;
};

struct level {
	bool is_object;
	size_t first_key; /* in checker.keys; those of inner objects lie behind */
};

struct checker {
	struct arena *arena;
	struct bytes text;
	size_t at; /* the next byte */
	struct jsonx_flaw *flaw;
	bool is_strict; /* keys must differ and hold no NUL */
	size_t depth, most_depth;
	struct level levels[JSONX_DEPTH + 1];
	struct key *keys;
	size_t n_keys, room;
};

static bool fail_at(struct checker *c, size_t at, const char *reason)
{
	*c->flaw = (struct jsonx_flaw){ at < c->text.n ? reason : "the text ends too early", at };
	return false;
}

static bool fail(struct checker *c, const char *reason)
{
	return fail_at(c, c->at, reason);
}

/* The next byte, or -1 at the end. */
static int peek(const struct checker *c)
{
	return c->at < c->text.n ? (unsigned char)c->text.p[c->at] : -1;
}

static bool take(struct checker *c, char wanted)
{
	if (peek(c) != wanted)
		return false;
	c->at++;
	return true;
}

static void skip_blanks(struct checker *c)
{
	for (int b = peek(c); b == ' ' || b == '\n' || b == '\t' || b == '\r'; b = peek(c))
		c->at++;
}

static bool check_word(struct checker *c, const char *word)
{
	for (; *word; word++) {
		if (!take(c, *word))
			return fail(c, "a value is expected");
	}
	return true;
}

static size_t skip_digits(struct checker *c)
{
	size_t start = c->at;

	while (peek(c) >= '0' && peek(c) <= '9')
		c->at++;
	return c->at - start;
}

/* Whether n digits without leading zeros fit an int64. */
static bool fits_int64(const char *digits, size_t n, bool is_negative)
{
	const char *limit = is_negative ? "9223372036854775808" : "9223372036854775807";

	return n < 19 || (n == 19 && memcmp(digits, limit, 19) <= 0);
}

static bool is_finite(struct checker *c, size_t start)
{
	char local[64];
	size_t n = c->at - start;
	const char *number = local;

	if (n < sizeof(local)) {
		memcpy(local, c->text.p + start, n);
		local[n] = '\0';
	} else {
		number = arena_copy(c->arena, c->text.p + start, n);
	}
	return isfinite(strtod(number, NULL));
}

static bool check_number(struct checker *c)
{
	size_t start = c->at, whole, n;
	bool is_negative = take(c, '-'), is_real = false;

	whole = c->at;
	n = skip_digits(c);
	if (n == 0)
		return fail(c, "a digit is missing");
	if (n > 1 && c->text.p[whole] == '0')
		return fail_at(c, whole, "a number begins with 0");
	if (take(c, '.')) {
		is_real = true;
		if (skip_digits(c) == 0)
			return fail(c, "a digit is missing");
	}
	if (take(c, 'e') || take(c, 'E')) {
		is_real = true;
		if (!take(c, '-'))
			(void)take(c, '+');
		if (skip_digits(c) == 0)
			return fail(c, "a digit is missing");
	}
	if (!is_real && !fits_int64(c->text.p + whole, n, is_negative))
		return fail_at(c, start, "an integer is beyond 64 bits");
	if (is_real && !is_finite(c, start))
		return fail_at(c, start, "a number is too large");
	return true;
}

/* The length of the well-formed UTF-8 sequence at p that begins with a byte of 0x80 or more; 0 if there is none. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
	unsigned low = 0x80, high = 0xbf; /* of the second byte; narrower where overlongs, surrogates or the end are near */
	size_t n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

	if (p[0] < 0xc2 || p[0] > 0xf4 || left < n)
		return 0;
	if (p[0] == 0xe0)
		low = 0xa0;
	if (p[0] == 0xed)
		high = 0x9f;
	if (p[0] == 0xf0)
		low = 0x90;
	if (p[0] == 0xf4)
		high = 0x8f;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++) {
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	}
	return n;
}

/* Four hex digits; -1 if they are not that. */
static int check_hex4(struct checker *c)
{
	int v = 0;

	for (int i = 0; i < 4; i++, c->at++) {
		int b = peek(c);

		if (b >= '0' && b <= '9')
			v = v << 4 | (b - '0');
		else if ((b >= 'a' && b <= 'f') || (b >= 'A' && b <= 'F'))
			v = v << 4 | ((b | 0x20) - 'a' + 10);
		else
			return -1;
	}
	return v;
}

/* Behind \u: one code unit, or a whole surrogate pair. *nul_r is set for \u0000. */
static bool check_unicode(struct checker *c, bool *nul_r)
{
	size_t start = c->at - 2;
	int unit = check_hex4(c), second;

	if (unit < 0)
		return fail(c, "a hex digit is missing");
	if (unit == 0)
		*nul_r = true;
	if (unit < 0xd800 || unit > 0xdfff)
		return true;
	if (unit > 0xdbff || !take(c, '\\') || !take(c, 'u'))
		return fail_at(c, start, "a surrogate stands alone");
	second = check_hex4(c);
	if (second < 0)
		return fail(c, "a hex digit is missing");
	return (second >= 0xdc00 && second <= 0xdfff) || fail_at(c, start, "a surrogate stands alone");
}

static bool check_escape(struct checker *c, bool *nul_r)
{
	int b;

	c->at++;
	b = peek(c);
	if (b <= 0 || !strchr("\"\\/bfnrtu", b))
		return fail(c, "an escape is not known");
	c->at++;
	return b != 'u' || check_unicode(c, nul_r);
}

/* From the opening quote past the closing one. Tells whether there were escapes, and \u0000 among them. */
static bool check_string(struct checker *c, bool *escapes_r, bool *nul_r)
{
	*escapes_r = *nul_r = false;
	c->at++;
	for (;;) {
		int b = peek(c);

		if (b == '"') {
			c->at++;
			return true;
		}
		if (b == '\\') {
			*escapes_r = true;
			if (!check_escape(c, nul_r))
				return false;
		} else if (b >= 0x80) {
			size_t n = utf8_length((const unsigned char *)c->text.p + c->at, c->text.n - c->at);

			if (n == 0)
				return fail(c, "the text is not UTF-8");
			c->at += n;
		} else if (b < 0x20) {
			return fail(c, "a control character in a string");
		} else {
			c->at++;
		}
	}
}

static void add_key(struct checker *c, struct bytes name, size_t at)
{
	if (c->n_keys == c->room) {
		size_t room = c->room ? 2 * c->room : 32;

		c->keys = arena_grow(c->arena, c->keys, c->room * sizeof(*c->keys), room * sizeof(*c->keys));
		c->room = room;
	}
	c->keys[c->n_keys++] = (struct key){ name, at };
}

/* The key of a member and the colon behind it. */
static bool check_key(struct checker *c)
{
	bool has_escapes, has_nul;
	size_t start;
	struct bytes raw;

	skip_blanks(c);
	start = c->at;
	if (peek(c) != '"')
		return fail(c, "a key in quotes is expected");
	if (!check_string(c, &has_escapes, &has_nul))
		return false;
	/* A C string cannot hold it: json-c would cut the key there, and two keys could become one. */
	if (has_nul && c->is_strict)
		return fail_at(c, start, "a key holds a NUL");
	raw = (struct bytes){ c->text.p + start, c->at - start };
	if (c->is_strict)
		add_key(c, has_escapes ? jsonx_string(c->arena, raw) : (struct bytes){ raw.p + 1, raw.n - 2 }, start);
	skip_blanks(c);
	return take(c, ':') || fail(c, "a colon is missing");
}

static int compare_names(const struct key *a, const struct key *b)
{
	size_t n = a->name.n < b->name.n ? a->name.n : b->name.n;
	int order = n ? memcmp(a->name.p, b->name.p, n) : 0;

	return order ? order : (a->name.n > b->name.n) - (a->name.n < b->name.n);
}

static int compare_keys(const void *a, const void *b)
{
	const struct key *x = a, *y = b;
	int order = compare_names(x, y);

	return order ? order : (x->at > y->at) - (x->at < y->at);
}

/* Where the first key stands that was there before; SIZE_MAX if all of them differ. */
static size_t find_repeated_key(struct key *keys, size_t n)
{
	size_t first = SIZE_MAX;

	if (n > FEW_KEYS)
		qsort(keys, n, sizeof(*keys), compare_keys);
	for (size_t i = 1; i < n; i++) {
		for (size_t k = n > FEW_KEYS ? i - 1 : 0; k < i; k++) {
			if (keys[i].at < first && compare_names(&keys[k], &keys[i]) == 0)
				first = keys[i].at;
		}
	}
	return first;
}

static bool open_level(struct checker *c, bool is_object)
{
	if (c->depth == c->most_depth)
		return fail(c, "it is nested too deeply");
	c->levels[c->depth++] = (struct level){ is_object, c->n_keys };
	c->at++;
	return true;
}

static bool close_level(struct checker *c)
{
	struct level *l = &c->levels[--c->depth];
	size_t repeated = SIZE_MAX;

	c->at++;
	if (c->n_keys - l->first_key > 1)
		repeated = find_repeated_key(c->keys + l->first_key, c->n_keys - l->first_key);
	c->n_keys = l->first_key;
	return repeated == SIZE_MAX || fail_at(c, repeated, "a key appears twice");
}

static bool check_scalar(struct checker *c)
{
	bool has_escapes, has_nul;

	switch (peek(c)) {
	case '"':
		return check_string(c, &has_escapes, &has_nul);
	case 't':
		return check_word(c, "true");
	case 'f':
		return check_word(c, "false");
	case 'n':
		return check_word(c, "null");
	case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
		return check_number(c);
	default:
		return fail(c, "a value is expected");
	}
}

/* Behind a value: closes what ends here, up to the comma before another value or the end of the outermost. */
static bool check_after_value(struct checker *c)
{
	while (c->depth > 0) {
		bool is_object = c->levels[c->depth - 1].is_object;

		skip_blanks(c);
		if (take(c, ','))
			return !is_object || check_key(c);
		if (peek(c) != (is_object ? '}' : ']'))
			return fail(c, is_object ? "a comma or } is missing" : "a comma or ] is missing");
		if (!close_level(c))
			return false;
	}
	return true;
}

/* One value, or the opening of one that is not empty: then what follows is its first element or the value of its first key. */
static bool check_value(struct checker *c, bool *opened_r)
{
	int b;

	skip_blanks(c);
	b = peek(c);
	*opened_r = false;
	if (b != '{' && b != '[')
		return check_scalar(c);
	if (!open_level(c, b == '{'))
		return false;
	skip_blanks(c);
	if (peek(c) == (b == '{' ? '}' : ']'))
		return close_level(c);
	*opened_r = true;
	return b == '[' || check_key(c);
}

static bool check(struct checker *c)
{
	bool opened;

	if (c->text.n >= 3 && memcmp(c->text.p, "\xef\xbb\xbf", 3) == 0)
		return fail(c, "it begins with a byte order mark");
	do {
		if (!check_value(c, &opened) || (!opened && !check_after_value(c)))
			return false;
	} while (c->depth > 0);
	skip_blanks(c);
	return c->at == c->text.n || fail(c, "something follows the value");
}

bool jsonx_check(struct arena *a, struct bytes text, struct jsonx_flaw *flaw_r)
{
	struct checker c = { .arena = a, .text = text, .flaw = flaw_r, .most_depth = JSONX_DEPTH };

	return check(&c);
}

bool jsonx_check_strict(struct arena *a, struct bytes text, struct jsonx_flaw *flaw_r)
{
	struct checker c = { .arena = a, .text = text, .flaw = flaw_r, .most_depth = JSONX_DEPTH, .is_strict = true };

	return check(&c);
}

bool jsonx_check_line(struct arena *a, struct bytes text, struct jsonx_flaw *flaw_r)
{
	struct checker c = { .arena = a, .text = text, .flaw = flaw_r, .is_strict = true, .most_depth = JSONX_DEPTH + 1 };

	return check(&c);
}
