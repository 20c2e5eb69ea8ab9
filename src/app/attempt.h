/* SPDX-License-Identifier: MIT */
/* attempt: one answer of a model, whatever it takes: retries, breakers, and the agent's other providers. */
#ifndef PARLEY_APP_ATTEMPT_H
#define PARLEY_APP_ATTEMPT_H

#include "app/agent.h"
#include "llm/llm.h"

/*
 * Who follows it; each may be NULL. An error that one of them returns, its fault filled, ends the whole with that error. on_tick comes every 250 ms or
 * so, also between two calls.
 */
struct attempt_events {
	void *arg;
	enum err (*on_text)(void *arg, struct bytes text);
	enum err (*on_tick)(void *arg);
	enum err (*on_reset)(void *arg, const char *reason); /* the text so far came to nothing ("retry", "failover"): it begins anew */
	/* A call has ended, well or not, that brought something or was given up, and so may be billed: who was asked for what. Once for each. */
	void (*on_call)(void *arg, struct bytes provider, struct bytes model, const struct llm_result *result);
	int64_t deadline; /* monotonic ms by which all must be done; 0: turn_timeout from now */
};

/* What came of it; filled as it goes and valid after a failure too. */
struct attempt_outcome {
	struct llm_result result;     /* of the last call; its text is what was told since the last reset */
	struct bytes provider, model; /* whom the last call asked for what */
	int n_calls;
	bool used_fallback;      /* the last call was not the agent's own provider's */
	struct llm_usage wasted; /* of the calls before the last, as far as it is known */
};

/*
 * Asks the agent's provider, and in its place the agent's fallbacks, until one has answered; rq's texts, messages and bounds are set, its model is
 * whoever's is asked. client_fd: hanging up cancels it (see fetch.h); -1: none. It reads providers from the database before a call and holds no
 * connection meanwhile. Errors: the last call's (llm_call's; ERR_PROVIDER_REFUSED also for a provider that is not defined, or whose key cannot be
 * read), ERR_PROVIDER_DOWN with a time to come back when every breaker is open, those of the events, the store's. The internal text lists the calls.
 */
enum err attempt_run(struct task *t, struct app *app, const struct agent *agent, struct llm_request *rq, int client_fd, const struct attempt_events *ev,
		     struct attempt_outcome *out_r) MUST_CHECK;

/* The pause before retry `n` (0 is the first): anywhere from 0 to what doubles from `base` up to `max`, as `random` decides. Milliseconds. */
int64_t attempt_pause(int n, int64_t base, int64_t max, uint64_t random);

extern const struct feature attempt_feature;

#endif
