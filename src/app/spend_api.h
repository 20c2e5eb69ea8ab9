/* SPDX-License-Identifier: MIT */
/* spend_api: what a site has spent, over HTTP. */
#ifndef PARLEY_APP_SPEND_API_H
#define PARLEY_APP_SPEND_API_H

#include "app/call.h"

extern const struct feature spend_api_feature;

#endif
