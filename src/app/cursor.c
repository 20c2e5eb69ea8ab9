/* SPDX-License-Identifier: MIT */
/* cursor: base64url of time, id and four bytes of a hash of the list. */
#include "app/cursor.h"

#include <sodium.h>

#include "base/secret.h"

#define RAW 28

static void pack(const struct cursor *c, struct bytes list, unsigned char raw[RAW])
{
	for (int i = 0; i < 8; i++)
		raw[i] = (unsigned char)((uint64_t)c->at >> (56 - 8 * i));
	memcpy(raw + 8, c->id.b, 16);
	struct bytes parts[] = { BYTES("cursor"), list, { (const char *)raw, 24 } };
	unsigned char hash[SECRET_HASH_SIZE];
	secret_hash(parts, sizeof parts / sizeof parts[0], hash);
	memcpy(raw + 24, hash, 4);
}

void cursor_format(const struct cursor *c, struct bytes list, char out[CURSOR_SIZE])
{
	unsigned char raw[RAW];
	pack(c, list, raw);
	sodium_bin2base64(out, CURSOR_SIZE, raw, sizeof raw, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

bool cursor_parse(struct bytes text, struct bytes list, struct cursor *c_r)
{
	unsigned char raw[RAW], again[RAW];
	size_t n;
	if (sodium_base642bin(raw, sizeof raw, text.p, text.n, NULL, &n, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 || n != RAW)
		return false;
	uint64_t at = 0;
	for (int i = 0; i < 8; i++)
		at = at << 8 | raw[i];
	c_r->at = (int64_t)at;
	memcpy(c_r->id.b, raw + 8, 16);
	pack(c_r, list, again);
	return memcmp(raw, again, RAW) == 0;
}
