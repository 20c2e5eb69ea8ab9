/* SPDX-License-Identifier: MIT */
/* template_api: the routes of templates. */
#ifndef PARLEY_APP_TEMPLATE_API_H
#define PARLEY_APP_TEMPLATE_API_H

#include "app/call.h"

/* What a new template may carry; fills a struct template_change. */
extern const struct field_table template_create_table;

extern const struct feature template_api_feature;

#endif
