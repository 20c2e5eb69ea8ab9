/* SPDX-License-Identifier: MIT */
/* cmd_chat: a conversation with an agent in the terminal. */
#ifndef PARLEY_MAIN_CMD_CHAT_H
#define PARLEY_MAIN_CMD_CHAT_H

#include "main/cli.h"

/* Ends with a row whose name is NULL. */
extern const struct cli_command cmd_chat_commands[];

#endif
