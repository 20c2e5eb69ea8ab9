/* SPDX-License-Identifier: MIT */
/* render: rows as JSON. */
#include "app/render.h"

#include "app/codec.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/stamp.h"

static const char *const roles[] = { "unknown", "system", "developer", "user", "assistant", "tool" };
static const char *const statuses[] = { "unknown", "active", "ended", "archived" };

const char *role_name(int role)
{
	return roles[role >= ROLE_SYSTEM && role <= ROLE_TOOL ? role : 0];
}

int role_find(struct bytes name)
{
	for (int i = ROLE_SYSTEM; i <= ROLE_TOOL; i++)
		if (bytes_equal(name, bytes_of(roles[i])))
			return i;
	return 0;
}

const char *session_status_name(int status)
{
	return statuses[status >= SESSION_ACTIVE && status <= SESSION_ARCHIVED ? status : 0];
}

int session_status_find(struct bytes name)
{
	for (int i = SESSION_ACTIVE; i <= SESSION_ARCHIVED; i++)
		if (bytes_equal(name, bytes_of(statuses[i])))
			return i;
	return 0;
}

void render_ident(struct buf *b, const char *name, const char *prefix, const struct ident *id)
{
	if (ident_is_zero(id)) {
		buf_member_str(b, name, NULL);
		return;
	}
	char text[IDENT_SIZE];
	ident_format(prefix, id, text);
	buf_member_str(b, name, text);
}

void render_list_begin(struct buf *b)
{
	buf_add_str(b, "{\"data\":[");
}

void render_list_next(struct buf *b)
{
	if (b->p[b->n - 1] != '[')
		buf_add_char(b, ',');
}

void render_list_end(struct buf *b, bool has_more, struct bytes next)
{
	buf_add_char(b, ']');
	buf_member_bool(b, "has_more", has_more);
	buf_member_string(b, "next", next);
	buf_add_char(b, '}');
}

static void report_corrupt(struct task *t, const struct message_row *m)
{
	char conversation[IDENT_SIZE];
	ident_format(PREFIX_CONVERSATION, &m->conversation, conversation);
	metric_add(METRIC_corrupt_records_total, 1);
	log_error(t, "corrupt_record", { "table", "messages", 0 }, { "conversation", conversation, 0 }, { "seq", NULL, m->seq });
}

bool render_is_sound(struct task *t, struct bytes json, enum jsonx_type type)
{
	struct jsonx_flaw flaw;
	return jsonx_type(json) == type && jsonx_check(t->arena, json, &flaw);
}

/* An optional packed column that holds an object: NULL and unreadable both give nothing; the latter clears *is_sound. */
static struct bytes unpack_object(struct task *t, const struct db_rows *rows, size_t row, size_t col, bool *is_sound)
{
	struct bytes out = { NULL, 0 };
	struct bytes stored = db_cell_bytes(rows, row, col);
	if (stored.p && !(codec_unpack(t->arena, stored, &out) && render_is_sound(t, out, JSONX_OBJECT)))
		*is_sound = false;
	return out;
}

/* The content: a string, an array of parts, or null when it was deleted. */
static struct bytes unpack_content(struct task *t, struct bytes stored, bool *is_sound)
{
	struct bytes out = { NULL, 0 };
	*is_sound = codec_unpack(t->arena, stored, &out) && (render_is_sound(t, out, JSONX_STRING) || render_is_sound(t, out, JSONX_ARRAY) ||
							       jsonx_type(out) == JSONX_NULL);
	return out;
}

