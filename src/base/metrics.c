/* SPDX-License-Identifier: MIT */
/*
 * metrics: the shared memory is a number of lanes. A thread adds in its own lane, so that cores do not pull one cache line
 * back and forth; a reader sums the lanes. Gauges live in the first lane alone, because a set must replace what all added.
 */
#include "base/metrics.h"

#include <assert.h>
#include <stdatomic.h>

#define CACHE_LINE 64
#define LANES 16

/* Upper bounds in microseconds; the last bucket has none. */
static const int64_t bounds[] = {
	500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
	1000000, 2500000, 5000000, 10000000, 30000000, 60000000,
};

#define BOUNDS (sizeof(bounds) / sizeof(bounds[0]))
#define HISTOGRAM_SLOTS (BOUNDS + 2) /* a count for each bucket, one past the bounds, and the sum in microseconds */

enum slot {
#define COUNTER(name, help) SLOT_##name,
#define GAUGE(name, help) SLOT_##name,
#define HISTOGRAM(name, help) SLOT_##name, SLOT_END_##name = SLOT_##name + HISTOGRAM_SLOTS - 1,
#include "base/metrics.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
	SLOT_COUNT
};

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM };

struct row {
	const char *name, *help;
	enum kind kind;
	enum slot slot;
};

static const struct row rows[METRIC_COUNT] = {
#define COUNTER(name, help) { #name, help, KIND_COUNTER, SLOT_##name },
#define GAUGE(name, help) { #name, help, KIND_GAUGE, SLOT_##name },
#define HISTOGRAM(name, help) { #name, help, KIND_HISTOGRAM, SLOT_##name },
#include "base/metrics.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
};

struct lane {
	_Alignas(CACHE_LINE) _Atomic int64_t slots[SLOT_COUNT];
};

struct area {
	_Alignas(CACHE_LINE) _Atomic unsigned threads; /* how many took a lane so far, over all processes */
	struct lane lanes[LANES];
};

static struct area private_area;
static struct area *area = &private_area;

size_t metrics_size(void)
{
	return sizeof(struct area);
}

void metrics_open(void *shared)
{
	assert((uintptr_t)shared % CACHE_LINE == 0);
	area = shared ? shared : &private_area;
}

static struct lane *own_lane(void)
{
	static _Thread_local unsigned number; /* from 1; 0: not chosen yet */
	if (number == 0)
		number = 1 + atomic_fetch_add_explicit(&area->threads, 1, memory_order_relaxed) % LANES;
	return &area->lanes[number - 1];
}

static void add(struct lane *l, unsigned slot, int64_t n)
{
	atomic_fetch_add_explicit(&l->slots[slot], n, memory_order_relaxed);
}

static int64_t sum(unsigned slot)
{
	int64_t total = 0;
	for (int i = 0; i < LANES; i++)
		total += atomic_load_explicit(&area->lanes[i].slots[slot], memory_order_relaxed);
	return total;
}

void metric_add(enum metric m, int64_t n)
{
	assert(rows[m].kind != KIND_HISTOGRAM);
	add(rows[m].kind == KIND_GAUGE ? &area->lanes[0] : own_lane(), rows[m].slot, n);
}

void metric_set(enum metric m, int64_t v)
{
	assert(rows[m].kind == KIND_GAUGE);
	atomic_store_explicit(&area->lanes[0].slots[rows[m].slot], v, memory_order_relaxed);
}

void metric_observe(enum metric m, int64_t us)
{
	assert(rows[m].kind == KIND_HISTOGRAM);
	unsigned bucket = 0;
	if (us < 0)
		us = 0;
	while (bucket < BOUNDS && us > bounds[bucket])
		bucket++;
	struct lane *l = own_lane();
	add(l, rows[m].slot + bucket, 1);
	add(l, rows[m].slot + BOUNDS + 1, us);
}

int64_t metric_get(enum metric m)
{
	unsigned last = rows[m].slot + (rows[m].kind == KIND_HISTOGRAM ? BOUNDS : 0);
	int64_t total = 0;
	for (unsigned slot = rows[m].slot; slot <= last; slot++)
		total += sum(slot);
	return total;
}

/* Microseconds as seconds, without the zeros at the end: "0.0005", "2.5", "60". */
static void add_seconds(struct buf *out, int64_t us)
{
	buf_add_int(out, us / 1000000);
	int64_t rest = us % 1000000;
	if (rest == 0)
		return;
	buf_addf(out, ".%06lld", (long long)rest);
	while (out->p[out->n - 1] == '0')
		out->p[--out->n] = '\0';
}

static void format_histogram(const struct row *r, struct buf *out)
{
	int64_t count = 0;
	for (unsigned i = 0; i <= BOUNDS; i++) {
		count += sum(r->slot + i);
		buf_addf(out, "parley_%s_bucket{le=\"", r->name);
		if (i < BOUNDS)
			add_seconds(out, bounds[i]);
		else
			buf_add_str(out, "+Inf");
		buf_addf(out, "\"} %lld\n", (long long)count);
	}
	buf_addf(out, "parley_%s_sum ", r->name);
	add_seconds(out, sum(r->slot + BOUNDS + 1));
	/* The count is that of the last bucket, not read again: the two must agree. */
	buf_addf(out, "\nparley_%s_count %lld\n", r->name, (long long)count);
}

void metrics_format(struct buf *out)
{
	static const char *const types[] = { "counter", "gauge", "histogram" };
	for (const struct row *r = rows; r < rows + METRIC_COUNT; r++) {
		buf_addf(out, "# HELP parley_%s %s\n# TYPE parley_%s %s\n", r->name, r->help, r->name, types[r->kind]);
		if (r->kind == KIND_HISTOGRAM)
			format_histogram(r, out);
		else
			buf_addf(out, "parley_%s %lld\n", r->name, (long long)sum(r->slot));
	}
}
