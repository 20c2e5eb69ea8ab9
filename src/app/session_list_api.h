/* SPDX-License-Identifier: MIT */
/* session_list_api: lists of sessions over HTTP. */
#ifndef PARLEY_APP_SESSION_LIST_API_H
#define PARLEY_APP_SESSION_LIST_API_H

#include "app/call.h"

extern const struct feature session_list_api_feature;

#endif
