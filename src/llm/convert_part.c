/* SPDX-License-Identifier: MIT */
/* convert_part: what all formats need to take JSON apart and to read and write stored parts and tool calls. */
#include <assert.h>
#include <stdlib.h>

#include "base/secret.h"
#include "llm/convert_private.h"

#define SAFE_ID_MAX 40
#define ID_MAX 128 /* of a tool_call_id that is stored */
#define SAFE_ID_HASH 16 /* bytes of the hash in an id that was made safe */

/* ---- reading ---- */

static size_t find_name(struct bytes key, const char *const *names)
{
	size_t i = 0;

	while (names[i] && !bytes_equal(key, bytes_of(names[i])))
		i++;
	return i;
}

void convert_take(struct arena *a, struct bytes object, const char *const *names, bool drops_null, struct bytes *values, struct bytes *rest_r)
{
	struct jsonx_walk w;
	struct buf rest;

	*rest_r = NOTHING;
	for (size_t i = 0; names[i]; i++)
		values[i] = NOTHING;
	buf_init(&rest, a, 0);
	jsonx_walk_begin(&w, object);
	while (jsonx_walk_next(&w)) {
		size_t i = find_name(jsonx_string(a, w.raw_key), names);

		if (names[i]) {
			if (!drops_null || jsonx_type(w.value) != JSONX_NULL)
				values[i] = w.value;
			continue;
		}
		buf_add_char(&rest, rest.n > 0 ? ',' : '{');
		buf_add_bytes(&rest, w.raw_key);
		buf_add_char(&rest, ':');
		buf_add_bytes(&rest, w.value);
	}
	if (rest.n == 0)
		return;
	buf_add_char(&rest, '}');
	*rest_r = buf_bytes(&rest);
}

struct bytes convert_member(struct bytes value, const char *name)
{
	return jsonx_type(value) == JSONX_OBJECT ? jsonx_member(value, name) : NOTHING;
}

bool convert_is_string(struct bytes raw)
{
	return jsonx_type(raw) == JSONX_STRING;
}

int convert_compare(struct bytes x, struct bytes y)
{
	size_t n = x.n < y.n ? x.n : y.n;
	int order = n > 0 ? memcmp(x.p, y.p, n) : 0;

	return order ? order : (x.n > y.n) - (x.n < y.n);
}

bool convert_is(struct arena *a, struct bytes raw, const char *text)
{
	return convert_is_string(raw) && bytes_equal(jsonx_string(a, raw), bytes_of(text));
}

bool convert_is_blank(struct arena *a, struct bytes raw_string)
{
	struct bytes s = jsonx_string(a, raw_string);

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != ' ' && (s.p[i] < '\t' || s.p[i] > '\r'))
			return false;
	}
	return true;
}

bool convert_is_flat(struct bytes raw)
{
	size_t depth = 0;
	bool is_inside = false; /* of a string */

	for (size_t i = 0; i < raw.n; i++) {
		if (is_inside && raw.p[i] == '\\')
			i++;
		else if (raw.p[i] == '"')
			is_inside = !is_inside;
		else if (is_inside)
			continue;
		else if ((raw.p[i] == '{' || raw.p[i] == '[') && ++depth > CONVERT_DEPTH)
			return false;
		else if (raw.p[i] == '}' || raw.p[i] == ']')
			depth--;
	}
	return true;
}

enum err convert_block_type(struct task *t, struct bytes block, const struct convert_spot *at, struct bytes *type_r)
{
	if (jsonx_type(block) != JSONX_OBJECT)
		return convert_fail(t, at, "", "type", "must be an object");
	*type_r = jsonx_member(block, "type");
	if (!type_r->p)
		return convert_fail(t, at, "type", "required", "is missing");
	if (!convert_is_string(*type_r))
		return convert_fail(t, at, "type", "type", "must be a string");
	return ERR_OK;
}

/* ---- parts ---- */

