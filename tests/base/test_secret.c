/* SPDX-License-Identifier: MIT */
/* test_secret: hashes, API keys, session tokens and the secret's file. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"

static const unsigned char key[SECRET_KEY_SIZE] = "0123456789abcdef0123456789abcde";

static void start(void)
{
	secret_init();
}

TestSuite(secret, .init = start);

Test(secret, init_may_be_called_again)
{
	secret_init();
	secret_init();
}

Test(secret, random_bytes_differ_from_call_to_call)
{
	unsigned char a[32] = { 0 }, b[32] = { 0 };

	secret_random(a, sizeof(a));
	secret_random(b, sizeof(b));
	cr_assert_neq(memcmp(a, b, sizeof(a)), 0);
	cr_assert(secret_equal(a, a, sizeof(a)));
	cr_assert_not(secret_equal(a, b, sizeof(a)));
	b[31] = a[31] ^ 1;
	memcpy(b, a, 31);
	cr_assert_not(secret_equal(a, b, sizeof(a)));
	cr_assert(secret_equal(a, b, 31));
}

Test(secret, wiped_memory_is_zero)
{
	char text[] = "a secret", zero[sizeof(text)] = { 0 };

	secret_wipe(text, sizeof(text));
	cr_assert_eq(memcmp(text, zero, sizeof(text)), 0);
}

Test(secret, hex_is_lower_case_and_ends_in_nul)
{
	char out[9];

	memset(out, 'x', sizeof(out));
	secret_hex("\x00\xab\xff\x10", 4, out);
	cr_assert_str_eq(out, "00abff10");
}

static void hash2(const char *a, const char *b, unsigned char out[SECRET_HASH_SIZE])
{
	struct bytes parts[] = { bytes_of(a), bytes_of(b) };

	secret_hash(parts, 2, out);
}

Test(secret, the_hash_depends_on_where_one_part_ends)
{
	unsigned char a[SECRET_HASH_SIZE], b[SECRET_HASH_SIZE], one[SECRET_HASH_SIZE], none[SECRET_HASH_SIZE];

	hash2("ab", "c", a);
	hash2("a", "bc", b);
	cr_assert_neq(memcmp(a, b, sizeof(a)), 0);
	hash2("ab", "c", b);
	cr_assert_eq(memcmp(a, b, sizeof(a)), 0);
	secret_hash(&BYTES("abc"), 1, one);
	cr_assert_neq(memcmp(a, one, sizeof(a)), 0);
	hash2("", "", a);
	secret_hash(NULL, 0, none);
	cr_assert_neq(memcmp(a, none, sizeof(a)), 0);
}

Test(secret, the_hash_is_blake2b_over_big_endian_lengths_and_parts)
{
	unsigned char hash[SECRET_HASH_SIZE];
	char hex[2 * SECRET_HASH_SIZE + 1];
	struct ident id;

	/* What b2sum -l 256 says of the length as 8 bytes, 3, and "abc". A change would orphan every stored key and derived id. */
	secret_hash(&BYTES("abc"), 1, hash);
	secret_hex(hash, sizeof(hash), hex);
	cr_assert_str_eq(hex, "7481e9dc42d8247a21e3207b4865a791d7ab7f7119c932efd03508b1148efc29");
	id = secret_ident(&BYTES("abc"), 1);
	cr_assert_eq(memcmp(id.b, hash, sizeof(id.b)), 0);
}

Test(secret, an_api_key_has_39_characters_and_is_wellformed)
{
	char sk[API_KEY_SIZE], pk[API_KEY_SIZE], other[API_KEY_SIZE];

	api_key_new("sk_", sk);
	api_key_new("pk_", pk);
	api_key_new("sk_", other);
	cr_assert_eq(strlen(sk), 39);
	cr_assert_eq(strncmp(sk, "sk_", 3), 0);
	cr_assert_eq(strncmp(pk, "pk_", 3), 0);
	cr_assert(api_key_is_wellformed(bytes_of(sk)));
	cr_assert(api_key_is_wellformed(bytes_of(pk)));
	cr_assert_str_neq(sk, other);
}

Test(secret, the_check_digits_are_crc_32_in_base62)
{
	/* CRC-32 of the first 33 characters, as zlib computes it, written with 0-9A-Za-z. */
	cr_assert(api_key_is_wellformed(BYTES("sk_0000000000000000000000000000004LUZwA")));
	cr_assert(api_key_is_wellformed(BYTES("pk_abcdefghijklmnopqrstuvwxyzABCD16vF7p")));
}

Test(secret, an_api_key_with_any_character_changed_is_malformed)
{
	char k[API_KEY_SIZE], changed[API_KEY_SIZE];

	api_key_new("sk_", k);
	for (size_t i = 0; k[i]; i++) {
		memcpy(changed, k, sizeof(changed));
		changed[i] = k[i] == 'p' ? 'q' : 'p';
		cr_assert_not(api_key_is_wellformed(bytes_of(changed)), "character %zu", i);
		changed[i] = '-';
		cr_assert_not(api_key_is_wellformed(bytes_of(changed)), "character %zu", i);
	}
	cr_assert_not(api_key_is_wellformed((struct bytes){ k, 38 }));
	cr_assert_not(api_key_is_wellformed((struct bytes){ k, 40 }));
	cr_assert_not(api_key_is_wellformed((struct bytes){ NULL, 0 }));
}

