/* SPDX-License-Identifier: MIT */
/*
 * breakers: a table of atomic words, one for each name. All that a breaker knows is in its word, so that every change is one exchange and a
 * process may die at any point: two bits of state, fourteen of failures in a row, and a time.
 */
#include "base/breakers.h"

#include <stdatomic.h>

#include "base/ident.h"
#include "base/secret.h"

#define SLOTS 64
#define WINDOW_MS 300000
#define LIMIT_MS_MAX 60000
#define SKEW_MS 60000 /* a report's time may be so far behind that of one before */
#define AHEAD_MS_MAX 3600000 /* no time is set further off: what is beyond belongs to another boot, the area may be a file */
#define TIME_BITS 48
#define FAILURE_BITS 14
#define FAILURES_MAX ((1 << FAILURE_BITS) - 1)

enum state {
	CLOSED,  /* `at` is when it failed last */
	OPEN,    /* until `at`, and behind it until a probe has ended */
	LIMITED, /* until `at` */
};

struct word {
	enum state state;
	int64_t failures, at;
};

/* A cache line each, since every call looks at one. */
struct breakers_slot {
	_Alignas(64) _Atomic uint64_t name; /* its hash; 0: free */
	_Atomic uint64_t word;
};

struct breakers {
	struct breakers_slot slots[SLOTS];
};

size_t breakers_size(void)
{
	return sizeof(struct breakers);
}

static uint64_t hash_of(struct bytes name)
{
	struct ident id = secret_ident(&name, 1);
	uint64_t hash;
	memcpy(&hash, &id, sizeof hash);
	return hash ? hash : 1;
}

struct breakers_slot *breakers_find(struct breakers *table, struct bytes name)
{
	uint64_t hash = hash_of(name);
	for (size_t i = 0; i < SLOTS; i++) {
		struct breakers_slot *s = &table->slots[(hash + i) % SLOTS];
		uint64_t found = atomic_load(&s->name);
		if (found == 0 && atomic_compare_exchange_strong(&s->name, &found, hash))
			return s;
		if (found == hash)
			return s;
	}
	return NULL;
}

static uint64_t pack(struct word w)
{
	uint64_t failures = (uint64_t)(w.failures < FAILURES_MAX ? w.failures : FAILURES_MAX);
	return (uint64_t)w.state << (TIME_BITS + FAILURE_BITS) | failures << TIME_BITS | ((uint64_t)w.at & ((UINT64_C(1) << TIME_BITS) - 1));
}

/* What a word means now: what has lapsed is left out. */
static struct word read_word(uint64_t raw, int64_t now)
{
	struct word w = { (enum state)(raw >> (TIME_BITS + FAILURE_BITS)), (int64_t)(raw >> TIME_BITS & FAILURES_MAX),
			  (int64_t)(raw & ((UINT64_C(1) << TIME_BITS) - 1)) };
	bool is_of_another_boot = w.at - now > AHEAD_MS_MAX;
	if (w.state == CLOSED && (w.at - now > SKEW_MS || now - w.at > WINDOW_MS))
		return (struct word){ CLOSED, 0, 0 };
	if (w.state == LIMITED && (w.at <= now || is_of_another_boot))
		return (struct word){ CLOSED, 0, 0 };
	if (w.state == OPEN && is_of_another_boot)
		w.at = now;
	return w;
}

static bool exchange(struct breakers_slot *s, uint64_t *raw, struct word w)
{
	return atomic_compare_exchange_strong(&s->word, raw, pack(w));
}

bool breakers_admit(struct breakers_slot *s, const struct breakers_rule *rule, int64_t now, struct breakers_pass *pass_r)
{
	*pass_r = (struct breakers_pass){ .is_probe = false };
	if (!s)
		return true;
	for (uint64_t raw = atomic_load(&s->word);;) {
		struct word w = read_word(raw, now);
		if (w.state == CLOSED)
			return true;
		if (w.at > now) {
			*pass_r = (struct breakers_pass){ .is_limited = w.state == LIMITED, .wait_ms = w.at - now };
			return false;
		}
		/* The time to the next probe is set as if this one failed or died. */
		w.at = now + rule->open_ms;
		if (exchange(s, &raw, w)) {
			pass_r->is_probe = true;
			return true;
		}
	}
}

/* Sets an open breaker's time. */
static void set_time(struct breakers_slot *s, int64_t now, int64_t at)
{
	if (!s)
		return;
	for (uint64_t raw = atomic_load(&s->word);;) {
		struct word w = read_word(raw, now);
		if (w.state != OPEN)
			return;
		w.at = at;
		if (exchange(s, &raw, w))
			return;
	}
}

void breakers_hold(struct breakers_slot *s, const struct breakers_rule *rule, int64_t now)
{
	set_time(s, now, now + rule->open_ms);
}

void breakers_release(struct breakers_slot *s, int64_t now)
{
	set_time(s, now, now);
}

bool breakers_fail(struct breakers_slot *s, const struct breakers_rule *rule, int64_t now, bool is_probe)
{
	if (!s || rule->failures == 0)
		return false;
	for (uint64_t raw = atomic_load(&s->word);;) {
		struct word w = read_word(raw, now);
		bool is_opened = w.state == CLOSED && w.failures + 1 >= rule->failures;
		if (w.state == LIMITED || (w.state == OPEN && !is_probe))
			return false;
		w.failures++;
		w.at = now;
		if (is_opened || w.state == OPEN)
			w = (struct word){ OPEN, w.failures, now + rule->open_ms };
		if (exchange(s, &raw, w))
			return is_opened;
	}
}

bool breakers_trust(struct breakers_slot *s, const struct breakers_rule *rule, int64_t now)
{
	if (!s)
		return false;
	for (uint64_t raw = atomic_load(&s->word);;) {
		if (read_word(raw, now).state != OPEN)
			return false;
		if (exchange(s, &raw, (struct word){ CLOSED, rule->failures > 0 ? rule->failures - 1 : 0, now }))
			return true;
	}
}

bool breakers_close(struct breakers_slot *s, int64_t now)
{
	if (!s)
		return false;
	for (uint64_t raw = atomic_load(&s->word);;) {
		struct word w = read_word(raw, now);
		if (raw == 0 || w.state == LIMITED)
			return false;
		if (exchange(s, &raw, (struct word){ CLOSED, 0, 0 }))
			return w.state == OPEN;
	}
}

bool breakers_limit(struct breakers_slot *s, int64_t now, int64_t ms)
{
	if (!s || ms <= 0)
		return false;
	for (uint64_t raw = atomic_load(&s->word);;) {
		struct word w = read_word(raw, now);
		int64_t until = now + (ms < LIMIT_MS_MAX ? ms : LIMIT_MS_MAX);
		if (w.state == LIMITED && w.at >= until)
			return false;
		if (exchange(s, &raw, (struct word){ LIMITED, 0, until }))
			return w.state == CLOSED;
	}
}
