/* SPDX-License-Identifier: MIT */
/* agent_api: the routes of agents. */
#ifndef PARLEY_APP_AGENT_API_H
#define PARLEY_APP_AGENT_API_H

#include "app/call.h"

extern const struct feature agent_api_feature;

#endif
