/* SPDX-License-Identifier: MIT */
/* secret: random bytes, hashes, API keys and signed tokens, over libsodium. Secrets are wiped after use. */
#ifndef PARLEY_BASE_SECRET_H
#define PARLEY_BASE_SECRET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/ident.h"
#include "base/task.h"

#define SECRET_KEY_SIZE 32
#define SECRET_HASH_SIZE 32
#define API_KEY_SIZE 48      /* "sk_" + 30 base62 (178 random bits) + 6 of check + NUL, with room to spare */
#define TOKEN_SIZE 160       /* a session token as text, with its NUL */

/* Starts libsodium; aborts if it cannot. Call once, before the first fork. Safe to call again. */
void secret_init(void);

/* n unguessable bytes. */
void secret_random(void *out, size_t n);

/* Overwrites memory in a way the compiler keeps. */
void secret_wipe(void *p, size_t n);

/* Whether two runs of n bytes are equal, in constant time. */
bool secret_equal(const void *a, const void *b, size_t n);

/* BLAKE2b-256 of some runs of bytes, each preceded by its length, so that no two lists share a hash. */
void secret_hash(const struct bytes *parts, size_t n_parts, unsigned char out[SECRET_HASH_SIZE]);

/*
 * BLAKE2b-256 of one run of bytes as it comes, which is what `b2sum -l 256` prints. A copy of the struct goes on from where it was made.
 */
struct secret_digest {
	_Alignas(64) unsigned char state[448];
};
void secret_digest_begin(struct secret_digest *d);
void secret_digest_add(struct secret_digest *d, const void *p, size_t n);
void secret_digest_end(struct secret_digest *d, unsigned char out[SECRET_HASH_SIZE]);

/*
 * A key made from another one and a list of runs of bytes, the first of which names what it is for; keyed BLAKE2b-256. Nobody who has it learns the
 * other one from it, nor what is made from that with another list.
 */
void secret_derive(const unsigned char key[SECRET_KEY_SIZE], const struct bytes *parts, size_t n_parts, unsigned char out[SECRET_KEY_SIZE]);

/* The first 16 bytes of secret_hash: a fixed id derived from names (a caller's own session id, a user). */
struct ident secret_ident(const struct bytes *parts, size_t n_parts);

/* 2n hex characters and a NUL. */
void secret_hex(const void *p, size_t n, char *out);

/* A new API key: kind is "sk_" or "pk_"; 30 random base62 characters and 6 of CRC-32, as scanners expect them. */
void api_key_new(const char *kind, char out[API_KEY_SIZE]);

/* Whether text has the form and the check digits of an API key of either kind; asks no database. */
bool api_key_is_wellformed(struct bytes text);

/* The hash under which an API key is stored. */
void api_key_hash(struct bytes text, unsigned char out[SECRET_HASH_SIZE]);

/* What a session token says. */
struct token {
	struct ident site;
	struct ident session;
	struct ident user;     /* secret_ident of the user's id: the token dies with a change of user */
	int64_t expires_at;    /* ms since 1970 */
};

/* Signs a token with the install's secret: "st_" + base64url(version, fields, 32-byte keyed BLAKE2b) + NUL. */
void token_format(const struct token *tk, const unsigned char key[SECRET_KEY_SIZE], char out[TOKEN_SIZE]);

/*
 * Reads and checks a token in constant time for its signature. ERR_OK, ERR_UNAUTHENTICATED when malformed or forged,
 * ERR_TOKEN_EXPIRED when genuine but past its time (tk_r is filled then too). Fills no fault.
 */
enum err token_parse(struct bytes text, const unsigned char key[SECRET_KEY_SIZE], int64_t now_ms, struct token *tk_r) MUST_CHECK;

/*
 * Reads a secret of at least 32 bytes' worth of text from a file (trailing newline dropped) and derives a 32-byte key
 * from it. Refuses a file that others may read. ERR_CONFIG with a fault that names the file.
 */
enum err secret_load(struct task *t, const char *path, unsigned char key_r[SECRET_KEY_SIZE]) MUST_CHECK;

#endif
