/* SPDX-License-Identifier: MIT */
/*
 * turn_log: what a turn has said so far, as bytes that only grow: the model's text, and between it frames with the turn's other events. A position
 * is a count of these bytes; the ids of stream events carry it, so that a reader is given exactly what it missed, however the text was cut into
 * pieces before.
 *
 * A frame is 0xff, the event's name, a newline, its data, 0xff: a byte that UTF-8 does not have. Pure.
 */
#ifndef PARLEY_APP_TURN_LOG_H
#define PARLEY_APP_TURN_LOG_H

#include "base/buf.h"

/* Events after which a reader starts its text anew. */
#define TURN_LOG_RESET "reset"
#define TURN_LOG_STEP "step"

/* A stretch of text, or a frame. */
struct turn_log_item {
	struct bytes event; /* its name; empty: a stretch of text */
	struct bytes data;  /* of a frame: JSON; or the text */
	size_t end;         /* the position behind it */
};

/* Writes a frame. Name and data are UTF-8, the name without a newline. */
void turn_log_format(struct buf *b, const char *event, struct bytes data);

/* The item at position `at`; false at the end of the log, and in front of what is no log. */
bool turn_log_read(struct bytes log, size_t at, struct turn_log_item *item_r);

/* Whether a reader can go on from there: no position inside a character or a frame, nor past the end. */
bool turn_log_is_place(struct bytes log, size_t at);

/* Whether there is nothing but text in it. */
bool turn_log_is_plain(struct bytes log);

/* The text as a reader of the whole log has it: what came since the last reset or step. */
struct bytes turn_log_text(struct arena *a, struct bytes log);

#endif
