/* SPDX-License-Identifier: MIT */
/* compress_api: the route that compresses a conversation. */
#ifndef PARLEY_APP_COMPRESS_API_H
#define PARLEY_APP_COMPRESS_API_H

#include "app/call.h"

extern const struct feature compress_api_feature;

#endif
