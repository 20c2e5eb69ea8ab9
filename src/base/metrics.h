/* SPDX-License-Identifier: MIT */
/* metrics: counters, gauges and histograms in memory that all processes of an install share. */
#ifndef PARLEY_BASE_METRICS_H
#define PARLEY_BASE_METRICS_H

#include <stdint.h>

#include "base/buf.h"

enum metric {
#define COUNTER(name, help) METRIC_##name,
#define GAUGE(name, help) METRIC_##name,
#define HISTOGRAM(name, help) METRIC_##name,
#include "base/metrics.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
	METRIC_COUNT
};

/* Bytes of shared memory that metrics need. */
size_t metrics_size(void);

/* Uses `shared` (zeroed when new, from shm_map) from now on; NULL, or before it is called: a private area. */
void metrics_open(void *shared);

/* Adds to a counter or gauge (negative for gauges). Relaxed atomics: safe from any thread or process. */
void metric_add(enum metric m, int64_t n);
/* Sets a gauge. */
void metric_set(enum metric m, int64_t v);
/* Puts one observation of so many microseconds into a histogram. */
void metric_observe(enum metric m, int64_t us);
/* The value of a counter or gauge; the count of a histogram. */
int64_t metric_get(enum metric m);

/* Writes all of them in the Prometheus text format. */
void metrics_format(struct buf *out);

#endif
