/* SPDX-License-Identifier: MIT */
/* search_text: what a message says, without what only programs read. */
#ifndef PARLEY_APP_SEARCH_TEXT_H
#define PARLEY_APP_SEARCH_TEXT_H

#include "base/jsonx.h"

/*
 * The text of a stored content: the string itself, or the text parts (also inside of a tool's result) joined by line ends; no addresses, no arguments, no
 * encoded data. No bytes (NULL p) when it says nothing, was deleted or cannot be read.
 */
struct bytes search_text(struct arena *a, struct bytes content);

#endif
