/* SPDX-License-Identifier: MIT */
/* convert_answer: a model's answer, put together block by block, in the words of stored messages (convert.h). */
#ifndef PARLEY_LLM_CONVERT_ANSWER_H
#define PARLEY_LLM_CONVERT_ANSWER_H

#include "llm/convert.h"

struct convert_answer;

/* Starts an answer of a provider, in the task's arena. What is given below must live as long as it. */
struct convert_answer *convert_answer_begin(struct task *t, enum convert_kind kind);

/*
 * The next block. Text is plain; rest is an object of the provider's further members, or no bytes. A rest or raw block that nests too deep to be
 * sent again is left out.
 */
void convert_answer_text(struct convert_answer *ca, struct bytes text, struct bytes rest);
void convert_answer_thinking(struct convert_answer *ca, struct bytes text, struct bytes rest);
void convert_answer_raw(struct convert_answer *ca, struct bytes block);
/* A call. An id that cannot be stored or that another call of the answer has becomes another one, a name what convert_answer_name says. */
void convert_answer_call(struct convert_answer *ca, struct bytes id, struct bytes name, struct bytes arguments, struct bytes rest);

/* The calls as an array, no bytes without any; the parts too, no bytes where they are mere text in front of all calls. */
void convert_answer_end(struct convert_answer *ca, struct bytes *parts_r, struct bytes *calls_r);

/* The members of an object but those of these names (a list that ends in NULL), as an object; no bytes when there are none. */
struct bytes convert_answer_rest(struct arena *a, struct bytes object, const char *const *names);

/*
 * The name of a tool that a model made up, as all providers take it back: letters, digits, _ and -, 64 at most. Those of tools that there are stay as they
 * are; a history with any other would be refused.
 */
struct bytes convert_answer_name(struct arena *a, struct bytes name);

/* An id for the nth call of an answer that gave it none; it is not sent to the provider. `seed`: what tells this answer from others. */
struct bytes convert_answer_id(struct arena *a, struct bytes seed, size_t n);

#endif
