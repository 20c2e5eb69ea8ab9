/* SPDX-License-Identifier: MIT */
/*
 * move_import: a file into a site. Owns the table imports. Invariants: lines_done counts the lines whose rows are committed, and changes in the
 * transaction that stores them; a session's row comes in the transaction that holds the last of it, so that nobody sees half a session; until then
 * its conversations belong to none.
 */
#include "app/move_import.h"

#include <stdlib.h>

#include "app/message.h"
#include "app/move_batch.h"
#include "app/move_check.h"
#include "app/purge.h"
#include "base/stamp.h"

#define AGENTS_FIRST 16
#define HALF(lines) ((lines) / 2) /* each reading is half of the work */

enum { FIND, BEGIN, ADVANCE, MARK_DISCARD, FORGET, TEMPLATE_FIND, OWNER, SUMMARIES_DROP, CONVERSATION_DROP };
static const struct db_stmt stmts[] = {
	[FIND] = { "SELECT lines_done, ended_at FROM imports WHERE site = ? AND checksum = ?", NULL, NULL },
	[BEGIN] = { "INSERT INTO imports (site, checksum, lines_done, n_lines, started_at, ended_at) VALUES (?, ?, 0, ?, ?, 0)", NULL, NULL },
	[ADVANCE] = { "UPDATE imports SET lines_done = ?, ended_at = ? WHERE site = ? AND checksum = ? AND lines_done = ? AND ended_at = 0", NULL, NULL },
	[MARK_DISCARD] = { "UPDATE imports SET lines_done = ? WHERE site = ? AND checksum = ? AND lines_done = ?", NULL, NULL },
	[FORGET] = { "DELETE FROM imports WHERE site = ? AND checksum = ?", NULL, NULL },
	[TEMPLATE_FIND] = { "SELECT 1 FROM templates WHERE site = ? AND name = ?", NULL, NULL },
	[OWNER] = { "SELECT session FROM conversations WHERE site = ? AND id = ?", NULL, NULL },
	[SUMMARIES_DROP] = { "DELETE FROM summaries WHERE site = ? AND conversation = ?", NULL, NULL },
	[CONVERSATION_DROP] = { "DELETE FROM conversations WHERE site = ? AND id = ? AND session = ?", NULL, NULL },
};

static const struct ident nobody; /* session of a conversation whose session is not there yet */

struct import {
	struct app *app;
	struct move_import *m;
	unsigned char key[SECRET_HASH_SIZE];
	struct move_check check;
	struct task agents_part;   /* memory of `agents` */
	struct ident_map agents;   /* of this run: places in agent_ids */
	struct ident *agent_ids;
	size_t agents_room;
	int64_t lines_done;        /* committed */
	struct move_batch batch;
	int64_t lines_next;        /* lines_done with the batch */
	bool is_last;
	/* The session that is being read. */
	struct ident session;
	bool is_skipping;
	size_t first_conversation; /* its first row among the batch's conversations */
	size_t n_stored;           /* how many of its conversations earlier batches hold */
};

/* ---- the table imports ---- */

static int compare_users(const void *a, const void *b)
{
	const struct move_user *x = a, *y = b;
	size_t n = x->from.n < y->from.n ? x->from.n : y->from.n;
	int order = memcmp(x->from.p, y->from.p, n);
	return order ? order : (x->from.n > y->from.n) - (x->from.n < y->from.n);
}

static struct bytes map_user(const struct move_import *m, struct bytes user)
{
	struct move_user wanted = { .from = user };
	const struct move_user *found = m->n_users ? bsearch(&wanted, m->users, m->n_users, sizeof *m->users, compare_users) : NULL;
	return found ? found->to : user;
}

