/* SPDX-License-Identifier: MIT */
/* codec: the small header in front of every stored content, and its compression. */
#ifndef PARLEY_APP_CODEC_H
#define PARLEY_APP_CODEC_H

#include "base/task.h"

/* Packs content for a LONGBLOB column: header, then the bytes, compressed when that is worth it. Empty content packs to the header alone. */
struct bytes codec_pack(struct arena *a, struct bytes content);

/* The same without compression, for content that is written again and again while it grows. */
struct bytes codec_pack_plain(struct arena *a, struct bytes content);
/* Its size for n bytes of content. */
size_t codec_plain_size(size_t n);

/* The reverse. False when the record is not one of ours, is of a newer format, or its compression is broken. */
bool codec_unpack(struct arena *a, struct bytes stored, struct bytes *content_r);

#endif
