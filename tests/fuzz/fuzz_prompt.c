/* SPDX-License-Identifier: MIT */
/*
 * fuzz_prompt: whatever calls and results a history holds, in the prompt every call is followed by its results and no result stands alone, from any place
 * where it may be cut; and a summary made of any text is text within its budget.
 */
#include <assert.h>

#include "app/exchange.h"
#include "app/extract.h"
#include "base/tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROWS_MAX 400

/* A row for each byte or so: its role, and the ids that it calls or answers, of few. */
static size_t make_rows(struct arena *a, const uint8_t *data, size_t size, struct message_row *rows)
{
	size_t n = 0;
	for (size_t i = 0; i + 1 < size && n < ROWS_MAX; i += 2, n++) {
		struct message_row *m = &rows[n];
		unsigned what = data[i], ids = data[i + 1];
		*m = (struct message_row){ .seq = 7 + (int64_t)n, .role = ROLE_SYSTEM + (int)(what % 5), .content = what & 0x80 ? BYTES("null") : BYTES("\"x\"") };
		if (what & 0x40)
			m->content = (struct bytes){ NULL, 0 };
		if (m->role == ROLE_TOOL)
			m->extra = bytes_of(arena_printf(a, "{\"tool_call_id\":\"%u\"}", ids % 8));
		if (m->role == ROLE_ASSISTANT && what & 0x20)
			m->extra = bytes_of(arena_printf(a, "{\"tool_calls\":[{\"id\":\"%u\",\"name\":\"f\"},{\"id\":\"%u\",\"function\":{\"name\":\"g\"}}]}",
							 ids % 8, ids >> 4));
	}
	return n;
}

static void check_prompt(struct arena *a, const struct message_row *rows, size_t n)
{
	for (size_t i = 0; i < n;) {
		struct jsonx_walk w;
		const struct message_row *m = &rows[i++];
		assert(m->role != ROLE_TOOL && m->content.n && !message_is_deleted(m));
		struct bytes calls = m->extra.n ? jsonx_member(m->extra, "tool_calls") : (struct bytes){ NULL, 0 };
		if (!calls.n)
			continue;
		jsonx_walk_begin(&w, calls);
		while (jsonx_walk_next(&w)) {
			assert(i < n && rows[i].role == ROLE_TOOL);
			assert(bytes_equal(jsonx_string(a, jsonx_member(w.value, "id")), jsonx_string(a, jsonx_member(rows[i].extra, "tool_call_id"))));
			i++;
		}
	}
}

static void try_exchange(struct arena *a, const uint8_t *data, size_t size)
{
	struct message_row *rows = arena_array(a, ROWS_MAX, sizeof *rows);
	const struct message_row *prompt;
	struct exchange x;
	size_t n = make_rows(a, data, size, rows), n_prompt;
	exchange_read(a, rows, n, &x);
	for (size_t from = 0; from < n; from += 1 + n / 16) {
		if (x.items[from].is_inside)
			continue;
		exchange_prompt(a, &x, from, &prompt, &n_prompt);
		check_prompt(a, prompt, n_prompt);
	}
}

static void try_extract(struct arena *a, const uint8_t *data, size_t size)
{
	struct extract_text texts[16];
	size_t n = 0, from = 1;
	int64_t budget = data[0];
	for (size_t i = 1; i <= size && n < 16; i++) {
		if (i < size && data[i] != 0x0c)
			continue;
		texts[n] = (struct extract_text){ (int)n % 6, { arena_copy(a, data + from, i - from), i - from } };
		n++;
		from = i + 1;
	}
	struct bytes summary = extract_summary(a, texts, n, budget);
	struct jsonx_flaw flaw;
	struct buf b;
	buf_init(&b, a, size + 16);
	buf_add_json(&b, (struct bytes){ (const char *)data + 1, size - 1 });
	if (!jsonx_check(a, buf_bytes(&b), &flaw)) /* no text, as what is stored always is */
		return;
	assert(tokens_of_text(summary) <= budget);
	buf_clear(&b);
	buf_add_json(&b, summary);
	assert(jsonx_check(a, buf_bytes(&b), &flaw));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *a = arena_open(65536);
	if (size > 1 && data[0] & 1)
		try_exchange(a, data + 1, size - 1);
	else if (size > 1)
		try_extract(a, data + 1, size - 1);
	arena_close(&a);
	return 0;
}