/* What an import is known by: the file, and the options that decide what becomes of it. */
static void make_key(struct task *t, const struct move_import *m, struct bytes checksum, unsigned char key[SECRET_HASH_SIZE])
{
	size_t n = 0;
	struct bytes *parts = arena_array(t->arena, 2 + 2 * m->n_users, sizeof *parts);
	parts[n++] = checksum;
	parts[n++] = m->skips_existing ? BYTES("skip") : BYTES("");
	for (size_t i = 0; i < m->n_users; i++) {
		parts[n++] = m->users[i].from;
		parts[n++] = m->users[i].to;
	}
	secret_hash(parts, n, key);
}

/* What is known of the file: *is_known_r false when nothing is. */
static enum err find_import(struct task *t, struct import *im, bool *is_known_r, int64_t *ended_at_r)
{
	struct db_rows *r;
	enum err e = store_query(t, im->app, &stmts[FIND], DB_ARGS(db_ident(&im->m->site), db_blob(im->key, sizeof im->key)), &r);
	*is_known_r = !e && r->n_rows > 0;
	*ended_at_r = *is_known_r ? db_cell_int(r, 0, 1) : 0;
	im->lines_done = *is_known_r ? db_cell_int(r, 0, 0) : 0;
	return e;
}

static enum err open_import(struct task *t, struct import *im, const struct move_header *h, bool *is_known_r)
{
	int64_t ended_at;
	enum err e = find_import(t, im, is_known_r, &ended_at);
	if (e)
		return e;
	if (ended_at) {
		char when[STAMP_SIZE];
		stamp_format(ended_at, when);
		return task_fail(t, ERR_CONFLICT, "this file was imported already, at %s", when);
	}
	if (im->lines_done < 0)
		return task_fail(t, ERR_CONFLICT, "an import of this file is being discarded; discard it to the end first");
	if (im->lines_done > h->counts.lines)
		return task_fail(t, ERR_INVALID, "line 1: the header counts fewer lines than were imported");
	im->m->resumed_at = im->lines_done;
	return ERR_OK;
}

/* ---- one batch ---- */

static enum err advance(struct task *t, struct db_conn *c, const struct import *im)
{
	int64_t n;
	enum err e = db_run(t, c, &stmts[ADVANCE],
			    DB_ARGS(db_int(im->lines_next), db_int(im->is_last ? stamp_now() : 0), db_ident(&im->m->site),
				    db_blob(im->key, sizeof im->key), db_int(im->lines_done)), &n);
	if (!e && n == 0)
		return task_fail(t, ERR_CONFLICT, "another process imports this file, or discards it");
	return e;
}

static enum err store_in(struct task *t, struct db_conn *c, void *arg)
{
	struct import *im = arg;
	enum err e = advance(t, c, im); /* first: it keeps a second importer of the same file waiting */
	if (!e)
		e = move_batch_store(t, c, &im->batch);
	if (!e && im->is_last && im->m->at_end)
		e = im->m->at_end(t, c, im->m);
	return e;
}

static enum err store_batch(struct task *t, struct import *im, int64_t lines, bool is_last)
{
	im->lines_next = lines;
	im->is_last = is_last;
	enum err e = store_transact(&im->batch.part, im->app, store_in, im);
	if (!e || e == ERR_COMMIT_UNKNOWN)
		move_batch_stored(&im->batch.part, im->app, &im->batch);
	if (e)
		return task_take_fault(t, &im->batch.part, e);
	im->lines_done = lines;
	im->first_conversation = 0;
	move_batch_reset(&im->batch);
	return ERR_OK;
}

/* ---- lines ---- */

static void remember_agent(struct import *im, const struct ident *key, const struct ident *id)
{
	size_t n = im->agents.n;
	if (!ident_map_add(&im->agents, key, (int64_t)n))
		return;
	if (n == im->agents_room) {
		size_t room = n ? 2 * n : AGENTS_FIRST;
		im->agent_ids = arena_grow(im->agents_part.arena, im->agent_ids, n * sizeof *id, room * sizeof *id);
		im->agents_room = room;
	}
	im->agent_ids[n] = *id;
}

