/* SPDX-License-Identifier: MIT */
/*
 * codec: content as stored. Header of 4 bytes: a magic byte, the format (0 as it came, 1 zstd), and the id of the key it is
 * encrypted with in two bytes (0: none). What follows is the content.
 */
#include "app/codec.h"

#include <zstd.h>

#define MAGIC 0xA7
#define HEADER 4
#define FORMAT_PLAIN 0
#define FORMAT_ZSTD 1
#define COMPRESS_FROM 1024            /* shorter content gains nothing */
#define CONTENT_MAX (64u << 20)       /* no honest record is larger */
#define LEVEL 1

static struct bytes store(char *p, unsigned char format, size_t n)
{
	p[0] = (char)MAGIC;
	p[1] = (char)format;
	p[2] = p[3] = 0;
	return (struct bytes){ p, HEADER + n };
}

struct bytes codec_pack_plain(struct arena *a, struct bytes content)
{
	char *p = arena_alloc(a, HEADER + content.n);
	if (content.n)
		memcpy(p + HEADER, content.p, content.n);
	return store(p, FORMAT_PLAIN, content.n);
}

size_t codec_plain_size(size_t n)
{
	return HEADER + n;
}

struct bytes codec_pack(struct arena *a, struct bytes content)
{
	if (content.n >= COMPRESS_FROM) {
		size_t room = ZSTD_compressBound(content.n);
		char *p = arena_alloc(a, HEADER + room);
		size_t n = ZSTD_compress(p + HEADER, room, content.p, content.n, LEVEL);
		if (!ZSTD_isError(n) && n < content.n - content.n / 8)
			return store(p, FORMAT_ZSTD, n);
	}
	return codec_pack_plain(a, content);
}

bool codec_unpack(struct arena *a, struct bytes stored, struct bytes *content_r)
{
	if (stored.n < HEADER || (unsigned char)stored.p[0] != MAGIC || stored.p[2] || stored.p[3])
		return false;
	struct bytes in = { stored.p + HEADER, stored.n - HEADER };
	if (stored.p[1] == FORMAT_PLAIN) {
		*content_r = in;
		return true;
	}
	if (stored.p[1] != FORMAT_ZSTD)
		return false;
	unsigned long long size = ZSTD_getFrameContentSize(in.p, in.n);
	if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || size > CONTENT_MAX)
		return false;
	char *out = arena_alloc(a, (size_t)size + 1);
	size_t n = ZSTD_decompress(out, (size_t)size, in.p, in.n);
	if (ZSTD_isError(n) || n != size)
		return false;
	*content_r = (struct bytes){ out, n };
	return true;
}
