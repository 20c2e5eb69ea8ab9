/* SPDX-License-Identifier: MIT */
/* tool_time: the built-in tool current_time. */
#ifndef PARLEY_APP_TOOL_TIME_H
#define PARLEY_APP_TOOL_TIME_H

#include "app/call.h"

extern const struct feature tool_time_feature;

#endif
