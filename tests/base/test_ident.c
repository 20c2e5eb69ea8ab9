/* SPDX-License-Identifier: MIT */
/* test_ident: ids are unique, rise within a thread, survive a fork, and have one canonical text. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/ident.h"
#include "base/stamp.h"

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ident));
}

/* Sorts the ids and returns how many are the same as their neighbour. */
static size_t count_repeats(struct ident *ids, size_t n)
{
	size_t repeats = 0;

	qsort(ids, n, sizeof(*ids), compare);
	for (size_t i = 1; i < n; i++)
		repeats += ident_equal(&ids[i - 1], &ids[i]);
	return repeats;
}

static int64_t time_of(const struct ident *id)
{
	int64_t ms = 0;

	for (int i = 0; i < 6; i++)
		ms = ms << 8 | id->b[i];
	return ms;
}

Test(ident, a_new_id_is_a_uuid_of_version_7_with_the_present_time)
{
	int64_t before = stamp_now();
	struct ident id = ident_new();
	int64_t after = stamp_now();

	cr_assert_eq(id.b[6] >> 4, 7);
	cr_assert_eq(id.b[8] >> 6, 2);
	cr_assert_geq(time_of(&id), before);
	cr_assert_leq(time_of(&id), after);
	cr_assert_not(ident_is_zero(&id));
}

Test(ident, two_hundred_thousand_ids_of_one_thread_rise_strictly)
{
	struct ident last = ident_new();

	for (int i = 0; i < 200000; i++) {
		struct ident next = ident_new();

		cr_assert_lt(memcmp(last.b, next.b, 16), 0, "id %d does not rise", i);
		cr_assert_eq(next.b[6] >> 4, 7);
		cr_assert_eq(next.b[8] >> 6, 2);
		last = next;
	}
	/* A counter that ran over would have pushed the time ahead of the clock. */
	cr_assert_leq(time_of(&last), stamp_now());
}

#define PER_THREAD 20000
#define THREADS 4

static void *make_ids(void *arg)
{
	struct ident *ids = arg;

	for (int i = 0; i < PER_THREAD; i++)
		ids[i] = ident_new();
	return NULL;
}

Test(ident, threads_never_make_the_same_id)
{
	struct ident *ids = calloc(THREADS * PER_THREAD, sizeof(*ids));
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, make_ids, ids + i * PER_THREAD), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(count_repeats(ids, THREADS * PER_THREAD), 0);
	free(ids);
}

/* Forks a child that writes n ids into the pipe; depth 2 makes it fork once more first. */
static void fork_writer(int fd, int n, int depth)
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid > 0)
		return;
	if (depth > 1) {
		pid_t grandchild = fork();

		if (grandchild > 0)
			waitpid(grandchild, NULL, 0);
	}
	usleep(3000);
	for (int i = 0; i < n; i++) {
		struct ident id = ident_new();

		if (write(fd, &id, sizeof(id)) != sizeof(id))
			_exit(1);
	}
	_exit(0);
}

Test(ident, a_forked_child_repeats_no_id_of_its_parent_or_its_siblings)
{
	enum { EACH = 300, WRITERS = 6 };
	static struct ident ids[EACH * (WRITERS + 1)];
	struct ident last;
	int ends[2];
	size_t n = 0;

	cr_assert_eq(pipe(ends), 0);
	last = ident_new(); /* the state that every child inherits */
	for (int i = 0; i < 4; i++)
		fork_writer(ends[1], EACH, 1);
	fork_writer(ends[1], EACH, 2); /* counts for two */
	close(ends[1]);
	usleep(3000);
	while (n < EACH) {
		ids[n] = ident_new();
		cr_assert_lt(memcmp(last.b, ids[n].b, 16), 0);
		last = ids[n++];
	}
	while (n < EACH * (WRITERS + 1) && read(ends[0], &ids[n], sizeof(ids[n])) == sizeof(ids[n]))
		n++;
	while (wait(NULL) > 0)
		;
	cr_assert_eq(n, EACH * (WRITERS + 1));
	/* Their clocks may differ by chance: it is the random bits, of a new millisecond each, that must. */
	for (size_t i = 0; i < n; i++)
		memset(ids[i].b, 0, 6);
	cr_assert_eq(count_repeats(ids, n), 0);
}

