/* SPDX-License-Identifier: MIT */
/*
 * move_batch: one transaction's worth of an import. Writes the tables of others: agents, templates, sessions, conversations, messages and summaries, as
 * their owners would, with the ids and times of the file. Order: what others name comes first, a session's row last.
 */
#include "app/move_batch.h"

#include "app/codec.h"
#include "app/session.h"

#define MANY 32 /* rows of one statement */
#define FEW 4
#define MESSAGE_COLUMNS_N 11
#define CONVERSATION_COLUMNS_N 8
#define CONVERSATION_SESSION 2 /* place of the session among a conversation's columns */
#define SUMMARY_COLUMNS_N 8

#define ROW11 "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
#define ROW8 "(?, ?, ?, ?, ?, ?, ?, ?)"
#define TIMES4(row) row ", " row ", " row ", " row
#define TIMES32(row) TIMES4(row) ", " TIMES4(row) ", " TIMES4(row) ", " TIMES4(row) ", " TIMES4(row) ", " TIMES4(row) ", " TIMES4(row) ", " TIMES4(row)
#define MESSAGES_SQL "INSERT INTO messages (conversation, seq, id, site, role, content, metadata, extra, turn, created_at, tokens) VALUES "
#define CONVERSATIONS_SQL "INSERT INTO conversations (id, site, session, parent, base_seq, title, created_at, lineage) VALUES "

enum { AGENT, TEMPLATE, SESSION, ADOPT, SUMMARY, MESSAGES, CONVERSATIONS = MESSAGES + 3 };
static const struct db_stmt stmts[] = {
	[AGENT] = { "INSERT INTO agents (id, site, name, title, instructions, provider, model, language, temperature, max_output_tokens, version,"
		    " created_at, updated_at, tools, tool_mode, max_iterations, fallbacks) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", NULL, NULL },
	[TEMPLATE] = { "INSERT INTO templates (id, site, name, title, preset, config, required_context, memory_categories, version, created_at,"
		       " updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", NULL, NULL },
	[SESSION] = { "INSERT INTO sessions (id, site, own_id, name, agent, agent_name, user_id, client_type, context, title, status, tags, metadata, state,"
		      " config, conversation, website_domain, ip_address, version, created_at, updated_at, active_at, ended_at, expires_at, idle_ttl, flags)"
		      " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", NULL, NULL },
	[ADOPT] = { "UPDATE conversations SET session = ? WHERE site = ? AND id = ? AND session = ?", NULL, NULL },
	[SUMMARY] = { "INSERT INTO summaries (conversation, upto_seq, site, method, content, tokens_before, tokens_after, created_at)"
		      " VALUES (?, ?, ?, ?, ?, ?, ?, ?)", NULL, NULL },
	[MESSAGES] = { MESSAGES_SQL ROW11, NULL, NULL }, { MESSAGES_SQL TIMES4(ROW11), NULL, NULL }, { MESSAGES_SQL TIMES32(ROW11), NULL, NULL },
	[CONVERSATIONS] = { CONVERSATIONS_SQL ROW8, NULL, NULL }, { CONVERSATIONS_SQL TIMES4(ROW8), NULL, NULL },
	{ CONVERSATIONS_SQL TIMES32(ROW8), NULL, NULL },
};

static const struct ident nobody; /* session of a conversation whose session is not there yet */

struct move_batch_agent {
	struct agent a;
	struct move_batch_agent *next;
};

struct move_batch_template {
	struct template tp;
	struct bytes config; /* packed */
	struct move_batch_template *next;
};

struct move_batch_session {
	struct move_session s;
	struct ident id, agent;
	struct bytes state, config; /* packed */
	int flags;
	struct ident *adopted;      /* its conversations that earlier batches stored */
	size_t n_adopted;
	struct move_batch_session *next;
};

/* ---- filling ---- */

void move_batch_open(struct task *t, struct move_batch *b, const struct ident *site)
{
	*b = (struct move_batch){ .site = *site };
	task_open_part(&b->part, t);
	move_batch_reset(b);
}

