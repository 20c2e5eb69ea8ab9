/* SPDX-License-Identifier: MIT */
/* health: live, ready and metrics. */
#ifndef PARLEY_APP_HEALTH_H
#define PARLEY_APP_HEALTH_H

#include "app/call.h"

extern const struct feature health_feature;

#endif
