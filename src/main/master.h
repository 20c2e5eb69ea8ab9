/* SPDX-License-Identifier: MIT */
/* master: makes the listening socket, starts workers and the janitor, and keeps the right number of them running. */
#ifndef PARLEY_MAIN_MASTER_H
#define PARLEY_MAIN_MASTER_H

#include <stddef.h>

#include "base/conf.h"
#include "base/task.h"

/* Where the settings came from, for HUP to read them again. Borrowed: must outlive master_main. */
struct master_source {
	const char *conf_path;        /* NULL: no file */
	const char *const *overrides; /* "name=value" of the command line */
	size_t n_overrides;
};

/*
 * `parley serve`, in the foreground, until SIGTERM or SIGINT. Opens the log itself. Signals: TERM, INT drain all and end; HUP reads the settings
 * again (invalid ones are logged and refused), opens the log again and replaces the workers one by one, each only when its successor is ready;
 * USR1 opens the log again. Never closes the listening socket before the end, so nothing that was queued is lost. Returns an exit
 * status of main.h and says on the log why.
 */
int master_main(struct task *t, const struct conf *conf, const struct master_source *source);

#endif