/* An agent that is there stays as it is. */
static enum err add_agent(struct task *t, struct import *im, const struct agent *in)
{
	struct ident key = move_name_ident("agent", in->name);
	struct agent present;
	enum err e = agent_find(t, im->app, &im->m->site, in->name, &present);
	if (e != ERR_NOT_FOUND) {
		if (!e)
			remember_agent(im, &key, &present.id);
		return e;
	}
	task_clear_fault(t);
	struct agent made = *in;
	made.id = ident_new();
	move_batch_add_agent(&im->batch, &made);
	im->m->n_agents++;
	remember_agent(im, &key, &made.id);
	return ERR_OK;
}

static enum err add_template(struct task *t, struct import *im, const struct template *in)
{
	struct db_rows *rows;
	struct ident id = ident_new();
	enum err e = store_query(t, im->app, &stmts[TEMPLATE_FIND], DB_ARGS(db_ident(&im->m->site), db_text(in->name)), &rows);
	if (e || rows->n_rows)
		return e;
	move_batch_add_template(&im->batch, in, &id);
	im->m->n_templates++;
	return ERR_OK;
}

static void begin_session(struct import *im, const struct move_walk *w)
{
	im->session = move_session_ident(&im->m->site, &w->s);
	im->is_skipping = ident_map_find(&im->check.skipped, &im->session, NULL);
	im->first_conversation = move_batch_conversations(&im->batch);
	im->n_stored = 0;
	im->m->n_skipped += im->is_skipping;
}

static void count(struct move_counts *n, const struct move_line *line)
{
	n->sessions += line->type == MOVE_SESSION;
	n->conversations += line->type == MOVE_CONVERSATION;
	n->messages += line->type == MOVE_MESSAGE;
}

static enum err import_line(struct task *t, void *arg, const struct move_walk *w, const struct move_line *line)
{
	struct import *im = arg;
	int64_t at = w->counts.lines;
	/* A batch ends when the line behind it is known, so that a session which is whole is stored as whole. */
	if (move_batch_is_full(&im->batch)) {
		size_t n = move_batch_conversations(&im->batch) - im->first_conversation;
		enum err e = store_batch(t, im, at - 1, false);
		if (e)
			return e;
		im->n_stored += n;
	}
	if (im->m->progress && at % 500 == 0)
		im->m->progress(im->m->arg, &(struct move_counts){ .lines = HALF(w->in.header.counts.lines) + HALF(at) }, &w->in.header.counts);
	if (line->type == MOVE_SESSION)
		begin_session(im, w);
	if (line->type == MOVE_AGENT)
		return add_agent(t, im, &line->agent);
	if (line->type == MOVE_TEMPLATE)
		return add_template(t, im, &line->template);
	if (im->is_skipping)
		return ERR_OK;
	count(&im->m->done, line);
	if (at <= im->m->resumed_at) {
		im->n_stored += line->type == MOVE_CONVERSATION;
		return ERR_OK;
	}
	if (line->type == MOVE_CONVERSATION)
		move_batch_add_conversation(&im->batch, &line->conversation, &w->lines[w->n_lines - 1]);
	else if (line->type == MOVE_MESSAGE)
		move_batch_add_message(&im->batch, &line->message);
	else if (line->type == MOVE_SUMMARY)
		move_batch_add_summary(&im->batch, &line->summary);
	return ERR_OK;
}

static enum err find_agent(struct task *t, struct import *im, struct bytes name, struct ident *id_r)
{
	struct agent a;
	int64_t at;
	*id_r = nobody;
	if (!name.p)
		return ERR_OK;
	struct ident key = move_name_ident("agent", name);
	if (!ident_map_find(&im->agents, &key, &at)) {
		enum err e = agent_find(t, im->app, &im->m->site, name, &a);
		if (e)
			return e;
		remember_agent(im, &key, &a.id);
		ident_map_find(&im->agents, &key, &at);
	}
	*id_r = im->agent_ids[at];
	return ERR_OK;
}

