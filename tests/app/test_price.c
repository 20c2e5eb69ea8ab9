/* SPDX-License-Identifier: MIT */
/* test_price: the table of prices is read strictly, the best row is found, and costs are exact (TRN-11). */
#include <criterion/criterion.h>

#include "app/price.h"

static struct arena *arena;
static struct task task;

static void set_up(void)
{
	arena = arena_open(4096);
	task_init(&task, arena);
}

static void tear_down(void)
{
	arena_close(&arena);
}

TestSuite(price, .init = set_up, .fini = tear_down);

static struct price_table table_of(const char *text)
{
	struct price_table table = { .n = 0 };
	cr_assert_eq(price_parse(&task, arena, "prices", 0, bytes_of(text), &table), ERR_OK, "%s", task.fault.detail);
	return table;
}

static int64_t input_price(const struct price_table *table, const char *provider, const char *model, const char *answered)
{
	struct price p;
	return price_find(table, bytes_of(provider), bytes_of(model), bytes_of(answered), &p) ? p.input / PRICE_NANO : -1;
}

Test(price, the_longest_row_wins_and_a_whole_name_most)
{
	struct price_table t = table_of("*=1/1, gpt-4o*=2/1\ngpt-4o-mini*=3/1 # a comment, with=commas\n\n gpt-4o = 4 / 1 ,gpt-4*=5/1,,");
	cr_assert_eq(t.n, 5);
	cr_assert_eq(input_price(&t, "openai", "gpt-4o", ""), 4);
	cr_assert_eq(input_price(&t, "openai", "gpt-4o-2024-08-06", ""), 2);
	cr_assert_eq(input_price(&t, "openai", "gpt-4o-mini-2024", ""), 3);
	cr_assert_eq(input_price(&t, "openai", "gpt-4.1", ""), 5);
	cr_assert_eq(input_price(&t, "openai", "gpt-3", ""), 1);
	cr_assert_eq(input_price(&t, "openai", "", ""), 1);
	cr_assert_eq(input_price(&t, "openai", "GPT-4o", ""), 1, "names are as the provider writes them");
}

Test(price, either_name_of_the_model_finds_it)
{
	struct price_table t = table_of("claude-sonnet-4-5*=3/15, fast=7/7, *=1/1");
	cr_assert_eq(input_price(&t, "a", "claude-latest", "claude-sonnet-4-5-20250929"), 3);
	cr_assert_eq(input_price(&t, "a", "fast", "never-heard-of"), 7);
	cr_assert_eq(input_price(&t, "a", "other", "another"), 1);
}

Test(price, a_row_of_the_provider_wins_over_any_other)
{
	struct price_table t = table_of("local:*=0/0,gpt-oss-120b=9/9,llama3:8b=6/6,llama3:*=5/5");
	cr_assert_eq(input_price(&t, "local", "gpt-oss-120b", ""), 0);
	cr_assert_eq(input_price(&t, "cloud", "gpt-oss-120b", ""), 9);
	cr_assert_eq(input_price(&t, "cloud", "llama3:8b", ""), 6, "a colon may be the model's own");
	cr_assert_eq(input_price(&t, "cloud", "llama3:70b", ""), 5);
	cr_assert_eq(input_price(&t, "llama3", "8b", ""), 6);
	cr_assert_eq(input_price(&t, "cloud", "mistral", ""), -1);
	cr_assert_eq(input_price(&t, "cloud", "local:x", ""), 0, "both readings are tried");
	struct price_table none = { .n = 0 };
	cr_assert_eq(input_price(&none, "cloud", "x", "y"), -1);
}

Test(price, of_equal_rows_the_first_source_wins)
{
	struct price_table t = table_of("a=1/1");
	cr_assert_eq(price_parse(&task, arena, "file", 1, BYTES("a=2/2\nb=3/3"), &t), ERR_OK);
	cr_assert_eq(t.n, 2 + 1);
	cr_assert_eq(input_price(&t, "p", "a", ""), 1);
	cr_assert_eq(input_price(&t, "p", "b", ""), 3);
}

Test(price, what_is_cached_costs_as_any_input_unless_said)
{
	struct price_table t = table_of("a=2.5/10,b=3/15/0.3");
	cr_assert_eq(t.rows[0].price.input, 2500000000);
	cr_assert_eq(t.rows[0].price.output, 10000000000);
	cr_assert_eq(t.rows[0].price.cached, 2500000000);
	cr_assert_eq(t.rows[1].price.cached, 300000000);
}

Test(price, a_wrong_entry_is_named_and_adds_nothing)
{
	static const char *const bad[] = {
		"a", "a=", "a=1", "a=1/", "a=/1", "a=1/2/", "a=1/2/3/4", "=1/2", "a b=1/2", "a*b=1/2", "**=1/2", "a=-1/2", "a=1e3/2", "a=1,5/2", "a=1/.", "a=1./2",
		"a=0.1234567891/1", "a=1000000001/1", "a=1/99999999999999999999999999", "p:=1/2", "a=1/2,a=3/4", "a=1/2=3", "\xc3\xa9=1/2", "a==1/2", "a=nan/1",
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct price_table t = { .n = 0 };
		char *text = arena_printf(arena, "good=1/2,%s", bad[i]);
		cr_assert_eq(price_parse(&task, arena, "prices", 0, bytes_of(text), &t), ERR_CONFIG, "%s", bad[i]);
		cr_assert(strncmp(task.fault.detail, "prices: \"", 9) == 0, "%s", task.fault.detail);
		cr_assert_eq(t.n, 0);
	}
}

