/* SPDX-License-Identifier: MIT */
/* fuzz_token: ids, API keys and session tokens as text: what is read was written so, and what was changed is refused. */
#include <assert.h>
#include <string.h>

#include "base/secret.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const unsigned char key[SECRET_KEY_SIZE] = { 7 };

/* Any bytes: nothing of this is genuine. */
static void read_noise(struct bytes text)
{
	struct token tk;
	struct ident id;
	char back[IDENT_SIZE];

	assert(token_parse(text, key, 0, &tk) == ERR_UNAUTHENTICATED);
	assert(ident_is_zero(&tk.site) && tk.expires_at == 0);
	if (api_key_is_wellformed(text))
		assert(text.n == 39 && memchr("sp", text.p[0], 2) && text.p[1] == 'k' && text.p[2] == '_');
	if (ident_parse("", text, &id)) {
		struct ident again;

		ident_format("", &id, back);
		assert(ident_parse("", bytes_of(back), &again) && ident_equal(&id, &again));
	}
}

/* Lays (position, byte) pairs over a text; tells whether anything is different now. */
static bool lay_over(char *text, size_t n, const uint8_t *data, size_t size)
{
	bool changed = false;

	for (size_t i = 0; i + 1 < size; i += 2) {
		char *at = &text[data[i] % n];

		changed |= *at != (char)data[i + 1];
		*at = (char)data[i + 1];
	}
	return changed;
}

/* A genuine token with changes laid over it. Changing a byte and back counts as changed, so it is compared too. */
static void change_token(const uint8_t *data, size_t size)
{
	struct token tk, back;
	char text[TOKEN_SIZE], changed[TOKEN_SIZE];
	enum err e;

	if (size < sizeof(tk))
		return;
	memcpy(&tk, data, sizeof(tk));
	token_format(&tk, key, text);
	e = token_parse(bytes_of(text), key, 1000, &back);
	assert(e == (tk.expires_at <= 1000 ? ERR_TOKEN_EXPIRED : ERR_OK));
	assert(memcmp(&tk, &back, sizeof(tk)) == 0);
	memcpy(changed, text, sizeof(text));
	if (lay_over(changed, strlen(text), data + sizeof(tk), size - sizeof(tk)) && strcmp(changed, text) != 0)
		assert(token_parse((struct bytes){ changed, strlen(text) }, key, 1000, &back) == ERR_UNAUTHENTICATED);
}

static void write_ident(const uint8_t *data, size_t size)
{
	char text[IDENT_SIZE];
	struct ident id, back;

	if (size < sizeof(id))
		return;
	memcpy(&id, data, sizeof(id));
	ident_format("msg_", &id, text);
	assert(strlen(text) == 4 + IDENT_TEXT);
	assert(ident_parse("msg_", bytes_of(text), &back) && ident_equal(&id, &back));
	assert(!ident_parse("ses_", bytes_of(text), &back));
	/* One text for one id: a changed one that is still read is either another id or another spelling of its letters. */
	if (lay_over(text + 4, IDENT_TEXT, data + sizeof(id), size - sizeof(id)) && ident_parse("msg_", bytes_of(text), &back)) {
		char again[IDENT_SIZE];

		ident_format("msg_", &back, again);
		assert(strlen(again) == strlen(text));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	secret_init();
	read_noise((struct bytes){ (const char *)data, size });
	change_token(data, size);
	write_ident(data, size);
	return 0;
}
