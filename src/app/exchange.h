/* SPDX-License-Identifier: MIT */
/*
 * exchange: which stored tool result answers which tool call, and where a conversation may be cut. Pure.
 *
 * A result belongs to the nearest of the EXCHANGE_REACH messages in front of it that has a call of its id without a result. It is given right behind its
 * call even if it was stored later. A call without a result gets one that says so. Results without a call, deleted and corrupt messages are left out.
 */
#ifndef PARLEY_APP_EXCHANGE_H
#define PARLEY_APP_EXCHANGE_H

#include "app/render.h"

#define EXCHANGE_REACH 64

/* One call of a message. */
struct exchange_call {
	struct bytes id, name; /* raw JSON strings as stored; empty: none */
	struct bytes plain_id; /* the id unescaped, since results in either spelling ask for it */
	size_t result;         /* index of the row that answers it; SIZE_MAX: none was stored */
};

/* What goes with one row. */
struct exchange_item {
	const struct exchange_call *calls;
	size_t n_calls;
	size_t call;      /* of a result: index of the row it answers; SIZE_MAX: it is no result */
	bool is_out;      /* not for the prompt */
	bool is_inside;   /* between a call and one of its results: no cut in front of it */
	bool is_boundary; /* a turn begins here */
	int64_t tokens;   /* estimate of it in a prompt, with the results put in behind it; 0 when it is out */
	int64_t bytes;    /* of content and further members */
};

struct exchange {
	const struct message_row *rows; /* ascending */
	struct exchange_item *items;    /* one a row */
	size_t n;
	bool is_open; /* a result lacks its call, which may be in front of the rows */
};

/* Looks through n rows, oldest first. All memory is the arena's or the rows'. */
void exchange_read(struct arena *a, const struct message_row *rows, size_t n, struct exchange *x_r);

/* The rows from index `from` on in prompt order, with results put in where none was stored (seq 0, no id). `from` is not inside an exchange. */
void exchange_prompt(struct arena *a, const struct exchange *x, size_t from, const struct message_row **rows_r, size_t *n_r);

#endif
