/* SPDX-License-Identifier: MIT */
/* message_api: the routes of messages. */
#ifndef PARLEY_APP_MESSAGE_API_H
#define PARLEY_APP_MESSAGE_API_H

#include "app/call.h"

extern const struct feature message_api_feature;

#endif
