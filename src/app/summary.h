/* SPDX-License-Identifier: MIT */
/*
 * summary: texts that stand for the older messages of a conversation when a prompt is made. The messages stay as they are. A summary is seen by the
 * conversation that holds it and by what descends from it behind its last message.
 */
#ifndef PARLEY_APP_SUMMARY_H
#define PARLEY_APP_SUMMARY_H

#include "app/head.h"

struct summary {
	int64_t upto_seq; /* it stands for the messages 1..upto_seq; 0: there is none */
	struct bytes text, method;
	int64_t tokens_before, tokens_after;
	int64_t created_at;
};

/*
 * The newest summary that h's conversation may use, its own or inherited; upto_seq 0 when there is none. Costs nothing for a session without the flag
 * SESSION_HAS_SUMMARIES. One that another session made is left alone when h's session masks a message that it covers. `c` may be NULL.
 */
enum err summary_find(struct task *t, struct app *app, struct db_conn *c, const struct head *h, struct summary *out_r) MUST_CHECK;

/*
 * Within the caller's transaction, which holds summary_lock: stores a summary for h's line and sets the session's flag. It is held by the
 * conversation that owns the row upto_seq, or by h's own when that is another session's. The caller tells the cache (head_changed).
 */
enum err summary_store(struct task *t, struct db_conn *c, const struct head *h, const struct summary *s) MUST_CHECK;

/*
 * Within the caller's transaction: locks h's session, conversation and the ancestors that messages up to upto_seq are read from, against changes of those
 * messages. flags_r: the session's flags as they are now. ERR_NOT_FOUND when the conversation is no longer the session's.
 */
enum err summary_lock(struct task *t, struct db_conn *c, const struct head *h, int64_t upto_seq, int *flags_r) MUST_CHECK;

/*
 * Within the transaction that changes what the row (conversation, seq) says (deleted, redacted): drops every summary made of it, also those of
 * branches and clones. `conversation` is the one that stores the row (message_row.stored_in). No flag need be looked at first.
 */
enum err summary_forget(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *conversation, int64_t seq) MUST_CHECK;

/*
 * Within the transaction that masks a message in one session alone (a clone's inherited message): drops the summaries of that session's
 * conversations that cover `seq`; those it inherits from other sessions are left alone by summary_find from then on.
 */
enum err summary_forget_session(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, int64_t seq) MUST_CHECK;

/* Removes the summaries of a detached conversation that reach beyond `keep`, the last message of it that others see (0: none); *n_r counts them. */
enum err summary_purge(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, int64_t keep, int64_t *n_r) MUST_CHECK;

extern const struct feature summary_feature;

#endif
