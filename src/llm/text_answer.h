/* SPDX-License-Identifier: MIT */
/*
 * text_answer: reads what a model writes in text mode (text_mode.h) as it comes. Models keep to the form as well as they can: the object may stand in a
 * fence, behind other text, without its last brace, with line ends or unescaped quotes in its strings, or there may be none at all. What is no object
 * of the form is the answer, as it stands.
 */
#ifndef PARLEY_LLM_TEXT_ANSWER_H
#define PARLEY_LLM_TEXT_ANSWER_H

#include "llm/llm.h"

struct text_answer;

/* Starts a reader in the task's arena. It tells ev the text of the answer, never the JSON around it, and keeps result_r->text as ev was told. */
struct text_answer *text_answer_begin(struct task *t, const struct llm_events *ev, struct llm_result *result_r);

/* The next piece of what the model wrote, whole characters. Text that may yet turn out to be the beginning of an object is told later. */
enum err text_answer_take(struct text_answer *ta, struct bytes piece) MUST_CHECK;

/*
 * The model has ended with `plain`: fills in the result, with the calls that were found; those that it made by itself, in its own form, go in front. A call
 * that a limit cut off is left out; one whose arguments are no JSON is kept for the tool to refuse. ERR_PROVIDER_INVALID for too many calls.
 */
enum err text_answer_end(struct text_answer *ta, const struct llm_result *plain) MUST_CHECK;

#endif
