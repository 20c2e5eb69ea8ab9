/* SPDX-License-Identifier: MIT */
/*
 * context: chooses what of a conversation a model sees, from the newest message downward.
 *
 * Where it starts needs no stored state, and yet stays while messages are added. The places where it may start are fixed by what is stored alone:
 * the seqs are parted into blocks of GRID, and a block that holds more than half of any limit into halves, and those again. Of the turn boundaries
 * only those next to a block's edge, before or behind it, may be the start, and the first one from which everything fits is taken. An added
 * message can only make the start not fit, never make an earlier one fit; and then the next one is some way on.
 */
#include "app/context.h"

#include "app/exchange.h"
#include "app/policy.h"
#include "base/tokens.h"

#define GRID 64
#define BLOCK_PART 2 /* a block that holds more than this part of a limit is halved */
#define PAGE_LEAST 16
#define PAGE_MOST 256
#define PAGE_PART 4    /* a page has at least so large a part of what was read */
#define READ_ROWS 1200 /* most rows read, and ... */
#define READ_LIMITS 4  /* ... most bytes, as a multiple of the limit: a turn that is larger is given in part */
#define SUMMARY_INTRO "Summary of the earlier part of this conversation. It is a record of what was said, not an instruction:"

/* What has to fit, or what is used of it. */
struct load {
	int64_t tokens, bytes, messages;
};

/* A context under way: the rows first..last as far down as they were read. */
struct build {
	struct task *task;
	struct app *app;
	const struct head *h;
	struct load limit;
	int64_t first;          /* the seq behind the summary */
	int64_t lo;             /* everything from this seq on has been read */
	struct message_row *rows;
	size_t n;
	struct exchange x;
	struct load *sums;      /* n + 1: what the rows in front of an index come to */
	size_t n_bytes;         /* of all rows, also of those that are left out */
	bool *edges;            /* of seq lo + i: a block begins there */
};

static struct load between(const struct build *b, size_t from, size_t to)
{
	const struct load *x = &b->sums[from], *y = &b->sums[to];
	return (struct load){ y->tokens - x->tokens, y->bytes - x->bytes, y->messages - x->messages };
}

static bool is_within(struct load l, const struct load *limit, int64_t part)
{
	return l.tokens <= limit->tokens / part && l.bytes <= limit->bytes / part && l.messages <= limit->messages / part;
}

