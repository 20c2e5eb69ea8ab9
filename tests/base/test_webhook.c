/* SPDX-License-Identifier: MIT */
/* test_webhook: signatures are those that other implementations of the specification make. */
#include <criterion/criterion.h>
#include <sodium.h>

#include "base/secret.h"
#include "base/webhook.h"

Test(webhook, writes_a_secret_that_decodes_to_the_key)
{
	unsigned char key[WEBHOOK_KEY_SIZE], back[WEBHOOK_KEY_SIZE];
	char text[WEBHOOK_SECRET_SIZE];
	size_t n;

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (unsigned char)(i * 7 + 200);
	webhook_format_secret(key, text);
	cr_assert_eq(strlen(text), WEBHOOK_SECRET_SIZE - 1);
	cr_assert_eq(strncmp(text, "whsec_", 6), 0);
	cr_assert_eq(sodium_base642bin(back, sizeof(back), text + 6, strlen(text + 6), NULL, &n, NULL, sodium_base64_VARIANT_ORIGINAL), 0);
	cr_expect(n == sizeof(key) && memcmp(key, back, n) == 0);
}

/* printf '%s' 'msg_1.1700000000.{"a":1}' | openssl dgst -sha256 -mac HMAC -macopt hexkey:00..1f -binary | base64 */
Test(webhook, signs_as_openssl_does)
{
	unsigned char key[WEBHOOK_KEY_SIZE];
	char text[WEBHOOK_SIGNATURE_SIZE];

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (unsigned char)i;
	webhook_sign(key, BYTES("msg_1"), 1700000000, BYTES("{\"a\":1}"), text);
	cr_assert_str_eq(text, "v1,AMaOha7DUT/0J0JMycRuYOBSvbx3WtwLd2khXXbaVj4=");
}

Test(webhook, derived_keys_depend_on_all_they_are_made_from)
{
	unsigned char key[SECRET_KEY_SIZE] = { 1 }, other[SECRET_KEY_SIZE] = { 2 }, a[SECRET_KEY_SIZE], b[SECRET_KEY_SIZE];
	struct bytes parts[] = { BYTES("x"), BYTES("yz") }, moved[] = { BYTES("xy"), BYTES("z") };

	secret_init();
	secret_derive(key, parts, 2, a);
	secret_derive(key, parts, 2, b);
	cr_expect_eq(memcmp(a, b, sizeof(a)), 0);
	secret_derive(key, moved, 2, b);
	cr_expect_neq(memcmp(a, b, sizeof(a)), 0);
	secret_derive(other, parts, 2, b);
	cr_expect_neq(memcmp(a, b, sizeof(a)), 0);
	secret_hash(parts, 2, b);
	cr_expect_neq(memcmp(a, b, sizeof(a)), 0);
}