void message_from_row(struct task *t, const struct db_rows *rows, size_t row, struct message_row *m_r)
{
	bool is_sound;
	memset(m_r, 0, sizeof *m_r);
	db_cell_ident(rows, row, 0, &m_r->conversation);
	m_r->stored_in = m_r->conversation;
	m_r->seq = db_cell_int(rows, row, 1);
	db_cell_ident(rows, row, 2, &m_r->id);
	m_r->role = (int)db_cell_int(rows, row, 3);
	m_r->content = unpack_content(t, db_cell_bytes(rows, row, 4), &is_sound);
	m_r->metadata = unpack_object(t, rows, row, 5, &is_sound);
	m_r->extra = unpack_object(t, rows, row, 6, &is_sound);
	db_cell_ident(rows, row, 7, &m_r->turn);
	m_r->created_at = db_cell_int(rows, row, 8);
	m_r->tokens = db_cell_int(rows, row, 9);
	if (is_sound)
		return;
	m_r->content = m_r->metadata = m_r->extra = (struct bytes){ NULL, 0 };
	report_corrupt(t, m_r);
}

bool message_is_deleted(const struct message_row *m)
{
	return jsonx_type(m->content) == JSONX_NULL;
}

void render_message(struct buf *b, const struct message_row *m)
{
	buf_add_char(b, '{');
	render_ident(b, "id", PREFIX_MESSAGE, &m->id);
	buf_member_int(b, "seq", m->seq);
	render_ident(b, "conversation_id", PREFIX_CONVERSATION, &m->conversation);
	buf_member_str(b, "role", role_name(m->role));
	buf_member_json(b, "content", m->content);
	if (m->content.n == 0)
		buf_member_bool(b, "corrupt", true);
	if (m->metadata.n)
		buf_member_json(b, "metadata", m->metadata);
	if (m->extra.n > 2) {
		buf_add_char(b, ',');
		buf_add(b, m->extra.p + 1, m->extra.n - 2);
	}
	if (!ident_is_zero(&m->turn))
		render_ident(b, "turn_id", PREFIX_TURN, &m->turn);
	buf_member_time(b, "created_at", m->created_at);
	buf_add_char(b, '}');
}

/* A member that belongs to the message itself; all others are its extra. False when it is none. */
static bool take_member(struct task *t, struct bytes name, struct bytes value, struct message_row *m)
{
	bool is_string = jsonx_type(value) == JSONX_STRING;
	if (bytes_equal(name, BYTES("id")) && is_string)
		ident_parse(PREFIX_MESSAGE, jsonx_string(t->arena, value), &m->id);
	else if (bytes_equal(name, BYTES("turn_id")) && is_string)
		ident_parse(PREFIX_TURN, jsonx_string(t->arena, value), &m->turn);
	else if (bytes_equal(name, BYTES("role")) && is_string)
		m->role = role_find(jsonx_string(t->arena, value));
	else if (bytes_equal(name, BYTES("created_at")) && is_string)
		stamp_parse(jsonx_string(t->arena, value), &m->created_at);
	else if (bytes_equal(name, BYTES("seq")))
		m->seq = jsonx_int(value);
	else if (bytes_equal(name, BYTES("content")))
		m->content = value;
	else if (bytes_equal(name, BYTES("metadata")))
		m->metadata = value;
	else
		return bytes_equal(name, BYTES("conversation_id")) || bytes_equal(name, BYTES("corrupt"));
	return true;
}

void message_from_json(struct task *t, struct bytes json, const struct ident *conversation, struct message_row *m_r)
{
	struct jsonx_walk w;
	struct buf extra;
	*m_r = (struct message_row){ .conversation = *conversation, .stored_in = *conversation };
	buf_init(&extra, t->arena, 0);
	jsonx_walk_begin(&w, json);
	while (jsonx_walk_next(&w)) {
		struct bytes name = { w.raw_key.p + 1, w.raw_key.n - 2 };
		if (take_member(t, name, w.value, m_r))
			continue;
		buf_add_char(&extra, extra.n ? ',' : '{');
		buf_add_bytes(&extra, w.raw_key);
		buf_add_char(&extra, ':');
		buf_add_bytes(&extra, w.value);
	}
	if (extra.n) {
		buf_add_char(&extra, '}');
		m_r->extra = buf_bytes(&extra);
	}
	if (jsonx_member(json, "corrupt").n)
		m_r->content = (struct bytes){ NULL, 0 };
}
