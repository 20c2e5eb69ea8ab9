/* SPDX-License-Identifier: MIT */
/* sse: parses a server-sent event stream from pieces of any size, as providers send it. */
#ifndef PARLEY_LLM_SSE_H
#define PARLEY_LLM_SSE_H

#include "base/buf.h"
#include "base/task.h"

/* One event: name ("" when there was no event: line), data lines joined by \n, last id seen. Valid during the callback only. */
struct sse_event {
	struct bytes name;
	struct bytes data;
	struct bytes id;
};

/* Called for each event; anything but ERR_OK ends the parse with that error. */
typedef enum err (*sse_on_event)(void *arg, const struct sse_event *event);

struct sse {
	struct task *task;
	sse_on_event on_event;
	void *arg;
	struct buf line, data, name, id;
	size_t max_event; /* bytes of one event's data; more is ERR_PROVIDER_INVALID */
	bool after_cr, has_data, started;
};

/* Starts a parser whose buffers live in the task's arena. */
void sse_init(struct sse *s, struct task *t, size_t max_event, sse_on_event on_event, void *arg);

/* Takes the next piece: \n, \r and \r\n line ends, split anywhere; comments and unknown fields skipped; a BOM at the start skipped. */
enum err sse_take(struct sse *s, struct bytes piece) MUST_CHECK;

/* The stream ended: an event without its blank line is delivered (providers that end without one), as their clients do. */
enum err sse_finish(struct sse *s) MUST_CHECK;

#endif
