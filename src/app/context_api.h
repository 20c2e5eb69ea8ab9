/* SPDX-License-Identifier: MIT */
/* context_api: the route that shows what a model would get of a conversation. */
#ifndef PARLEY_APP_CONTEXT_API_H
#define PARLEY_APP_CONTEXT_API_H

#include "app/call.h"

extern const struct feature context_api_feature;

#endif
