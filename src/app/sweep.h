/* SPDX-License-Identifier: MIT */
/* sweep: the janitor's round: one process of the install at a time runs the features' jobs. */
#ifndef PARLEY_APP_SWEEP_H
#define PARLEY_APP_SWEEP_H

#include "app/call.h"

extern const struct feature sweep_feature;

#endif
