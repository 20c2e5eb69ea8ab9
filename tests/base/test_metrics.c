/* SPDX-License-Identifier: MIT */
/* test_metrics: what threads and processes add is summed up, and written as Prometheus reads it (OPS-3). */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/metrics.h"
#include "base/shm.h"

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

TestSuite(metrics, .init = setup, .fini = teardown);

static const char *text(void)
{
	struct buf b;
	buf_init(&b, a, 0);
	metrics_format(&b);
	return buf_bytes(&b).p;
}

/* The value of a line of the text that begins with `name` and a blank. */
static double value(const char *name)
{
	const char *line = strstr(text(), arena_printf(a, "\n%s ", name));
	cr_assert_not_null(line, "%s", name);
	return strtod(line + strlen(name) + 2, NULL);
}

Test(metrics, they_count_before_they_are_opened)
{
	metric_add(METRIC_requests_total, 2);
	metric_add(METRIC_requests_total, 1);
	cr_assert_eq(metric_get(METRIC_requests_total), 3);
	cr_assert_eq(metric_get(METRIC_responses_2xx_total), 0);
}

Test(metrics, gauges_go_up_and_down_and_can_be_set)
{
	metric_add(METRIC_turns_running, 5);
	metric_add(METRIC_turns_running, -2);
	cr_assert_eq(metric_get(METRIC_turns_running), 3);
	metric_set(METRIC_turns_running, 0);
	cr_assert_eq(metric_get(METRIC_turns_running), 0);
}

Test(metrics, every_bucket_takes_up_to_its_bound)
{
	metric_observe(METRIC_db_seconds, 500);
	metric_observe(METRIC_db_seconds, 501);
	metric_observe(METRIC_db_seconds, 60000000);
	metric_observe(METRIC_db_seconds, 60000001);
	metric_observe(METRIC_db_seconds, -5);
	cr_assert_eq(metric_get(METRIC_db_seconds), 5);
	cr_assert_eq(metric_get(METRIC_turn_seconds), 0);
	cr_assert_eq(value("parley_db_seconds_bucket{le=\"0.0005\"}"), 2);
	cr_assert_eq(value("parley_db_seconds_bucket{le=\"0.001\"}"), 3);
	cr_assert_eq(value("parley_db_seconds_bucket{le=\"30\"}"), 3);
	cr_assert_eq(value("parley_db_seconds_bucket{le=\"60\"}"), 4);
	cr_assert_eq(value("parley_db_seconds_bucket{le=\"+Inf\"}"), 5);
	cr_assert_eq(value("parley_db_seconds_count"), 5);
	cr_assert_float_eq(value("parley_db_seconds_sum"), 120.001002, 1e-9);
}

Test(metrics, the_text_is_what_prometheus_reads)
{
	metric_add(METRIC_requests_total, 41);
	metric_set(METRIC_workers, 4);
	metric_observe(METRIC_request_seconds, 1500);
	cr_assert_not_null(strstr(text(), "# HELP parley_requests_total Requests answered\n# TYPE parley_requests_total counter\n"
					  "parley_requests_total 41\n"));
	cr_assert_not_null(strstr(text(), "# TYPE parley_workers gauge\nparley_workers 4\n"));
	cr_assert_not_null(strstr(text(), "# TYPE parley_request_seconds histogram\n"
					  "parley_request_seconds_bucket{le=\"0.0005\"} 0\n"));
	cr_assert_not_null(strstr(text(), "\nparley_request_seconds_bucket{le=\"0.0025\"} 1\n"));
	cr_assert_not_null(strstr(text(), "\nparley_request_seconds_sum 0.0015\nparley_request_seconds_count 1\n"));
	const char *all = text();
	cr_assert_eq(all[strlen(all) - 1], '\n');
}

Test(metrics, every_line_has_a_type_and_a_finite_value)
{
	int lines = 0;
	char *save;
	for (char *l = strtok_r(arena_strdup(a, text()), "\n", &save); l; l = strtok_r(NULL, "\n", &save), lines++) {
		cr_assert(strncmp(l, "# HELP parley_", 14) == 0 || strncmp(l, "# TYPE parley_", 14) == 0 || strncmp(l, "parley_", 7) == 0,
			  "%s", l);
		char *end, *number = strrchr(l, ' ') + 1;
		if (l[0] != '#') {
			cr_assert_eq(strtod(number, &end), 0.0);
			cr_assert(end != number && *end == '\0', "%s", l);
		}
	}
	cr_assert_gt(lines, METRIC_COUNT * 3);
}

static void *add_many(void *unused)
{
	(void)unused;
	for (int i = 0; i < 20000; i++) {
		metric_add(METRIC_requests_total, 1);
		metric_add(METRIC_requests_running, i % 2 ? -1 : 1);
		metric_observe(METRIC_request_seconds, 10);
	}
	return NULL;
}

static void add_in_threads(void)
{
	pthread_t threads[20];
	for (int i = 0; i < 20; i++)
		pthread_create(&threads[i], NULL, add_many, NULL);
	for (int i = 0; i < 20; i++)
		pthread_join(threads[i], NULL);
}

Test(metrics, nothing_is_lost_between_threads_and_processes)
{
	void *shared;
	cr_assert_eq(shm_map(&t, NULL, metrics_size(), &shared), ERR_OK);
	metrics_open(shared);
	pid_t child = fork();
	if (child == 0) {
		add_in_threads();
		_exit(0);
	}
	add_in_threads();
	waitpid(child, NULL, 0);
	cr_assert_eq(metric_get(METRIC_requests_total), 2 * 20 * 20000);
	cr_assert_eq(metric_get(METRIC_requests_running), 0);
	cr_assert_eq(metric_get(METRIC_request_seconds), 2 * 20 * 20000);
	metrics_open(NULL);
	cr_assert_eq(metric_get(METRIC_requests_total), 0);
}
