/* SPDX-License-Identifier: MIT */
/* move_check: the first reading of a file that is to be imported: whether it is in order, and whether the site can take it. */
#ifndef PARLEY_APP_MOVE_CHECK_H
#define PARLEY_APP_MOVE_CHECK_H

#include "app/move_walk.h"

struct move_check {
	struct ident site;
	bool skips_existing;      /* sessions that are there are left out; otherwise they are an error */
	int64_t lines_done;       /* what an earlier run has stored is not looked for again */
	void (*progress)(void *arg, const struct move_counts *done, const struct move_counts *all); /* NULL: none */
	void *arg;
	struct ident_map skipped; /* out: sessions that are there and to be left out, by id */
	int64_t n_agents, n_templates; /* out: to be made */
	struct move_counts taken; /* out: what is not left out */
};

/* The id inside that a session of a file has on a site. */
struct ident move_session_ident(const struct ident *site, const struct move_session *s);

/* The key of a name in an ident_map. */
struct ident move_name_ident(const char *kind, struct bytes name);

/* Walks the file and changes nothing; the members marked so are the result, in the task's arena. ERR_INVALID or ERR_CONFLICT with the line's number, or the database's. */
enum err move_check(struct task *t, struct app *app, struct move_check *m, int fd, struct bytes memory) MUST_CHECK;

extern const struct feature move_check_feature;

#endif
