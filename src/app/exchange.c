/* SPDX-License-Identifier: MIT */
/* exchange: pairs calls and results in one pass over the rows. */
#include "app/exchange.h"

#include "base/tokens.h"

#define MISSING "\"No result of this call was stored.\""
#define MISSING_TOKENS 16 /* of that and what surrounds it, beside the call's id */

static struct bytes string_member(struct bytes object, const char *name)
{
	struct bytes v = jsonx_type(object) == JSONX_OBJECT ? jsonx_member(object, name) : (struct bytes){ NULL, 0 };
	return jsonx_type(v) == JSONX_STRING ? v : (struct bytes){ NULL, 0 };
}

/* The string unescaped; no bytes for none. */
static struct bytes plain(struct arena *a, struct bytes raw)
{
	return raw.n ? jsonx_string(a, raw) : (struct bytes){ "", 0 };
}

/* The calls of an assistant's message, in either form: flat, or with the name inside "function". */
static void read_calls(struct arena *a, const struct message_row *m, struct exchange_item *item)
{
	struct bytes list = m->extra.n ? jsonx_member(m->extra, "tool_calls") : (struct bytes){ NULL, 0 };
	struct jsonx_walk w;
	size_t n = 0;
	if (m->role != ROLE_ASSISTANT || jsonx_type(list) != JSONX_ARRAY)
		return;
	jsonx_walk_begin(&w, list);
	while (jsonx_walk_next(&w))
		n++;
	struct exchange_call *calls = arena_array(a, n, sizeof *calls);
	jsonx_walk_begin(&w, list);
	for (size_t i = 0; jsonx_walk_next(&w); i++) {
		calls[i] = (struct exchange_call){ .id = string_member(w.value, "id"), .name = string_member(w.value, "name"), .result = SIZE_MAX };
		calls[i].plain_id = plain(a, calls[i].id);
		if (!calls[i].name.n && jsonx_type(w.value) == JSONX_OBJECT)
			calls[i].name = string_member(jsonx_member(w.value, "function"), "name");
	}
	item->calls = calls;
	item->n_calls = n;
}

/* Finds the call that row i answers and ties the two; false when there is none. */
static bool tie(struct arena *a, struct exchange *x, size_t i)
{
	struct bytes raw = string_member(x->rows[i].extra, "tool_call_id"), id = plain(a, raw);
	for (size_t j = i; j-- > 0 && x->rows[i].seq - x->rows[j].seq <= EXCHANGE_REACH;) {
		struct exchange_call *calls = (struct exchange_call *)x->items[j].calls;
		for (size_t k = 0; k < x->items[j].n_calls; k++) {
			if (calls[k].result != SIZE_MAX || !raw.n != !calls[k].id.n || !bytes_equal(calls[k].plain_id, id))
				continue;
			calls[k].result = i;
			x->items[i].call = j;
			for (size_t between = j + 1; between <= i; between++)
				x->items[between].is_inside = true;
			return true;
		}
	}
	return false;
}

static void weigh(struct arena *a, const struct message_row *m, struct exchange_item *item)
{
	item->tokens = TOKENS_MESSAGE + tokens_of_content(a, m->content) + tokens_of_text(m->extra);
	item->bytes = (int64_t)(m->content.n + m->extra.n);
	for (size_t k = 0; k < item->n_calls; k++)
		if (item->calls[k].result == SIZE_MAX)
			item->tokens += MISSING_TOKENS + tokens_of_text(item->calls[k].id) + tokens_of_text(item->calls[k].name);
}

void exchange_read(struct arena *a, const struct message_row *rows, size_t n, struct exchange *x_r)
{
	*x_r = (struct exchange){ .rows = rows, .items = arena_array(a, n, sizeof *x_r->items), .n = n };
	for (size_t i = 0; i < n; i++) {
		struct exchange_item *item = &x_r->items[i];
		item->call = SIZE_MAX;
		item->is_out = rows[i].content.n == 0 || message_is_deleted(&rows[i]);
		if (item->is_out)
			continue;
		read_calls(a, &rows[i], item);
		if (rows[i].role == ROLE_TOOL && !tie(a, x_r, i)) {
			item->is_out = true;
			x_r->is_open |= rows[i].seq - rows[0].seq < EXCHANGE_REACH;
		}
	}
	for (size_t i = 0; i < n; i++) {
		struct exchange_item *item = &x_r->items[i];
		if (item->is_out)
			continue;
		weigh(a, &rows[i], item);
		item->is_boundary = rows[i].role == ROLE_USER && !item->is_inside;
	}
}

/* Stands where a result should: what providers ask for is kept, and the model knows. */
static struct message_row missing_result(struct arena *a, const struct message_row *m, const struct exchange_call *call)
{
	struct buf b;
	buf_init(&b, a, 64);
	buf_add_char(&b, '{');
	if (call->id.n)
		buf_member_json(&b, "tool_call_id", call->id);
	if (call->name.n)
		buf_member_json(&b, "name", call->name);
	buf_add_char(&b, '}');
	return (struct message_row){ .conversation = m->conversation, .stored_in = m->stored_in, .role = ROLE_TOOL, .content = BYTES(MISSING),
				     .extra = buf_bytes(&b) };
}

void exchange_prompt(struct arena *a, const struct exchange *x, size_t from, const struct message_row **rows_r, size_t *n_r)
{
	size_t room = x->n - from, n = 0;
	for (size_t i = from; i < x->n; i++)
		room += x->items[i].n_calls;
	struct message_row *out = arena_array(a, room, sizeof *out);
	for (size_t i = from; i < x->n; i++) {
		const struct exchange_item *item = &x->items[i];
		if (item->is_out || item->call != SIZE_MAX)
			continue;
		out[n++] = x->rows[i];
		for (size_t k = 0; k < item->n_calls; k++) {
			const struct exchange_call *call = &item->calls[k];
			out[n++] = call->result != SIZE_MAX ? x->rows[call->result] : missing_result(a, &x->rows[i], call);
		}
	}
	*rows_r = out;
	*n_r = n;
}
