/* SPDX-License-Identifier: MIT */
/* policy: what a session's config may say, and what it comes to. */
#ifndef PARLEY_APP_POLICY_H
#define PARLEY_APP_POLICY_H

#include <stdbool.h>

#include "base/field.h"

/* What is left of a session when it ends (SES-14). */
enum memory_policy {
	MEMORY_PERSISTENT, /* everything, for the time that histories are kept */
	MEMORY_EPHEMERAL,  /* nothing */
	MEMORY_HYBRID,     /* state and metadata, and a summary of the history */
};

/* What a config says, with the defaults of what it does not say. */
struct policy {
	enum memory_policy memory;
	bool auto_persist;            /* hybrid: whether the summary is kept; true unless said */
	int64_t max_context_messages; /* 0: the install's own limit */
	double temperature;           /* negative: the agent's */
};

/* The keys that have a meaning. */
extern const struct field_table policy_config_table;

/*
 * Checks the keys of a session's config that have a meaning; others may hold anything, and null says nothing. Every wrong one is named as "<field>.<key>".
 * `config` is a validated JSON object.
 */
enum err policy_check_config(struct task *t, const char *field, struct bytes config) MUST_CHECK;

/* What a stored config says; a value that is not acceptable counts as not said. */
struct policy policy_read(struct task *t, struct bytes config);

#endif
