/* SPDX-License-Identifier: MIT */
/*
 * compress: what of a conversation is summarised, and the storing of it. Nothing is locked while a summary is made: its messages are read again in
 * the transaction that stores it, under locks that keep changes away, and must be the same. Costs are bounded however long a conversation is.
 */
#include "app/compress.h"

#include "app/exchange.h"
#include "base/stamp.h"
#include "base/tokens.h"

#define INPUT_ROWS 2000          /* most messages that a summary is made of */
#define INPUT_BYTES (1u << 20)   /* and most bytes */
#define INPUT_PAGE 200
#define OPENING_ROWS 20          /* of the messages in front of those, the first */
#define SUMMARY_TOKENS 1024      /* longest summary */
#define SUMMARY_TOKENS_MIN 64
#define SUMMARY_PART 4           /* else so large a part of what it stands for */
#define WINDOW 128               /* seqs in which a turn is looked for at once */
#define WINDOWS 10
#define METHOD_EXTRACT "extract"

/* ---- what is read ---- */

/* Rows of a summary: a run of the oldest, and the newest. */
struct input {
	struct message_row *rows; /* ascending */
	size_t n;
	size_t n_bytes;
};

static void add_rows(struct task *t, struct input *in, const struct message_row *rows, size_t n, bool is_in_front)
{
	struct message_row *all = arena_array(t->arena, in->n + n, sizeof *all);
	if (n)
		memcpy(all + (is_in_front ? 0 : in->n), rows, n * sizeof *all);
	if (in->n)
		memcpy(all + (is_in_front ? n : 0), in->rows, in->n * sizeof *all);
	in->rows = all;
	in->n += n;
	for (size_t i = 0; i < n; i++)
		in->n_bytes += rows[i].content.n + rows[i].extra.n;
}

/* The newest of lo..hi that fit the bounds, and the opening of what is left in front of them. */
static enum err read_input(struct task *t, struct app *app, struct db_conn *c, const struct rows_line *line, int64_t lo, int64_t hi, struct input *in_r)
{
	struct message_row *rows;
	size_t n;
	*in_r = (struct input){ NULL, 0, 0 };
	while (hi >= lo && in_r->n < INPUT_ROWS && in_r->n_bytes < INPUT_BYTES) {
		int64_t from = hi - INPUT_PAGE + 1 > lo ? hi - INPUT_PAGE + 1 : lo;
		enum err e = rows_read(t, app, c, line, from, hi, INPUT_PAGE, false, &rows, &n);
		if (e)
			return e;
		add_rows(t, in_r, rows, n, true);
		hi = from - 1;
	}
	if (hi < lo)
		return ERR_OK;
	enum err e = rows_read(t, app, c, line, lo, lo + OPENING_ROWS - 1 < hi ? lo + OPENING_ROWS - 1 : hi, OPENING_ROWS, false, &rows, &n);
	if (!e)
		add_rows(t, in_r, rows, n, true);
	return e;
}

static void digest_of(struct task *t, const struct input *in, unsigned char out[SECRET_HASH_SIZE])
{
	struct bytes *parts = arena_array(t->arena, 3 * in->n, sizeof *parts);
	for (size_t i = 0; i < in->n; i++) {
		const struct message_row *m = &in->rows[i];
		parts[3 * i] = (struct bytes){ (const char *)&m->seq, sizeof m->seq };
		parts[3 * i + 1] = bytes_or(m->content, BYTES(""));
		parts[3 * i + 2] = bytes_or(m->extra, BYTES(""));
	}
	secret_hash(parts, 3 * in->n, out);
}

/* The words of a content: a string, or its text parts. */
static struct bytes words_of(struct arena *a, struct bytes content)
{
	struct jsonx_walk w;
	struct buf b;
	if (jsonx_type(content) == JSONX_STRING)
		return jsonx_string(a, content);
	buf_init(&b, a, 0);
	if (jsonx_type(content) != JSONX_ARRAY)
		return (struct bytes){ "", 0 };
	jsonx_walk_begin(&w, content);
	while (jsonx_walk_next(&w)) {
		struct bytes text = jsonx_type(w.value) == JSONX_OBJECT ? jsonx_member(w.value, "text") : (struct bytes){ NULL, 0 };
		if (jsonx_type(text) != JSONX_STRING)
			continue;
		if (b.n)
			buf_add_char(&b, '\n');
		buf_add_bytes(&b, jsonx_string(a, text));
	}
	return buf_bytes(&b);
}

