/* SPDX-License-Identifier: MIT */
/*
 * turn_queue: who waits for a conversation's running turn to end, in order. A ticket is a row that whoever waits renews; one that is not renewed is passed
 * over, so that nobody waits for the dead.
 */
#ifndef PARLEY_APP_TURN_QUEUE_H
#define PARLEY_APP_TURN_QUEUE_H

#include "app/turn.h"

struct turn_ticket {
	struct ident site, conversation;
	int64_t number; /* 0: none */
	int64_t renewed_at; /* monotonic ms */
};

/* Takes the ticket behind all others, or in front of them. ERR_TURN_RUNNING when as many wait as may. */
enum err turn_queue_enter(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, bool is_first,
			  struct turn_ticket *ticket_r) MUST_CHECK;

/* Renews the ticket when it is time. *ahead_r: how many are in front of it, a running turn included; 0: it may try. */
enum err turn_queue_look(struct task *t, struct app *app, struct turn_ticket *ticket, int64_t *ahead_r) MUST_CHECK;

/* Gives the ticket back, if it is still held. */
void turn_queue_leave(struct task *t, struct app *app, struct turn_ticket *ticket);

/*
 * Within the transaction that takes the lease: ERR_TURN_RUNNING when others come before the holder of `number` (0: who has no ticket comes after all who
 * have); removes the ticket otherwise.
 */
enum err turn_queue_pass(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *conversation, int64_t number) MUST_CHECK;

extern const struct feature turn_queue_feature;

#endif
