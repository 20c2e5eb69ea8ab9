/* SPDX-License-Identifier: MIT */
/* move_walk: reads a file of an export from end to end and sees to it that its lines fit together; what they mean for a site is the visitor's. */
#ifndef PARLEY_APP_MOVE_WALK_H
#define PARLEY_APP_MOVE_WALK_H

#include "app/move_file.h"
#include "base/ident_map.h"

/* A conversation of the session that the walk is in. */
struct move_walk_line {
	struct ident id, parent; /* parent: who owns the row at its base; zero: none */
	struct bytes lineage;    /* lineage.h; no bytes without ancestors */
	int64_t base_seq;
	int64_t last_seq;        /* newest message so far */
	int64_t parent_at;       /* its parent's place in the list, or -1 */
	int64_t line;            /* where it stands in the file */
};

struct move_walk {
	struct move_in in;
	struct task line, session; /* memory of the line, and of the session */
	bool is_in_session;
	struct move_session s;
	int64_t session_line;      /* number of the session's line, counted behind the header from 1 */
	struct move_walk_line *lines;
	size_t n_lines, n_room;
	struct ident_map by_id;    /* places in `lines` */
	int64_t n_messages;        /* of the session */
	bool has_summaries;
	struct move_counts counts; /* of the file so far, this line included */
};

/* Either may be NULL. What they are given is valid during the call. An ERR_INVALID or ERR_CONFLICT of theirs gets the line's number in front. */
struct move_visitor {
	void *arg;
	/* A line that fits what came before; of a session's line and what follows, the walk knows more. */
	enum err (*line)(struct task *t, void *arg, const struct move_walk *w, const struct move_line *line);
	/* The session is whole; the line that ended it, or the end of the file, is still to come. counts.lines is its last line. */
	enum err (*session)(struct task *t, void *arg, const struct move_walk *w);
};

/*
 * Walks a file once, a visitor at its side, and checks form, order, ids, gaps, ancestors, counts and checksum. header_r may be NULL. ERR_INVALID with
 * the line's number in the file; errors of the visitor.
 */
enum err move_walk(struct task *t, int fd, struct bytes memory, const struct move_visitor *v, struct move_header *header_r) MUST_CHECK;

#endif
