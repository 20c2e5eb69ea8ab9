/* SPDX-License-Identifier: MIT */
/* cmd_move: the commands that move sessions between files and stores. */
#ifndef PARLEY_MAIN_CMD_MOVE_H
#define PARLEY_MAIN_CMD_MOVE_H

#include "app/move_export.h"
#include "main/cli.h"

/* Ends with a row whose name is NULL. */
extern const struct cli_command cmd_move_commands[];

/* Writes an export to the file `output` ("-" or no bytes: standard output), with progress on a terminal. Returns the exit status. */
int cmd_move_export(struct cli *c, struct move_export *x, struct bytes output);

#endif
