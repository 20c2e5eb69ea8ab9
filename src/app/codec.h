/* SPDX-License-Identifier: MIT */
/* codec: the small header in front of every stored content, and its compression. */
#ifndef PARLEY_APP_CODEC_H
#define PARLEY_APP_CODEC_H

#include "base/task.h"

/* Packs content for a LONGBLOB column: header, then the bytes, compressed when that is worth it. Empty content packs to the header alone. */
struct bytes codec_pack(struct arena *a, struct bytes content);

/* The reverse. False when the record is not one of ours, is of a newer format, or its compression is broken. */
bool codec_unpack(struct arena *a, struct bytes stored, struct bytes *content_r);

#endif
