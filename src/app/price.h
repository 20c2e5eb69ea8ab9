/* SPDX-License-Identifier: MIT */
/*
 * price: what tokens cost. A table of the operator's says it for each model; amounts are whole billionths (nano) of the currency, so that sums are
 * exact. Reads nothing and stores nothing.
 */
#ifndef PARLEY_APP_PRICE_H
#define PARLEY_APP_PRICE_H

#include "base/buf.h"
#include "base/task.h"

#define PRICE_NANO 1000000000 /* nano in one unit of the currency */
#define PRICE_UNKNOWN (-1)    /* in place of a cost */
#define PRICE_ROWS_MAX 4096
#define PRICE_MAX ((int64_t)1000000000 * PRICE_NANO) /* of a million tokens */

/* What a million tokens cost, in nano. */
struct price {
	int64_t input, output;
	int64_t cached; /* input that the provider had read before */
};

/* One row: "gpt-4o", "gpt-4o*", "*", or any of them behind a provider's name and a colon. */
struct price_row {
	struct bytes pattern; /* without the asterisk */
	bool is_prefix;
	struct price price;
};

struct price_table {
	struct price_row *rows;
	size_t n;
};

/*
 * Adds the rows of a text to a table: "pattern=input/output" or "pattern=input/output/cached", separated by commas or line ends, # begins a comment.
 * Amounts are decimal numbers of units of the currency for a million tokens; without `cached` that input costs as any other. `a` must outlive the
 * table. ERR_CONFIG says in the fault's detail, one a line, what is wrong with which entry (`name` and, unless first_line is 0, its line in
 * front); a pattern that comes twice in the text is wrong. The table is then as it was.
 */
enum err price_parse(struct task *t, struct arena *a, const char *name, int first_line, struct bytes text, struct price_table *table) MUST_CHECK;

/*
 * The price of a model at a provider (its name in parley). Of the rows that match either the name the agent has for the model or the one the provider
 * answered with (may be empty), those that name the provider win, then the longer match, then the row that came first. A colon may belong to a
 * model's own name: both readings are tried. False when none matches.
 */
bool price_find(const struct price_table *table, struct bytes provider, struct bytes model, struct bytes answered, struct price *price_r);

/*
 * What a call costs, rounded to the nearest nano; `cached` of the input tokens count as such. False when the numbers make no sense (negative, more
 * cached than there are) or the cost does not fit.
 */
bool price_cost(const struct price *p, int64_t input, int64_t cached, int64_t output, int64_t *nano_r);

/* A decimal number such as 12, 0.5 or .25, with nine digits behind the point at most, as nano. False for anything else, or past int64. */
bool price_read_amount(struct bytes text, int64_t *nano_r);
/* Writes nano (not negative) as the shortest decimal number that is exact: "0", "12", "0.0375". It is good JSON. */
void price_add_amount(struct buf *b, int64_t nano);

#endif