Test(ident, the_text_is_the_prefix_and_26_lower_case_characters)
{
	struct ident zero = { { 0 } }, all, one = { { 0 } };
	char text[IDENT_SIZE];

	memset(all.b, 0xff, sizeof(all.b));
	one.b[15] = 1;
	ident_format("ses_", &zero, text);
	cr_assert_str_eq(text, "ses_00000000000000000000000000");
	ident_format("", &all, text);
	cr_assert_str_eq(text, "7zzzzzzzzzzzzzzzzzzzzzzzzz");
	ident_format("12345678", &one, text);
	cr_assert_str_eq(text, "1234567800000000000000000000000001");
	/* The example of RFC 9562, A.6: 017F22E2-79B0-7CC3-98C4-DC0C0C07398F. */
	ident_format("", &(struct ident){ { 0x01, 0x7f, 0x22, 0xe2, 0x79, 0xb0, 0x7c, 0xc3, 0x98, 0xc4, 0xdc, 0x0c, 0x0c, 0x07,
					    0x39, 0x8f } }, text);
	cr_assert_str_eq(text, "01fwhe4ydgfk1shh6w1g60eecf");
}

Test(ident, text_sorts_as_the_bytes_do)
{
	char last[IDENT_SIZE], next[IDENT_SIZE];
	struct ident id = ident_new();

	ident_format("m_", &id, last);
	for (int i = 0; i < 1000; i++) {
		id = ident_new();
		ident_format("m_", &id, next);
		cr_assert_lt(strcmp(last, next), 0);
		strcpy(last, next);
	}
}

Test(ident, what_was_written_is_read_back_in_either_case)
{
	char text[IDENT_SIZE];
	struct ident id, back;

	for (int i = 0; i < 1000; i++) {
		id = ident_new();
		ident_format("cnv_", &id, text);
		cr_assert(ident_parse("cnv_", bytes_of(text), &back));
		cr_assert(ident_equal(&id, &back));
		for (char *c = text + 4; *c; c++)
			*c = (char)(*c >= 'a' ? *c - 'a' + 'A' : *c);
		cr_assert(ident_parse("cnv_", bytes_of(text), &back));
		cr_assert(ident_equal(&id, &back));
	}
}

Test(ident, i_and_l_are_read_as_1_and_o_as_0)
{
	struct ident id, want;

	cr_assert(ident_parse("", BYTES("01010101010101010101010101"), &want));
	cr_assert(ident_parse("", BYTES("oiOLolOi0LoiO1ololoioiolol"), &id));
	cr_assert(ident_equal(&id, &want));
}

Test(ident, anything_else_is_refused_and_leaves_the_result_alone)
{
	static const struct bytes bad[] = {
		{ NULL, 0 },
		BYTES("ses_"),
		BYTES("ses_0000000000000000000000000"),
		BYTES("ses_000000000000000000000000000"),
		BYTES("msg_00000000000000000000000000"),
		BYTES("SES_00000000000000000000000000"),
		BYTES("ses_80000000000000000000000000"), /* past 128 bits */
		BYTES("ses_z0000000000000000000000000"),
		BYTES("ses_u0000000000000000000000000"),
		BYTES("ses_0000000000000000000000000u"),
		BYTES("ses_000000000000-0000000000000"),
		BYTES("ses_00000000000 00000000000000"),
		BYTES("ses_000000000000\0" "0000000000000"),
		BYTES("ses_000000000000\xff" "0000000000000"),
		BYTES("ses_000000000000\xc3\xa9" "000000000000"),
		BYTES(" ses_0000000000000000000000000"),
	};
	struct ident id;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(id.b, 0xaa, sizeof(id.b));
		cr_assert_not(ident_parse("ses_", bad[i], &id), "case %zu was accepted", i);
		cr_assert_eq(id.b[0], 0xaa);
	}
}

Test(ident, zero_and_equality)
{
	struct ident zero = { { 0 } }, last = { { 0 } };

	last.b[15] = 1;
	cr_assert(ident_is_zero(&zero));
	cr_assert_not(ident_is_zero(&last));
	cr_assert(ident_equal(&zero, &zero));
	cr_assert_not(ident_equal(&zero, &last));
}
