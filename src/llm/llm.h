/* SPDX-License-Identifier: MIT */
/* llm: a provider call: builds the request, runs it, turns the answer's bytes into events. */
#ifndef PARLEY_LLM_LLM_H
#define PARLEY_LLM_LLM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/task.h"
#include "net/fetch.h"

/* One message of the prompt. */
struct llm_message {
	struct bytes role;    /* system, developer, user, assistant, tool */
	struct bytes content; /* raw JSON as stored: a string or an array of parts */
	struct bytes extra;   /* raw JSON object of other stored members a provider needs (tool_calls, tool_call_id, name), or empty */
};

/* A tool that the model may ask for. */
struct llm_tool {
	struct bytes name;        /* of letters, digits, _ and -, as every provider takes it */
	struct bytes description; /* plain; may be empty */
	struct bytes parameters;  /* JSON Schema of the arguments, an object's, raw; empty: there are none */
};

struct llm_request {
	const char *model;
	struct bytes instructions; /* the agent's system text, plain; may be empty */
	const struct llm_message *messages;
	size_t n_messages;
	const struct llm_tool *tools;
	size_t n_tools;
	bool must_answer;          /* it may not ask for tools this time */
	bool is_text_mode;         /* the model knows no tools: they are asked for in the words of text_mode.h */
	double temperature;        /* negative: not sent */
	int64_t max_output_tokens; /* 0: not sent */
};

enum llm_finish { LLM_STOP, LLM_LENGTH, LLM_TOOL, LLM_FILTER };

struct llm_usage {
	int64_t input_tokens, output_tokens;
	int64_t cached_tokens; /* of the input, those that the provider had read before; 0 where it does not say */
	bool is_known;         /* false when the stream brought none */
	bool is_partial;       /* the call broke off: what there is was counted before its end, by some providers at its beginning */
};

/* What a call brought, filled as it goes: valid (partial) after a failure too. All in the task's arena. */
struct llm_result {
	struct bytes text;       /* all text so far, UTF-8, never ending inside a character */
	struct bytes tool_calls; /* raw JSON array [{"id","name","arguments"(string)}] or empty; convert.h says what else may be in them */
	struct bytes parts;      /* raw JSON array of content parts (convert.h) when the answer is more than text in front of calls, or empty */
	struct bytes model;      /* as the provider named it, or empty */
	enum llm_finish finish;
	struct llm_usage usage;
};

/* on_text gets each piece of text (whole UTF-8 characters). on_tick: see fetch.h. ERR_OK goes on. */
struct llm_events {
	void *arg;
	enum err (*on_text)(void *arg, struct bytes text);
	enum err (*on_tick)(void *arg);
};

/* Where and how to call; strings are borrowed. */
struct llm_provider {
	const char *kind;     /* "echo", "openai" (any openai-compatible server), "anthropic" or "gemini" */
	const char *base_url; /* up to and with the version (".../v1"); the path of the call is added */
	const char *api_key;  /* "" or NULL: no header with a key */
};

/* Whether there is a provider of this kind. */
bool llm_is_kind(struct bytes kind);

/* The base URL of the vendor's own service; NULL where there is none, or no such kind. */
const char *llm_default_url(struct bytes kind);

/*
 * Calls the provider, streaming. Errors as fetch_run, and: ERR_PROVIDER_REFUSED (4xx, a blocked prompt), ERR_PROVIDER_RATE (429, fault.retry_after_s set),
 * ERR_PROVIDER_FAILED (5xx; 408, 409 and 425, which pass too; an error inside a 200 stream, unless it says that it is one of the two above), ERR_PROVIDER_CUT
 * (ended without a finish), ERR_PROVIDER_INVALID (not the protocol).
 */
enum err llm_call(struct task *t, const struct llm_provider *p, const struct fetch_conf *conf, const struct llm_request *rq,
		  int client_fd, int tick_ms, const struct llm_events *ev, struct llm_result *result_r) MUST_CHECK;

#endif