/* Whether a value has the form of a data URL in base64: "data:<type>;base64,<data>", with neither part empty nor in need of an escape. */
bool convert_data_url(struct arena *a, struct bytes raw_url, struct bytes *media_type_r, struct bytes *data_r)
{
	static const char mark[] = ";base64,";
	struct bytes url = jsonx_string(a, raw_url);
	const char *end = url.n > 5 && memcmp(url.p, "data:", 5) == 0 ? memmem(url.p, url.n, mark, sizeof(mark) - 1) : NULL;
	struct bytes type, data;
	struct buf b;

	if (!end)
		return false;
	type = (struct bytes){ url.p + 5, (size_t)(end - url.p) - 5 };
	data = (struct bytes){ end + sizeof(mark) - 1, url.n - (size_t)(end - url.p) - sizeof(mark) + 1 };
	if (type.n == 0 || data.n == 0 || !memchr(type.p, '/', type.n))
		return false;
	buf_init(&b, a, type.n + data.n + 8);
	buf_add_json(&b, type);
	*media_type_r = (struct bytes){ NULL, b.n };
	buf_add_json(&b, data);
	*data_r = (struct bytes){ b.p + media_type_r->n, b.n - media_type_r->n };
	media_type_r->p = b.p;
	return true;
}

void convert_add_data_url(struct buf *b, struct bytes media_type, struct bytes data)
{
	struct buf url;

	buf_init(&url, b->arena, media_type.n + data.n + 16);
	buf_add_str(&url, "data:");
	buf_add_bytes(&url, jsonx_string(b->arena, media_type));
	buf_add_str(&url, ";base64,");
	buf_add_bytes(&url, jsonx_string(b->arena, data));
	buf_add_json(b, buf_bytes(&url));
}

const char *convert_media_kind(struct arena *a, struct bytes raw_media_type)
{
	struct bytes type = raw_media_type.p ? jsonx_string(a, raw_media_type) : NOTHING;

	if (type.n > 6 && memcmp(type.p, "image/", 6) == 0)
		return "image";
	if (type.n > 6 && memcmp(type.p, "audio/", 6) == 0)
		return "audio";
	return "file";
}

/* OpenAI's own image part, as it may have been stored. */
static bool media_of_image_url(struct arena *a, struct bytes part, struct convert_media *m)
{
	struct bytes image = jsonx_member(part, "image_url");

	m->kind = "image";
	m->url = convert_is_string(image) ? image : convert_member(image, "url");
	m->detail = convert_member(image, "detail");
	if (!convert_is_string(m->url))
		return false;
	if (convert_data_url(a, m->url, &m->media_type, &m->data))
		m->url = NOTHING;
	return true;
}

static void drop_unless_string(struct bytes *raw)
{
	if (!convert_is_string(*raw))
		*raw = NOTHING;
}

bool convert_media_of(struct arena *a, struct bytes part, struct convert_media *m_r)
{
	static const char *const names[] = { "url", "media_type", "data", "file_id", "filename", "detail", "type", NULL };
	struct bytes v[7], rest, type;

	*m_r = (struct convert_media){ 0 };
	convert_take(a, part, names, false, v, &rest);
	if (!convert_is_string(v[6]))
		return false;
	type = jsonx_string(a, v[6]);
	if (bytes_equal(type, BYTES("image_url"))) {
		if (!media_of_image_url(a, part, m_r))
			return false;
		drop_unless_string(&m_r->detail);
		return true;
	}
	m_r->kind = bytes_equal(type, BYTES("image")) ? "image" : bytes_equal(type, BYTES("audio")) ? "audio" : bytes_equal(type, BYTES("file")) ? "file" : NULL;
	if (!m_r->kind)
		return false;
	for (size_t i = 0; i < 6; i++)
		drop_unless_string(&v[i]);
	m_r->url = v[0];
	m_r->media_type = v[1];
	m_r->data = v[1].p ? v[2] : NOTHING; /* without its type nobody can read it */
	if (m_r->url.p && convert_data_url(a, m_r->url, &m_r->media_type, &m_r->data))
		m_r->url = NOTHING;
	m_r->file_id = v[3];
	m_r->filename = v[4];
	m_r->detail = v[5];
	return m_r->url.p || m_r->data.p || m_r->file_id.p;
}

static void end_part(struct buf *b, const char *provider, struct bytes rest)
{
	if (rest.p)
		buf_member_json(b, provider, rest);
	buf_add_char(b, '}');
}

static void add_if(struct buf *b, const char *name, struct bytes raw)
{
	if (raw.p)
		buf_member_json(b, name, raw);
}