/* The texts of the input, the earlier summary in front; *tokens_r are those of the messages. */
static void make_texts(struct task *t, const struct input *in, const struct summary *earlier, const struct extract_text **texts_r, size_t *n_r,
		       int64_t *tokens_r)
{
	struct extract_text *texts = arena_array(t->arena, in->n + 1, sizeof *texts);
	struct exchange x;
	size_t n = 0;
	exchange_read(t->arena, in->rows, in->n, &x);
	if (earlier && earlier->text.n)
		texts[n++] = (struct extract_text){ 0, earlier->text };
	*tokens_r = 0;
	for (size_t i = 0; i < in->n; i++) {
		if (x.items[i].is_out)
			continue;
		*tokens_r += x.items[i].tokens;
		texts[n++] = (struct extract_text){ in->rows[i].role, words_of(t->arena, in->rows[i].content) };
	}
	*texts_r = texts;
	*n_r = n;
}

/* ---- where to cut ---- */

/* The first seq whose message is younger, by halving: times rise with the seqs but for clocks that disagree a little. last_seq + 1: none is. */
static enum err first_since(struct task *t, struct app *app, const struct head *h, int64_t since, int64_t *seq_r)
{
	struct rows_line line = head_line(h);
	int64_t lo = 1, hi = h->last_seq + 1;
	while (lo < hi) {
		int64_t mid = lo + (hi - lo) / 2;
		struct message_row *row;
		size_t n;
		enum err e = rows_read(t, app, NULL, &line, mid, mid, 1, false, &row, &n);
		if (e)
			return e;
		if (n && row->created_at > since)
			hi = mid;
		else
			lo = mid + 1;
	}
	*seq_r = lo;
	return ERR_OK;
}

/* The newest turn that begins at `hi` or before, behind `lo`; 0 when there is none within reach. */
static enum err find_turn(struct task *t, struct app *app, const struct head *h, int64_t lo, int64_t hi, int64_t *seq_r)
{
	struct rows_line line = head_line(h);
	*seq_r = 0;
	for (int i = 0; i < WINDOWS && hi > lo; i++, hi -= WINDOW) {
		int64_t from = hi - WINDOW - EXCHANGE_REACH > lo ? hi - WINDOW - EXCHANGE_REACH : lo, to = hi + EXCHANGE_REACH;
		struct message_row *rows;
		struct exchange x;
		size_t n;
		enum err e = rows_read(t, app, NULL, &line, from, to, to - from + 1, false, &rows, &n);
		if (e)
			return e;
		exchange_read(t->arena, rows, n, &x);
		for (size_t k = n; k-- > 0;)
			if (x.items[k].is_boundary && rows[k].seq <= hi && rows[k].seq > hi - WINDOW && rows[k].seq > lo) {
				*seq_r = rows[k].seq;
				return ERR_OK;
			}
	}
	return ERR_OK;
}

/* The last message that the new summary is to stand for; 0: there is nothing to do. */
static enum err find_upto(struct task *t, struct app *app, const struct head *h, const struct compress_keep *keep, int64_t earlier, int64_t *upto_r)
{
	int64_t kept = h->last_seq - keep->messages + 1, turn;
	enum err e = ERR_OK;
	*upto_r = 0;
	if (keep->messages < 0)
		e = first_since(t, app, h, stamp_now() - keep->ms, &kept);
	if (kept > h->last_seq)
		kept = h->last_seq;
	if (e || kept <= earlier + 1)
		return e;
	e = find_turn(t, app, h, earlier + 1, kept, &turn);
	if (!e && turn > 0)
		*upto_r = turn - 1;
	return e;
}

/* ---- operations ---- */

static int64_t budget_for(int64_t tokens)
{
	int64_t budget = tokens / SUMMARY_PART;
	budget = budget < SUMMARY_TOKENS_MIN ? SUMMARY_TOKENS_MIN : budget;
	budget = budget > SUMMARY_TOKENS ? SUMMARY_TOKENS : budget;
	return budget < tokens ? budget : tokens;
}

enum err compress_prepare(struct task *t, struct app *app, const struct head *h, const struct compress_keep *keep, struct compress *x_r)
{
	struct compress *x = x_r;
	struct input in;
	struct rows_line line = head_line(h);
	memset(x, 0, sizeof *x);
	enum err e = summary_find(t, app, NULL, h, &x->earlier);
	if (!e)
		e = find_upto(t, app, h, keep, x->earlier.upto_seq, &x->upto_seq);
	if (e || x->upto_seq == 0)
		return e;
	e = read_input(t, app, NULL, &line, x->earlier.upto_seq + 1, x->upto_seq, &in);
	if (e)
		return e;
	make_texts(t, &in, &x->earlier, &x->texts, &x->n_texts, &x->tokens_before);
	digest_of(t, &in, x->digest);
	x->messages = x->upto_seq - x->earlier.upto_seq;
	if (in.n)
		x->tokens_before = (int64_t)((double)x->tokens_before * ((double)x->messages / (double)in.n));
	x->tokens_before += tokens_of_text(x->earlier.text);
	x->budget = budget_for(x->tokens_before);
	return ERR_OK;
}

