/* SPDX-License-Identifier: MIT */
/* task: one request, job run, command or test: its arena, its fault, its id. Nearly every call takes it first. */
#ifndef PARLEY_BASE_TASK_H
#define PARLEY_BASE_TASK_H

#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

/* One wrong input field. */
struct fault_field {
	const char *field;  /* path such as "messages[3].role", or the name of a header or query parameter */
	const char *code;   /* "required", "type", "unknown", "range", "format", ... */
	const char *detail; /* a sentence for the client */
	struct fault_field *next;
};

/* Why the task failed; filled once, by the first place that knows. All text lives in the task's arena. */
struct fault {
	enum err code;
	const char *detail;   /* for the client: says nothing internal */
	const char *internal; /* for the log only: SQL state, host name, provider body */
	int retry_after_s;    /* 0: none */
	struct fault_field *fields; /* in the order they were found */
};

struct task {
	struct arena *arena;
	struct fault fault;
	char id[40]; /* request id: printed in every log line and returned as X-Request-Id */
};

/* Starts a task on an open arena with a new id ("req_" + 26 characters). The caller closes the arena. */
void task_init(struct task *t, struct arena *a);

/*
 * Fills the fault with a text for the client and returns `code`. A second failure of the same task replaces the
 * first (an operation may recover from one and meet another).
 */
enum err task_fail(struct task *t, enum err code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As task_fail, but the text goes to the log alone; the client sees the code's title. */
enum err task_fail_internal(struct task *t, enum err code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * Adds one wrong field and returns ERR_INVALID. Several may be added before the request is refused; `code` is one of
 * the words above.
 */
enum err task_fail_field(struct task *t, const char *field, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * A part of a task with memory of its own, for work whose size nobody knows beforehand: the part is reset step by step, which gives its
 * memory back and forgets its fault. task_take_fault copies the fault of a part that failed into the whole and returns e; OK passes as it is.
 */
void task_open_part(struct task *part, const struct task *whole);
void task_reset_part(struct task *part);
void task_close_part(struct task *part);
enum err task_take_fault(struct task *whole, const struct task *part, enum err e);

/* Forgets the fault: for a caller that goes on after a failure. */
void task_clear_fault(struct task *t);

#endif
