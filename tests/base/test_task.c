/* SPDX-License-Identifier: MIT */
/* test_task: a task has an id and keeps one fault, with client text apart from internal text. */
#include <criterion/criterion.h>

#include "base/task.h"

static struct arena *a;
static struct task t;

static void setup(void)
{
	a = arena_open(0);
	task_init(&t, a);
}

static void teardown(void)
{
	arena_close(&a);
}

TestSuite(task, .init = setup, .fini = teardown);

Test(task, a_new_task_has_an_id_of_its_own_and_no_fault)
{
	struct task other;
	task_init(&other, a);
	cr_assert_eq(strlen(t.id), 30);
	cr_assert_arr_eq(t.id, "req_", 4);
	cr_assert_str_neq(t.id, other.id);
	cr_assert_eq(t.fault.code, ERR_OK);
	cr_assert_null(t.fault.detail);
	cr_assert_null(t.fault.fields);
}

Test(task, a_failure_keeps_its_text_for_the_client)
{
	cr_assert_eq(task_fail(&t, ERR_CONFLICT, "seq is %d", 5), ERR_CONFLICT);
	cr_assert_eq(t.fault.code, ERR_CONFLICT);
	cr_assert_str_eq(t.fault.detail, "seq is 5");
	cr_assert_null(t.fault.internal);
}

Test(task, an_internal_text_is_never_the_detail)
{
	cr_assert_eq(task_fail_internal(&t, ERR_UNAVAILABLE, "host %s", "db-1.internal"), ERR_UNAVAILABLE);
	cr_assert_str_eq(t.fault.internal, "host db-1.internal");
	cr_assert_str_eq(t.fault.detail, err_title(ERR_UNAVAILABLE));
}

Test(task, a_second_failure_replaces_all_of_the_first)
{
	cr_assert_eq(task_fail_field(&t, "title", "type", "must be a string"), ERR_INVALID);
	t.fault.retry_after_s = 3;
	cr_assert_eq(task_fail(&t, ERR_NOT_FOUND, "none"), ERR_NOT_FOUND);
	cr_assert_null(t.fault.fields);
	cr_assert_eq(t.fault.retry_after_s, 0);
}

Test(task, a_failure_may_quote_the_one_it_replaces)
{
	cr_assert_eq(task_fail(&t, ERR_BUSY, "full"), ERR_BUSY);
	cr_assert_eq(task_fail(&t, ERR_UNAVAILABLE, "tried, but: %s", t.fault.detail), ERR_UNAVAILABLE);
	cr_assert_str_eq(t.fault.detail, "tried, but: full");
}

Test(task, wrong_fields_add_up_in_the_order_they_were_found)
{
	char path[] = "messages[3].role";
	cr_assert_eq(task_fail_field(&t, path, "required", "is missing"), ERR_INVALID);
	memset(path, 'x', sizeof(path) - 1); /* the fault must hold its own copy */
	cr_assert_eq(task_fail_field(&t, "title", "range", "at most %d", 200), ERR_INVALID);
	cr_assert_eq(t.fault.code, ERR_INVALID);
	cr_assert_str_eq(t.fault.detail, "messages[3].role: is missing");
	const struct fault_field *f = t.fault.fields;
	cr_assert_str_eq(f->field, "messages[3].role");
	cr_assert_str_eq(f->code, "required");
	cr_assert_str_eq(f->next->field, "title");
	cr_assert_str_eq(f->next->detail, "at most 200");
	cr_assert_null(f->next->next);
}

Test(task, a_wrong_field_replaces_another_kind_of_failure)
{
	cr_assert_eq(task_fail_internal(&t, ERR_INTERNAL, "x"), ERR_INTERNAL);
	cr_assert_eq(task_fail_field(&t, "limit", "range", "1 to 100"), ERR_INVALID);
	cr_assert_eq(t.fault.code, ERR_INVALID);
	cr_assert_null(t.fault.internal);
	cr_assert_not_null(t.fault.fields);
}

Test(task, a_cleared_fault_is_gone)
{
	cr_assert_eq(task_fail_field(&t, "limit", "range", "1 to 100"), ERR_INVALID);
	task_clear_fault(&t);
	cr_assert_eq(t.fault.code, ERR_OK);
	cr_assert_null(t.fault.fields);
}

Test(task, a_part_gives_its_memory_back_and_hands_its_fault_on)
{
	struct task part;
	task_open_part(&part, &t);
	cr_assert_str_eq(part.id, t.id);
	for (int i = 0; i < 100; i++) {
		arena_alloc(part.arena, 50000);
		cr_assert_eq(task_fail(&part, ERR_BUSY, "round %d", i), ERR_BUSY);
		task_reset_part(&part);
		cr_assert_eq(part.fault.code, ERR_OK);
		cr_assert_lt(arena_used(part.arena), 1000u);
	}
	cr_assert_eq(task_take_fault(&t, &part, ERR_OK), ERR_OK);
	cr_assert_eq(task_fail_field(&part, "seq", "range", "is %d", 3), ERR_INVALID);
	cr_assert_eq(task_fail_field(&part, "id", "format", "is none"), ERR_INVALID);
	part.fault.retry_after_s = 4;
	cr_assert_eq(task_take_fault(&t, &part, ERR_INVALID), ERR_INVALID);
	task_close_part(&part);
	cr_assert_null(part.arena);
	cr_assert_eq(t.fault.code, ERR_INVALID);
	cr_assert_str_eq(t.fault.detail, "seq: is 3");
	cr_assert_str_eq(t.fault.fields->next->field, "id");
	cr_assert_eq(t.fault.retry_after_s, 4);
	task_open_part(&part, &t);
	cr_assert_eq(task_fail_internal(&part, ERR_UNAVAILABLE, "host %s", "x"), ERR_UNAVAILABLE);
	cr_assert_eq(task_take_fault(&t, &part, ERR_UNAVAILABLE), ERR_UNAVAILABLE);
	task_close_part(&part);
	cr_assert_str_eq(t.fault.internal, "host x");
	cr_assert_null(t.fault.fields);
}
