/* SPDX-License-Identifier: MIT */
/* webhook: signatures of the calls that parley makes to sites, as the Standard Webhooks specification has them. */
#ifndef PARLEY_BASE_WEBHOOK_H
#define PARLEY_BASE_WEBHOOK_H

#include <stdint.h>

#include "base/bytes.h"

#define WEBHOOK_KEY_SIZE 32
#define WEBHOOK_SECRET_SIZE 51    /* "whsec_", base64 of a key and a NUL */
#define WEBHOOK_SIGNATURE_SIZE 48 /* "v1,", base64 of 32 bytes and a NUL */

/* A key as the site gets it. */
void webhook_format_secret(const unsigned char key[WEBHOOK_KEY_SIZE], char out[WEBHOOK_SECRET_SIZE]);

/* "v1," and base64 of HMAC-SHA256 over `id.timestamp.body`; the timestamp is in seconds since 1970. The id holds no dot. */
void webhook_sign(const unsigned char key[WEBHOOK_KEY_SIZE], struct bytes id, int64_t timestamp, struct bytes body, char out[WEBHOOK_SIGNATURE_SIZE]);

#endif
