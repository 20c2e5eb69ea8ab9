/* SPDX-License-Identifier: MIT */
/* session_list: pages of a site's sessions, by any of what they carry. */
#ifndef PARLEY_APP_SESSION_LIST_H
#define PARLEY_APP_SESSION_LIST_H

#include "app/head.h"

/* Which sessions, and where in their list; what is given holds for each of them. */
struct session_filter {
	struct bytes user, client_type, context, tag; /* NULL p: any */
	struct ident agent;                           /* zero: any */
	int status;                                   /* enum session_status; 0: any */
	int64_t created_from;                         /* ms since 1970, inclusive */
	bool has_created_to;
	int64_t created_to;                           /* exclusive */
	bool is_ascending;                            /* by time of creation */
	struct bytes after, before;                   /* cursors */
	int64_t limit;
};

/* One page: heads without tails. `next` goes on in the direction of reading; NULL at the end. */
struct session_page {
	struct head *list;
	size_t n;
	bool has_more;
	const char *next;
};

/*
 * Reads one page. A page costs the same however many sessions there are: the most telling filter leads through its index, and what else is asked for
 * is checked on the way, so that only a rare combination of frequent values reads more rows than it gives. ERR_INVALID for a
 * cursor that is not this very list's (same site, filters and order).
 */
enum err session_list(struct task *t, struct app *app, const struct ident *site, const struct session_filter *f, struct session_page *page_r) MUST_CHECK;

extern const struct feature session_list_feature;

#endif
