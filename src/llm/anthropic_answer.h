/* SPDX-License-Identifier: MIT */
/* anthropic_answer: parses what the Messages API answers: a stream, one message, or an error. */
#ifndef PARLEY_LLM_ANTHROPIC_ANSWER_H
#define PARLEY_LLM_ANTHROPIC_ANSWER_H

#include "llm/llm_private.h"

/* The parser's members of llm_driver. Every JSON text passes jsonx_check_strict before it is read. */
struct llm_parser *anthropic_answer_begin(struct task *t, const struct llm_provider *p, int status, int retry_after_s,
					  const struct llm_events *ev, struct llm_result *result_r);
enum err anthropic_answer_take(struct llm_parser *ps, struct bytes piece) MUST_CHECK;
bool anthropic_answer_is_whole(const struct llm_parser *ps);
enum err anthropic_answer_end(struct llm_parser *ps) MUST_CHECK;

#endif