void move_batch_close(struct move_batch *b)
{
	task_close_part(&b->part);
}

static struct move_rows new_rows(struct arena *a, size_t n_columns)
{
	return (struct move_rows){ arena_array(a, MOVE_BATCH_ROWS * n_columns, sizeof(struct db_arg)), 0, n_columns };
}

void move_batch_reset(struct move_batch *b)
{
	struct arena *a = b->part.arena;
	task_reset_part(&b->part);
	b->conversations = new_rows(a, CONVERSATION_COLUMNS_N);
	b->messages = new_rows(a, MESSAGE_COLUMNS_N);
	b->summaries = new_rows(a, SUMMARY_COLUMNS_N);
	b->agents = NULL;
	b->templates = NULL;
	b->sessions = NULL;
	b->last_session = &b->sessions;
	b->n_rows = 0;
}

bool move_batch_is_full(const struct move_batch *b)
{
	return b->n_rows >= MOVE_BATCH_ROWS || arena_used(b->part.arena) >= MOVE_BATCH_BYTES;
}

size_t move_batch_conversations(const struct move_batch *b)
{
	return b->conversations.n / CONVERSATION_COLUMNS_N;
}

static void add_row(struct move_batch *b, struct move_rows *rows, const struct db_arg *args)
{
	memcpy(rows->args + rows->n, args, rows->n_columns * sizeof *args);
	rows->n += rows->n_columns;
	b->n_rows++;
}

/* An id that lives as long as the batch. */
static struct db_arg keep_ident(struct arena *a, const struct ident *id)
{
	if (ident_is_zero(id))
		return db_null();
	struct ident *copy = arena_alloc(a, sizeof *copy);
	*copy = *id;
	return db_ident(copy);
}

static void keep_texts(struct arena *a, struct bytes **texts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		*texts[i] = arena_bytes(a, *texts[i]);
}

static struct db_arg pack(struct arena *a, struct bytes content)
{
	struct bytes packed = content.n ? codec_pack(a, content) : (struct bytes){ NULL, 0 };
	return db_blob(packed.p, packed.n);
}

void move_batch_add_message(struct move_batch *b, const struct move_message *m)
{
	struct arena *a = b->part.arena;
	const struct db_arg args[MESSAGE_COLUMNS_N] = {
		keep_ident(a, &m->conversation), db_int(m->seq), keep_ident(a, &m->id), db_ident(&b->site), db_int(m->role), pack(a, m->content),
		pack(a, m->metadata), pack(a, m->extra), keep_ident(a, &m->turn), db_int(m->created_at), db_int(m->tokens),
	};
	add_row(b, &b->messages, args);
}

void move_batch_add_conversation(struct move_batch *b, const struct move_conversation *c, const struct move_walk_line *l)
{
	struct arena *a = b->part.arena;
	struct bytes lineage = arena_bytes(a, l->lineage);
	const struct db_arg args[CONVERSATION_COLUMNS_N] = {
		keep_ident(a, &c->id), db_ident(&b->site), db_ident(&nobody), keep_ident(a, &l->parent), db_int(c->base_seq),
		db_text(arena_bytes(a, c->title)), db_int(c->created_at), db_blob(lineage.p, lineage.n),
	};
	add_row(b, &b->conversations, args);
}

void move_batch_add_summary(struct move_batch *b, const struct move_summary *s)
{
	struct arena *a = b->part.arena;
	struct bytes content = codec_pack(a, s->content);
	const struct db_arg args[SUMMARY_COLUMNS_N] = {
		keep_ident(a, &s->conversation), db_int(s->upto_seq), db_ident(&b->site), db_text(arena_bytes(a, s->method)),
		db_blob(content.p, content.n), db_int(s->tokens_before), db_int(s->tokens_after), db_int(s->created_at),
	};
	add_row(b, &b->summaries, args);
}

