/* SPDX-License-Identifier: MIT */
/*
 * chat_view: what a chat shows. Answers and what was asked for go to `out`, everything else (steps, tools, notes) to `notes`. Text of a model reaches
 * both only as characters that no terminal acts on. With is_json each event is a line of JSON on `out` instead, and nothing else is.
 */
#ifndef PARLEY_MAIN_CHAT_VIEW_H
#define PARLEY_MAIN_CHAT_VIEW_H

#include <stdbool.h>
#include <stdio.h>

#include "main/chat_talk.h"

#define CHAT_VIEW_ROWS 100 /* most messages that chat_view_history shows */

struct chat_view {
	FILE *out, *notes;
	bool is_json;
	bool is_terminal;    /* of out: JSON too is made harmless */
	bool has_colour;     /* notes may be dimmed */
	struct arena *arena; /* of the turn under way */
	struct buf shown;    /* its text since the last turn, reset or step */
	bool is_mid_line;    /* out is behind a character that is no line's end */
	int64_t turns, input_tokens, output_tokens; /* of this chat */
	double cost;         /* of it, as far as prices are known */
};

/* Begins a turn, whose memory is in `a`. */
void chat_view_begin(struct chat_view *v, struct arena *a);
/* Shows an event; a chat_watch's on_event, with the view as its arg. */
void chat_view_event(void *view, const struct chat_event *event);
/* Ends the turn: a line that was begun is ended. */
void chat_view_end(struct chat_view *v);

/* Prints a note, dimmed where that can be. */
void chat_view_note(struct chat_view *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints a failure, and what can be done about it. */
void chat_view_failure(struct chat_view *v, struct task *t, enum err e, const struct chat_talk *talk);

/* Shows a list of messages (the API's, newest first; no bytes: none) oldest first. */
void chat_view_history(struct chat_view *v, struct arena *a, struct bytes list);
/* Shows an answer of the API as one line of JSON under a name; true when that is how it is to be shown. */
bool chat_view_json(struct chat_view *v, struct arena *a, const char *name, struct bytes json);

#endif