/* The session is whole: its row, and its conversations made its own, go with this batch. */
static enum err import_session(struct task *t, void *arg, const struct move_walk *w)
{
	struct import *im = arg;
	struct ident agent;
	if (im->is_skipping || w->counts.lines <= im->m->resumed_at)
		return ERR_OK;
	enum err e = find_agent(t, im, w->s.agent, &agent);
	if (!e)
		move_batch_add_session(&im->batch, w, &im->session, &agent, map_user(im->m, w->s.user), im->n_stored, im->first_conversation);
	return e;
}

/* ---- the whole ---- */

static enum err read_header(struct task *t, struct import *im, int fd, struct bytes memory, struct move_header *h_r)
{
	struct move_in in;
	enum err e = move_in_begin(t, &in, fd, memory);
	if (e)
		return task_fail(t, e, "line 1: %s", t->fault.detail);
	*h_r = in.header;
	if (im->m->n_users)
		qsort(im->m->users, im->m->n_users, sizeof *im->m->users, compare_users);
	make_key(t, im->m, in.header.checksum, im->key);
	return ERR_OK;
}

static enum err import_file(struct task *t, struct import *im, const struct move_header *h, int fd, struct bytes memory, bool is_known)
{
	struct move_visitor v = { im, import_line, import_session };
	enum err e = ERR_OK;
	if (!is_known)
		e = store_run(t, im->app, &stmts[BEGIN], DB_ARGS(db_ident(&im->m->site), db_blob(im->key, sizeof im->key), db_int(h->counts.lines),
								 db_int(stamp_now())), NULL);
	if (e == ERR_DUPLICATE)
		return task_fail(t, ERR_CONFLICT, "another process imports this file");
	if (e)
		return e;
	move_batch_open(t, &im->batch, &im->m->site);
	task_open_part(&im->agents_part, t);
	ident_map_init(&im->agents, im->agents_part.arena);
	e = move_walk(t, fd, memory, &v, NULL);
	if (!e)
		e = store_batch(t, im, h->counts.lines, true);
	task_close_part(&im->agents_part);
	move_batch_close(&im->batch);
	return e;
}

enum err move_import(struct task *t, struct app *app, struct move_import *m, int fd, struct bytes memory)
{
	struct import im = { .app = app, .m = m };
	struct move_header h;
	bool is_known;
	m->done = (struct move_counts){ 0 };
	m->n_agents = m->n_templates = m->n_skipped = m->resumed_at = 0;
	enum err e = read_header(t, &im, fd, memory, &h);
	if (!e)
		e = open_import(t, &im, &h, &is_known);
	if (e)
		return e;
	im.check = (struct move_check){ .site = m->site, .skips_existing = m->skips_existing, .lines_done = im.lines_done, .progress = m->progress, .arg = m->arg };
	e = move_check(t, app, &im.check, fd, memory);
	if (e)
		return e;
	if (!m->is_dry)
		return import_file(t, &im, &h, fd, memory, is_known);
	m->done = im.check.taken;
	m->n_agents = im.check.n_agents;
	m->n_templates = im.check.n_templates;
	m->n_skipped = h.counts.sessions - im.check.taken.sessions;
	return ERR_OK;
}

/* ---- taking back ---- */

/* Removes a conversation that belongs to no session, with what is below it. */
static enum err drop_conversation(struct task *t, struct import *im, const struct ident *id)
{
	int64_t n;
	enum err e;
	do {
		e = message_purge(t, im->app, &im->m->site, id, 0, im->app->conf->sweep_batch, &n);
		im->m->done.messages += n;
	} while (!e && n > 0);
	if (!e)
		e = store_run(t, im->app, &stmts[SUMMARIES_DROP], DB_ARGS(db_ident(&im->m->site), db_ident(id)), NULL);
	if (!e)
		e = store_run(t, im->app, &stmts[CONVERSATION_DROP], DB_ARGS(db_ident(&im->m->site), db_ident(id), db_ident(&nobody)), &n);
	im->m->done.conversations += e ? 0 : n;
	return e;
}

