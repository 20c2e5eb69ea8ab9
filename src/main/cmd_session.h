/* SPDX-License-Identifier: MIT */
/* cmd_session: the commands on sessions. */
#ifndef PARLEY_MAIN_CMD_SESSION_H
#define PARLEY_MAIN_CMD_SESSION_H

#include "app/head.h"
#include "main/cli.h"

/* Ends with a row whose name is NULL. */
extern const struct cli_command cmd_session_commands[];

/* The session that a command names, of the site that its option --site names or of the only one. */
enum err cmd_session_find(struct cli *c, const struct cli_option *site, struct bytes ref, struct head *h_r) MUST_CHECK;

/* `session tail` (cmd_session_tail.c). */
int cmd_session_tail(struct cli *c);

#endif
