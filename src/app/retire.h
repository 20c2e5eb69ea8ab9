/* SPDX-License-Identifier: MIT */
/* retire: the janitor's job on ended sessions. */
#ifndef PARLEY_APP_RETIRE_H
#define PARLEY_APP_RETIRE_H

#include "app/call.h"

extern const struct feature retire_feature;

#endif
