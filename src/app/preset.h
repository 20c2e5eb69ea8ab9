/* SPDX-License-Identifier: MIT */
/* preset: ready-made configurations of a session, known by name to every site. */
#ifndef PARLEY_APP_PRESET_H
#define PARLEY_APP_PRESET_H

#include "app/call.h"

/* The names of all presets, for field tables. */
#define PRESET_CHOICES "conversation|task_oriented|educational|customer_support"

struct preset {
	const char *name, *help;
	const char *config; /* JSON object: the base of the session's config */
};

/* The preset of this name, or NULL. */
const struct preset *preset_find(struct bytes name);

extern const struct feature preset_feature;

#endif
