/* SPDX-License-Identifier: MIT */
/*
 * chat_talk: a conversation as its user's side keeps it: which session, which token, and turns that are taken up again when their answer
 * breaks off. It neither reads nor prints.
 */
#ifndef PARLEY_MAIN_CHAT_TALK_H
#define PARLEY_MAIN_CHAT_TALK_H

#include <pthread.h>
#include <stdatomic.h>

#include "main/chat_link.h"

#define CHAT_CREDENTIAL 256
#define CHAT_SESSION 160
#define CHAT_EVENT_ID 96

/* One event of a turn. `data` is a JSON object; `id` is empty for an event without one. */
struct chat_event {
	struct bytes name, data, id;
};

/*
 * Who is told. The events are the API's (turn, delta, reset, step, tool, queued, done, error) and one of our own: `broken` {detail}, when the answer
 * broke off and is about to be taken up again. A second `turn` in one turn means that the answer begins anew.
 */
struct chat_watch {
	void *arg;
	void (*on_event)(void *arg, const struct chat_event *event);
};

struct chat_talk {
	const struct chat_link *link;
	struct bytes agent, user, title; /* of a session to be made; NULL p: not given */
	char credential[CHAT_CREDENTIAL];
	char session[CHAT_SESSION];      /* "": none yet */
	bool is_made;                    /* the server has it */
	pthread_mutex_t lock;            /* over turn and session while a turn runs: chat_talk_cancel reads them */
	char turn[IDENT_SIZE];           /* the one that runs, "": none */
	_Atomic bool is_stopping;        /* the user wants no more of this turn */
	char code[48];                   /* wire code of the last failure, "" */
	int retry_after_s;               /* of the last failure, 0: not said */
	int pause_ms;                    /* before an answer is taken up again; grows with each try */
};

/*
 * Starts a talk. With `session` ("ses_...", an own id; NULL: the next message makes one) it looks whether the session is there; an own id that is not
 * there yet is made by the first message. The texts are borrowed.
 */
enum err chat_talk_open(struct chat_talk *talk_r, struct task *t, const struct chat_link *link, const char *credential, struct bytes agent,
			struct bytes user, struct bytes title, struct bytes session) MUST_CHECK;
void chat_talk_close(struct chat_talk *talk);

/*
 * Sends a message and follows its answer to the end. OK: `done` came, also of a turn that was cancelled. Each message has an Idempotency-Key, so however
 * often it is sent it is one turn.
 */
enum err chat_talk_say(struct chat_talk *talk, struct task *t, struct bytes text, const struct chat_watch *watch) MUST_CHECK;

/* Answers the newest message anew, on a branch; the present answer is kept. ERR_NOT_FOUND: there is none. */
enum err chat_talk_regenerate(struct chat_talk *talk, struct task *t, const struct chat_watch *watch) MUST_CHECK;

/* Cancels the turn that runs; from another thread, with a task of its own. ERR_NOT_FOUND: none is known to run (yet). */
enum err chat_talk_cancel(struct chat_talk *talk, struct task *t) MUST_CHECK;

/* The newest messages, newest first: the API's list. */
enum err chat_talk_history(struct chat_talk *talk, struct task *t, int limit, struct bytes *list_r) MUST_CHECK;
/* The session's numbers of messages, conversations, turns and tokens. */
enum err chat_talk_stats(struct chat_talk *talk, struct task *t, struct bytes *stats_r) MUST_CHECK;
/* Goes on in an empty conversation of the same session; nothing when there is no session yet. */
enum err chat_talk_new(struct chat_talk *talk, struct task *t, struct bytes *conversation_r) MUST_CHECK;
/* Goes on in a branch that shares the messages up to `at` (-1: all) with the present conversation. */
enum err chat_talk_branch(struct chat_talk *talk, struct task *t, int64_t at, struct bytes *conversation_r) MUST_CHECK;
/* Clears the session's whole history. */
enum err chat_talk_clear(struct chat_talk *talk, struct task *t) MUST_CHECK;

#endif
