/* SPDX-License-Identifier: MIT */
/* message_edit_api: single messages over HTTP. */
#ifndef PARLEY_APP_MESSAGE_EDIT_API_H
#define PARLEY_APP_MESSAGE_EDIT_API_H

#include "app/call.h"

extern const struct feature message_edit_api_feature;

#endif
