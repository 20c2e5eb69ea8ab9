/* SPDX-License-Identifier: MIT */
/* move_api: exports and imports over HTTP. */
#ifndef PARLEY_APP_MOVE_API_H
#define PARLEY_APP_MOVE_API_H

#include "app/move_import.h"

/* Adds what an import came to as a JSON object. */
void move_import_render(struct buf *b, const struct move_import *m);

extern const struct feature move_api_feature;

#endif
