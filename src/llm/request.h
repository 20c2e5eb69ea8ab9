/* SPDX-License-Identifier: MIT */
/* request: what the builders of providers' requests have in common. */
#ifndef PARLEY_LLM_REQUEST_H
#define PARLEY_LLM_REQUEST_H

#include "base/buf.h"
#include "llm/convert.h"
#include "llm/llm_private.h"

/*
 * Makes a POST of a JSON body to the provider's base URL with `path` behind it. key_header is what stands in front of the key in its header
 * ("Authorization: Bearer "), version_header another header or NULL. ERR_PROVIDER_REFUSED for a key that would be more than its header's value.
 */
enum err request_make(struct task *t, const struct llm_provider *p, const char *path, const char *key_header, const char *version_header,
		      struct bytes body, struct fetch_request *fetch_r) MUST_CHECK;

/* The host of an address, with its port if there is one: whose answers may go back to it whole. No bytes without a scheme. */
struct bytes request_host(const char *base_url);

/* Adds instructions and messages to an object that is being written, as the members that this provider has for them. */
void request_add_prompt(struct buf *b, struct task *t, enum convert_kind kind, const struct llm_request *rq);

/* Adds a tool as an object: its name, its description, and its schema under the name that this provider has for that. */
void request_add_tool(struct buf *b, const struct llm_tool *tool, const char *schema_name);

/* Adds the tools as an array's elements, each between `before` and `after`. */
void request_add_tools(struct buf *b, const struct llm_request *rq, const char *schema_name, const char *before, const char *after);

/* Adds a number with its name. */
void request_add_real(struct buf *b, const char *name, double v);

/* Whether the request asks for a temperature. */
bool request_has_temperature(const struct llm_request *rq);

#endif
