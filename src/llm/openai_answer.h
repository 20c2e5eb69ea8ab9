/* SPDX-License-Identifier: MIT */
/* openai_answer: parses what a chat completions server answers: a stream, one JSON object, or an error. */
#ifndef PARLEY_LLM_OPENAI_ANSWER_H
#define PARLEY_LLM_OPENAI_ANSWER_H

#include "base/buf.h"
#include "base/jsonx.h"
#include "llm/llm_private.h"

/* The parser's members of llm_driver. Every JSON text passes jsonx_check before it is read. */
struct llm_parser *openai_answer_begin(struct task *t, int status, int retry_after_s, const struct llm_events *ev,
				       struct llm_result *result_r);
enum err openai_answer_take(struct llm_parser *ps, struct bytes piece) MUST_CHECK;
bool openai_answer_is_whole(const struct llm_parser *ps);
enum err openai_answer_end(struct llm_parser *ps) MUST_CHECK;

/* The functions below read validated JSON of any type. */

static inline bool is_string(struct bytes raw)
{
	return jsonx_type(raw) == JSONX_STRING;
}

/* The raw member of a value; no bytes if it is no object or has none of this name. */
static inline struct bytes member_of(struct bytes value, const char *name)
{
	return jsonx_type(value) == JSONX_OBJECT ? jsonx_member(value, name) : (struct bytes){ 0 };
}

/* Whether a value is the string `text`. */
static inline bool string_is(struct arena *a, struct bytes raw, struct bytes text)
{
	return is_string(raw) && bytes_equal(jsonx_string(a, raw), text);
}

/* Starts the next element of a JSON array that is being written. */
static inline void add_comma(struct buf *b)
{
	if (b->n > 0 && b->p[b->n - 1] != '[')
		buf_add_char(b, ',');
}

#endif
