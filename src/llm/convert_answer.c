/* SPDX-License-Identifier: MIT */
/* convert_answer: the draft of a message, from blocks as they ended. */
#include "llm/convert_answer.h"

#include "base/secret.h"
#include "llm/convert_gemini.h"

#define NAME_MAX_BYTES 64

struct convert_answer {
	const char *provider;
	bool is_rich; /* more than text in front of calls */
	struct convert_draft draft;
	struct convert_list ids; /* of the calls */
};

struct convert_answer *convert_answer_begin(struct task *t, enum convert_kind kind)
{
	struct convert_answer *ca = arena_alloc(t->arena, sizeof(*ca));

	ca->provider = convert_name(kind);
	convert_draft_init(&ca->draft, t, "assistant");
	ca->ids.arena = t->arena;
	return ca;
}

/* Adds a part that holds a text. */
static void add_part(struct convert_answer *ca, const char *type, struct bytes text, struct bytes rest)
{
	struct buf raw;

	buf_init(&raw, ca->draft.task->arena, text.n + 16);
	buf_add_json(&raw, text);
	convert_draft_part(&ca->draft, convert_part(ca->draft.task->arena, type, type, buf_bytes(&raw), ca->provider, rest));
}

static struct bytes flat(struct bytes rest)
{
	return rest.p && convert_is_flat(rest) ? rest : NOTHING;
}

void convert_answer_text(struct convert_answer *ca, struct bytes text, struct bytes rest)
{
	rest = flat(rest);
	if (text.n == 0 && !rest.p)
		return;
	ca->is_rich = ca->is_rich || rest.p || ca->draft.calls.n > 0;
	add_part(ca, "text", text, rest);
}

void convert_answer_thinking(struct convert_answer *ca, struct bytes text, struct bytes rest)
{
	ca->is_rich = true;
	add_part(ca, "thinking", text, bytes_or(flat(rest), BYTES("{}")));
}

void convert_answer_raw(struct convert_answer *ca, struct bytes block)
{
	static const struct convert_spot nowhere = { NULL, "", 0 };
	struct convert_unit u = { .side = SIDE_MODEL, .raw = block, .at = &nowhere, .call_id = BYTES("-") };
	struct task quiet = { .arena = ca->draft.task->arena };

	if (!convert_is_flat(block))
		return;
	ca->is_rich = true;
	if (strcmp(ca->provider, GEMINI) == 0 && !gemini_read_unit(&quiet, &u, &ca->draft)) /* a picture, say */
		return;
	convert_draft_part(&ca->draft, convert_raw_part(ca->draft.task->arena, ca->provider, block));
}

struct bytes convert_answer_name(struct arena *a, struct bytes name)
{
	char *fit;

	if (name.n == 0)
		return BYTES("_");
	name.n = name.n < NAME_MAX_BYTES ? name.n : NAME_MAX_BYTES;
	fit = arena_copy(a, name.p, name.n);
	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = (unsigned char)fit[i];

		if (!((c | 0x20) >= 'a' && (c | 0x20) <= 'z') && !(c >= '0' && c <= '9') && c != '-')
			fit[i] = '_';
	}
	return (struct bytes){ fit, name.n };
}

/* The id as it can be stored; another where the answer has had it already. */
static struct bytes own_id(struct convert_answer *ca, struct bytes id)
{
	struct arena *a = ca->draft.task->arena;

	id = convert_fit_id(a, id);
	for (size_t i = 0; i < ca->ids.n; i++) {
		if (bytes_equal(ca->ids.items[i], id)) {
			id = convert_answer_id(a, id, ca->ids.n);
			break;
		}
	}
	convert_list_add(&ca->ids, id);
	return id;
}

void convert_answer_call(struct convert_answer *ca, struct bytes id, struct bytes name, struct bytes arguments, struct bytes rest)
{
	struct convert_call c = { own_id(ca, id), convert_answer_name(ca->draft.task->arena, name), arguments };

	convert_list_add(&ca->draft.calls, convert_call_part(ca->draft.task->arena, &c, ca->provider, flat(rest)));
}

static struct bytes list(struct arena *a, const struct convert_list *l)
{
	struct buf b;

	if (l->n == 0)
		return NOTHING;
	buf_init(&b, a, 256);
	for (size_t i = 0; i < l->n; i++) {
		buf_add_char(&b, i > 0 ? ',' : '[');
		buf_add_bytes(&b, l->items[i]);
	}
	buf_add_char(&b, ']');
	return buf_bytes(&b);
}

void convert_answer_end(struct convert_answer *ca, struct bytes *parts_r, struct bytes *calls_r)
{
	struct arena *a = ca->draft.task->arena;

	*parts_r = ca->is_rich ? list(a, &ca->draft.parts) : NOTHING;
	*calls_r = list(a, &ca->draft.calls);
}

struct bytes convert_answer_rest(struct arena *a, struct bytes object, const char *const *names)
{
	struct bytes *values, rest;
	size_t n = 0;

	while (names[n])
		n++;
	values = arena_array(a, n, sizeof(*values));
	convert_take(a, object, names, false, values, &rest);
	return rest;
}

struct bytes convert_answer_id(struct arena *a, struct bytes seed, size_t n)
{
	struct bytes parts[2] = { seed, bytes_of(arena_printf(a, "%zu", n)) };

	return gemini_make_id(a, parts, 2);
}
