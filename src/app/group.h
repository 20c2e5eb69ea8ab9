/* SPDX-License-Identifier: MIT */
/*
 * group: appends of one worker that wait at the same time are stored with one statement: one round trip and one commit for all of
 * them. What a database does for commits, done for whole statements; a lone append is not delayed by it.
 */
#ifndef PARLEY_APP_GROUP_H
#define PARLEY_APP_GROUP_H

#include "app/call.h"

#define GROUP_MAX 8      /* most rows of one statement */
#define GROUP_COLUMNS 11 /* values of a row, see group.c */

struct group *group_open(int most);
void group_close(struct group **g);

/*
 * Stores one row of messages, alone or together with others. args: conversation, seq, id, site, role, content, metadata, extra, turn, created_at, tokens;
 * borrowed until the call returns. Errors: ERR_DUPLICATE (the seq is taken), ERR_NOT_FOUND (the conversation is gone), or the database's.
 */
enum err group_insert(struct task *t, struct app *app, const struct db_arg args[GROUP_COLUMNS]) MUST_CHECK;

extern const struct feature group_feature;

#endif
