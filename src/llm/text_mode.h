/* SPDX-License-Identifier: MIT */
/*
 * text_mode: tools for a model that only writes text. It is told in the instructions to write one JSON object, and no more:
 *
 *   {"thought":T,"tool":NAME,"arguments":{...}}                       one call
 *   {"thought":T,"tools":[{"tool":NAME,"arguments":{...}}, ...]}      several at once
 *   {"thought":T,"answer":TEXT}                                       the answer
 *
 * What tools answered it reads in a message of the user's, a line for each behind "Observation:": {"tool":NAME,"result":R} or {"tool":NAME,"error":R}.
 */
#ifndef PARLEY_LLM_TEXT_MODE_H
#define PARLEY_LLM_TEXT_MODE_H

#include "llm/llm.h"

/*
 * The request in these words: without tools, and without calls and their results in the history, which may have been any provider's own before.
 * It is in the task's arena and borrows from rq.
 */
void text_mode_request(struct task *t, const struct llm_request *rq, struct llm_request *rq_r);

#endif
