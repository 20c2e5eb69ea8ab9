/* SPDX-License-Identifier: MIT */
/*
 * policy: the keys of a session's config that have a meaning, as one field table. A config is the site's own object, so keys that are not
 * listed here stay in it untouched.
 */
#include "app/policy.h"

#include <stddef.h>

#include "app/preset.h"

struct config_in {
	double temperature;
	struct bytes memory_policy, preset, template_name, memory_categories;
	int64_t max_context_messages;
	bool is_on, has_temperature;
};

#define MEMBER(name) offsetof(struct config_in, name)
static const struct field config_fields[] = {
	{ .name = "temperature", .type = FIELD_REAL, .min = 0, .max = 2, .offset = MEMBER(temperature),
	  .given_offset = MEMBER(has_temperature), .help = "In place of the agent's" },
	{ .name = "memory_policy", .type = FIELD_ENUM, .choices = "persistent|ephemeral|hybrid", .offset = MEMBER(memory_policy),
	  .help = "What is left at the end: all, nothing, or state, metadata and a summary" },
	{ .name = "auto_persist", .type = FIELD_BOOL, .offset = MEMBER(is_on), .help = "hybrid: keep a summary; true unless said" },
	{ .name = "max_context_messages", .type = FIELD_INT, .min = 1, .max = 1000, .offset = MEMBER(max_context_messages),
	  .help = "Most messages sent to the provider" },
	{ .name = "preset", .type = FIELD_ENUM, .choices = PRESET_CHOICES, .offset = MEMBER(preset), .help = "The preset it began with" },
	{ .name = "template", .type = FIELD_STRING, .min = 1, .max = 64, .offset = MEMBER(template_name), .help = "The template it began with" },
	{ .name = "memory_categories", .type = FIELD_STRINGS, .max = 32, .offset = MEMBER(memory_categories), .help = "Kinds of memory it uses" },
	{ .name = "learning", .type = FIELD_BOOL, .offset = MEMBER(is_on), .help = "Learn from the conversation" },
	{ .name = "tools", .type = FIELD_BOOL, .offset = MEMBER(is_on), .help = "Let the agent use tools" },
	{ .name = "adaptation", .type = FIELD_BOOL, .offset = MEMBER(is_on), .help = "Adapt to the user" },
	{ .name = "analytics", .type = FIELD_BOOL, .offset = MEMBER(is_on), .help = "Count it in analytics" },
	{ .name = NULL },
};
const struct field_table policy_config_table = { config_fields, sizeof(struct config_in) };

static enum err parse(struct task *t, const char *field, struct bytes config, struct config_in *in_r)
{
	struct buf known;
	buf_init(&known, t->arena, 256);
	buf_add_char(&known, '{');
	for (const struct field *f = config_fields; f->name; f++) {
		struct bytes value = jsonx_member(config, f->name);
		if (value.n && jsonx_type(value) != JSONX_NULL)
			buf_member_json(&known, f->name, value);
	}
	buf_add_char(&known, '}');
	memset(in_r, 0, sizeof *in_r);
	return field_parse(t, &policy_config_table, buf_bytes(&known), field, in_r);
}

enum err policy_check_config(struct task *t, const char *field, struct bytes config)
{
	struct config_in in;
	return parse(t, field, config, &in);
}

struct policy policy_read(struct task *t, struct bytes config)
{
	struct fault kept = t->fault;
	struct config_in in;
	bool is_sound = parse(t, "config", config, &in) == ERR_OK;
	if (!is_sound) /* what could be read is in it all the same */
		t->fault = kept;
	struct bytes persist = jsonx_member(config, "auto_persist");
	struct policy p = { .auto_persist = jsonx_type(persist) != JSONX_BOOL || jsonx_bool(persist), .max_context_messages = in.max_context_messages,
			    .temperature = is_sound && in.has_temperature ? in.temperature : -1 };
	if (bytes_equal(in.memory_policy, BYTES("ephemeral")))
		p.memory = MEMORY_EPHEMERAL;
	else if (bytes_equal(in.memory_policy, BYTES("hybrid")))
		p.memory = MEMORY_HYBRID;
	return p;
}