struct bytes convert_media_part(struct arena *a, const struct convert_media *m, const char *provider, struct bytes rest)
{
	struct buf b;

	buf_init(&b, a, 128 + m->url.n + m->data.n + rest.n);
	buf_add_char(&b, '{');
	buf_member_str(&b, "type", m->kind);
	add_if(&b, "url", m->url);
	add_if(&b, "media_type", m->media_type);
	add_if(&b, "data", m->data);
	add_if(&b, "file_id", m->file_id);
	add_if(&b, "filename", m->filename);
	add_if(&b, "detail", m->detail);
	end_part(&b, provider, rest);
	return buf_bytes(&b);
}

struct bytes convert_part(struct arena *a, const char *type, const char *member, struct bytes raw, const char *provider, struct bytes rest)
{
	struct buf b;

	buf_init(&b, a, 64 + raw.n + rest.n);
	buf_add_char(&b, '{');
	buf_member_str(&b, "type", type);
	buf_member_json(&b, member, raw);
	end_part(&b, provider, rest);
	return buf_bytes(&b);
}

struct bytes convert_raw_part(struct arena *a, const char *provider, struct bytes block)
{
	return convert_part(a, provider, "raw", block, NULL, NOTHING);
}

bool convert_raw_of(struct arena *a, struct bytes part, const char *provider, struct bytes *block_r)
{
	if (!convert_is(a, convert_member(part, "type"), provider))
		return false;
	*block_r = jsonx_member(part, "raw");
	return jsonx_type(*block_r) == JSONX_OBJECT && convert_is_flat(*block_r);
}

struct bytes convert_text_of(struct arena *a, struct bytes part)
{
	struct bytes type, text = NOTHING;
	struct buf b;

	if (convert_is_string(part))
		return part;
	type = convert_member(part, "type");
	if (convert_is(a, type, "text"))
		text = jsonx_member(part, "text");
	else if (convert_is(a, type, "refusal"))
		text = jsonx_member(part, "refusal");
	if (convert_is_string(text))
		return text;
	text = convert_is(a, type, "json") ? jsonx_member(part, "json") : NOTHING;
	if (!text.p)
		return NOTHING;
	buf_init(&b, a, text.n + 16);
	buf_add_json(&b, text);
	return buf_bytes(&b);
}

void convert_add_rest(struct buf *b, struct bytes holder, const char *provider, const char *const *names)
{
	struct bytes rest = convert_member(holder, provider);
	struct jsonx_walk w;

	if (jsonx_type(rest) != JSONX_OBJECT || !convert_is_flat(rest))
		return;
	jsonx_walk_begin(&w, rest);
	while (jsonx_walk_next(&w)) {
		if (names[find_name(jsonx_string(b->arena, w.raw_key), names)])
			continue;
		if (b->p[b->n - 1] != '{')
			buf_add_char(b, ',');
		buf_add_bytes(b, w.raw_key);
		buf_add_char(b, ':');
		buf_add_bytes(b, w.value);
	}
}

enum convert_side convert_side_of(struct bytes role)
{
	if (bytes_equal(role, BYTES("system")) || bytes_equal(role, BYTES("developer")))
		return SIDE_SYSTEM;
	return bytes_equal(role, BYTES("assistant")) ? SIDE_MODEL : SIDE_USER;
}

void convert_drop_lone_head(struct convert_units *us, size_t first)
{
	if (us->n == first + 1 && us->items[first].is_head)
		us->n = first;
}

struct bytes convert_join(struct task *t, const struct convert_units *units, const struct convert_frame *frame)
{
	const struct convert_unit *u = units->items;
	size_t from = 0, to;
	struct buf b;

	buf_init(&b, t->arena, 4096);
	buf_add_char(&b, '{');
	while (from < units->n && u[from].side == SIDE_SYSTEM)
		from++;
	if (from > 0) {
		buf_add_member(&b, frame->system);
		frame->join_system(&b, u, from);
	}
	buf_add_member(&b, frame->turns);
	buf_add_char(&b, '[');
	for (; from < units->n; from = to) {
		for (to = from + 1; to < units->n && u[to].turn == u[from].turn; to++) {}
		if (b.p[b.n - 1] != '[')
			buf_add_char(&b, ',');
		frame->join_turn(&b, u + from, to - from);
	}
	buf_add_str(&b, "]}");
	return buf_bytes(&b);
}

