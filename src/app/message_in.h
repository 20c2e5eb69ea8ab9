/* SPDX-License-Identifier: MIT */
/* message_in: a message as a request says it: alone, in a batch, or beside other changes. */
#ifndef PARLEY_APP_MESSAGE_IN_H
#define PARLEY_APP_MESSAGE_IN_H

#include <stddef.h>

#include "app/message.h"

/* One message of a request; the same members stand alone or in a batch. */
struct message_in {
	struct bytes role, content, metadata, name, tool_calls, tool_call_id, audio_url, model, client_id;
	int64_t tokens_used, latency_ms;
	bool has_role, has_content, has_tokens, has_latency;
};

/* Rows of a field table whose struct holds a message_in at `base`; role and content have the flags `required`. */
#define MESSAGE_IN_MEMBER(name) offsetof(struct message_in, name)
#define MESSAGE_IN_FIELDS(base, required)                                                                                                             \
	{ .name = "role", .type = FIELD_ENUM, .flags = (required), .offset = (base) + MESSAGE_IN_MEMBER(role), .given_offset = (base) + MESSAGE_IN_MEMBER(has_role),     \
	  .choices = ROLE_CHOICES, .help = "Who says it", .example = "\"user\"" },                                                                                        \
	{ .name = "content", .type = FIELD_TEXT_OR_ARRAY, .flags = (required), .offset = (base) + MESSAGE_IN_MEMBER(content),                                \
	  .given_offset = (base) + MESSAGE_IN_MEMBER(has_content), .help = "A string, or an array of parts, each an object with a type",                     \
	  .example = "\"Do you bake rye bread?\"" },                                                                                               \
	{ .name = "metadata", .type = FIELD_OBJECT, .max = 16384, .offset = (base) + MESSAGE_IN_MEMBER(metadata), .help = "Any object, kept as it came" },   \
	{ .name = "name", .type = FIELD_STRING, .min = 1, .max = 64, .offset = (base) + MESSAGE_IN_MEMBER(name), .help = "Name of the speaker or tool" },    \
	{ .name = "tool_calls", .type = FIELD_ARRAY, .min = 1, .max = 128, .offset = (base) + MESSAGE_IN_MEMBER(tool_calls), .help = "Tool calls of an assistant message" }, \
	{ .name = "tool_call_id", .type = FIELD_STRING, .min = 1, .max = 128, .offset = (base) + MESSAGE_IN_MEMBER(tool_call_id), .help = "The call a tool message answers" }, \
	{ .name = "audio_url", .type = FIELD_STRING, .min = 1, .max = 2048, .offset = (base) + MESSAGE_IN_MEMBER(audio_url), .help = "Where its audio is" }, \
	{ .name = "model", .type = FIELD_STRING, .min = 1, .max = 128, .offset = (base) + MESSAGE_IN_MEMBER(model), .help = "Model that wrote it" },         \
	{ .name = "client_id", .type = FIELD_STRING, .min = 1, .max = 128, .offset = (base) + MESSAGE_IN_MEMBER(client_id), .help = "The client's own id of it" }, \
	{ .name = "tokens_used", .type = FIELD_INT, .min = 0, .max = 1000000000, .offset = (base) + MESSAGE_IN_MEMBER(tokens_used),                           \
	  .given_offset = (base) + MESSAGE_IN_MEMBER(has_tokens), .help = "Tokens it cost" },                                                                \
	{ .name = "latency_ms", .type = FIELD_INT, .min = 0, .max = 1000000000, .offset = (base) + MESSAGE_IN_MEMBER(latency_ms),                             \
	  .given_offset = (base) + MESSAGE_IN_MEMBER(has_latency), .help = "How long it took to make, in milliseconds" }

/* One element of a batch. */
extern const struct field_table message_in_table;

/* Turns a checked message into what is stored; the problems that a table cannot see are added to the fault under `path`. ERR_INVALID. */
enum err message_in_read(struct call *c, const struct message_in *in, const char *path, struct message_new *m_r) MUST_CHECK;

/* The same for a whole batch of message_in: items_r has room for list->n. ERR_INVALID also for more than the settings allow. */
enum err message_in_read_list(struct call *c, const struct field_list *list, const char *path, struct message_new *items_r) MUST_CHECK;

#endif
