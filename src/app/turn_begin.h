/* SPDX-License-Identifier: MIT */
/* turn_begin: begins a turn. */
#ifndef PARLEY_APP_TURN_BEGIN_H
#define PARLEY_APP_TURN_BEGIN_H

#include "app/turn_queue.h"

/* What a turn begins with. */
struct turn_start {
	struct head *head; /* the session; when new_session is given, filled with the one that is made */
	const struct session_new *new_session; /* NULL: the session exists */
	const struct agent *agent;
	struct message_new message;
	const struct idem *idem;
	const struct conversation *from; /* answer anew: on a branch of this conversation that leaves it after `at`, a message that is there; NULL: `message` is new */
	int64_t at;
	bool must_keep;       /* a retried one that must go on with its own message: there is no other */
	struct ident retried; /* the failed turn that held this key; zero: none */
	const struct turn_ticket *ticket; /* its place in the line of some conversation; NULL: none */
	struct bytes user_json; /* out: the user's message as clients see it */
};

/*
 * Takes the lease, makes the session if asked to, stores the user's message (a retried turn's message is kept, not stored twice), the turn, and the
 * key, in one transaction; tells the cache. Errors: ERR_TURN_RUNNING, ERR_SESSION_ENDED, ERR_NOT_FOUND, ERR_REQUEST_RUNNING, ERR_DUPLICATE (own id
 * taken), or the database's.
 */
enum err turn_begin(struct task *t, struct app *app, struct turn_start *in, struct turn *turn_r) MUST_CHECK;

extern const struct feature turn_begin_feature;

#endif
