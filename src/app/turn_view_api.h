/* SPDX-License-Identifier: MIT */
/* turn_view_api: turns that have begun, over HTTP. */
#ifndef PARLEY_APP_TURN_VIEW_API_H
#define PARLEY_APP_TURN_VIEW_API_H

#include "app/call.h"

extern const struct feature turn_view_api_feature;

#endif
