/* SPDX-License-Identifier: MIT */
/* chat_line: what a line that was typed in a chat means. */
#ifndef PARLEY_MAIN_CHAT_LINE_H
#define PARLEY_MAIN_CHAT_LINE_H

#include <stdio.h>

#include "base/task.h"

#define CHAT_HISTORY 20      /* messages that /history shows unless said */
#define CHAT_HISTORY_MAX 100

enum chat_verb { CHAT_NOTHING, CHAT_SAY, CHAT_NEW, CHAT_CLEAR, CHAT_COUNT, CHAT_BRANCH, CHAT_SHOW_HISTORY, CHAT_REGENERATE, CHAT_USAGE, CHAT_HELP, CHAT_EXIT };

struct chat_line {
	enum chat_verb verb;
	struct bytes text; /* of CHAT_SAY */
	int64_t number;    /* of /branch (-1: none given) and /history */
};

/*
 * Reads a line: one that begins with / is a command, with // a text whose first / is dropped; a blank line is CHAT_NOTHING. ERR_USAGE with a text for
 * a command that is not known or has wrong words behind it.
 */
enum err chat_line_parse(struct task *t, struct bytes line, struct chat_line *line_r) MUST_CHECK;

/* Prints the commands. */
void chat_line_help(FILE *to);

#endif
