/* SPDX-License-Identifier: MIT */
/* test_err: every row has a status, a code of its own and a title. */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include "base/err.h"

Test(err, success_is_zero)
{
	cr_assert_eq(ERR_OK, 0);
	cr_assert_eq(err_status(ERR_OK), 200);
}

Test(err, rows_give_status_code_and_title)
{
	cr_assert_eq(err_status(ERR_NOT_FOUND), 404);
	cr_assert_str_eq(err_code(ERR_NOT_FOUND), "not_found");
	cr_assert_eq(err_status(ERR_RATE_LIMITED), 429);
	cr_assert_str_eq(err_code(ERR_KEY_REUSED), "idempotency_key_reused");
}

Test(err, every_row_is_complete_and_its_code_leads_back_to_it)
{
	for (enum err e = ERR_OK; e < ERR_COUNT; e++) {
		cr_assert(err_status(e) >= 200 && err_status(e) < 600);
		cr_assert_gt(strlen(err_title(e)), 0);
		cr_assert_eq(err_find(err_code(e)), e, "the code %s is used twice", err_code(e));
		cr_assert_eq(strspn(err_code(e), "abcdefghijklmnopqrstuvwxyz_"), strlen(err_code(e)));
	}
}

Test(err, an_unknown_code_is_not_found)
{
	cr_assert_eq(err_find("no_such_code"), ERR_COUNT);
	cr_assert_eq(err_find(""), ERR_COUNT);
	cr_assert_eq(err_find(NULL), ERR_COUNT);
}

Test(err, a_number_that_is_no_error_aborts, .signal = SIGABRT)
{
	err_title(ERR_COUNT);
}
