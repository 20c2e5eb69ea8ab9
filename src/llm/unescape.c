/* SPDX-License-Identifier: MIT */
/* unescape: escapes as they come. */
#include "llm/unescape.h"

static void add(struct unescape *u, const char *p, size_t n)
{
	memcpy(u->out + u->n_out, p, n);
	u->n_out += n;
}

static void add_code(struct unescape *u, unsigned code)
{
	char out[4];
	int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
	static const unsigned char leads[] = { 0, 0xc0, 0xe0, 0xf0 };

	out[0] = (char)(leads[more] | code >> 6 * more);
	for (int i = 1; i <= more; i++)
		out[i] = (char)(0x80 | (code >> 6 * (more - i) & 0x3f));
	add(u, out, (size_t)more + 1);
}

static void drop_high(struct unescape *u)
{
	if (u->high)
		add_code(u, 0xfffd);
	u->high = 0;
}

static void add_unit(struct unescape *u, unsigned unit)
{
	bool is_low = unit >= 0xdc00 && unit < 0xe000;

	if (is_low && u->high) {
		add_code(u, 0x10000 + ((u->high - 0xd800) << 10) + (unit - 0xdc00));
		u->high = 0;
		return;
	}
	drop_high(u);
	if (unit >= 0xd800 && unit < 0xdc00)
		u->high = unit;
	else
		add_code(u, is_low ? 0xfffd : unit);
}

/* The escape has no four digits: it was meant as it stands, a path, say. */
static void drop_hex(struct unescape *u)
{
	if (!u->is_hex)
		return;
	drop_high(u);
	add(u, "\\u", 2);
	add(u, u->hex, (size_t)u->n_hex);
	u->is_hex = false;
}

static void take_digit(struct unescape *u, char c)
{
	unsigned unit = 0;

	u->hex[u->n_hex++] = c;
	if (u->n_hex < 4)
		return;
	for (int i = 0; i < 4; i++)
		unit = unit << 4 | (unsigned)bytes_hex_value(u->hex[i]);
	u->is_hex = false;
	add_unit(u, unit);
}

static void take_escaped(struct unescape *u, char c)
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	const char *at = c ? strchr(from, c) : NULL;

	u->is_begun = false;
	u->is_hex = c == 'u';
	u->n_hex = 0;
	if (u->is_hex)
		return;
	drop_high(u);
	add(u, at ? &to[at - from] : &c, 1);
}

struct bytes unescape_take(struct unescape *u, char c)
{
	u->n_out = 0;
	if (u->is_hex && bytes_hex_value(c) >= 0) {
		take_digit(u, c);
		return (struct bytes){ u->out, u->n_out };
	}
	drop_hex(u);
	if (u->is_begun) {
		take_escaped(u, c);
	} else if (c == '\\') {
		u->is_begun = true;
	} else {
		drop_high(u);
		add(u, &c, 1);
	}
	return (struct bytes){ u->out, u->n_out };
}

bool unescape_takes_quote(const struct unescape *u)
{
	return u->is_begun;
}

struct bytes unescape_end(struct unescape *u)
{
	u->n_out = 0;
	drop_hex(u);
	drop_high(u);
	return (struct bytes){ u->out, u->n_out };
}