Test(secret, the_hash_of_an_api_key_is_its_own_and_no_plain_hash)
{
	unsigned char a[SECRET_HASH_SIZE], b[SECRET_HASH_SIZE];
	struct bytes k = BYTES("sk_000000000000000000000000000000000000");

	api_key_hash(k, a);
	api_key_hash(k, b);
	cr_assert_eq(memcmp(a, b, sizeof(a)), 0);
	secret_hash(&k, 1, b);
	cr_assert_neq(memcmp(a, b, sizeof(a)), 0);
}

static struct token sample_token(int64_t expires_at)
{
	struct token tk = { .expires_at = expires_at };

	memset(tk.site.b, 1, 16);
	memset(tk.session.b, 2, 16);
	memset(tk.user.b, 3, 16);
	return tk;
}

Test(secret, a_token_is_read_back_until_it_expires)
{
	struct token tk = sample_token(1000), back;
	char text[TOKEN_SIZE];

	token_format(&tk, key, text);
	cr_assert_eq(strlen(text), 122);
	cr_assert_eq(strncmp(text, "st_", 3), 0);
	cr_assert_eq(token_parse(bytes_of(text), key, 999, &back), ERR_OK);
	cr_assert(ident_equal(&back.site, &tk.site));
	cr_assert(ident_equal(&back.session, &tk.session));
	cr_assert(ident_equal(&back.user, &tk.user));
	cr_assert_eq(back.expires_at, 1000);
	cr_assert_eq(token_parse(bytes_of(text), key, 1000, &back), ERR_TOKEN_EXPIRED);
	cr_assert(ident_equal(&back.session, &tk.session));
	cr_assert_eq(back.expires_at, 1000);
}

Test(secret, a_token_keeps_any_expiry)
{
	static const int64_t times[] = { INT64_MIN, -1, 0, 1, 1LL << 40, INT64_MAX };
	char text[TOKEN_SIZE];
	struct token back;

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		struct token tk = sample_token(times[i]);

		token_format(&tk, key, text);
		cr_assert_eq(token_parse(bytes_of(text), key, INT64_MAX, &back), ERR_TOKEN_EXPIRED);
		cr_assert_eq(back.expires_at, times[i]);
	}
}

/* Every byte in every place, so also the two spare bits of the last character: a token has one spelling. */
Test(secret, a_token_with_any_character_changed_is_forged)
{
	struct token tk = sample_token(1000), back;
	char text[TOKEN_SIZE], changed[TOKEN_SIZE];

	token_format(&tk, key, text);
	for (size_t i = 0; text[i]; i++) {
		for (int c = 0; c < 256; c++) {
			if ((char)c == text[i])
				continue;
			memcpy(changed, text, sizeof(changed));
			changed[i] = (char)c;
			cr_assert_eq(token_parse((struct bytes){ changed, strlen(text) }, key, 0, &back), ERR_UNAUTHENTICATED,
				     "character %zu, byte %d", i, c);
			cr_assert(ident_is_zero(&back.session));
		}
	}
}

Test(secret, a_token_of_another_length_or_key_is_refused)
{
	unsigned char other[SECRET_KEY_SIZE];
	struct token tk = sample_token(1000), back;
	char text[TOKEN_SIZE] = { 0 };

	token_format(&tk, key, text);
	for (size_t n = 0; n < TOKEN_SIZE; n++) {
		if (n != strlen(text))
			cr_assert_eq(token_parse((struct bytes){ text, n }, key, 0, &back), ERR_UNAUTHENTICATED);
	}
	memcpy(other, key, sizeof(other));
	other[0] ^= 1;
	cr_assert_eq(token_parse(bytes_of(text), other, 0, &back), ERR_UNAUTHENTICATED);
	cr_assert_eq(token_parse((struct bytes){ NULL, 0 }, key, 0, &back), ERR_UNAUTHENTICATED);
}

struct secret_case {
	char dir[64];
	char path[96];
	struct arena *arena;
	struct task task;
	unsigned char key[SECRET_KEY_SIZE];
};

static void open_case(struct secret_case *c, const char *text, size_t n, mode_t mode)
{
	int fd;

	memset(c, 0, sizeof(*c));
	snprintf(c->dir, sizeof(c->dir), "%s/parley-secret-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	cr_assert_not_null(mkdtemp(c->dir));
	snprintf(c->path, sizeof(c->path), "%s/secret", c->dir);
	c->arena = arena_open(0);
	task_init(&c->task, c->arena);
	fd = open(c->path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, n), (ssize_t)n);
	cr_assert_eq(fchmod(fd, mode), 0);
	close(fd);
}

static void close_case(struct secret_case *c)
{
	unlink(c->path);
	rmdir(c->dir);
	arena_close(&c->arena);
}