/* The session a stored conversation belongs to: zero while it belongs to none, or is not there. */
static enum err find_owner(struct task *t, struct import *im, const struct ident *conversation, bool *is_there_r, struct ident *owner_r)
{
	struct db_rows *r;
	enum err e = store_query(t, im->app, &stmts[OWNER], DB_ARGS(db_ident(&im->m->site), db_ident(conversation)), &r);
	*owner_r = nobody;
	*is_there_r = !e && r->n_rows > 0;
	if (*is_there_r)
		db_cell_ident(r, 0, 0, owner_r);
	return e;
}

static enum err drop_session(struct task *t, struct import *im, const struct move_walk *w, const struct ident *id)
{
	struct head h;
	enum err e = head_load(t, im->app, &im->m->site, id, &h);
	if (e == ERR_NOT_FOUND) {
		task_clear_fault(t);
		return ERR_OK;
	}
	if (!e)
		e = purge_session(t, im->app, &h, 0);
	if (e)
		return e;
	im->m->done.sessions++;
	im->m->done.conversations += (int64_t)w->n_lines;
	im->m->done.messages += w->n_messages;
	return ERR_OK;
}

/* What of a session is there by this import: all of it, with its row; or some conversations that belong to nobody. */
static enum err discard_session(struct task *t, void *arg, const struct move_walk *w)
{
	struct import *im = arg;
	struct ident id = move_session_ident(&im->m->site, &w->s), owner;
	bool is_there;
	for (size_t i = w->n_lines; i-- > 0;) {
		if (w->lines[i].line > im->lines_done)
			continue;
		enum err e = find_owner(t, im, &w->lines[i].id, &is_there, &owner);
		if (e)
			return e;
		if (is_there && ident_is_zero(&owner))
			e = drop_conversation(t, im, &w->lines[i].id);
		else if (is_there && ident_equal(&owner, &id))
			return im->m->skips_existing ? ERR_OK : drop_session(t, im, w, &id);
		if (e)
			return e;
	}
	return ERR_OK;
}

static enum err mark_discard(struct task *t, struct import *im)
{
	int64_t n;
	enum err e = store_run(t, im->app, &stmts[MARK_DISCARD],
			       DB_ARGS(db_int(-1 - im->lines_done), db_ident(&im->m->site), db_blob(im->key, sizeof im->key), db_int(im->lines_done)), &n);
	return !e && n == 0 ? task_fail(t, ERR_CONFLICT, "another process imports this file") : e;
}

enum err move_discard(struct task *t, struct app *app, struct move_import *m, int fd, struct bytes memory)
{
	struct import im = { .app = app, .m = m };
	struct move_visitor none = { .line = NULL }, v = { &im, NULL, discard_session };
	struct move_header h;
	bool is_known;
	int64_t ended_at;
	m->done = (struct move_counts){ 0 };
	enum err e = read_header(t, &im, fd, memory, &h);
	if (!e)
		e = find_import(t, &im, &is_known, &ended_at);
	if (!e && (!is_known || ended_at))
		e = task_fail(t, ERR_NOT_FOUND, "there is no unfinished import of this file with these options");
	if (!e)
		e = move_walk(t, fd, memory, &none, NULL); /* nothing is removed for a file that is not whole */
	if (!e && im.lines_done >= 0)
		e = mark_discard(t, &im);
	if (im.lines_done < 0)
		im.lines_done = -1 - im.lines_done;
	if (!e)
		e = move_walk(t, fd, memory, &v, NULL);
	return e ? e : store_run(t, app, &stmts[FORGET], DB_ARGS(db_ident(&m->site), db_blob(im.key, sizeof im.key)), NULL);
}

const struct feature move_import_feature = { .name = "move_import", .stmts = stmts, .n_stmts = COUNT(stmts) };
