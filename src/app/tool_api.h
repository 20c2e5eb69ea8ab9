/* SPDX-License-Identifier: MIT */
/* tool_api: the routes of a site's tools. */
#ifndef PARLEY_APP_TOOL_API_H
#define PARLEY_APP_TOOL_API_H

#include "app/call.h"

/* What a new tool may carry; fills a struct tool_change. */
extern const struct field_table tool_create_table;

extern const struct feature tool_api_feature;

#endif
