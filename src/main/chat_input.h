/* SPDX-License-Identifier: MIT */
/* chat_input: lines from whoever chats: with editing and a history on a terminal, as they come from a pipe. */
#ifndef PARLEY_MAIN_CHAT_INPUT_H
#define PARLEY_MAIN_CHAT_INPUT_H

#include <stdbool.h>
#include <stdio.h>

#include "base/task.h"

struct chat_input;

/*
 * Reads standard input. `signal_fd` becomes readable when the user wants to leave (SIGINT); -1: none. With a terminal_fd there are prompts on it, and
 * lines are kept in `history_path` (NULL: nowhere; made with its folder, mode 0600), where libedit was there to build with; -1: nobody types.
 */
struct chat_input *chat_input_open(int signal_fd, int terminal_fd, const char *history_path);
void chat_input_close(struct chat_input **in);

enum chat_read { CHAT_READ_LINE, CHAT_READ_END, CHAT_READ_INTERRUPTED, CHAT_READ_TOO_LONG };

/*
 * Reads what the user says next: one line, and those that follow as long as each ends with \ (which becomes a line's end). The text is in the arena,
 * without its line's end. A file's last line needs none. TOO_LONG: more than 16 MB; what is left of it is skipped.
 */
enum chat_read chat_input_read(struct chat_input *in, struct arena *a, struct bytes *text_r);

/* Asks a question that is answered by yes or no; anything but a y is no. */
bool chat_input_confirm(struct chat_input *in, struct arena *a, const char *question);

/* Where the history belongs: $XDG_STATE_HOME/parley/chat_history, or under ~/.local/state; NULL without a home. */
const char *chat_input_history_path(struct arena *a);

#endif
