/* SPDX-License-Identifier: MIT */
/* search: the messages of a site or a user that say something, best first. */
#ifndef PARLEY_APP_SEARCH_H
#define PARLEY_APP_SEARCH_H

#include "app/search_shared.h"
#include "base/words.h"

#define SEARCH_SNIPPET 160 /* characters of a snippet, or a few more or less */

/* One message found. */
struct search_hit {
	struct bytes session_id; /* as clients know it */
	struct message_row message; /* its content is not here */
	double score;
	struct words_snippet snippet;
};

struct search_result {
	struct search_hit *hits; /* best first */
	size_t n;
	int64_t scanned;  /* messages that were looked at */
	const char *next; /* cursor to go on with older ones; NULL: that was all */
};

/*
 * Searches the newest sessions of a scope first, at most the setting search_messages messages from the cursor `after` on (NULL p: from the newest), and
 * gives the best `limit`. `query` is the text that q was read from. Errors: ERR_INVALID (the cursor), or the database's.
 */
enum err search_run(struct task *t, struct app *app, const struct search_scope *scope, const struct words_query *q, struct bytes query, struct bytes after,
		    int64_t limit, struct search_result *r_r) MUST_CHECK;

extern const struct feature search_feature;

#endif
