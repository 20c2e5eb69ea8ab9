/* SPDX-License-Identifier: MIT */
/* price: see price.h. */
#include "app/price.h"

#define DECIMALS 9
#define MILLION 1000000
#define PROBLEMS_MAX 20 /* that are told at once */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool price_read_amount(struct bytes text, int64_t *nano_r)
{
	int64_t nano = 0;
	size_t n_digits = 0;
	int behind = -1; /* digits behind the point; -1: none was seen */
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '.' && behind < 0) {
			behind = 0;
			continue;
		}
		if (!is_digit(text.p[i]) || behind == DECIMALS)
			return false;
		if (__builtin_mul_overflow(nano, 10, &nano) || __builtin_add_overflow(nano, text.p[i] - '0', &nano))
			return false;
		behind += behind >= 0;
		n_digits++;
	}
	for (int i = behind < 0 ? 0 : behind; i < DECIMALS; i++)
		if (__builtin_mul_overflow(nano, 10, &nano))
			return false;
	*nano_r = nano;
	return n_digits > 0 && behind != 0;
}

void price_add_amount(struct buf *b, int64_t nano)
{
	int64_t part = nano % PRICE_NANO;
	int digits = DECIMALS;
	buf_add_int(b, nano / PRICE_NANO);
	if (part == 0)
		return;
	for (; part % 10 == 0; part /= 10)
		digits--;
	buf_addf(b, ".%0*lld", digits, (long long)part);
}

/* ---- parsing ---- */

