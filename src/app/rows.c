/* SPDX-License-Identifier: MIT */
/* rows: the way from a line of messages to the rows that hold them. Reads the tables messages and message_masks. */
#include "app/rows.h"

#include "app/codec.h"
#include "app/lineage.h"
#include "base/metrics.h"

#define PAGE(order)                                                                                                    \
	{ "SELECT " MESSAGE_COLUMNS " FROM messages m WHERE m.conversation = ? AND m.site = ? AND m.seq >= ? AND m.seq <= ?" \
	  " ORDER BY m.seq" order " LIMIT ?", NULL, NULL }

enum { PAGE_ASC, PAGE_DESC, MASKS };
static const struct db_stmt stmts[] = {
	[PAGE_ASC] = PAGE(""),
	[PAGE_DESC] = PAGE(" DESC"),
	[MASKS] = { "SELECT conversation, seq, content, extra FROM message_masks WHERE session = ? AND site = ? AND seq >= ? AND seq <= ?", NULL, NULL },
};

/* Rows as they are gathered, stretch by stretch. */
struct gathered {
	struct message_row *rows;
	size_t n;
};

static enum err gather(struct task *t, struct app *app, struct db_conn *c, const struct rows_line *line, const struct lineage_run *run,
		       int64_t limit, bool is_descending, struct gathered *g)
{
	struct db_rows *r;
	enum err e = store_read(t, app, c, &stmts[is_descending ? PAGE_DESC : PAGE_ASC],
				DB_ARGS(db_ident(&run->conversation), db_ident(&line->site), db_int(run->lo), db_int(run->hi), db_int(limit)), &r);
	if (e || r->n_rows == 0)
		return e;
	struct message_row *all = arena_array(t->arena, g->n + r->n_rows, sizeof *all);
	if (g->n)
		memcpy(all, g->rows, g->n * sizeof *all);
	for (size_t i = 0; i < r->n_rows; i++) {
		struct message_row *m = &all[g->n + i];
		message_from_row(t, r, i, m);
		m->conversation = line->conversation;
	}
	g->rows = all;
	g->n += r->n_rows;
	return ERR_OK;
}

static void mask(struct task *t, const struct db_rows *r, size_t row, struct message_row *rows, size_t n)
{
	struct ident stored_in;
	db_cell_ident(r, row, 0, &stored_in);
	for (size_t i = 0; i < n; i++) {
		struct message_row *m = &rows[i];
		if (m->seq != db_cell_int(r, row, 1) || !ident_equal(&m->stored_in, &stored_in))
			continue;
		m->metadata = m->extra = (struct bytes){ NULL, 0 };
		if (!codec_unpack(t->arena, db_cell_bytes(r, row, 2), &m->content)) {
			metric_add(METRIC_corrupt_records_total, 1);
			m->content = (struct bytes){ NULL, 0 }; /* what was masked stays unseen */
		}
		struct bytes extra = db_cell_bytes(r, row, 3);
		if (extra.p && !codec_unpack(t->arena, extra, &m->extra))
			m->extra = (struct bytes){ NULL, 0 };
	}
}

enum err rows_mask(struct task *t, struct app *app, struct db_conn *c, const struct rows_line *line, struct message_row *rows, size_t n)
{
	struct db_rows *r;
	if (!line->has_masks || n == 0)
		return ERR_OK;
	int64_t lo = rows[0].seq, hi = lo;
	for (size_t i = 1; i < n; i++) {
		lo = rows[i].seq < lo ? rows[i].seq : lo;
		hi = rows[i].seq > hi ? rows[i].seq : hi;
	}
	enum err e = store_read(t, app, c, &stmts[MASKS], DB_ARGS(db_ident(&line->session), db_ident(&line->site), db_int(lo), db_int(hi)), &r);
	for (size_t i = 0; !e && i < r->n_rows; i++)
		mask(t, r, i, rows, n);
	return e;
}

enum err rows_read(struct task *t, struct app *app, struct db_conn *c, const struct rows_line *line, int64_t lo, int64_t hi, int64_t limit,
		   bool is_descending, struct message_row **rows_r, size_t *n_r)
{
	struct gathered g = { NULL, 0 };
	enum err e = ERR_OK;
	while (!e && lo <= hi && (int64_t)g.n < limit) {
		struct lineage_run run = lineage_find(&line->conversation, line->lineage, is_descending ? hi : lo);
		int64_t below = run.lo - 1, above = run.hi;
		run.lo = run.lo > lo ? run.lo : lo;
		run.hi = run.hi < hi ? run.hi : hi;
		e = gather(t, app, c, line, &run, limit - (int64_t)g.n, is_descending, &g);
		if (is_descending)
			hi = below;
		else if (above == INT64_MAX)
			break;
		else
			lo = above + 1;
	}
	if (!e)
		e = rows_mask(t, app, c, line, g.rows, g.n);
	*rows_r = g.rows;
	*n_r = g.n;
	return e;
}

const struct feature rows_feature = { .name = "rows", .stmts = stmts, .n_stmts = COUNT(stmts) };
