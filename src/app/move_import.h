/* SPDX-License-Identifier: MIT */
/* move_import: what move_export wrote into a site of this install or another, on either database. */
#ifndef PARLEY_APP_MOVE_IMPORT_H
#define PARLEY_APP_MOVE_IMPORT_H

#include "app/call.h"
#include "app/move_file.h"

struct move_user {
	struct bytes from, to;
};

struct move_import {
	struct ident site;
	bool is_dry;                /* checks everything and changes nothing */
	bool skips_existing;        /* leaves out sessions whose id is there; otherwise they are an error */
	struct move_user *users;    /* names to change; sorted by the call */
	size_t n_users;
	void (*progress)(void *arg, const struct move_counts *done, const struct move_counts *all);
	void *arg;
	/* Run in the transaction that completes the import, unless NULL: its error undoes that one. */
	enum err (*at_end)(struct task *t, struct db_conn *c, struct move_import *m);
	/* Result: what is there now because of the file, in this run and those it went on from; of a dry run, what would be. */
	struct move_counts done;
	int64_t n_agents, n_templates; /* made in this run */
	int64_t n_skipped;             /* sessions left out */
	int64_t resumed_at;            /* lines done before this run */
};

/*
 * Reads a file twice: first everything is checked, and nothing is changed when it is not in order; then it is stored in batches. A session
 * appears when it is whole. Progress is kept in the same transactions, so an import that was interrupted goes on when the call is repeated with the
 * same file and options. fd -1: the file is in memory. Errors: ERR_INVALID with the line, ERR_CONFLICT (something is there already, the import
 * runs elsewhere, or the file was imported before), or the database's.
 */
enum err move_import(struct task *t, struct app *app, struct move_import *m, int fd, struct bytes memory) MUST_CHECK;

/*
 * Removes what an unfinished import of this file with these options stored; done counts it. Sessions that a skipping import made whole stay: they
 * cannot be told from those it found. ERR_NOT_FOUND when there is no unfinished one.
 */
enum err move_discard(struct task *t, struct app *app, struct move_import *m, int fd, struct bytes memory) MUST_CHECK;

extern const struct feature move_import_feature;

#endif