void convert_say_head(const struct convert_say *s, const char *provider, enum convert_side side, const char *const *names)
{
	struct bytes own = convert_member(s->extra, provider), turn = convert_member(own, "turn");
	struct buf b;

	if (side == SIDE_SYSTEM || jsonx_type(turn) != JSONX_OBJECT)
		return;
	buf_init(&b, s->task->arena, turn.n);
	buf_add_char(&b, '{');
	convert_add_rest(&b, own, "turn", names);
	if (b.n == 1)
		return;
	buf_add_char(&b, '}');
	convert_add_unit(s->units, side, buf_bytes(&b))->is_head = true;
}

/* ---- tool calls ---- */

bool convert_call_of(struct arena *a, struct bytes call, struct convert_call *c_r)
{
	struct bytes function = convert_member(call, "function"), from = jsonx_type(function) == JSONX_OBJECT ? function : call;
	struct bytes id = convert_member(call, "id"), name = convert_member(from, "name"), arguments = convert_member(from, "arguments");

	if (!convert_is_string(id) || !convert_is_string(name))
		return false;
	c_r->id = jsonx_string(a, id);
	c_r->name = jsonx_string(a, name);
	c_r->arguments = convert_is_string(arguments) ? jsonx_string(a, arguments) : arguments.p ? arguments : BYTES("{}");
	return c_r->id.n > 0 && c_r->name.n > 0;
}

struct bytes convert_call_part(struct arena *a, const struct convert_call *c, const char *provider, struct bytes rest)
{
	struct buf b;

	buf_init(&b, a, 64 + c->arguments.n + rest.n);
	buf_add_char(&b, '{');
	buf_member_string(&b, "id", c->id);
	buf_member_string(&b, "name", c->name);
	buf_member_string(&b, "arguments", c->arguments);
	end_part(&b, provider, rest);
	return buf_bytes(&b);
}

struct bytes convert_arguments(struct arena *a, struct bytes arguments)
{
	struct jsonx_flaw flaw;

	if (jsonx_check_strict(a, arguments, &flaw) && jsonx_type(arguments) == JSONX_OBJECT && convert_is_flat(arguments))
		return arguments;
	return BYTES("{}");
}

static bool is_safe_id(struct bytes id)
{
	for (size_t i = 0; i < id.n; i++) {
		char c = id.p[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '_' && c != '-')
			return false;
	}
	return id.n > 0 && id.n <= SAFE_ID_MAX;
}

struct bytes convert_safe_id(struct arena *a, struct bytes id)
{
	unsigned char hash[SECRET_HASH_SIZE];
	char hex[2 * SAFE_ID_HASH + 1];

	if (is_safe_id(id))
		return id;
	secret_hash(&id, 1, hash);
	secret_hex(hash, SAFE_ID_HASH, hex);
	return bytes_of(arena_printf(a, "id_%s", hex));
}

struct bytes convert_fit_id(struct arena *a, struct bytes id)
{
	bool is_fit = id.n > 0 && id.n <= ID_MAX;

	for (size_t i = 0; is_fit && i < id.n; i++)
		is_fit = (unsigned char)id.p[i] >= 0x20 && id.p[i] != 0x7f;
	return is_fit ? id : convert_safe_id(a, id);
}

/* The tool calls of an assistant's message. */
static struct convert_list list_calls(const struct convert_say *s)
{
	struct convert_list l = { .arena = s->task->arena };
	struct bytes calls = convert_member(s->extra, "tool_calls");
	struct jsonx_walk w;

	if (jsonx_type(calls) != JSONX_ARRAY || !bytes_equal(s->role, BYTES("assistant")))
		return l;
	jsonx_walk_begin(&w, calls);
	while (jsonx_walk_next(&w))
		convert_list_add(&l, w.value);
	return l;
}

