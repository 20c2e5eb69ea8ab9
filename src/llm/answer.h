/* SPDX-License-Identifier: MIT */
/* answer: what the parsers of providers' answers have in common: statuses, errors, the stream's events, text as it comes. */
#ifndef PARLEY_LLM_ANSWER_H
#define PARLEY_LLM_ANSWER_H

#include "base/buf.h"
#include "base/jsonx.h"
#include "llm/llm_private.h"
#include "llm/sse.h"

#define ANSWER_MAX_EVENT (4 * 1024 * 1024)
#define ANSWER_MAX_TOOLS 128
#define ANSWER_MAX_ERROR 8192 /* collected of an error's body */

/*
 * The state of an answer that is a stream of JSON events; or one JSON document, from a server that does not stream; or a stream that a bare JSON
 * error breaks into, without `data:` in front. A document that is an array is taken element by element.
 */
struct llm_answer {
	struct task *task;
	const struct llm_events *ev;
	struct llm_result *result;
	int status, retry_after_s;
	/* Takes one event or document: a JSON object that is no error. It sets has_finish and is_done. */
	enum err (*take)(void *arg, struct bytes object);
	void *arg;
	struct bytes end_mark; /* the data of an event that ends the stream, or no bytes */
	struct arena *scratch; /* for reading one object; reset before each */
	struct buf text;       /* what result->text shows */
	bool has_finish;       /* the model has ended its answer: what is missing may be missing */
	bool is_done;          /* nothing behind this is of interest */
	/* its own */
	struct sse sse;
	struct buf body; /* of an error, or from where bare JSON begins */
	bool is_in_line, is_bare, has_bytes, has_event, is_ending;
};

void answer_begin(struct llm_answer *an, struct task *t, int status, int retry_after_s, const struct llm_events *ev, struct llm_result *result_r);
enum err answer_take(struct llm_answer *an, struct bytes piece) MUST_CHECK;
/* The body ended: takes what is left. ERR_OK means that the model has ended its answer. */
enum err answer_end(struct llm_answer *an) MUST_CHECK;
bool answer_is_whole(const struct llm_answer *an);

/* Adds text (whole characters) to the result and tells the caller. */
enum err answer_add_text(struct llm_answer *an, struct bytes text) MUST_CHECK;

/* ERR_PROVIDER_INVALID, for what is not the protocol. */
enum err answer_fail_protocol(struct task *t, const char *why);
/* The failure that a status of 300 and above means; the body may be cut off and of any make. */
enum err answer_fail_status(struct task *t, int status, int retry_after_s, struct bytes body);
/* For an error inside an answer: ERR_PROVIDER_FAILED, or what a status would mean where it says that the request was wrong, or came too soon. */
enum err answer_fail_inside(struct task *t, struct bytes data);

/* The functions below read validated JSON of any type. */

/* A count of tokens; some servers write it as a real number. False, and count_r untouched, if it is none. */
bool answer_count(struct bytes raw, int64_t *count_r);

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

static inline bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

#endif
