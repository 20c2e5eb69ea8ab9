/* SPDX-License-Identifier: MIT */
/* llm_private: the table a provider fills; only llm.c and llm_<provider>.c include it. */
#ifndef PARLEY_LLM_LLM_PRIVATE_H
#define PARLEY_LLM_LLM_PRIVATE_H

#include "llm/llm.h"

struct llm_parser; /* a provider's own parser state, in the task's arena */

struct llm_driver {
	const char *kind;
	const char *default_url; /* the vendor's own service, or NULL */
	/* Builds body and headers (NULL-terminated, in the arena) and the URL. NULL: the driver answers by itself through `answer`. */
	enum err (*build)(struct task *t, const struct llm_provider *p, const struct llm_request *rq, struct fetch_request *fetch_r);
	/* Starts a parser for an answer of this status; it fills result_r and calls ev as bytes arrive. */
	struct llm_parser *(*parse_begin)(struct task *t, const struct llm_provider *p, int status, int retry_after_s, const struct llm_events *ev,
					  struct llm_result *result_r);
	enum err (*parse_take)(struct llm_parser *ps, struct bytes piece);
	/* Whether the model's answer is all there, even if the body goes on or breaks off now. */
	bool (*parse_is_whole)(const struct llm_parser *ps);
	/* The body ended: says whether that was a whole answer. */
	enum err (*parse_end)(struct llm_parser *ps);
	/* For providers without a network: answers through ev and result_r; client_fd and tick_ms as fetch_request has them. */
	enum err (*answer)(struct task *t, const struct llm_request *rq, int client_fd, int tick_ms, const struct llm_events *ev,
			   struct llm_result *result_r);
};

extern const struct llm_driver llm_anthropic;
extern const struct llm_driver llm_echo;
extern const struct llm_driver llm_gemini;
extern const struct llm_driver llm_openai;

#endif