void move_batch_add_agent(struct move_batch *b, const struct agent *in)
{
	struct move_batch_agent *r = arena_alloc(b->part.arena, sizeof *r);
	*r = (struct move_batch_agent){ *in, b->agents };
	struct bytes *texts[] = { &r->a.name,  &r->a.title,	&r->a.instructions, &r->a.provider, &r->a.model, &r->a.language,
				  &r->a.tools, &r->a.tool_mode, &r->a.fallbacks };
	keep_texts(b->part.arena, texts, COUNT(texts));
	b->agents = r;
	b->n_rows++;
}

void move_batch_add_template(struct move_batch *b, const struct template *in, const struct ident *id)
{
	struct arena *a = b->part.arena;
	struct move_batch_template *r = arena_alloc(a, sizeof *r);
	*r = (struct move_batch_template){ *in, codec_pack(a, in->config), b->templates };
	r->tp.id = *id;
	struct bytes *texts[] = { &r->tp.name, &r->tp.title, &r->tp.preset, &r->tp.required_context, &r->tp.memory_categories };
	keep_texts(a, texts, COUNT(texts));
	b->templates = r;
	b->n_rows++;
}

void move_batch_add_session(struct move_batch *b, const struct move_walk *w, const struct ident *id, const struct ident *agent, struct bytes user,
			    size_t n_stored, size_t first)
{
	struct arena *a = b->part.arena;
	struct move_batch_session *r = arena_alloc(a, sizeof *r);
	*r = (struct move_batch_session){ .s = w->s, .id = *id, .agent = *agent, .state = codec_pack(a, w->s.state), .config = codec_pack(a, w->s.config),
					  .flags = w->has_summaries ? SESSION_HAS_SUMMARIES : 0, .n_adopted = n_stored };
	r->s.user = user;
	struct bytes *texts[] = { &r->s.own_id, &r->s.name, &r->s.user, &r->s.client_type, &r->s.context, &r->s.title, &r->s.website_domain,
				  &r->s.ip_address, &r->s.agent_name, &r->s.tags, &r->s.metadata };
	keep_texts(a, texts, COUNT(texts));
	r->adopted = arena_array(a, n_stored, sizeof *r->adopted);
	for (size_t i = 0; i < n_stored; i++)
		r->adopted[i] = w->lines[i].id;
	for (size_t i = first; i < move_batch_conversations(b); i++)
		b->conversations.args[i * CONVERSATION_COLUMNS_N + CONVERSATION_SESSION] = db_ident(&r->id);
	*b->last_session = r;
	b->last_session = &r->next;
	b->n_rows++;
}

/* ---- storing ---- */

static enum err insert_rows(struct task *t, struct db_conn *c, const struct move_rows *rows, int first_stmt)
{
	static const struct {
		size_t rows;
		int step;
	} sizes[] = { { MANY, 2 }, { FEW, 1 }, { 1, 0 } };
	size_t n = rows->n / rows->n_columns, at = 0;
	for (size_t k = 0; k < COUNT(sizes); k++)
		for (; n - at >= sizes[k].rows; at += sizes[k].rows) {
			enum err e = db_run(t, c, &stmts[first_stmt + sizes[k].step], rows->args + at * rows->n_columns,
					    sizes[k].rows * rows->n_columns, NULL);
			if (e)
				return e;
		}
	return ERR_OK;
}

static enum err insert_agents(struct task *t, struct db_conn *c, const struct move_batch *b)
{
	enum err e = ERR_OK;
	for (const struct move_batch_agent *r = b->agents; !e && r; r = r->next) {
		const struct agent *a = &r->a;
		e = db_run(t, c, &stmts[AGENT],
			   DB_ARGS(db_ident(&a->id), db_ident(&b->site), db_text(a->name), db_text(a->title), db_text(a->instructions),
				   db_text(a->provider), db_text(a->model), db_text(a->language), a->has_temperature ? db_real(a->temperature) : db_null(),
				   db_int(a->max_output_tokens), db_int(a->version), db_int(a->created_at), db_int(a->updated_at), db_text(a->tools),
				   db_text(a->tool_mode), db_int(a->max_iterations), db_text(a->fallbacks)), NULL);
	}
	return e;
}

