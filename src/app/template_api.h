/* SPDX-License-Identifier: MIT */
/* template_api: the routes of templates. */
#ifndef PARLEY_APP_TEMPLATE_API_H
#define PARLEY_APP_TEMPLATE_API_H

#include "app/call.h"

extern const struct feature template_api_feature;

#endif
