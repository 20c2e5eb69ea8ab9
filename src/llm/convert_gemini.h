/* SPDX-License-Identifier: MIT */
/* convert_gemini: what the three files of this format share. */
#ifndef PARLEY_LLM_CONVERT_GEMINI_H
#define PARLEY_LLM_CONVERT_GEMINI_H

#include "llm/convert_private.h"

#define GEMINI "gemini"

/* What a part is, by the one member that says so. */
enum gemini_kind { PART_TEXT, PART_INLINE, PART_FILE, PART_CALL, PART_RESPONSE, PART_OTHER };

/* A part taken apart. */
struct gemini_part {
	enum gemini_kind kind;
	struct bytes value; /* of the member that says what it is */
	bool is_thought;    /* of a text */
	struct bytes rest;
};

/* Takes a part apart; one with no known member, or with two, is PART_OTHER. */
void gemini_take(struct arena *a, struct bytes part, struct gemini_part *p_r);

/* The id and name of a call or an answer, plain; no bytes where there is none or it is empty. */
void gemini_names(struct arena *a, struct bytes value, struct bytes *id_r, struct bytes *name_r);

/* Reads one unit, no answer of a tool, into a draft. */
enum err gemini_read_unit(struct task *t, const struct convert_unit *u, struct convert_draft *d) MUST_CHECK;

/* The type that an address ends like, as a raw string; no bytes for others. */
struct bytes gemini_guess_type(struct arena *a, struct bytes raw_url);

/* Gives calls and answers their call_id, and answers their call_name: by id or, failing that, the oldest open call of that name. n log n. */
void gemini_match(struct arena *a, struct convert_units *us);

/* An id for a call that came without one, made of what tells it from others. */
struct bytes gemini_make_id(struct arena *a, const struct bytes *parts, size_t n);

/* Whether an id was made here for a call that came without one. */
bool gemini_is_made_id(struct bytes id);

/* convert_driver's say. */
void gemini_say(const struct convert_say *s);

#endif
