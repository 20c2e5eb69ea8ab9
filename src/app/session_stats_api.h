/* SPDX-License-Identifier: MIT */
/* session_stats_api: a session's numbers, and what there is of it, over HTTP. */
#ifndef PARLEY_APP_SESSION_STATS_API_H
#define PARLEY_APP_SESSION_STATS_API_H

#include "app/call.h"

extern const struct feature session_stats_api_feature;

#endif