Test(price, every_wrong_entry_is_told_with_its_line)
{
	struct price_table t = { .n = 0 };
	cr_assert_eq(price_parse(&task, arena, "/etc/prices", 1, BYTES("# head\na=1/2\nb=1\n\nc=1/2,d=x/y\n"), &t), ERR_CONFIG);
	cr_assert_not_null(strstr(task.fault.detail, "/etc/prices:3: \"b=1\": "));
	cr_assert_not_null(strstr(task.fault.detail, "\n/etc/prices:5: \"d=x/y\": "));
	cr_assert_null(strstr(task.fault.detail, ":2:"));
}

Test(price, a_table_has_an_end)
{
	struct buf b;
	struct price_table t = { .n = 0 };
	buf_init(&b, arena, 0);
	for (int i = 0; i < PRICE_ROWS_MAX; i++)
		buf_addf(&b, "m%d=1/1\n", i);
	cr_assert_eq(price_parse(&task, arena, "f", 1, buf_bytes(&b), &t), ERR_OK);
	cr_assert_eq(t.n, PRICE_ROWS_MAX);
	cr_assert_eq(price_parse(&task, arena, "f", 1, BYTES("more=1/1"), &t), ERR_CONFIG);
	cr_assert_not_null(strstr(task.fault.detail, "full"));
}

static int64_t cost_of(const char *text, int64_t input, int64_t cached, int64_t output)
{
	struct price_table t = table_of(text);
	int64_t nano;
	return price_cost(&t.rows[0].price, input, cached, output, &nano) ? nano : PRICE_UNKNOWN;
}

Test(price, costs_are_exact_to_the_nano)
{
	cr_assert_eq(cost_of("m=2.5/10", 1000000, 0, 0), 2500000000);
	cr_assert_eq(cost_of("m=2.5/10", 1, 0, 1), 12500);
	cr_assert_eq(cost_of("m=3/15/0.3", 1000, 900, 10), 100 * 3000 + 900 * 300 + 10 * 15000);
	cr_assert_eq(cost_of("m=0/0", 123456, 0, 654321), 0);
	cr_assert_eq(cost_of("m=0.0004/0", 1, 0, 0), 0);
	cr_assert_eq(cost_of("m=0.0005/0", 1, 0, 0), 1, "rounded once, to the nearest");
	cr_assert_eq(cost_of("m=0.0004/0.0004", 1, 0, 1), 1, "over the whole");
	cr_assert_eq(cost_of("m=1000000000/0", 9223, 0, 0), (int64_t)9223000000000000);
}

Test(price, what_makes_no_sense_costs_nobody_knows_what)
{
	cr_assert_eq(cost_of("m=1/1", -1, 0, 0), PRICE_UNKNOWN);
	cr_assert_eq(cost_of("m=1/1", 0, 0, -1), PRICE_UNKNOWN);
	cr_assert_eq(cost_of("m=1/1", 5, 6, 0), PRICE_UNKNOWN);
	cr_assert_eq(cost_of("m=1/1", 5, -6, 0), PRICE_UNKNOWN);
	cr_assert_eq(cost_of("m=1000000000/1000000000", INT64_MAX, 0, INT64_MAX), PRICE_UNKNOWN);
	cr_assert_eq(cost_of("m=1000/0", INT64_MAX, 0, 0), PRICE_UNKNOWN);
	cr_assert_eq(cost_of("m=0.001/0", INT64_MAX, 0, 0), INT64_MAX);
	cr_assert_eq(cost_of("m=0.001/0.001", INT64_MAX, 0, 1), PRICE_UNKNOWN);
}

Test(price, amounts_are_read_and_written_exactly)
{
	static const struct {
		const char *text, *written;
		int64_t nano;
	} good[] = { { "0", "0", 0 }, { "12", "12", 12000000000 }, { "0.0375", "0.0375", 37500000 }, { ".5", "0.5", 500000000 }, { "1.50", "1.5", 1500000000 },
		     { "0.000000001", "0.000000001", 1 }, { "007", "7", 7000000000 }, { "9223372036.854775807", "9223372036.854775807", INT64_MAX } };
	static const char *const bad[] = { "", ".", "1.", "-1", "+1", "1e3", "1,5", " 1", "1 ", "0x1", "1.2.3", "9223372036.854775808", "9223372037", "0.0000000001" };
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		int64_t nano;
		struct buf b;
		buf_init(&b, arena, 0);
		cr_assert(price_read_amount(bytes_of(good[i].text), &nano) && nano == good[i].nano, "%s", good[i].text);
		price_add_amount(&b, nano);
		cr_assert_str_eq(b.p, good[i].written);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		int64_t nano;
		cr_assert_not(price_read_amount(bytes_of(bad[i]), &nano), "%s", bad[i]);
	}
}
