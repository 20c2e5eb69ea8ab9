/* SPDX-License-Identifier: MIT */
/* test_stale: the short form of check_stale. OPS-2 */
#include <criterion/criterion.h>

#include "stale_run.h"

static struct stale_counts run(struct stale_options o)
{
	struct stale_counts c;
	if (!stale_run(&o, &c))
		cr_skip_test("no memcached on this machine");
	return c;
}

Test(stale, processes_read_nothing_older_than_an_acknowledged_write_while_memcached_is_stopped_and_killed)
{
	struct stale_counts c = run((struct stale_options){ .seconds = 3, .processes = 3, .threads = 4, .keys = 8 });
	cr_assert_eq(c.stale, 0);
	cr_assert_eq(c.wrong, 0);
	cr_assert_gt(c.hits, 0);
}

Test(stale, threads_of_one_process_read_nothing_older_than_an_acknowledged_write)
{
	struct stale_counts c = run((struct stale_options){ .seconds = 1, .threads = 8, .keys = 4 });
	cr_assert_eq(c.stale, 0);
	cr_assert_eq(c.wrong, 0);
	cr_assert_gt(c.hits, 0);
}

Test(stale, the_checker_sees_what_a_plain_set_does)
{
	struct stale_counts c = run((struct stale_options){ .seconds = 2, .processes = 2, .threads = 4, .keys = 4, .is_broken = true, .is_calm = true });
	cr_assert_gt(c.stale, 0);
}
