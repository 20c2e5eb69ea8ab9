/* SPDX-License-Identifier: MIT */
/* conversation_api: conversations, branches and clones over HTTP. */
#ifndef PARLEY_APP_CONVERSATION_API_H
#define PARLEY_APP_CONVERSATION_API_H

#include "app/conversation.h"

/* A place in a conversation as a body names it: a seq, or a message's id. */
struct place_in {
	int64_t at;
	bool has_at;
	struct bytes message;
};

#define PLACE_FIELDS(base, what)                                                                                                         \
	{ .name = "at", .type = FIELD_INT, .min = 0, .max = INT64_MAX, .offset = (base) + offsetof(struct place_in, at),                 \
	  .given_offset = (base) + offsetof(struct place_in, has_at), .help = what ", by its seq", .example = "2" },                   \
	{ .name = "message", .type = FIELD_STRING, .min = 1, .max = 64, .offset = (base) + offsetof(struct place_in, message),           \
	  .help = what ", by its id" }

/*
 * The seq that a place names in h's conversation; *seq_r is `otherwise` when neither was given. ERR_INVALID: both, past the newest, or no
 * message of this conversation.
 */
enum err conversation_api_find_place(struct call *c, const struct head *h, const struct place_in *in, int64_t otherwise, int64_t *seq_r) MUST_CHECK;

extern const struct feature conversation_api_feature;

#endif