void compress_by_rule(struct task *t, struct compress *x)
{
	x->made.method = BYTES(METHOD_EXTRACT);
	x->made.text = extract_summary(t->arena, x->texts, x->n_texts, x->budget);
	if (x->made.text.n == 0)
		x->upto_seq = 0;
}

static void format_answer(struct buf *b, const struct head *h, const struct compress *x)
{
	bool is_made = x->upto_seq > 0;
	const struct summary *s = is_made ? &x->made : &x->earlier;
	bool is_any = s->upto_seq > 0;
	buf_add_char(b, '{');
	render_ident(b, "conversation_id", PREFIX_CONVERSATION, &h->conversation);
	buf_member_string(b, "summary", is_any ? s->text : (struct bytes){ NULL, 0 });
	buf_member_string(b, "method", is_any ? s->method : (struct bytes){ NULL, 0 });
	buf_member_int(b, "upto_seq", s->upto_seq);
	buf_member_int(b, "messages", is_made ? x->messages : 0);
	buf_member_int(b, "tokens_before", is_made ? s->tokens_before : s->tokens_after);
	buf_member_int(b, "tokens_after", s->tokens_after);
	buf_add_char(b, '}');
}

struct storing {
	struct app *app;
	const struct head *h;
	struct compress *x;
	const struct idem *idem;
	struct bytes answer;
};

/* Whether the messages, and the earlier summary, are what the new one was made of. */
static enum err check_same(struct task *t, struct db_conn *c, const struct storing *s, int flags)
{
	const struct summary *earlier = &s->x->earlier;
	unsigned char digest[SECRET_HASH_SIZE];
	struct summary found;
	struct input in;
	struct head now = *s->h;
	now.flags = flags;
	struct rows_line line = head_line(&now);
	enum err e = read_input(t, s->app, c, &line, earlier->upto_seq + 1, s->x->upto_seq, &in);
	if (!e)
		e = summary_find(t, s->app, c, &now, &found);
	if (e)
		return e;
	digest_of(t, &in, digest);
	bool is_same = memcmp(digest, s->x->digest, sizeof digest) == 0;
	if (is_same && (earlier->upto_seq == 0 || (found.upto_seq == earlier->upto_seq && bytes_equal(found.text, earlier->text))))
		return ERR_OK;
	return task_fail(t, ERR_CONFLICT, "messages were changed while they were summarised; try again");
}

static enum err store_in(struct task *t, struct db_conn *c, void *arg)
{
	struct storing *s = arg;
	struct buf b;
	enum err e = ERR_OK;
	int flags;
	if (s->x->upto_seq) {
		e = summary_lock(t, c, s->h, s->x->upto_seq, &flags);
		if (!e)
			e = check_same(t, c, s, flags);
		if (!e)
			e = summary_store(t, c, s->h, &s->x->made);
	}
	if (e)
		return e;
	buf_init(&b, t->arena, 512 + s->x->made.text.n);
	format_answer(&b, s->h, s->x);
	s->answer = buf_bytes(&b);
	return idem_store(t, c, s->idem, s->app, &s->h->site, &s->h->session, 200, s->answer);
}

enum err compress_store(struct task *t, struct app *app, const struct head *h, struct compress *x, const struct idem *idem, struct bytes *answer_r)
{
	struct storing s = { .app = app, .h = h, .x = x, .idem = idem };
	x->made.upto_seq = x->upto_seq;
	x->made.tokens_before = x->tokens_before;
	x->made.tokens_after = tokens_of_text(x->made.text);
	x->made.created_at = stamp_now();
	enum err e = store_transact(t, app, store_in, &s);
	if (x->upto_seq && (!e || e == ERR_COMMIT_UNKNOWN))
		head_changed(t, app, &h->site, &h->session);
	*answer_r = s.answer;
	return e;
}

enum err compress_extract(struct task *t, struct app *app, struct db_conn *c, const struct head *h, int64_t tokens, struct bytes *text_r)
{
	struct summary earlier;
	struct input in;
	struct rows_line line = head_line(h);
	const struct extract_text *texts;
	size_t n;
	int64_t unused;
	enum err e = summary_find(t, app, c, h, &earlier);
	if (!e)
		e = read_input(t, app, c, &line, earlier.upto_seq + 1, h->last_seq, &in);
	if (e)
		return e;
	make_texts(t, &in, &earlier, &texts, &n, &unused);
	*text_r = extract_summary(t->arena, texts, n, tokens > 0 ? tokens : SUMMARY_TOKENS);
	return ERR_OK;
}

const struct feature compress_feature = { .name = "compress" };
