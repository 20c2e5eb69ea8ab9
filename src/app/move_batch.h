/* SPDX-License-Identifier: MIT */
/* move_batch: rows of an import that wait for their transaction. */
#ifndef PARLEY_APP_MOVE_BATCH_H
#define PARLEY_APP_MOVE_BATCH_H

#include "app/call.h"
#include "app/move_walk.h"

#define MOVE_BATCH_ROWS 512         /* rows of a transaction ... */
#define MOVE_BATCH_BYTES (1u << 20) /* ... unless they come to more than this */

/* Rows that wait, argument by argument. */
struct move_rows {
	struct db_arg *args;
	size_t n, n_columns;
};

struct move_batch_agent;
struct move_batch_template;
struct move_batch_session;

/* Everything in it is a copy in the memory of `part`. */
struct move_batch {
	struct ident site;
	struct task part;
	struct move_rows conversations, messages, summaries;
	struct move_batch_agent *agents;
	struct move_batch_template *templates;
	struct move_batch_session *sessions, **last_session;
	size_t n_rows;
};

void move_batch_open(struct task *t, struct move_batch *b, const struct ident *site);
void move_batch_close(struct move_batch *b);
/* Empties it. */
void move_batch_reset(struct move_batch *b);

/* Whether it should be stored before another line is added; one line more always fits. */
bool move_batch_is_full(const struct move_batch *b);
/* How many conversations wait. */
size_t move_batch_conversations(const struct move_batch *b);

/* Agents and templates keep times and version; in->id is the new one's. */
void move_batch_add_agent(struct move_batch *b, const struct agent *in);
void move_batch_add_template(struct move_batch *b, const struct template *in, const struct ident *id);
/* A conversation belongs to nobody until its session is added. */
void move_batch_add_conversation(struct move_batch *b, const struct move_conversation *c, const struct move_walk_line *l);
void move_batch_add_message(struct move_batch *b, const struct move_message *m);
void move_batch_add_summary(struct move_batch *b, const struct move_summary *s);

/*
 * Adds a session that is whole with this batch. Its conversations are the first n_stored of w->lines, which earlier batches stored, and those that wait
 * here from `first` on.
 */
void move_batch_add_session(struct move_batch *b, const struct move_walk *w, const struct ident *id, const struct ident *agent, struct bytes user,
			    size_t n_stored, size_t first);

/* Within the caller's transaction: stores all of it. ERR_CONFLICT when something is there meanwhile. */
enum err move_batch_store(struct task *t, struct db_conn *c, const struct move_batch *b) MUST_CHECK;

/* After the commit: tells the cache of the sessions that are there now. */
void move_batch_stored(struct task *t, struct app *app, const struct move_batch *b);

extern const struct feature move_batch_feature;

#endif
