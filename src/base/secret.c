/* SPDX-License-Identifier: MIT */
/* secret: random bytes, hashes, API keys, session tokens and the install's secret, over libsodium. */
#include "base/secret.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_PREFIX 3 /* "sk_" and "pk_" */
#define KEY_RANDOM 30
#define KEY_CHECK 6
#define KEY_TEXT (KEY_PREFIX + KEY_RANDOM + KEY_CHECK)

static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* A token before it is written as text: version, site, session, user, expiry (big endian), signature. */
#define TOKEN_VERSION 1
#define TOKEN_SIGNED (1 + 3 * 16 + 8)
#define TOKEN_RAW (TOKEN_SIGNED + 32)
#define TOKEN_PREFIX "st_"
#define TOKEN_BASE64 ((TOKEN_RAW * 4 + 2) / 3)
#define TOKEN_TEXT (sizeof(TOKEN_PREFIX) - 1 + TOKEN_BASE64)

#define SECRET_FILE_MIN 32
#define SECRET_FILE_MAX 4096

_Static_assert(KEY_TEXT < API_KEY_SIZE, "an API key fits its buffer");
_Static_assert(sizeof(crypto_generichash_state) <= sizeof(((struct secret_digest *)0)->state), "the library's state fits ours");
_Static_assert(TOKEN_TEXT < TOKEN_SIZE, "a token fits its buffer");

void secret_init(void)
{
	if (sodium_init() < 0)
		abort();
}

void secret_random(void *out, size_t n)
{
	randombytes_buf(out, n);
}

void secret_wipe(void *p, size_t n)
{
	sodium_memzero(p, n);
}

bool secret_equal(const void *a, const void *b, size_t n)
{
	return sodium_memcmp(a, b, n) == 0;
}

static void put_be64(unsigned char *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (unsigned char)(v >> (56 - 8 * i));
}

