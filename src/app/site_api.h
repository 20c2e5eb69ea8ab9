/* SPDX-License-Identifier: MIT */
/* site_api: what a site may know of itself, over HTTP. */
#ifndef PARLEY_APP_SITE_API_H
#define PARLEY_APP_SITE_API_H

#include "app/call.h"

extern const struct feature site_api_feature;

#endif
