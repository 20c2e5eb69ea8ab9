/* SPDX-License-Identifier: MIT */
/* preset: owns the constant table of presets (SES-15) and shows it. A preset is no more than a config to begin with. */
#include "app/preset.h"

#include "app/dispatch.h"

static const struct preset presets[] = {
	{ "conversation", "Open talk that is remembered and learned from",
	  "{\"temperature\":0.8,\"memory_policy\":\"persistent\",\"learning\":true}" },
	{ "task_oriented", "One task with tools; nothing is kept after its end",
	  "{\"temperature\":0.3,\"memory_policy\":\"ephemeral\",\"tools\":true}" },
	{ "educational", "Teaching that adapts; at the end a summary is kept instead of the history",
	  "{\"temperature\":0.5,\"memory_policy\":\"hybrid\",\"adaptation\":true}" },
	{ "customer_support", "Support that is kept and counted",
	  "{\"memory_policy\":\"persistent\",\"analytics\":true}" },
};

const struct preset *preset_find(struct bytes name)
{
	for (size_t i = 0; i < COUNT(presets); i++)
		if (bytes_equal(name, bytes_of(presets[i].name)))
			return &presets[i];
	return NULL;
}

static enum err api_preset_list(struct call *c)
{
	struct buf *b = &c->rs->body;
	buf_add_str(b, "{\"data\":[");
	for (size_t i = 0; i < COUNT(presets); i++) {
		buf_add_str(b, i ? ",{" : "{");
		buf_member_str(b, "name", presets[i].name);
		buf_member_str(b, "help", presets[i].help);
		buf_member_json(b, "config", bytes_of(presets[i].config));
		buf_add_char(b, '}');
	}
	buf_add_str(b, "]}");
	dispatch_reply(c, 200);
	return ERR_OK;
}

static const struct api_route routes[] = {
	{ HTTP_GET, "/v1/presets", SCOPE_SITE, api_preset_list, NULL, NULL, 0, "List the presets that a session or template can begin with", 200, "PresetList" },
};

const struct feature preset_feature = { .name = "preset", .routes = routes, .n_routes = COUNT(routes) };
