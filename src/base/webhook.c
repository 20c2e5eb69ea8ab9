/* SPDX-License-Identifier: MIT */
/* webhook: signatures of the calls that parley makes to sites, over libsodium. */
#include "base/webhook.h"

#include <assert.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>

_Static_assert(WEBHOOK_KEY_SIZE == crypto_auth_hmacsha256_KEYBYTES, "a key is what the library makes");
_Static_assert(WEBHOOK_SECRET_SIZE == 6 + sodium_base64_ENCODED_LEN(WEBHOOK_KEY_SIZE, sodium_base64_VARIANT_ORIGINAL), "a secret fits its buffer");
_Static_assert(WEBHOOK_SIGNATURE_SIZE == 3 + sodium_base64_ENCODED_LEN(crypto_auth_hmacsha256_BYTES, sodium_base64_VARIANT_ORIGINAL),
	       "a signature fits its buffer");

void webhook_format_secret(const unsigned char key[WEBHOOK_KEY_SIZE], char out[WEBHOOK_SECRET_SIZE])
{
	memcpy(out, "whsec_", 6);
	sodium_bin2base64(out + 6, WEBHOOK_SECRET_SIZE - 6, key, WEBHOOK_KEY_SIZE, sodium_base64_VARIANT_ORIGINAL);
}

void webhook_sign(const unsigned char key[WEBHOOK_KEY_SIZE], struct bytes id, int64_t timestamp, struct bytes body, char out[WEBHOOK_SIGNATURE_SIZE])
{
	crypto_auth_hmacsha256_state st;
	unsigned char mac[crypto_auth_hmacsha256_BYTES];
	char middle[24];
	int n = snprintf(middle, sizeof(middle), ".%" PRId64 ".", timestamp);

	assert(!memchr(id.p, '.', id.n));
	crypto_auth_hmacsha256_init(&st, key, WEBHOOK_KEY_SIZE);
	crypto_auth_hmacsha256_update(&st, (const unsigned char *)id.p, id.n);
	crypto_auth_hmacsha256_update(&st, (const unsigned char *)middle, (size_t)n);
	crypto_auth_hmacsha256_update(&st, (const unsigned char *)body.p, body.n);
	crypto_auth_hmacsha256_final(&st, mac);
	memcpy(out, "v1,", 3);
	sodium_bin2base64(out + 3, WEBHOOK_SIGNATURE_SIZE - 3, mac, sizeof(mac), sodium_base64_VARIANT_ORIGINAL);
	sodium_memzero(&st, sizeof(st));
}
