/* SPDX-License-Identifier: MIT */
/* session_stats: counts what is below a session. Reads the tables conversations, messages and turns; owns none. */
#include "app/session_stats.h"

#define MESSAGES_SQL(sum, join)                                                                                        \
	"SELECT m.role, COUNT(*), " sum("m.tokens") ", " sum("LENGTH(m.content)") ", MIN(m.created_at), MAX(m.created_at)" \
	" FROM conversations c " join " messages m ON m.conversation = c.id WHERE c.session = ? AND c.site = ? GROUP BY m.role"
#define TURNS_SQL(sum, join)                                                                                           \
	"SELECT u.status, COUNT(*), " sum("u.input_tokens") ", " sum("u.output_tokens")                                \
	" FROM conversations c " join " turns u ON u.conversation = c.id WHERE c.session = ? AND c.site = ? GROUP BY u.status"
/* MariaDB sums up to a DECIMAL. */
#define SUM_MARIADB(x) "CAST(SUM(" x ") AS SIGNED)"
#define SUM_SQLITE(x) "CAST(SUM(" x ") AS INTEGER)"

enum { CONVERSATIONS, MESSAGES, TURNS };
static const struct db_stmt stmts[] = {
	[CONVERSATIONS] = { "SELECT COUNT(*) FROM conversations WHERE session = ? AND site = ?", NULL, NULL },
	[MESSAGES] = { MESSAGES_SQL(SUM_MARIADB, "STRAIGHT_JOIN"), MESSAGES_SQL(SUM_SQLITE, "CROSS JOIN"), NULL },
	[TURNS] = { TURNS_SQL(SUM_MARIADB, "STRAIGHT_JOIN"), TURNS_SQL(SUM_SQLITE, "CROSS JOIN"), NULL },
};

static enum err query(struct task *t, struct app *app, const struct head *h, int which, struct db_rows **rows_r)
{
	return store_query(t, app, &stmts[which], DB_ARGS(db_ident(&h->session), db_ident(&h->site)), rows_r);
}

/* One role's messages. */
static void add_messages(const struct db_rows *r, size_t row, struct session_stats *s)
{
	int64_t role = db_cell_int(r, row, 0), n = db_cell_int(r, row, 1), first = db_cell_int(r, row, 4), last = db_cell_int(r, row, 5);
	s->n_messages += n;
	s->n_by_role[role >= ROLE_SYSTEM && role <= ROLE_TOOL ? role : 0] += n;
	s->message_tokens += db_cell_int(r, row, 2);
	s->content_bytes += db_cell_int(r, row, 3);
	if (!s->first_at || first < s->first_at)
		s->first_at = first;
	if (last > s->last_at)
		s->last_at = last;
}

static void add_turns(const struct db_rows *r, size_t row, struct session_stats *s)
{
	int64_t status = db_cell_int(r, row, 0), n = db_cell_int(r, row, 1);
	s->n_turns += n;
	s->n_by_status[status >= TURN_RUNNING && status <= TURN_CANCELLED ? status : 0] += n;
	s->input_tokens += db_cell_int(r, row, 2);
	s->output_tokens += db_cell_int(r, row, 3);
}

enum err session_stats_conversations(struct task *t, struct app *app, const struct head *h, int64_t *n_r)
{
	struct db_rows *r;
	enum err e = query(t, app, h, CONVERSATIONS, &r);
	*n_r = e ? 0 : db_cell_int(r, 0, 0);
	return e;
}

enum err session_stats_read(struct task *t, struct app *app, const struct head *h, struct session_stats *stats_r)
{
	struct db_rows *r;
	memset(stats_r, 0, sizeof *stats_r);
	enum err e = session_stats_conversations(t, app, h, &stats_r->n_conversations);
	if (!e)
		e = query(t, app, h, MESSAGES, &r);
	for (size_t i = 0; !e && i < r->n_rows; i++)
		add_messages(r, i, stats_r);
	if (!e)
		e = query(t, app, h, TURNS, &r);
	for (size_t i = 0; !e && i < r->n_rows; i++)
		add_turns(r, i, stats_r);
	return e ? e : spend_read_session(t, app, &h->site, &h->session, &stats_r->usage);
}

void session_stats_render(struct buf *b, const struct head *h, const struct session_stats *s)
{
	buf_add_char(b, '{');
	buf_member_string(b, "session_id", head_id(h));
	buf_member_str(b, "object", "session_stats");
	buf_member_int(b, "message_count", h->last_seq);
	buf_member_int(b, "conversations", s->n_conversations);
	buf_member_json(b, "messages", BYTES("{"));
	buf_member_int(b, "total", s->n_messages);
	for (int role = ROLE_SYSTEM; role <= ROLE_TOOL; role++)
		buf_member_int(b, role_name(role), s->n_by_role[role]);
	buf_add_char(b, '}');
	buf_member_json(b, "turns", BYTES("{"));
	buf_member_int(b, "total", s->n_turns);
	buf_member_int(b, "running", s->n_by_status[TURN_RUNNING]);
	buf_member_int(b, "done", s->n_by_status[TURN_DONE]);
	buf_member_int(b, "failed", s->n_by_status[TURN_FAILED]);
	buf_member_int(b, "cancelled", s->n_by_status[TURN_CANCELLED]);
	buf_add_char(b, '}');
	buf_member_json(b, "tokens", BYTES("{"));
	buf_member_int(b, "messages", s->message_tokens);
	buf_member_int(b, "input", s->input_tokens);
	buf_member_int(b, "output", s->output_tokens);
	buf_member_int(b, "total", s->input_tokens + s->output_tokens);
	buf_add_char(b, '}');
	buf_member_json(b, "usage", BYTES("{"));
	spend_render(b, &s->usage);
	buf_add_char(b, '}');
	buf_member_int(b, "content_bytes", s->content_bytes);
	buf_member_time(b, "first_message_at", s->first_at);
	buf_member_time(b, "last_message_at", s->last_at);
	buf_add_char(b, '}');
}

const struct feature session_stats_feature = { .name = "session_stats", .stmts = stmts, .n_stmts = COUNT(stmts) };
