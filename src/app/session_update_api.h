/* SPDX-License-Identifier: MIT */
/* session_update_api: changes of a session over HTTP. */
#ifndef PARLEY_APP_SESSION_UPDATE_API_H
#define PARLEY_APP_SESSION_UPDATE_API_H

#include "app/call.h"

extern const struct feature session_update_api_feature;

#endif
