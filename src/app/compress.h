/* SPDX-License-Identifier: MIT */
/*
 * compress: shortens what the model sees of a long conversation: a summary takes the place of the older messages, which stay stored as they are.
 * Made by the agent's provider, or by a fixed rule that picks the sentences which say most (extract.h).
 */
#ifndef PARLEY_APP_COMPRESS_H
#define PARLEY_APP_COMPRESS_H

#include "app/context.h"

/*
 * The extractive summary of h's whole conversation as plain text, at most `tokens` long (0: 1024); empty when there is nothing to say. Reads a
 * bounded number of messages, however long the conversation is; stores nothing. On the caller's connection or, with c NULL, on its own.
 */
enum err compress_extract(struct task *t, struct app *app, struct db_conn *c, const struct head *h, int64_t tokens, struct bytes *text_r) MUST_CHECK;

extern const struct feature compress_feature;

#endif
