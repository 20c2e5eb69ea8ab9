/* SPDX-License-Identifier: MIT */
/* convert_fixture: what the tests of conversion share: messages written as JSON, the way there and back, comparison as JSON. */
#ifndef PARLEY_TESTS_LLM_CONVERT_FIXTURE_H
#define PARLEY_TESTS_LLM_CONVERT_FIXTURE_H

#include <criterion/criterion.h>

#include "base/buf.h"
#include "base/secret.h"
#include "llm/convert.h"

static struct arena *arena;
static struct task task;

static inline void fixture_open(void)
{
	secret_init();
	arena = arena_open(65536);
	task_init(&task, arena);
}

static inline void fixture_close(void)
{
	arena_close(&arena);
}

struct messages {
	struct convert_message *items;
	size_t n;
};

struct document {
	struct bytes text, aside;
};

static inline struct bytes sound(struct bytes text)
{
	struct jsonx_flaw flaw;

	cr_assert(jsonx_check_strict(arena, text, &flaw), "%s at %zu: %.*s", flaw.reason, flaw.offset, (int)text.n, text.p);
	return text;
}

/* Messages from an array of [role, content, extra, metadata]; the last two may be left out. */
static inline struct messages messages_of(const char *json)
{
	struct messages m = { 0 };
	struct jsonx_walk w, row;

	for (jsonx_walk_begin(&w, sound(bytes_of(json))); jsonx_walk_next(&w);)
		m.n++;
	m.items = arena_array(arena, m.n, sizeof(*m.items));
	m.n = 0;
	for (jsonx_walk_begin(&w, bytes_of(json)); jsonx_walk_next(&w); m.n++) {
		struct bytes v[4] = { { 0 } };
		size_t k = 0;

		for (jsonx_walk_begin(&row, w.value); jsonx_walk_next(&row); k++)
			v[k] = row.value;
		m.items[m.n] = (struct convert_message){ jsonx_string(arena, v[0]), v[1], v[2], v[3], NULL };
	}
	return m;
}

static inline struct document format(enum convert_kind kind, struct messages m)
{
	struct document d;

	convert_format(&task, kind, m.items, m.n, &d.text, &d.aside);
	sound(d.text);
	sound(d.aside);
	return d;
}

static inline struct messages parse(enum convert_kind kind, struct bytes text, struct bytes aside)
{
	struct messages m;
	enum err e = convert_parse(&task, kind, text, aside, &m.items, &m.n);

	cr_assert_eq(e, ERR_OK, "%s: %s; %.*s beside %.*s", task.fault.fields ? task.fault.fields->field : "?",
		     task.fault.fields ? task.fault.fields->detail : "?", (int)text.n, text.p, (int)aside.n, aside.p);
	return m;
}

static inline bool same_json(struct bytes x, struct bytes y)
{
	return json_object_equal(jsonx_tree(arena, sound(x)), jsonx_tree(arena, sound(y)));
}

static inline bool same_object(struct bytes x, struct bytes y)
{
	return same_json(x.n > 0 ? x : BYTES("{}"), y.n > 0 ? y : BYTES("{}"));
}

static inline const char *show(struct messages m)
{
	struct buf b;

	buf_init(&b, arena, 256);
	for (size_t i = 0; i < m.n; i++) {
		buf_addf(&b, "\n%zu ", i);
		buf_add_bytes(&b, m.items[i].role);
		buf_add_char(&b, ' ');
		buf_add_bytes(&b, m.items[i].content);
		buf_add_char(&b, ' ');
		buf_add_bytes(&b, m.items[i].extra);
		buf_add_char(&b, ' ');
		buf_add_bytes(&b, m.items[i].metadata);
	}
	return buf_bytes(&b).p;
}

static inline bool same_message(const struct convert_message *x, const struct convert_message *y)
{
	return bytes_equal(x->role, y->role) && same_json(x->content, y->content) && same_object(x->extra, y->extra) &&
	       same_object(x->metadata, y->metadata);
}

static inline void assert_same(struct messages got, struct messages wanted)
{
	cr_assert_eq(got.n, wanted.n, "%zu messages instead of %zu: %s\nwanted%s", got.n, wanted.n, show(got), show(wanted));
	for (size_t i = 0; i < got.n; i++)
		cr_assert(same_message(&got.items[i], &wanted.items[i]), "message %zu of %s\nwanted%s", i, show(got), show(wanted));
}

#define assert_text(got, wanted)                                                                                       \
	do {                                                                                                           \
		struct bytes got_ = (got), wanted_ = bytes_of(wanted);                                                 \
		cr_assert(same_json(got_, wanted_), "%.*s\ninstead of\n%.*s", (int)got_.n, got_.p, (int)wanted_.n, wanted_.p); \
	} while (0)

static const enum convert_kind kinds[] = { CONVERT_OPENAI, CONVERT_ANTHROPIC, CONVERT_GEMINI };

#endif
