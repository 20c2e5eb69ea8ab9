/* SPDX-License-Identifier: MIT */
/*
 * move_export: sessions out of a site into a file. What is moved is whole by itself; turns, answers kept for Idempotency-Keys, keys and tokens
 * stay behind.
 */
#ifndef PARLEY_APP_MOVE_EXPORT_H
#define PARLEY_APP_MOVE_EXPORT_H

#include "app/call.h"
#include "app/move_file.h"

/* What an export takes: one session, a user's sessions, or all of a site with its agents and templates. */
struct move_export {
	struct ident site;
	struct bytes site_name;
	struct ident session;  /* zero: not one session */
	struct bytes user;     /* NULL p: every user's */
	bool is_public;        /* for the visitor: agents and addresses are left out */
	/* Told of the progress every few hundred rows; NULL: nobody is. */
	void (*progress)(void *arg, const struct move_counts *done);
	void *arg;
	int64_t n_corrupt;     /* result: records that could not be read: messages come without content, sessions are left out */
};

/*
 * Writes an export to an empty regular file. Each session is as it was at one moment: messages that come later are not in it, and one that is
 * deleted meanwhile is left out whole. Memory is bounded. size_r: bytes of the file. ERR_NOT_FOUND (the one session), ERR_CORRUPT, ERR_UNAVAILABLE.
 */
enum err move_export(struct task *t, struct app *app, struct move_export *x, int fd, struct move_counts *counts_r, int64_t *size_r) MUST_CHECK;

extern const struct feature move_export_feature;

#endif
