/* SPDX-License-Identifier: MIT */
/* turn_api: the routes of turns and the one-call chat. */
#ifndef PARLEY_APP_TURN_API_H
#define PARLEY_APP_TURN_API_H

#include "app/call.h"

extern const struct feature turn_api_feature;

#endif
