/* SPDX-License-Identifier: MIT */
/* message_format: messages of a request or an answer in the format of a provider (llm/convert.h). */
#ifndef PARLEY_APP_MESSAGE_FORMAT_H
#define PARLEY_APP_MESSAGE_FORMAT_H

#include "app/message.h"

/* What a request says of messages in a provider's format. Empty members are absent. */
struct message_format_in {
	struct bytes format, input, aside;
};

/*
 * Reads the messages of a request, at least one. They are checked as those of a plain batch are: how many, how large, and that a session token adds only
 * messages of the user. ERR_INVALID with the fields, named by their paths in the input.
 */
enum err message_format_read(struct call *c, const struct message_format_in *in, struct message_new **items_r, size_t *n_r) MUST_CHECK;

/* Adds the members format, document and aside for a page, which is in the order of the conversation or against it; the document never is. */
void message_format_write(struct task *t, struct buf *out, struct bytes format, const struct message_list *list, bool is_descending);

#endif
