/* SPDX-License-Identifier: MIT */
/* session_stats: what a session holds, in numbers. */
#ifndef PARLEY_APP_SESSION_STATS_H
#define PARLEY_APP_SESSION_STATS_H

#include "app/spend.h"
#include "app/turn.h"

/* Counts over all conversations of a session: what they inherit from elsewhere is not theirs. */
struct session_stats {
	int64_t n_conversations;
	int64_t n_messages, n_by_role[ROLE_TOOL + 1];
	int64_t n_turns, n_by_status[TURN_CANCELLED + 1];
	int64_t message_tokens;             /* as the messages say */
	int64_t input_tokens, output_tokens; /* as the providers of its turns say */
	int64_t content_bytes;              /* as stored */
	struct spend_sum usage;             /* what its turns were charged with, cleared histories included */
	int64_t first_at, last_at;          /* of its messages; 0: there are none */
};

/* Counts; takes as long as the session is large. */
enum err session_stats_read(struct task *t, struct app *app, const struct head *h, struct session_stats *stats_r) MUST_CHECK;

/* How many conversations the session has: fast. */
enum err session_stats_conversations(struct task *t, struct app *app, const struct head *h, int64_t *n_r) MUST_CHECK;

/* Adds the JSON object. */
void session_stats_render(struct buf *b, const struct head *h, const struct session_stats *s);

extern const struct feature session_stats_feature;

#endif
