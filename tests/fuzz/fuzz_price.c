/* SPDX-License-Identifier: MIT */
/* fuzz_price: any text as a table of prices: read whole or refused with a reason; what is read finds prices and gives costs that can be written and read back. */
#include <assert.h>
#include <stdint.h>

#include "app/price.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(struct arena *a, const struct price_table *table, const struct price_row *row)
{
	struct price found;
	struct buf b;
	int64_t nano, again;
	assert(price_find(table, BYTES("p"), row->pattern, BYTES("m"), &found));
	assert(found.input >= 0 && found.input <= PRICE_MAX && found.output >= 0 && found.cached >= 0);
	if (!price_cost(&row->price, 1000003, 17, 5000011, &nano))
		return;
	assert(nano >= 0);
	buf_init(&b, a, 0);
	price_add_amount(&b, nano);
	assert(price_read_amount(buf_bytes(&b), &again) && again == nano);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena *a;
	struct task t = { 0 };
	struct price_table table = { .n = 0 };
	if (!a)
		a = arena_open(65536);
	t.arena = a;
	if (price_parse(&t, a, "prices", (int)(size & 1), (struct bytes){ arena_copy(a, data, size), size }, &table) != ERR_OK)
		assert(t.fault.code == ERR_CONFIG && t.fault.detail[0] && !table.n);
	for (size_t i = 0; i < table.n && i < 8; i++)
		check_row(a, &table, &table.rows[i]);
	arena_reset(a);
	return 0;
}
