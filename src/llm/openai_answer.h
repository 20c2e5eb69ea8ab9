/* SPDX-License-Identifier: MIT */
/* openai_answer: parses what a chat completions server answers: a stream, one JSON object, or an error. */
#ifndef PARLEY_LLM_OPENAI_ANSWER_H
#define PARLEY_LLM_OPENAI_ANSWER_H

#include "llm/llm_private.h"

/* The parser's members of llm_driver. Every JSON text passes jsonx_check_strict before it is read. */
struct llm_parser *openai_answer_begin(struct task *t, const struct llm_provider *p, int status, int retry_after_s,
					const struct llm_events *ev, struct llm_result *result_r);
enum err openai_answer_take(struct llm_parser *ps, struct bytes piece) MUST_CHECK;
bool openai_answer_is_whole(const struct llm_parser *ps);
enum err openai_answer_end(struct llm_parser *ps) MUST_CHECK;

#endif
