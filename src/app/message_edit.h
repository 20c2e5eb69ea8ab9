/* SPDX-License-Identifier: MIT */
/* message_edit: what is done with single messages: another version of one, redacted, deleted; and the whole history cleared. */
#ifndef PARLEY_APP_MESSAGE_EDIT_H
#define PARLEY_APP_MESSAGE_EDIT_H

#include "app/conversation.h"
#include "app/message.h"

/*
 * Within the caller's transaction: stores another version of a message of h's conversation, on a branch that leaves in
 * front of it; with is_active the session goes on there. row_r is the new message. Both versions stay.
 */
enum err message_edit_branch(struct task *t, struct db_conn *c, const struct head *h, const struct conversation *from, const struct message_row *old,
			     const struct message_new *now, bool is_active, struct message_row *row_r) MUST_CHECK;

/*
 * Takes a message's content away, in one transaction with the answer for an active idem (the message that is left), and tells the caches of all that
 * see it. `text` (JSON string) stands in its place; without bytes the message counts as deleted: its place stays, so that seqs have no gap. The stored
 * content is gone where the session itself wrote it, also for clones, unless a deletion would take it from a clone; and where its writer has gone and
 * nobody else sees it. Otherwise it is masked for the session alone. row_r is what is left. Errors: ERR_NOT_FOUND, or the database's.
 */
enum err message_edit_erase(struct task *t, struct app *app, const struct head *h, const struct message_row *old, struct bytes text,
			    const struct idem *idem, struct message_row *row_r) MUST_CHECK;

/*
 * The versions of a message that the session's conversations hold or inherit, by time: those that follow the same message, and itself. At most `limit`
 * conversations of each kind are asked.
 */
enum err message_edit_versions(struct task *t, struct app *app, const struct head *h, const struct message_row *m, int64_t limit,
			       struct message_row **rows_r, size_t *n_r) MUST_CHECK;

extern const struct feature message_edit_feature;

#endif
