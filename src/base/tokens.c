/* SPDX-License-Identifier: MIT */
/* tokens: the estimate, byte by byte, in twelfths of a token. */
#include "base/tokens.h"

#include <string.h>

#define UNIT 12

enum kind { START, LETTERS, DIGITS, MARKS, BLANKS, WIDE };

/* A count under way. */
struct count {
	int64_t tokens;
	int64_t run;     /* twelfths of the current run */
	size_t run_n;    /* its bytes */
	enum kind kind;
	bool was_small;  /* the last letter was a small one */
};

static void end_run(struct count *c)
{
	bool is_single_space = c->kind == BLANKS && c->run == 1;
	if (!is_single_space)
		c->tokens += (c->run + UNIT - 1) / UNIT;
	c->run = 0;
	c->run_n = 0;
}

static void add(struct count *c, enum kind kind, int64_t twelfths)
{
	if (kind != c->kind)
		end_run(c);
	c->kind = kind;
	c->run += twelfths;
	c->run_n++;
}

/* An ASCII letter; a capital behind a small letter begins a word of its own, as names in programs do. */
static void add_letter(struct count *c, bool is_capital)
{
	if (is_capital && c->kind == LETTERS && c->was_small)
		end_run(c);
	add(c, LETTERS, is_capital && c->kind == LETTERS && c->run_n ? 6 : 3);
	c->was_small = !is_capital;
}

/* A character that begins with this byte; bytes that continue one cost nothing. */
static void add_lead(struct count *c, unsigned char lead)
{
	if (lead < 0xc0)
		return;
	if (lead >= 0xf0) {
		add(c, WIDE, 36);
	} else if (lead >= 0xe0) {
		add(c, WIDE, 15);
	} else {
		bool is_latin = lead <= 0xc9, is_cyrillic = lead >= 0xd0 && lead <= 0xd4;
		add(c, LETTERS, is_latin || is_cyrillic ? 6 : 9);
		c->was_small = true;
	}
}

int64_t tokens_of_text(struct bytes text)
{
	struct count c = { .kind = START };
	for (size_t i = 0; i < text.n; i++) {
		char b = text.p[i];
		if (b >= 'a' && b <= 'z')
			add_letter(&c, false);
		else if (b >= 'A' && b <= 'Z')
			add_letter(&c, true);
		else if (b >= '0' && b <= '9')
			add(&c, DIGITS, 4);
		else if ((unsigned char)b >= 0x80)
			add_lead(&c, (unsigned char)b);
		else if ((unsigned char)b <= ' ' || b == 0x7f)
			add(&c, BLANKS, b == ' ' ? 1 : 2);
		else
			add(&c, MARKS, 6);
	}
	end_run(&c);
	return c.tokens;
}

static bool is_media(struct bytes type)
{
	static const char *const words[] = { "image", "image_url", "input_image", "audio", "input_audio", "video" };
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (bytes_equal(type, bytes_of(words[i])))
			return true;
	return false;
}

static int64_t tokens_of_part(struct arena *a, struct bytes part)
{
	struct bytes type, text;
	if (jsonx_type(part) != JSONX_OBJECT)
		return tokens_of_text(part);
	type = jsonx_member(part, "type");
	if (jsonx_type(type) != JSONX_STRING)
		return tokens_of_text(part);
	type = jsonx_string(a, type);
	if (is_media(type))
		return TOKENS_MEDIA;
	text = jsonx_member(part, "text");
	if (bytes_equal(type, BYTES("text")) && jsonx_type(text) == JSONX_STRING)
		return tokens_of_text(jsonx_string(a, text));
	return tokens_of_text(part);
}

int64_t tokens_of_content(struct arena *a, struct bytes content)
{
	struct jsonx_walk w;
	int64_t n = 0;
	switch (jsonx_type(content)) {
	case JSONX_STRING:
		return tokens_of_text(jsonx_string(a, content));
	case JSONX_ARRAY:
		jsonx_walk_begin(&w, content);
		while (jsonx_walk_next(&w))
			n += tokens_of_part(a, w.value);
		return n;
	default:
		return 0;
	}
}