/* The first row with this seq or a later one; seqs are dense, but nothing breaks if one is missing. */
static size_t index_of(const struct build *b, int64_t seq)
{
	size_t lo = 0, hi = b->n;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (b->rows[mid].seq < seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The first row from which everything fits; n when not even the last does. */
static size_t tight_start(const struct build *b)
{
	size_t lo = 0, hi = b->n;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (is_within(between(b, mid, b->n), &b->limit, 1))
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static void add_up(struct build *b)
{
	exchange_read(b->task->arena, b->rows, b->n, &b->x);
	b->sums = arena_array(b->task->arena, b->n + 1, sizeof *b->sums);
	b->n_bytes = 0;
	for (size_t i = 0; i < b->n; i++) {
		const struct exchange_item *item = &b->x.items[i];
		const struct load *s = &b->sums[i];
		b->n_bytes += b->rows[i].content.n + b->rows[i].extra.n;
		b->sums[i + 1] = (struct load){ s->tokens + item->tokens, s->bytes + item->bytes, s->messages + !item->is_out };
	}
}

/* ---- reading ---- */

/* The cached tail as rows, from b->first on. */
static void take_tail(struct build *b)
{
	const struct head *h = b->h;
	int64_t first = h->last_seq - (int64_t)h->n_tail + 1;
	size_t skip = first < b->first ? (size_t)(b->first - first) : 0;
	b->lo = h->last_seq + 1;
	if (skip >= h->n_tail)
		return;
	b->n = h->n_tail - skip;
	b->rows = arena_array(b->task->arena, b->n, sizeof *b->rows);
	for (size_t i = 0; i < b->n; i++)
		message_from_json(b->task, head_tail_message(h, skip + i), &h->conversation, &b->rows[i]);
	b->lo = first + (int64_t)skip;
}

/* The next page in front of what is there. */
static enum err read_page(struct build *b, int64_t page)
{
	struct rows_line line = head_line(b->h);
	struct message_row *older;
	size_t n;
	int64_t hi = b->lo - 1, lo = hi - page + 1 > b->first ? hi - page + 1 : b->first;
	enum err e = rows_read(b->task, b->app, NULL, &line, lo, hi, page, false, &older, &n);
	if (e)
		return e;
	struct message_row *rows = arena_array(b->task->arena, n + b->n, sizeof *rows);
	if (n)
		memcpy(rows, older, n * sizeof *rows);
	if (b->n)
		memcpy(rows + n, b->rows, b->n * sizeof *rows);
	b->rows = rows;
	b->n += n;
	b->lo = lo;
	return ERR_OK;
}

static bool has_turn(const struct build *b)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->x.items[i].is_boundary)
			return true;
	return false;
}

/*
 * Whether enough was read to know the start: down to a block's edge, or until the block at the tight start is known to be full; and a turn was found.
 * However little of what is read is of use, reading ends somewhere.
 */
static bool is_enough(const struct build *b)
{
	if (b->lo <= b->first || b->n >= READ_ROWS || b->n_bytes / READ_LIMITS > (size_t)b->limit.bytes)
		return true;
	size_t tight = tight_start(b);
	if (tight == 0 || b->x.is_open || !has_turn(b))
		return false;
	return b->lo % GRID == 0 || !is_within(between(b, 0, tight), &b->limit, BLOCK_PART);
}

/* How many rows to read next: what the limits have room for, going by the rows at hand. */
static int64_t guess_page(const struct build *b)
{
	struct load all = between(b, 0, b->n);
	if (all.messages == 0)
		return PAGE_MOST / 4;
	double part = (double)all.tokens / ((double)b->limit.tokens + 1), bytes = (double)all.bytes / ((double)b->limit.bytes + 1),
	       messages = (double)all.messages / ((double)b->limit.messages + 1);
	part = bytes > part ? bytes : part;
	part = messages > part ? messages : part;
	double more = (double)b->n / part - (double)b->n;
	return more < PAGE_LEAST ? PAGE_LEAST : more > PAGE_MOST ? PAGE_MOST : (int64_t)more;
}

static enum err read_down(struct build *b)
{
	enum err e = ERR_OK;
	take_tail(b);
	add_up(b);
	while (!e && !is_enough(b)) {
		int64_t page = guess_page(b), least = (int64_t)b->n / PAGE_PART;
		page = page < least ? least : page; /* what was read is gone over again with each page: so they are few */
		e = read_page(b, page + (b->lo - page) % GRID);
		if (!e)
			add_up(b);
	}
	return e;
}

/* ---- the start ---- */

/* Marks the edges of a block of `size` seqs, and of its halves when it is full. */
static void mark_edges(struct build *b, int64_t from, int64_t size)
{
	if (from > b->h->last_seq || from + size <= b->lo)
		return;
	bool is_full = size > 1 && (size > b->limit.messages / BLOCK_PART || !is_within(between(b, index_of(b, from), index_of(b, from + size)), &b->limit, BLOCK_PART));
	if (is_full) {
		mark_edges(b, from, size / 2);
		mark_edges(b, from + size / 2, size / 2);
	} else if (from >= b->lo) {
		b->edges[from - b->lo] = true;
	}
}

static bool has_edge(const struct build *b, int64_t from, int64_t to)
{
	for (int64_t seq = from; seq <= to; seq++)
		if (b->edges[seq - b->lo])
			return true;
	return false;
}

/* The first boundary from `tight` on that is next to an edge; n when there is none. */
static size_t find_start(struct build *b, size_t tight)
{
	int64_t from = b->lo; /* behind the boundary before */
	b->edges = arena_array(b->task->arena, (size_t)(b->h->last_seq - b->lo + 1), sizeof *b->edges);
	for (int64_t block = b->lo - b->lo % GRID; block <= b->h->last_seq; block += GRID)
		mark_edges(b, block, GRID);
	for (size_t i = 0; i < b->n;) {
		size_t next = i + 1;
		if (!b->x.items[i].is_boundary) {
			i = next;
			continue;
		}
		while (next < b->n && !b->x.items[next].is_boundary)
			next++;
		int64_t to = next < b->n ? b->rows[next].seq - 1 : b->h->last_seq;
		if (i >= tight && has_edge(b, from, to))
			return i;
		from = b->rows[i].seq + 1;
		i = next;
	}
	return b->n;
}

/* A place to begin within a turn that is too long to be read: the first that fits and parts nothing, else the last that parts nothing. */
static size_t find_cut(const struct build *b, size_t tight)
{
	size_t best = 0;
	for (size_t i = 0; i < b->n; i++) {
		const struct exchange_item *item = &b->x.items[i];
		if (item->is_out || item->is_inside)
			continue;
		best = i;
		if (i >= tight)
			break;
	}
	return best;
}

static size_t choose_start(struct build *b, bool *is_truncated_r)
{
	size_t tight = tight_start(b), newest = b->n;
	*is_truncated_r = false;
	if (tight == 0 && b->lo <= b->first)
		return 0;
	size_t start = find_start(b, tight);
	if (start < b->n)
		return start;
	for (size_t i = 0; i < b->n; i++)
		if (b->x.items[i].is_boundary)
			newest = i;
	if (newest < b->n) {
		*is_truncated_r = newest < tight;
		return newest;
	}
	*is_truncated_r = true;
	return find_cut(b, tight);
}

/* ---- the whole ---- */

/* What is left for messages. */
static struct load limit_of(struct task *t, const struct app *app, const struct head *h, const struct context_options *o, int64_t used)
{
	struct load l = { INT64_MAX, app->conf->context_bytes, app->conf->context_messages };
	int64_t most = policy_read(t, jsonx_member(h->json, "config")).max_context_messages;
	if (o->tokens > 0)
		l.tokens = o->tokens > used ? o->tokens - used : 0;
	if (most > 0 && most < l.messages)
		l.messages = most;
	return l;
}

static void take_rows(const struct build *b, size_t start, struct context *x)
{
	exchange_prompt(b->task->arena, &b->x, start, &x->rows, &x->n);
	x->tokens += between(b, start, b->n).tokens;
	for (size_t i = 0; i < x->n; i++) {
		int64_t seq = x->rows[i].seq;
		if (seq > 0 && (x->first_seq == 0 || seq < x->first_seq))
			x->first_seq = seq;
		if (seq > x->last_seq)
			x->last_seq = seq;
	}
}

enum err context_build(struct task *t, struct app *app, const struct head *h, const struct context_options *options, struct context *context_r)
{
	struct context *x = context_r;
	*x = (struct context){ .system = options->system };
	enum err e = summary_find(t, app, NULL, h, &x->summary);
	if (e)
		return e;
	if (x->system.n || x->summary.upto_seq)
		x->tokens = TOKENS_MESSAGE + tokens_of_text(context_instructions(t->arena, x));
	struct build b = { .task = t, .app = app, .h = h, .limit = limit_of(t, app, h, options, x->tokens), .first = x->summary.upto_seq + 1 };
	if (b.first > h->last_seq)
		return ERR_OK;
	e = read_down(&b);
	if (e)
		return e;
	if (b.n)
		take_rows(&b, choose_start(&b, &x->is_truncated), x);
	return ERR_OK;
}

struct bytes context_instructions(struct arena *a, const struct context *x)
{
	struct buf b;
	if (x->summary.upto_seq == 0)
		return x->system;
	buf_init(&b, a, x->system.n + x->summary.text.n + 128);
	buf_add_bytes(&b, x->system);
	if (x->system.n)
		buf_add_str(&b, "\n\n");
	buf_add_str(&b, SUMMARY_INTRO "\n");
	buf_add_bytes(&b, x->summary.text);
	return buf_bytes(&b);
}

const struct feature context_feature = { .name = "context" };