struct parse {
	struct arena *arena;
	const char *name;
	int line; /* 0: lines are not told */
	struct price_row *rows;
	size_t n, n_before, cap;
	struct buf problems;
	int n_problems;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct bytes trimmed(struct bytes s)
{
	while (s.n > 0 && is_blank(s.p[0]))
		s = (struct bytes){ s.p + 1, s.n - 1 };
	while (s.n > 0 && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

/* Cuts what is in front of the first `mark` off `rest`, or all of it. */
static struct bytes cut(struct bytes *rest, char mark)
{
	const char *at = rest->n ? memchr(rest->p, mark, rest->n) : NULL;
	struct bytes part = { rest->p, at ? (size_t)(at - rest->p) : rest->n };
	*rest = at ? (struct bytes){ at + 1, rest->n - part.n - 1 } : (struct bytes){ NULL, 0 };
	return part;
}

static void blame(struct parse *x, struct bytes entry, const char *reason)
{
	char shown[61];
	size_t n = 0;
	for (; n < entry.n && n < sizeof shown - 1; n++)
		shown[n] = entry.p[n] >= ' ' && entry.p[n] <= '~' ? entry.p[n] : '?';
	shown[n] = '\0';
	if (x->n_problems++ >= PROBLEMS_MAX)
		return;
	buf_addf(&x->problems, "%s%s", x->problems.n ? "\n" : "", x->name);
	if (x->line)
		buf_addf(&x->problems, ":%d", x->line);
	buf_addf(&x->problems, ": \"%s%s\": %s", shown, n < entry.n ? "..." : "", reason);
}

/* What is wrong with a pattern, or NULL. */
static const char *read_pattern(struct bytes text, struct price_row *row)
{
	row->is_prefix = text.n > 0 && text.p[text.n - 1] == '*';
	row->pattern = (struct bytes){ text.p, text.n - row->is_prefix };
	for (size_t i = 0; i < row->pattern.n; i++) {
		if (text.p[i] == '*')
			return "an asterisk may only end a model's name";
		if (text.p[i] <= ' ' || text.p[i] > '~')
			return "a model's name holds neither spaces nor control characters";
	}
	if (text.n == 0 || text.p[text.n - 1] == ':')
		return "the model is missing";
	return NULL;
}

static const char *read_amounts(struct bytes text, struct price *p)
{
	int64_t amounts[3];
	size_t n = 0;
	do {
		struct bytes part = trimmed(cut(&text, '/'));
		if (n == 3)
			return "at most three amounts: input/output/cached input";
		if (!price_read_amount(part, &amounts[n]))
			return "an amount is a decimal number with nine digits behind the point at most, such as 2.5";
		if (amounts[n++] > PRICE_MAX)
			return "an amount is past 1000000000";
	} while (text.p);
	if (n < 2)
		return "two amounts are needed: input/output, for a million tokens";
	*p = (struct price){ amounts[0], amounts[1], n == 3 ? amounts[2] : amounts[0] };
	return NULL;
}

static bool is_there(const struct parse *x, const struct price_row *row)
{
	for (size_t i = x->n_before; i < x->n; i++)
		if (x->rows[i].is_prefix == row->is_prefix && bytes_equal(x->rows[i].pattern, row->pattern))
			return true;
	return false;
}

static void add_row(struct parse *x, struct bytes entry, struct price_row row)
{
	if (x->n == PRICE_ROWS_MAX) {
		blame(x, entry, "the table is full");
		return;
	}
	if (x->n == x->cap) {
		size_t cap = x->cap ? 2 * x->cap : 16;
		struct price_row *rows = arena_array(x->arena, cap, sizeof *rows);
		if (x->n)
			memcpy(rows, x->rows, x->n * sizeof *rows);
		x->rows = rows;
		x->cap = cap;
	}
	row.pattern = (struct bytes){ arena_copy(x->arena, row.pattern.p, row.pattern.n), row.pattern.n };
	x->rows[x->n++] = row;
}

static void parse_entry(struct parse *x, struct bytes entry)
{
	struct price_row row;
	struct bytes rest = entry;
	const char *problem = "\"=\" is missing: model=input/output";
	if (memchr(entry.p, '=', entry.n)) {
		problem = read_pattern(trimmed(cut(&rest, '=')), &row);
		if (!problem)
			problem = read_amounts(rest, &row.price);
		if (!problem && is_there(x, &row))
			problem = "this model comes twice";
	}
	if (problem)
		blame(x, entry, problem);
	else
		add_row(x, entry, row);
}

enum err price_parse(struct task *t, struct arena *a, const char *name, int first_line, struct bytes text, struct price_table *table)
{
	struct parse x = { .arena = a, .name = name, .line = first_line, .rows = table->rows, .n = table->n, .n_before = table->n, .cap = table->n };
	buf_init(&x.problems, t->arena, 0);
	while (text.p && x.n_problems <= PROBLEMS_MAX) {
		struct bytes line = cut(&text, '\n');
		line = cut(&line, '#');
		while (line.p) {
			struct bytes entry = trimmed(cut(&line, ','));
			if (entry.n)
				parse_entry(&x, entry);
		}
		x.line += x.line > 0;
	}
	if (x.n_problems)
		return task_fail(t, ERR_CONFIG, "%s", x.problems.p);
	*table = (struct price_table){ x.rows, x.n };
	return ERR_OK;
}

/* ---- finding ---- */

#define RANK_PROVIDER ((int64_t)1 << 40)

/* How well a name is matched: -1 not at all; a whole name more than a beginning, a long beginning more than a short one. */
static int64_t rank_name(const struct price_row *row, struct bytes pattern, struct bytes name)
{
	bool is_match = row->is_prefix ? name.n >= pattern.n && (pattern.n == 0 || memcmp(name.p, pattern.p, pattern.n) == 0) : bytes_equal(name, pattern);
	return is_match ? 2 * (int64_t)pattern.n + !row->is_prefix : -1;
}

static int64_t rank_model(const struct price_row *row, struct bytes provider, struct bytes model)
{
	struct bytes rest = row->pattern;
	struct bytes first = cut(&rest, ':');
	int64_t rank = -1;
	if (rest.p && first.n && bytes_equal(first, provider))
		rank = rank_name(row, rest, model);
	return rank >= 0 ? rank + RANK_PROVIDER : rank_name(row, row->pattern, model);
}

bool price_find(const struct price_table *table, struct bytes provider, struct bytes model, struct bytes answered, struct price *price_r)
{
	int64_t best = -1;
	for (size_t i = 0; i < table->n; i++) {
		int64_t rank = rank_model(&table->rows[i], provider, model);
		int64_t other = answered.n ? rank_model(&table->rows[i], provider, answered) : -1;
		rank = other > rank ? other : rank;
		if (rank > best) {
			best = rank;
			*price_r = table->rows[i].price;
		}
	}
	return best >= 0;
}

bool price_cost(const struct price *p, int64_t input, int64_t cached, int64_t output, int64_t *nano_r)
{
	if (input < 0 || cached < 0 || output < 0 || cached > input)
		return false;
	/* Each product is below 2^63 * 10^18 < 2^123. */
	__extension__ unsigned __int128 fresh = (uint64_t)(input - cached), known = (uint64_t)cached, sum = (uint64_t)output;
	sum *= (uint64_t)p->output;
	sum += fresh * (uint64_t)p->input + known * (uint64_t)p->cached;
	sum = (sum + MILLION / 2) / MILLION;
	if (sum > INT64_MAX)
		return false;
	*nano_r = (int64_t)sum;
	return true;
}
