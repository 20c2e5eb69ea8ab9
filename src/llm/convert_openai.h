/* SPDX-License-Identifier: MIT */
/* convert_openai: what the provider's driver and the format say alike. */
#ifndef PARLEY_LLM_CONVERT_OPENAI_H
#define PARLEY_LLM_CONVERT_OPENAI_H

#include "base/buf.h"
#include "base/jsonx.h"

/* Adds a stored part as an element of a content, behind a comma unless the buffer is empty; nothing if it cannot be said by this role. */
void convert_openai_part(struct buf *b, struct bytes role, struct bytes part);

/* The same for a stored tool call of either form. */
void convert_openai_call(struct buf *b, struct bytes call);

/* The id under which a call and its answer are said. */
struct bytes convert_openai_id(struct arena *a, struct bytes id);

/* Whether a name, raw, is one that may be said of who speaks: others are refused. */
bool convert_openai_is_name(struct arena *a, struct bytes raw);

#endif