static enum err load(const char *text, size_t n, mode_t mode, unsigned char key_r[SECRET_KEY_SIZE])
{
	struct secret_case c;
	enum err e;

	open_case(&c, text, n, mode);
	e = secret_load(&c.task, c.path, key_r);
	if (e) {
		cr_assert_eq(c.task.fault.code, e);
		cr_assert_not_null(strstr(c.task.fault.detail, c.path), "the fault names the file");
		cr_assert_null(strstr(c.task.fault.detail, "hunter"), "the fault does not show the secret");
	}
	close_case(&c);
	return e;
}

#define TEXT32 "hunter2hunter2hunter2hunter2hunt"

Test(secret, a_secret_of_32_characters_gives_a_key_and_newlines_at_its_end_do_not_count)
{
	unsigned char a[SECRET_KEY_SIZE] = { 0 }, b[SECRET_KEY_SIZE] = { 0 }, c[SECRET_KEY_SIZE] = { 0 };

	cr_assert_eq(load(TEXT32, 32, 0600, a), ERR_OK);
	cr_assert_eq(load(TEXT32 "\n", 33, 0600, b), ERR_OK);
	cr_assert_eq(memcmp(a, b, sizeof(a)), 0);
	cr_assert_eq(load(TEXT32 "\r\n", 34, 0600, b), ERR_OK);
	cr_assert_eq(memcmp(a, b, sizeof(a)), 0);
	cr_assert_eq(load(TEXT32 "x", 33, 0600, c), ERR_OK);
	cr_assert_neq(memcmp(a, c, sizeof(a)), 0);
	cr_assert_neq(memcmp(a, TEXT32, sizeof(a)), 0);
}

Test(secret, a_short_or_huge_secret_is_refused)
{
	static char huge[5000];
	unsigned char k[SECRET_KEY_SIZE];

	memset(huge, 'x', sizeof(huge));
	cr_assert_eq(load("", 0, 0600, k), ERR_CONFIG);
	cr_assert_eq(load("\n", 1, 0600, k), ERR_CONFIG);
	cr_assert_eq(load(TEXT32, 31, 0600, k), ERR_CONFIG);
	cr_assert_eq(load("hunter2hunter2hunter2hunter2hun\n\n\n", 34, 0600, k), ERR_CONFIG);
	cr_assert_eq(load(huge, 4096, 0600, k), ERR_OK);
	cr_assert_eq(load(huge, 4097, 0600, k), ERR_CONFIG);
}

Test(secret, a_file_open_to_others_is_refused_and_one_for_a_group_is_not)
{
	static const struct {
		mode_t mode;
		enum err want;
	} modes[] = { { 0400, ERR_OK }, { 0440, ERR_OK }, { 0640, ERR_OK }, { 0644, ERR_CONFIG }, { 0604, ERR_CONFIG },
		      { 0602, ERR_CONFIG }, { 0601, ERR_CONFIG }, { 0660, ERR_CONFIG }, { 0777, ERR_CONFIG } };
	unsigned char k[SECRET_KEY_SIZE];

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		cr_assert_eq(load(TEXT32, 32, modes[i].mode, k), modes[i].want, "mode %o", (unsigned)modes[i].mode);
}

Test(secret, what_is_no_readable_regular_file_is_refused_without_waiting)
{
	struct secret_case c;

	open_case(&c, TEXT32, 32, 0600);
	cr_assert_eq(unlink(c.path), 0);
	cr_assert_eq(secret_load(&c.task, c.path, c.key), ERR_CONFIG);
	cr_assert_not_null(strstr(c.task.fault.detail, "No such file"));
	cr_assert_eq(mkfifo(c.path, 0600), 0);
	cr_assert_eq(secret_load(&c.task, c.path, c.key), ERR_CONFIG);
	cr_assert_not_null(strstr(c.task.fault.detail, "regular"));
	cr_assert_eq(secret_load(&c.task, c.dir, c.key), ERR_CONFIG);
	close_case(&c);
}

/* The values are those of `b2sum -l 256`. */
Test(secret, a_digest_is_that_of_all_the_bytes_in_their_order)
{
	unsigned char hash[SECRET_HASH_SIZE];
	char hex[2 * SECRET_HASH_SIZE + 1];
	struct secret_digest d, early;
	secret_init();
	secret_digest_begin(&d);
	early = d;
	secret_digest_end(&early, hash);
	secret_hex(hash, sizeof hash, hex);
	cr_assert_str_eq(hex, "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
	secret_digest_add(&d, "hel", 3);
	early = d; /* a copy goes on by itself */
	secret_digest_add(&d, "lo", 2);
	secret_digest_end(&d, hash);
	secret_hex(hash, sizeof hash, hex);
	cr_assert_str_eq(hex, "324dcf027dd4a30a932c441f365a25e86b173defa4b8e58948253471b81b72cf");
	secret_digest_add(&early, "lo", 2);
	secret_digest_end(&early, hash);
	char again[2 * SECRET_HASH_SIZE + 1];
	secret_hex(hash, sizeof hash, again);
	cr_assert_str_eq(again, hex);
}