/* Whether a part is the marker of a call that was not yet said; takes the call out of the list. */
static bool take_marked(struct arena *a, struct bytes part, struct convert_list *calls, struct bytes *call_r)
{
	struct bytes index = convert_member(part, "index");
	int64_t i;

	if (!convert_is(a, convert_member(part, "type"), "tool_call") || jsonx_type(index) != JSONX_INT)
		return false;
	i = jsonx_int(index);
	if (i < 0 || (uint64_t)i >= calls->n || !calls->items[i].p)
		return false;
	*call_r = calls->items[i];
	calls->items[i] = NOTHING;
	return true;
}

void convert_each(const struct convert_say *s, void (*found)(void *arg, struct bytes raw, bool is_call), void *arg)
{
	struct convert_list calls = list_calls(s);
	struct bytes call;
	struct jsonx_walk w;

	if (convert_is_string(s->content))
		found(arg, s->content, false);
	if (jsonx_type(s->content) == JSONX_ARRAY) {
		jsonx_walk_begin(&w, s->content);
		while (jsonx_walk_next(&w)) {
			if (take_marked(s->task->arena, w.value, &calls, &call))
				found(arg, call, true);
			else if (jsonx_type(w.value) == JSONX_OBJECT)
				found(arg, w.value, false);
		}
	}
	for (size_t i = 0; i < calls.n; i++) {
		if (calls.items[i].p)
			found(arg, calls.items[i], true);
	}
}

/* ---- canonical text ---- */

struct member {
	struct bytes key, value;
};

static int compare_members(const void *x, const void *y)
{
	const struct member *a = x, *b = y;

	return convert_compare(a->key, b->key);
}


static void canon_object(struct buf *b, struct bytes raw)
{
	struct member *m;
	struct jsonx_walk w;
	size_t n = 0;

	for (jsonx_walk_begin(&w, raw); jsonx_walk_next(&w);)
		n++;
	m = arena_array(b->arena, n, sizeof(*m));
	n = 0;
	for (jsonx_walk_begin(&w, raw); jsonx_walk_next(&w); n++)
		m[n] = (struct member){ jsonx_string(b->arena, w.raw_key), w.value };
	qsort(m, n, sizeof(*m), compare_members);
	buf_add_char(b, '{');
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_add_char(b, ',');
		buf_add_json(b, m[i].key);
		buf_add_char(b, ':');
		convert_canon(b, m[i].value);
	}
	buf_add_char(b, '}');
}

static void canon_array(struct buf *b, struct bytes raw)
{
	struct jsonx_walk w;
	bool is_first = true;

	buf_add_char(b, '[');
	for (jsonx_walk_begin(&w, raw); jsonx_walk_next(&w); is_first = false) {
		if (!is_first)
			buf_add_char(b, ',');
		convert_canon(b, w.value);
	}
	buf_add_char(b, ']');
}

void convert_canon(struct buf *b, struct bytes raw)
{
	double d;

	switch (jsonx_type(raw)) {
	case JSONX_OBJECT:
		canon_object(b, raw);
		break;
	case JSONX_ARRAY:
		canon_array(b, raw);
		break;
	case JSONX_STRING:
		buf_add_json(b, jsonx_string(b->arena, raw));
		break;
	case JSONX_INT:
	case JSONX_REAL:
		d = jsonx_real(raw);
		buf_addf(b, "%.17g", d == 0 ? 0.0 : d); /* no -0 */
		break;
	default:
		buf_add_bytes(b, raw);
	}
}

bool convert_same(struct arena *a, struct bytes x, struct bytes y)
{
	if (bytes_equal(x, y))
		return true;
	if (!convert_is_string(x) || !convert_is_string(y) || x.n > 6 * y.n || y.n > 6 * x.n) /* \u0041 is the longest way to write A */
		return false;
	return bytes_equal(jsonx_string(a, x), jsonx_string(a, y));
}

uint64_t convert_digest(struct arena *a, const struct convert_unit *u)
{
	unsigned char hash[SECRET_HASH_SIZE];
	struct bytes text;
	uint64_t digest = 0;
	struct buf b;

	buf_init(&b, a, u->raw.n + 16);
	buf_add_char(&b, (char)('0' + (int)u->side));
	buf_add_char(&b, u->is_head ? 'h' : 'b');
	convert_canon(&b, u->raw);
	text = buf_bytes(&b);
	secret_hash(&text, 1, hash);
	for (size_t i = 0; i < sizeof(digest); i++)
		digest = digest << 8 | hash[i];
	return digest;
}
