/* SPDX-License-Identifier: MIT */
/* search_api: the route of the search. */
#ifndef PARLEY_APP_SEARCH_API_H
#define PARLEY_APP_SEARCH_API_H

#include "app/call.h"

extern const struct feature search_api_feature;

#endif