static enum err insert_templates(struct task *t, struct db_conn *c, const struct move_batch *b)
{
	enum err e = ERR_OK;
	for (const struct move_batch_template *r = b->templates; !e && r; r = r->next)
		e = db_run(t, c, &stmts[TEMPLATE],
			   DB_ARGS(db_ident(&r->tp.id), db_ident(&b->site), db_text(r->tp.name), db_text(r->tp.title), db_text(r->tp.preset),
				   db_blob(r->config.p, r->config.n), db_text(r->tp.required_context), db_text(r->tp.memory_categories),
				   db_int(r->tp.version), db_int(r->tp.created_at), db_int(r->tp.updated_at)), NULL);
	return e;
}

static enum err insert_session(struct task *t, struct db_conn *c, const struct ident *site, const struct move_batch_session *r)
{
	const struct move_session *s = &r->s;
	enum err e = ERR_OK;
	for (size_t i = 0; !e && i < r->n_adopted; i++) {
		int64_t n;
		e = db_run(t, c, &stmts[ADOPT], DB_ARGS(db_ident(&r->id), db_ident(site), db_ident(&r->adopted[i]), db_ident(&nobody)), &n);
		if (!e && n == 0)
			e = task_fail(t, ERR_CONFLICT, "a conversation of the session %.*s, stored by this import, is gone", (int)s->name.n, s->name.p);
	}
	if (e)
		return e;
	e = db_run(t, c, &stmts[SESSION],
		   DB_ARGS(db_ident(&r->id), db_ident(site), db_text(s->own_id), db_text(s->name), db_ident(&r->agent), db_text(s->agent_name),
			   db_text(s->user), db_text(s->client_type), db_text(s->context), db_text(s->title), db_int(s->status), db_text(s->tags),
			   db_text(s->metadata), db_blob(r->state.p, r->state.n), db_blob(r->config.p, r->config.n), db_ident(&s->conversation),
			   db_text(s->website_domain), db_text(s->ip_address), db_int(s->version), db_int(s->created_at), db_int(s->updated_at),
			   db_int(s->active_at), db_int(s->ended_at), db_int(s->expires_at), db_int(s->idle_ttl), db_int(r->flags)), NULL);
	if (e == ERR_DUPLICATE)
		return task_fail(t, ERR_CONFLICT, "the session %.*s, or one of its name, was made meanwhile", (int)s->name.n, s->name.p);
	return e ? e : session_tags_store(t, c, site, &r->id, s->created_at, s->tags);
}

enum err move_batch_store(struct task *t, struct db_conn *c, const struct move_batch *b)
{
	enum err e = insert_agents(t, c, b);
	if (!e)
		e = insert_templates(t, c, b);
	if (!e)
		e = insert_rows(t, c, &b->conversations, CONVERSATIONS);
	if (!e)
		e = insert_rows(t, c, &b->messages, MESSAGES);
	for (size_t i = 0; !e && i < b->summaries.n; i += SUMMARY_COLUMNS_N)
		e = db_run(t, c, &stmts[SUMMARY], b->summaries.args + i, SUMMARY_COLUMNS_N, NULL);
	for (const struct move_batch_session *r = b->sessions; !e && r; r = r->next)
		e = insert_session(t, c, &b->site, r);
	return e == ERR_DUPLICATE ? task_fail(t, ERR_CONFLICT, "something of this file was stored meanwhile by another") : e;
}

void move_batch_stored(struct task *t, struct app *app, const struct move_batch *b)
{
	for (const struct move_batch_session *r = b->sessions; r; r = r->next) /* somebody may hold a lease on the absent one */
		head_changed(t, app, &b->site, &r->id);
}

const struct feature move_batch_feature = { .name = "move_batch", .stmts = stmts, .n_stmts = COUNT(stmts) };
