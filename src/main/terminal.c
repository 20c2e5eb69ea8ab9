/* SPDX-License-Identifier: MIT */
/* terminal: what people see. Nothing that came from outside reaches a terminal but as printable characters. */
#include "main/terminal.h"

#include <locale.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "base/buf.h"

#define GAP 2           /* columns between two of a table */
#define FLEXIBLE_MIN 8  /* a flexible column is not made narrower before the others are */
#define COLUMN_MIN 4
#define UNPRINTABLE "\xef\xbf\xbd" /* U+FFFD */
#define MORE "\xe2\x80\xa6"        /* U+2026 */

void terminal_init(void)
{
	(void)setlocale(LC_CTYPE, "C.UTF-8");
}

size_t terminal_columns(int fd)
{
	struct winsize size;
	if (!isatty(fd))
		return 0;
	return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* One character of text: how many bytes, and its columns; -1: not for printing. */
struct glyph {
	wchar_t c;
	size_t n;
	int columns;
};

/* Marks that turn the direction of what follows, and ends of lines that only Unicode knows. */
static bool is_deceiving(wchar_t c)
{
	return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e || c == 0x200f || c == 0x061c || c == 0x2028 ||
	       c == 0x2029 || (c >= 0xe0000 && c <= 0xe007f) || c == 0xfeff;
}

static struct glyph next_glyph(struct bytes text, size_t at)
{
	mbstate_t state = { 0 };
	struct glyph g = { .n = 1, .columns = -1 };
	size_t n = mbrtowc(&g.c, text.p + at, text.n - at, &state);
	if (n == 0 || n == (size_t)-1 || n == (size_t)-2)
		return g;
	g.n = n;
	g.columns = is_deceiving(g.c) ? -1 : wcwidth(g.c);
	return g;
}

static struct bytes clean(struct arena *a, struct bytes text, bool has_lines)
{
	struct buf b;
	buf_init(&b, a, text.n + 1);
	for (size_t i = 0; i < text.n;) {
		struct glyph g = next_glyph(text, i);
		if (g.columns >= 0)
			buf_add(&b, text.p + i, g.n);
		else if (strchr("\n\r\t", text.p[i]) && text.p[i])
			buf_add(&b, has_lines ? &text.p[i] : " ", has_lines && text.p[i] == '\r' ? 0 : 1);
		else
			buf_add_str(&b, UNPRINTABLE);
		i += g.n;
	}
	return buf_bytes(&b);
}

struct bytes terminal_clean(struct arena *a, struct bytes text)
{
	return clean(a, text, false);
}

struct bytes terminal_clean_lines(struct arena *a, struct bytes text)
{
	return clean(a, text, true);
}

struct bytes terminal_clean_json(struct arena *a, struct bytes json)
{
	struct buf b;
	buf_init(&b, a, json.n + 1);
	for (size_t i = 0; i < json.n;) {
		struct glyph g = next_glyph(json, i);
		unsigned long c = (unsigned long)g.c;
		if (g.columns >= 0 || json.p[i] == '\n')
			buf_add(&b, json.p + i, g.n);
		else if (c > 0xffff)
			buf_addf(&b, "\\u%04lx\\u%04lx", 0xd800 + ((c - 0x10000) >> 10), 0xdc00 + ((c - 0x10000) & 0x3ff));
		else
			buf_addf(&b, "\\u%04lx", c);
		i += g.n;
	}
	return buf_bytes(&b);
}

size_t terminal_measure(struct bytes clean)
{
	size_t columns = 0;
	for (size_t i = 0; i < clean.n;) {
		struct glyph g = next_glyph(clean, i);
		columns += g.columns > 0 ? (size_t)g.columns : 0;
		i += g.n;
	}
	return columns;
}

struct bytes terminal_cut(struct arena *a, struct bytes clean, size_t columns)
{
	size_t used = 0, i = 0;
	if (terminal_measure(clean) <= columns)
		return clean;
	while (i < clean.n) {
		struct glyph g = next_glyph(clean, i);
		size_t wide = g.columns > 0 ? (size_t)g.columns : 0;
		if (used + wide + 1 > columns)
			break;
		used += wide;
		i += g.n;
	}
	struct buf b;
	buf_init(&b, a, i + sizeof MORE);
	buf_add(&b, clean.p, i);
	if (columns > 0)
		buf_add_str(&b, MORE);
	return buf_bytes(&b);
}

void table_init(struct table *t, struct arena *a, const struct table_column *columns, size_t n_columns)
{
	*t = (struct table){ .arena = a, .columns = columns, .n_columns = n_columns };
}

void table_add(struct table *t, struct bytes text)
{
	if (t->n_cells == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 256;
		t->cells = arena_grow(t->arena, t->cells, t->cap * sizeof *t->cells, cap * sizeof *t->cells);
		t->cap = cap;
	}
	t->cells[t->n_cells++] = terminal_clean(t->arena, text);
}

/* Takes a column from the widest that may still lose one; false when none may. */
static bool shorten(const struct table *t, size_t *widths, bool only_flexible)
{
	size_t widest = t->n_columns;
	for (size_t i = 0; i < t->n_columns; i++) {
		size_t least = only_flexible ? FLEXIBLE_MIN : COLUMN_MIN;
		if ((only_flexible && !t->columns[i].is_flexible) || widths[i] <= least)
			continue;
		if (widest == t->n_columns || widths[i] > widths[widest])
			widest = i;
	}
	if (widest == t->n_columns)
		return false;
	widths[widest]--;
	return true;
}

static size_t *find_widths(const struct table *t, size_t columns)
{
	size_t *widths = arena_array(t->arena, t->n_columns, sizeof *widths), total = GAP * (t->n_columns - 1);
	for (size_t i = 0; i < t->n_columns; i++)
		widths[i] = terminal_measure(bytes_of(t->columns[i].title));
	for (size_t i = 0; i < t->n_cells; i++) {
		size_t wide = terminal_measure(t->cells[i]);
		if (wide > widths[i % t->n_columns])
			widths[i % t->n_columns] = wide;
	}
	for (size_t i = 0; i < t->n_columns; i++)
		total += widths[i];
	for (; columns > 0 && total > columns; total--)
		if (!shorten(t, widths, true) && !shorten(t, widths, false))
			break;
	return widths;
}

static void print_row(const struct table *t, FILE *to, const size_t *widths, const struct bytes *cells)
{
	for (size_t i = 0; i < t->n_columns; i++) {
		bool is_last = i + 1 == t->n_columns;
		struct bytes text = terminal_cut(t->arena, cells[i], widths[i]);
		int pad = (int)(widths[i] - terminal_measure(text));
		fprintf(to, "%*s%.*s%*s", t->columns[i].is_right ? pad : 0, "", (int)text.n, text.p, t->columns[i].is_right || is_last ? 0 : pad, "");
		fprintf(to, "%*s", is_last ? 0 : GAP, "");
	}
	fputc('\n', to);
}

void table_print(const struct table *t, FILE *to, size_t columns)
{
	const size_t *widths = find_widths(t, columns);
	struct bytes *titles = arena_array(t->arena, t->n_columns, sizeof *titles);
	for (size_t i = 0; i < t->n_columns; i++)
		titles[i] = bytes_of(t->columns[i].title);
	print_row(t, to, widths, titles);
	for (size_t i = 0; i + t->n_columns <= t->n_cells; i += t->n_columns)
		print_row(t, to, widths, &t->cells[i]);
}
