/* SPDX-License-Identifier: MIT */
/* terminal: text from anywhere as a terminal may show it, and tables that fit it. */
#ifndef PARLEY_MAIN_TERMINAL_H
#define PARLEY_MAIN_TERMINAL_H

#include <stdio.h>

#include "base/arena.h"
#include "base/bytes.h"

/* Takes the character type of UTF-8, whatever the environment says: for the functions below, in commands that make no threads. */
void terminal_init(void);

/* Columns of the terminal behind a descriptor; 0: it is none. */
size_t terminal_columns(int fd);

/*
 * Text that moves no cursor and turns no direction: a line's end and a tab become a space, every other character that is not for printing becomes
 * U+FFFD, and so does what is not UTF-8.
 */
struct bytes terminal_clean(struct arena *a, struct bytes text);

/* The same for text of several lines: their ends and tabs stay, a carriage return is dropped. */
struct bytes terminal_clean_lines(struct arena *a, struct bytes text);

/* JSON for a terminal: the characters that terminal_clean replaces are written as \u escapes. */
struct bytes terminal_clean_json(struct arena *a, struct bytes json);

/* Columns that cleaned text takes. */
size_t terminal_measure(struct bytes clean);

/* Cleaned text cut to `columns`, with U+2026 at its end when something is missing. */
struct bytes terminal_cut(struct arena *a, struct bytes clean, size_t columns);

struct table_column {
	const char *title;
	bool is_right;    /* numbers */
	bool is_flexible; /* is shortened first when the table is too wide */
};

/* Rows of text under titles. */
struct table {
	struct arena *arena;
	const struct table_column *columns;
	size_t n_columns;
	struct bytes *cells; /* cleaned, row by row */
	size_t n_cells, cap;
};

void table_init(struct table *t, struct arena *a, const struct table_column *columns, size_t n_columns);
/* Adds the next cell; text is cleaned. */
void table_add(struct table *t, struct bytes text);
/* Prints titles and whole rows within `columns` (0: as wide as they are). */
void table_print(const struct table *t, FILE *to, size_t columns);

#endif
