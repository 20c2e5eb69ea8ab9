/* SPDX-License-Identifier: MIT */
/* test_codec: what is packed comes back, and what was not packed here is refused. */
#include "app/codec.h"

#include <criterion/criterion.h>

#include "base/secret.h"

static struct bytes made(struct arena *a, size_t n, bool is_random)
{
	char *p = arena_alloc(a, n + 1);
	for (size_t i = 0; i < n; i++)
		p[i] = (char)('a' + i % 7);
	if (is_random)
		secret_random(p, n);
	return (struct bytes){ p, n };
}

Test(codec, content_of_every_size_comes_back)
{
	static const size_t sizes[] = { 0, 1, 3, 4, 1023, 1024, 1025, 5000, 262144, 1000000 };
	struct arena *a = arena_open(0);
	secret_init();
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
		for (int is_random = 0; is_random < 2; is_random++) {
			struct bytes in = made(a, sizes[i], is_random), out, packed = codec_pack(a, in);
			cr_assert(codec_unpack(a, packed, &out));
			cr_assert(bytes_equal(in, out));
			cr_assert_leq(packed.n, in.n + 4);
		}
	struct bytes regular = codec_pack(a, made(a, 100000, false));
	cr_assert_lt(regular.n, 2000, "what repeats itself is compressed");
	arena_close(&a);
}

Test(codec, anything_else_is_refused)
{
	struct arena *a = arena_open(0);
	struct bytes out, packed = codec_pack(a, made(a, 4000, false));
	static const struct bytes bad[] = { { NULL, 0 }, BYTES(""), BYTES("\xa7"), BYTES("\xa7\0\0"), BYTES("{\"a\":1}"), BYTES("\xa8\0\0\0x"), BYTES("\xa7\2\0\0x"),
					    BYTES("\xa7\0\0\1x"), BYTES("\xa7\0\1\0x"), BYTES("\xa7\1\0\0"), BYTES("\xa7\1\0\0rubbish") };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		cr_assert_not(codec_unpack(a, bad[i], &out), "%zu", i);
	for (size_t n = 0; n < packed.n; n++)
		cr_assert_not(codec_unpack(a, (struct bytes){ packed.p, n }, &out), "cut at %zu", n);
	arena_close(&a);
}

/* A record that claims to be huge does not cost its claim. */
Test(codec, a_claimed_size_is_bounded)
{
	struct arena *a = arena_open(0);
	/* A zstd frame with a content size of 2^40. */
	static const char frame[] = "\xa7\1\0\0\x28\xb5\x2f\xfd\xc0\x00\x00\x00\x00\x00\x00\x01\x00\x00\x01\x00\x00";
	struct bytes out;
	cr_assert_not(codec_unpack(a, (struct bytes){ frame, sizeof frame - 1 }, &out));
	cr_assert_lt(arena_used(a), 1 << 20);
	arena_close(&a);
}

Test(codec, a_flipped_bit_is_found_or_harmless)
{
	struct arena *a = arena_open(0);
	struct bytes packed = codec_pack(a, made(a, 3000, false)), out;
	for (size_t bit = 0; bit < packed.n * 8; bit++) {
		char *copy = arena_copy(a, packed.p, packed.n);
		copy[bit / 8] = (char)(copy[bit / 8] ^ (1 << bit % 8));
		if (codec_unpack(a, (struct bytes){ copy, packed.n }, &out))
			cr_assert_leq(out.n, 64u << 20);
	}
	arena_close(&a);
}
