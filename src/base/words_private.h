/* SPDX-License-Identifier: MIT */
/* words_private: what words.c and words_cut.c share. */
#ifndef PARLEY_BASE_WORDS_PRIVATE_H
#define PARLEY_BASE_WORDS_PRIVATE_H

#include <stdint.h>

#include "base/words.h"

#define WORDS_MARKS_MAX 30 /* marks on one character that are brought in order; more are put down as they come */

/* What a character is to a search. Runs of one kind other than WORDS_SEPARATOR are tokens. */
enum words_kind { WORDS_SEPARATOR, WORDS_SPACED, WORDS_HAN_KANA, WORDS_HANGUL, WORDS_SOUTHEAST, WORDS_EMOJI };

enum words_kind words_kind_of(uint32_t c);

/* Reads the character at p, which has n >= 1 bytes; one byte of what is not UTF-8 is U+FFFD. Returns its bytes. */
size_t words_read_char(const char *p, size_t n, uint32_t *c_r);

/* A mark that waits for its place behind its letter. */
struct words_mark {
	uint32_t c, source;
	int class;
};

/* Folding under way. */
struct words_folder {
	struct arena *arena;
	char *p;
	uint32_t *sources; /* for each byte of p the number of the character it came from; NULL: nobody asks */
	size_t n, cap;
	bool drops_marks;  /* optional ones */
	bool has_marks;    /* some were met */
	uint32_t base;     /* the last that was no mark */
	struct words_mark marks[WORDS_MARKS_MAX];
	size_t n_marks;
	size_t length;
};

/* A folder for a text of n bytes; q NULL: for a query, so that marks stay. */
struct words_folder words_open_folder(struct arena *a, const struct words_query *q, size_t n);

/* Folds the whole; starts[i] becomes where the i-th character of the text begins, unless it is NULL. Returns how many there are. */
size_t words_fold_text(struct words_folder *f, struct bytes text, uint32_t *starts);

/* The next match of a term in folded text at or behind *at, which moves there; its end, or 0 if there is none. */
size_t words_find_term(struct bytes folded, const struct words_term *term, size_t *at, bool *is_whole_r);

#endif
