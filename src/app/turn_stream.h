/* SPDX-License-Identifier: MIT */
/*
 * turn_stream: a turn as server-sent events: `turn`, then `delta` for each piece of text and `reset`, `step` and `tool` between them, then `done` or `error`. An id
 * is the turn's and the position in its log behind the event (turn_log.h), so that a reader can come back to any worker and is given what it missed.
 */
#ifndef PARLEY_APP_TURN_STREAM_H
#define PARLEY_APP_TURN_STREAM_H

#include "app/turn_run.h"

struct turn_stream {
	struct call *c;
	const struct head *head;
	struct turn *turn;   /* a zero id: it has not begun */
	struct buf data;     /* of one event, used again and again */
	int64_t waited_at;   /* monotonic ms of the last word */
};

void turn_stream_init(struct turn_stream *s, struct call *c, const struct head *h, struct turn *turn);

/* Sends the head of the answer, if it has not gone out. */
void turn_stream_begin(struct turn_stream *s);

/* Begins an event's data: an object with the members that name session and turn. */
struct buf *turn_stream_open(struct turn_stream *s);
/* Ends the object and sends it; at: the position of its id, or -1 for an event without one. */
void turn_stream_close(struct turn_stream *s, const char *event, int64_t at);

void turn_stream_send(struct turn_stream *s, const char *event, struct bytes data, int64_t at);
void turn_stream_text(struct turn_stream *s, struct bytes text, int64_t at);
/* `error`, from the task's fault. */
void turn_stream_error(struct turn_stream *s, enum err e, int64_t at);

/* Adds the members that name session and turn, for problems. */
void turn_stream_add_names(struct buf *b, const struct head *h, const struct turn *turn);

/*
 * Sends what the log holds from a position on, and returns the position behind it. From where a reader cannot go on, `reset` and all of it.
 */
size_t turn_stream_replay(struct turn_stream *s, struct bytes log, size_t from);

/*
 * Follows the turn from a position to its end, wherever it runs; h may be turned to its conversation. Ends early when the client is gone. Errors are those
 * of reading, and have been sent as `error`.
 */
enum err turn_stream_follow(struct turn_stream *s, struct head *h, size_t from) MUST_CHECK;

/* Waits; false when the client hung up meanwhile. Sends a heartbeat when nothing was said for long. */
bool turn_stream_wait(struct turn_stream *s, int ms);

#endif