static uint64_t get_be64(const unsigned char *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

/* Hashes a list of runs of bytes, with a key or with none (NULL). */
static void hash_parts(const unsigned char *key, const struct bytes *parts, size_t n_parts, unsigned char out[SECRET_HASH_SIZE])
{
	crypto_generichash_state st;
	unsigned char length[8];

	crypto_generichash_init(&st, key, key ? SECRET_KEY_SIZE : 0, SECRET_HASH_SIZE);
	for (size_t i = 0; i < n_parts; i++) {
		put_be64(length, parts[i].n);
		crypto_generichash_update(&st, length, sizeof(length));
		crypto_generichash_update(&st, (const unsigned char *)parts[i].p, parts[i].n);
	}
	crypto_generichash_final(&st, out, SECRET_HASH_SIZE);
	sodium_memzero(&st, sizeof(st));
}

void secret_hash(const struct bytes *parts, size_t n_parts, unsigned char out[SECRET_HASH_SIZE])
{
	hash_parts(NULL, parts, n_parts, out);
}

void secret_derive(const unsigned char key[SECRET_KEY_SIZE], const struct bytes *parts, size_t n_parts, unsigned char out[SECRET_KEY_SIZE])
{
	hash_parts(key, parts, n_parts, out);
}

void secret_digest_begin(struct secret_digest *d)
{
	crypto_generichash_init((crypto_generichash_state *)(void *)d->state, NULL, 0, SECRET_HASH_SIZE);
}

void secret_digest_add(struct secret_digest *d, const void *p, size_t n)
{
	crypto_generichash_update((crypto_generichash_state *)(void *)d->state, p, n);
}

void secret_digest_end(struct secret_digest *d, unsigned char out[SECRET_HASH_SIZE])
{
	crypto_generichash_final((crypto_generichash_state *)(void *)d->state, out, SECRET_HASH_SIZE);
}

struct ident secret_ident(const struct bytes *parts, size_t n_parts)
{
	unsigned char hash[SECRET_HASH_SIZE];
	struct ident id;

	secret_hash(parts, n_parts, hash);
	memcpy(id.b, hash, sizeof(id.b));
	return id;
}

void secret_hex(const void *p, size_t n, char *out)
{
	sodium_bin2hex(out, 2 * n + 1, p, n);
}

/* CRC-32 as zlib and zip have it, bit by bit: 33 bytes a key do not earn a table. */
static uint32_t crc32_of(const char *p, size_t n)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < n; i++) {
		crc ^= (unsigned char)p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

/* The check covers the prefix too, so that a secret key renamed to a publishable one is told apart without a lookup. */
static void write_check(const char *key, char out[KEY_CHECK])
{
	uint32_t crc = crc32_of(key, KEY_PREFIX + KEY_RANDOM);

	for (int i = KEY_CHECK - 1; i >= 0; i--) {
		out[i] = base62[crc % 62];
		crc /= 62;
	}
}

void api_key_new(const char *kind, char out[API_KEY_SIZE])
{
	assert(strlen(kind) == KEY_PREFIX);
	memcpy(out, kind, KEY_PREFIX);
	for (int i = 0; i < KEY_RANDOM; i++)
		out[KEY_PREFIX + i] = base62[randombytes_uniform(62)];
	write_check(out, out + KEY_PREFIX + KEY_RANDOM);
	out[KEY_TEXT] = '\0';
}

static bool is_base62(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool api_key_is_wellformed(struct bytes text)
{
	char check[KEY_CHECK];

	if (text.n != KEY_TEXT || (memcmp(text.p, "sk_", KEY_PREFIX) != 0 && memcmp(text.p, "pk_", KEY_PREFIX) != 0))
		return false;
	for (size_t i = KEY_PREFIX; i < KEY_TEXT; i++) {
		if (!is_base62(text.p[i]))
			return false;
	}
	write_check(text.p, check);
	return memcmp(check, text.p + KEY_PREFIX + KEY_RANDOM, KEY_CHECK) == 0;
}

void api_key_hash(struct bytes text, unsigned char out[SECRET_HASH_SIZE])
{
	/* A fast hash is enough for 178 random bits; the first part keeps it apart from every other use of secret_hash. */
	struct bytes parts[] = { BYTES("parley api key"), text };

	secret_hash(parts, 2, out);
}

/* The personal string keeps a signature made with the same key for another purpose from ever being a token. */
static void sign_token(const unsigned char raw[TOKEN_SIGNED], const unsigned char key[SECRET_KEY_SIZE],
		       unsigned char mac[32])
{
	static const unsigned char salt[crypto_generichash_blake2b_SALTBYTES];
	static const unsigned char personal[crypto_generichash_blake2b_PERSONALBYTES + 1] = "parley st_ token";

	crypto_generichash_blake2b_salt_personal(mac, 32, raw, TOKEN_SIGNED, key, SECRET_KEY_SIZE, salt, personal);
}

void token_format(const struct token *tk, const unsigned char key[SECRET_KEY_SIZE], char out[TOKEN_SIZE])
{
	unsigned char raw[TOKEN_RAW];
	size_t prefix = sizeof(TOKEN_PREFIX) - 1;

	raw[0] = TOKEN_VERSION;
	memcpy(raw + 1, tk->site.b, 16);
	memcpy(raw + 17, tk->session.b, 16);
	memcpy(raw + 33, tk->user.b, 16);
	put_be64(raw + 49, (uint64_t)tk->expires_at);
	sign_token(raw, key, raw + TOKEN_SIGNED);
	memcpy(out, TOKEN_PREFIX, prefix);
	sodium_bin2base64(out + prefix, TOKEN_SIZE - prefix, raw, sizeof(raw), sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	sodium_memzero(raw, sizeof(raw));
}

/*
 * Decodes the text of a token, which has one spelling only: libsodium refuses padding, blanks and stray bits in the last
 * character, but takes some bytes past 0x7f for letters.
 */
static bool decode_token(struct bytes text, unsigned char raw[TOKEN_RAW])
{
	size_t n = 0;

	for (size_t i = 0; i < text.n; i++) {
		if (!is_base62(text.p[i]) && text.p[i] != '-' && text.p[i] != '_')
			return false;
	}
	return sodium_base642bin(raw, TOKEN_RAW, text.p, text.n, NULL, &n, NULL,
				 sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0 && n == TOKEN_RAW;
}

enum err token_parse(struct bytes text, const unsigned char key[SECRET_KEY_SIZE], int64_t now_ms, struct token *tk_r)
{
	unsigned char raw[TOKEN_RAW], mac[32];
	size_t prefix = sizeof(TOKEN_PREFIX) - 1;

	memset(tk_r, 0, sizeof(*tk_r));
	if (text.n != TOKEN_TEXT || memcmp(text.p, TOKEN_PREFIX, prefix) != 0)
		return ERR_UNAUTHENTICATED;
	if (!decode_token((struct bytes){ text.p + prefix, text.n - prefix }, raw))
		return ERR_UNAUTHENTICATED;
	sign_token(raw, key, mac);
	if (sodium_memcmp(mac, raw + TOKEN_SIGNED, sizeof(mac)) != 0 || raw[0] != TOKEN_VERSION)
		return ERR_UNAUTHENTICATED;
	memcpy(tk_r->site.b, raw + 1, 16);
	memcpy(tk_r->session.b, raw + 17, 16);
	memcpy(tk_r->user.b, raw + 33, 16);
	tk_r->expires_at = (int64_t)get_be64(raw + 49);
	return tk_r->expires_at <= now_ms ? ERR_TOKEN_EXPIRED : ERR_OK;
}

/* Opens the file if it is a regular one that nobody but its owner and group may read, nor but its owner write. */
static enum err open_secret(struct task *t, const char *path, int *fd_r)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return task_fail(t, ERR_CONFIG, "%s cannot be opened: %s", path, strerror(errno));
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return task_fail(t, ERR_CONFIG, "%s is not a regular file", path);
	}
	if (st.st_mode & (S_IWGRP | S_IRWXO)) {
		close(fd);
		return task_fail(t, ERR_CONFIG, "%s is open to others (mode %04o): make it 0600, or 0640 for a group", path,
				 (unsigned)st.st_mode & 07777);
	}
	*fd_r = fd;
	return ERR_OK;
}

/* Reads at most `size` bytes; -1 with errno on failure. */
static ssize_t read_all(int fd, char *out, size_t size)
{
	size_t n = 0;

	while (n < size) {
		ssize_t got = read(fd, out + n, size - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	return (ssize_t)n;
}

enum err secret_load(struct task *t, const char *path, unsigned char key_r[SECRET_KEY_SIZE])
{
	char text[SECRET_FILE_MAX + 1];
	struct bytes parts[2] = { BYTES("parley secret file"), { text, 0 } };
	ssize_t n;
	int fd = -1, problem;
	enum err e = open_secret(t, path, &fd);

	if (e)
		return e;
	n = read_all(fd, text, sizeof(text));
	problem = errno;
	close(fd);
	if (n < 0)
		return task_fail(t, ERR_CONFIG, "%s cannot be read: %s", path, strerror(problem));
	parts[1].n = (size_t)n;
	while (parts[1].n > 0 && strchr("\r\n", text[parts[1].n - 1]) && text[parts[1].n - 1])
		parts[1].n--;
	if (parts[1].n < SECRET_FILE_MIN)
		e = task_fail(t, ERR_CONFIG, "%s holds %zu bytes: a secret needs at least %d", path, parts[1].n, SECRET_FILE_MIN);
	else if (n > SECRET_FILE_MAX)
		e = task_fail(t, ERR_CONFIG, "%s is larger than %d bytes: not a secret", path, SECRET_FILE_MAX);
	else
		secret_hash(parts, 2, key_r);
	sodium_memzero(text, sizeof(text));
	return e;
}
