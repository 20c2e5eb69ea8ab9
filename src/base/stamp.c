/* SPDX-License-Identifier: MIT */
/* stamp: time and its text. The calendar is computed here, because gmtime_r takes a lock that all threads share. */
#include "base/stamp.h"

#include <time.h>

#define DAY_MS 86400000
#define MS_MAX INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

static struct timespec time_of(clockid_t which)
{
	struct timespec ts;
	clock_gettime(which, &ts);
	return ts;
}

int64_t stamp_now(void)
{
	struct timespec ts = time_of(CLOCK_REALTIME);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t stamp_mono_ms(void)
{
	return stamp_mono_us() / 1000;
}

int64_t stamp_mono_us(void)
{
	struct timespec ts = time_of(CLOCK_MONOTONIC);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

struct date {
	int year, month, day;
};

/* Days before the year's 1 January, counted from 1 January of the year 1. */
static int days_before_year(int year)
{
	int y = year - 1;
	return y * 365 + y / 4 - y / 100 + y / 400;
}

static bool is_leap(int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_before_month(int year, int month)
{
	static const int before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365 };
	return before[month - 1] + (month > 2 && is_leap(year));
}

static int days_since_1970(struct date d)
{
	return days_before_year(d.year) - days_before_year(1970) + days_before_month(d.year, d.month) + d.day - 1;
}

static struct date date_of(int days)
{
	/* The mean year gives the year or one beside it. */
	struct date d = { .year = 1970 + (int)((int64_t)days * 400 / 146097) };
	while (days < days_since_1970((struct date){ d.year, 1, 1 }))
		d.year--;
	while (days >= days_since_1970((struct date){ d.year + 1, 1, 1 }))
		d.year++;
	int in_year = days - days_since_1970((struct date){ d.year, 1, 1 });
	d.month = in_year / 31 + 1; /* right, or one too low */
	if (d.month < 12 && in_year >= days_before_month(d.year, d.month + 1))
		d.month++;
	d.day = in_year - days_before_month(d.year, d.month) + 1;
	return d;
}

/* Writes v with exactly n digits. */
static char *put(char *to, int v, int n)
{
	for (int i = n - 1; i >= 0; i--) {
		to[i] = (char)('0' + v % 10);
		v /= 10;
	}
	return to + n;
}

static int64_t within_calendar(int64_t unix_ms)
{
	return unix_ms < 0 ? 0 : unix_ms > MS_MAX ? MS_MAX : unix_ms;
}

void stamp_format(int64_t unix_ms, char out[STAMP_SIZE])
{
	unix_ms = within_calendar(unix_ms);
	struct date d = date_of((int)(unix_ms / DAY_MS));
	int ms = (int)(unix_ms % DAY_MS);
	char *to = put(out, d.year, 4);
	*to++ = '-';
	to = put(to, d.month, 2);
	*to++ = '-';
	to = put(to, d.day, 2);
	*to++ = 'T';
	to = put(to, ms / 3600000, 2);
	*to++ = ':';
	to = put(to, ms / 60000 % 60, 2);
	*to++ = ':';
	to = put(to, ms / 1000 % 60, 2);
	*to++ = '.';
	to = put(to, ms % 1000, 3);
	*to++ = 'Z';
	*to = '\0';
}

void stamp_format_compact(int64_t unix_ms, char out[16])
{
	unix_ms = within_calendar(unix_ms);
	struct date d = date_of((int)(unix_ms / DAY_MS));
	int ms = (int)(unix_ms % DAY_MS);
	char *to = put(out, d.year, 4);
	to = put(to, d.month, 2);
	to = put(to, d.day, 2);
	*to++ = '_';
	to = put(to, ms / 3600000, 2);
	to = put(to, ms / 60000 % 60, 2);
	to = put(to, ms / 1000 % 60, 2);
	*to = '\0';
}

/* What is left to parse; `ok` turns false at the first thing that is wrong and stays so. */
struct rest {
	const char *p, *end;
	bool ok;
};

static bool at_digit(const struct rest *r)
{
	return r->p < r->end && *r->p >= '0' && *r->p <= '9';
}

static int take_number(struct rest *r, int digits, int min, int max)
{
	int v = 0;
	for (int i = 0; i < digits; i++) {
		if (!at_digit(r)) {
			r->ok = false;
			return min;
		}
		v = v * 10 + (*r->p++ - '0');
	}
	if (v < min || v > max) {
		r->ok = false;
		return min;
	}
	return v;
}

/* Takes one byte out of `set` and returns it, else '\0'. */
static char take_any(struct rest *r, const char *set)
{
	if (r->p == r->end || *r->p == '\0' || !strchr(set, *r->p))
		return '\0';
	return *r->p++;
}

static void expect(struct rest *r, const char *set)
{
	if (!take_any(r, set))
		r->ok = false;
}

/* Milliseconds of ".123456789": digits past the third are dropped. */
static int take_fraction(struct rest *r)
{
	int ms = 0, digits = 0;
	if (!take_any(r, "."))
		return 0;
	for (; digits < 9 && at_digit(r); digits++, r->p++) {
		if (digits < 3)
			ms = ms * 10 + (*r->p - '0');
	}
	if (digits == 0)
		r->ok = false;
	for (; digits < 3; digits++)
		ms *= 10;
	return ms;
}

/* Minutes that the text's clock is ahead of UTC. */
static int take_offset(struct rest *r)
{
	char sign = take_any(r, "Zz+-");
	if (sign != '+' && sign != '-') {
		r->ok = r->ok && sign;
		return 0;
	}
	int hours = take_number(r, 2, 0, 23);
	expect(r, ":");
	int minutes = hours * 60 + take_number(r, 2, 0, 59);
	return sign == '-' ? -minutes : minutes;
}

bool stamp_parse(struct bytes text, int64_t *unix_ms_r)
{
	if (text.n < sizeof("1970-01-01T00:00:00Z") - 1)
		return false;
	struct rest r = { text.p, text.p + text.n, true };
	struct date d;
	d.year = take_number(&r, 4, 1969, 9999); /* 1969-12-31 may be 1970 in UTC, and is checked below */
	expect(&r, "-");
	d.month = take_number(&r, 2, 1, 12);
	expect(&r, "-");
	d.day = take_number(&r, 2, 1, 31);
	expect(&r, "Tt");
	int hour = take_number(&r, 2, 0, 23);
	expect(&r, ":");
	int minute = take_number(&r, 2, 0, 59);
	expect(&r, ":");
	int second = take_number(&r, 2, 0, 60);
	int ms = take_fraction(&r);
	int offset = take_offset(&r);
	int month_days = days_before_month(d.year, d.month + 1) - days_before_month(d.year, d.month);
	if (!r.ok || r.p != r.end || d.day > month_days)
		return false;
	int64_t minutes = ((int64_t)days_since_1970(d) * 24 + hour) * 60 + minute - offset;
	/* A leap second is the last of a UTC day; like the system's clock, we count it as the first of the next. */
	if (second == 60 && minutes % 1440 != 1439)
		return false;
	int64_t at = (minutes * 60 + second) * 1000 + ms;
	if (at < 0 || at > MS_MAX)
		return false;
	*unix_ms_r = at;
	return true;
}
