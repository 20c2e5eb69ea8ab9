/* SPDX-License-Identifier: MIT */
/* test_stamp: the calendar agrees with the C library's; only RFC 3339 is read. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <time.h>

#include "base/stamp.h"

#define DAY_MS INT64_C(86400000)

static int64_t parsed(const char *text)
{
	int64_t v = -1;
	return stamp_parse(bytes_of(text), &v) ? v : -1;
}

Test(stamp, now_is_the_wall_clock)
{
	int64_t before = (int64_t)time(NULL) * 1000 - 1000, now = stamp_now();
	cr_assert(now >= before && now <= before + 10000);
}

Test(stamp, the_monotonic_clock_does_not_go_back)
{
	int64_t last = stamp_mono_us();
	for (int i = 0; i < 1000; i++) {
		int64_t us = stamp_mono_us();
		cr_assert_geq(us, last);
		last = us;
	}
	cr_assert(stamp_mono_ms() - last / 1000 < 5000);
}

Test(stamp, days_from_1970_to_9999_are_written_and_read_back)
{
	for (int64_t day = 0; day <= 2932896; day += day < 60000 ? 1 : 13) {
		char text[STAMP_SIZE], expected[STAMP_SIZE + 8];
		time_t seconds = (time_t)(day * 86400 + day % 86400);
		int64_t ms = (int64_t)seconds * 1000 + day % 1000, back;
		struct tm tm;
		gmtime_r(&seconds, &tm);
		stamp_format(ms, text);
		cr_assert(stamp_parse(bytes_of(text), &back) && back == ms, "%s", text);
		if (day % 4 != 0) /* strftime is slow */
			continue;
		size_t n = strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S", &tm);
		snprintf(expected + n, sizeof(expected) - n, ".%03dZ", (int)(day % 1000));
		cr_assert_str_eq(text, expected);
	}
}

Test(stamp, times_past_the_calendar_are_held_at_its_ends)
{
	char text[STAMP_SIZE];
	stamp_format(-1, text);
	cr_assert_str_eq(text, "1970-01-01T00:00:00.000Z");
	stamp_format(INT64_MAX, text);
	cr_assert_str_eq(text, "9999-12-31T23:59:59.999Z");
}

Test(stamp, the_compact_form_is_the_date_part_of_readable_names)
{
	char text[16];
	stamp_format_compact(1767312245678, text);
	cr_assert_str_eq(text, "20260102_000405");
}

Test(stamp, all_forms_of_rfc_3339_are_read)
{
	cr_assert_eq(parsed("2026-01-02T00:04:05.678Z"), 1767312245678);
	cr_assert_eq(parsed("2026-01-02t00:04:05.678z"), 1767312245678);
	cr_assert_eq(parsed("2026-01-02T00:04:05Z"), 1767312245000);
	cr_assert_eq(parsed("2026-01-02T00:04:05.6Z"), 1767312245600);
	cr_assert_eq(parsed("2026-01-02T00:04:05.678999999Z"), 1767312245678);
	cr_assert_eq(parsed("2026-01-02T02:04:05.678+02:00"), 1767312245678);
	cr_assert_eq(parsed("2026-01-01T18:34:05.678-05:30"), 1767312245678);
	cr_assert_eq(parsed("2026-01-02T00:04:05.678-00:00"), 1767312245678);
	cr_assert_eq(parsed("1969-12-31T20:00:00-04:00"), 0);
	cr_assert_eq(parsed("2024-02-29T00:00:00Z"), 1709164800000);
	cr_assert_eq(parsed("2000-02-29T00:00:00Z"), 951782400000);
}

Test(stamp, a_leap_second_is_the_first_of_the_next_day)
{
	cr_assert_eq(parsed("2016-12-31T23:59:60Z"), parsed("2017-01-01T00:00:00Z"));
	cr_assert_eq(parsed("2017-01-01T01:59:60+02:00"), parsed("2017-01-01T00:00:00Z"));
	cr_assert_eq(parsed("2016-12-31T12:00:60Z"), -1);
}

Test(stamp, everything_else_is_refused)
{
	static const char *const wrong[] = {
		"", "2026", "2026-01-02", "2026-01-02T00:04Z", "2026-01-02 00:04:05Z", "2026-01-02T00:04:05",
		"2026-1-2T00:04:05.000Z", "2026-01-02T00:04:05.Z", "2026-01-02T00:04:05.1234567890Z", "2026-01-02T24:00:00Z",
		"2026-01-02T00:60:00Z", "2026-01-02T00:00:61Z", "2026-00-02T00:00:00Z", "2026-13-02T00:00:00Z",
		"2026-01-00T00:00:00Z", "2026-01-32T00:00:00Z", "2026-04-31T00:00:00Z", "2026-02-29T00:00:00Z",
		"2100-02-29T00:00:00Z", "2026-01-02T00:04:05+2:00", "2026-01-02T00:04:05+0200", "2026-01-02T00:04:05+24:00",
		"2026-01-02T00:04:05+02:60", "2026-01-02T00:04:05Z ", " 2026-01-02T00:04:05Z", "2026-01-02T00:04:05ZZ",
		"1969-12-31T23:59:59Z", "1970-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "-026-01-02T00:04:05Z",
		"+2026-01-02T00:04:05Z", "2026-01-02T00:04:05,5Z", "2026-01-02T-1:04:05Z", "20260102T000405.000Z",
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_assert_eq(parsed(wrong[i]), -1, "%s", wrong[i]);
	int64_t v = 42;
	cr_assert(!stamp_parse((struct bytes){ NULL, 0 }, &v));
	cr_assert(!stamp_parse((struct bytes){ "2026-01-02T00:04:05\0", 20 }, &v));
	cr_assert_eq(v, 42, "a refused text must leave the result alone");
}
