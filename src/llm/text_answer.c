/* SPDX-License-Identifier: MIT */
/*
 * text_answer: a reader of one character at a time. An object is held back from its first brace on, as it came and once more with its strings written anew,
 * until it is known what it is: an answer from its string's first quote on, all else at its last brace.
 */
#include "llm/text_answer.h"

#include "base/ident.h"
#include "llm/answer.h"
#include "llm/convert_answer.h"
#include "llm/unescape.h"

#define MAX_DEPTH 48 /* arguments that nest deeper could not be stored */

enum state {
	IN_TEXT,
	IN_BLANK, /* and below, in front of an object: blanks, a fence's ticks and its word, blanks, the bracket of a list */
	IN_TICKS,
	IN_WORD,
	IN_FENCE,
	IN_LIST,
	IN_OBJECT,
	BEHIND, /* the object: only more calls are of interest */
	AT_END
};

/* What may come next in the outermost object. */
enum place { AT_KEY, AT_COLON, AT_VALUE, IN_SCALAR, AT_COMMA };

struct object {
	struct buf text;      /* the object with its strings written anew */
	int depth;
	uint64_t lists;       /* a bit for each depth that is a list's */
	enum place place;
	bool in_string, is_key, is_kept, is_told; /* kept in `string`; told as the answer's text */
	struct unescape escapes;
	struct buf string;
	struct bytes key, tool;
	size_t arguments_at;  /* in text; 0: not there yet */
	bool has_word;        /* a key of a call or a thought */
	bool is_answer;       /* its text is being told: it can be nothing else */
	size_t held_at, text_at; /* behind the last character of the answer's string, if it was the last */
};

struct text_answer {
	struct task *task;
	const struct llm_events *ev;
	struct llm_result *result;
	enum state state;
	struct buf text; /* what result->text shows */
	size_t n_told;
	struct buf held; /* text that is perhaps an object's */
	size_t n_blank;  /* of it, blanks in front */
	int n_ticks;
	bool is_own_line;
	struct object o;
	struct buf calls, thought;
	size_t n_calls;
	bool is_taken; /* an object was */
	enum err failed;
};

struct text_answer *text_answer_begin(struct task *t, const struct llm_events *ev, struct llm_result *result_r)
{
	struct text_answer *ta = arena_alloc(t->arena, sizeof(*ta));

	ta->task = t;
	ta->ev = ev;
	ta->result = result_r;
	buf_init(&ta->text, t->arena, 0);
	buf_init(&ta->held, t->arena, 0);
	buf_init(&ta->o.text, t->arena, 0);
	buf_init(&ta->o.string, t->arena, 0);
	buf_init(&ta->calls, t->arena, 0);
	buf_init(&ta->thought, t->arena, 0);
	return ta;
}

/* Tells the text that was found since the last time. */
static enum err tell(struct text_answer *ta)
{
	struct bytes news;

	if (ta->text.n == ta->n_told)
		return ERR_OK;
	news = (struct bytes){ ta->text.p + ta->n_told, ta->text.n - ta->n_told };
	ta->n_told = ta->text.n;
	ta->result->text = buf_bytes(&ta->text);
	return ta->ev->on_text ? ta->ev->on_text(ta->ev->arg, news) : ERR_OK;
}

/* What was held is text. */
static void release(struct text_answer *ta)
{
	buf_add_bytes(&ta->text, buf_bytes(&ta->held));
	buf_clear(&ta->held);
	ta->state = IN_TEXT;
}

static void begin_object(struct text_answer *ta)
{
	struct object *o = &ta->o;
	struct buf text = o->text, string = o->string;

	buf_clear(&text);
	buf_clear(&string);
	*o = (struct object){ .text = text, .string = string, .depth = 1 };
	buf_add_char(&o->text, '{');
	ta->state = IN_OBJECT;
}

/* ---- the strings of an object ---- */

/* Adds bytes of a string as they are meant. */
static void mean(struct text_answer *ta, struct bytes s)
{
	struct object *o = &ta->o;

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c < 0x20)
			buf_addf(&o->text, "\\u%04x", c);
		else if (c == '"' || c == '\\')
			buf_addf(&o->text, "\\%c", c);
		else
			buf_add_char(&o->text, (char)c);
	}
	if (o->is_kept)
		buf_add_bytes(&o->string, s);
	if (o->is_told)
		buf_add_bytes(&ta->text, s);
}

static void end_string(struct text_answer *ta)
{
	static const char *const words[] = { "thought", "tool", "tools", "arguments" };
	struct object *o = &ta->o;

	mean(ta, unescape_end(&o->escapes));
	if (o->is_told) {
		o->held_at = ta->held.n - 1;
		o->text_at = o->text.n;
	}
	buf_add_char(&o->text, '"');
	o->in_string = o->is_told = o->is_kept = false;
	if (o->depth > 1)
		return;
	o->place = o->is_key ? AT_COLON : AT_COMMA;
	if (o->is_key) {
		o->key = arena_bytes(ta->task->arena, buf_bytes(&o->string));
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			o->has_word = o->has_word || bytes_equal(o->key, bytes_of(words[i]));
	} else if (bytes_equal(o->key, BYTES("tool"))) {
		o->tool = arena_bytes(ta->task->arena, buf_bytes(&o->string));
	}
}

static void take_in_string(struct text_answer *ta, char c)
{
	if (c == '"' && !unescape_takes_quote(&ta->o.escapes))
		end_string(ta);
	else
		mean(ta, unescape_take(&ta->o.escapes, c));
}

/* ---- the calls of an object ---- */

static void add_call(struct text_answer *ta, struct bytes name, struct bytes arguments)
{
	struct ident id = ident_new();
	char text[IDENT_SIZE];

	if (ta->n_calls >= ANSWER_MAX_TOOLS) {
		ta->failed = answer_fail_protocol(ta->task, "too many tool calls");
		return;
	}
	ta->n_calls++;
	ident_format("call_", &id, text);
	buf_add_str(&ta->calls, ta->calls.n > 0 ? ",{" : "{");
	buf_member_str(&ta->calls, "id", text);
	buf_member_string(&ta->calls, "name", convert_answer_name(ta->task->arena, name));
	buf_member_string(&ta->calls, "arguments", arguments);
	buf_add_char(&ta->calls, '}');
}

/* The call that an object is: of our form, or as most APIs write one. */
static bool read_call(struct text_answer *ta, struct bytes object)
{
	struct bytes name = member_of(object, "tool"), arguments = member_of(object, "arguments");

	if (!is_string(name) && arguments.n > 0)
		name = member_of(object, "name");
	if (!is_string(name) || name.n <= 2)
		return false;
	if (is_string(arguments))
		arguments = jsonx_string(ta->task->arena, arguments);
	else if (arguments.n == 0 || jsonx_type(arguments) == JSONX_NULL)
		arguments = BYTES("{}");
	add_call(ta, jsonx_string(ta->task->arena, name), arguments);
	return true;
}

static bool read_calls(struct text_answer *ta, struct bytes object)
{
	struct bytes list = member_of(object, "tools");
	struct jsonx_walk w;
	bool has_call = read_call(ta, object);

	if (jsonx_type(list) != JSONX_ARRAY)
		return has_call;
	jsonx_walk_begin(&w, list);
	while (jsonx_walk_next(&w))
		has_call = read_call(ta, w.value) || has_call;
	return has_call;
}

/* A call that is no JSON: the tool is known, and what stands where its arguments should be. */
static bool read_broken_call(struct text_answer *ta)
{
	const struct object *o = &ta->o;
	size_t at = o->arguments_at, n = o->text.n;

	if (o->tool.n == 0)
		return false;
	if (at > 0 && n > at && o->text.p[n - 1] == '}')
		n--;
	add_call(ta, o->tool, at > 0 ? (struct bytes){ o->text.p + at, n - at } : buf_bytes(&o->text));
	return true;
}

/* ---- an object ---- */

/*
 * It is none of ours. One whose answer is being told goes on: the quote that ended the string, and what came behind, was part of it. Behind calls
 * nothing else is of interest.
 */
static void reject(struct text_answer *ta)
{
	struct object *o = &ta->o;

	if (o->is_answer) {
		o->text.n = o->text_at;
		o->depth = 1;
		o->lists = 0;
		o->place = AT_VALUE;
		o->in_string = o->is_told = true;
		o->is_kept = o->is_key = false;
		mean(ta, (struct bytes){ ta->held.p + o->held_at, ta->held.n - o->held_at });
	} else if (ta->n_calls > 0) {
		ta->state = AT_END;
	} else {
		release(ta);
	}
}

static void add_value(struct text_answer *ta, struct bytes value)
{
	if (jsonx_type(value) == JSONX_STRING)
		value = jsonx_string(ta->task->arena, value);
	buf_add_bytes(&ta->text, value);
}

/* The last brace is there. */
static void end_object(struct text_answer *ta)
{
	struct object *o = &ta->o;
	struct bytes text = buf_bytes(&o->text), answer, thought;
	struct arena *a = ta->task->arena;
	struct jsonx_flaw flaw;
	bool is_json = jsonx_check(a, text, &flaw), has_call;

	has_call = is_json ? read_calls(ta, text) : !o->is_answer && read_broken_call(ta);
	answer = is_json && !ta->is_taken ? member_of(text, "answer") : (struct bytes){ 0 };
	if (!has_call && !o->is_answer && (answer.n == 0 || jsonx_type(answer) == JSONX_NULL || !ta->is_own_line)) {
		reject(ta);
		return;
	}
	ta->is_taken = true;
	buf_clear(&ta->held);
	if (!has_call && !o->is_answer)
		add_value(ta, answer);
	thought = is_json ? member_of(text, "thought") : (struct bytes){ 0 };
	if (has_call && is_string(thought))
		buf_add_bytes(&ta->thought, jsonx_string(a, thought));
	ta->state = has_call ? BEHIND : AT_END;
}

/* Takes back a comma in front of a bracket, which JSON does not allow. */
static void drop_comma(struct buf *b)
{
	size_t n = b->n;

	while (n > 0 && is_blank(b->p[n - 1]))
		n--;
	if (n > 0 && b->p[n - 1] == ',')
		b->n = n - 1;
}

static void begin_string(struct text_answer *ta)
{
	struct object *o = &ta->o;
	bool is_outer = o->depth == 1;

	if (is_outer && o->place != AT_KEY && o->place != AT_VALUE) {
		reject(ta);
		return;
	}
	buf_add_char(&o->text, '"');
	buf_clear(&o->string);
	o->in_string = true;
	o->is_key = is_outer && o->place == AT_KEY;
	o->is_kept = o->is_key || (is_outer && bytes_equal(o->key, BYTES("tool")));
	if (!is_outer || o->is_key || o->is_answer || !bytes_equal(o->key, BYTES("answer")) || ta->is_taken || !ta->is_own_line)
		return;
	o->is_answer = o->is_told = true;
	if (ta->text.n > 0)
		buf_add(&ta->text, ta->held.p, ta->n_blank);
}

static void open_bracket(struct text_answer *ta, char c)
{
	struct object *o = &ta->o;

	if (o->depth >= MAX_DEPTH || (o->depth == 1 && o->place != AT_VALUE)) {
		reject(ta);
		return;
	}
	buf_add_char(&o->text, c);
	if (c == '[')
		o->lists |= 1ULL << o->depth;
	else
		o->lists &= ~(1ULL << o->depth);
	o->depth++;
}

static void close_bracket(struct text_answer *ta, char c)
{
	struct object *o = &ta->o;
	bool is_list = (o->lists >> (o->depth - 1) & 1) != 0;

	if ((c == ']') != is_list || (o->depth == 1 && (o->place == AT_COLON || o->place == AT_VALUE))) {
		reject(ta);
		return;
	}
	drop_comma(&o->text);
	buf_add_char(&o->text, c);
	o->depth--;
	if (o->depth == 1)
		o->place = AT_COMMA;
	else if (o->depth == 0)
		end_object(ta);
}

/* A character between strings: the outermost object is followed place by place, so that text that only begins like one is soon let go. */
static void take_in_object(struct text_answer *ta, char c)
{
	struct object *o = &ta->o;
	bool is_right;

	if (c == '"') {
		begin_string(ta);
		return;
	}
	if (c == '{' || c == '[') {
		open_bracket(ta, c);
		return;
	}
	if (c == '}' || c == ']') {
		close_bracket(ta, c);
		return;
	}
	is_right = o->depth > 1 || is_blank(c);
	if (o->depth == 1 && is_blank(c)) {
		o->place = o->place == IN_SCALAR ? AT_COMMA : o->place;
	} else if (o->depth == 1 && c == ':' && o->place == AT_COLON) {
		is_right = true;
		o->place = AT_VALUE;
	} else if (o->depth == 1 && c == ',' && (o->place == AT_COMMA || o->place == IN_SCALAR)) {
		is_right = true;
		o->place = AT_KEY;
	} else if (o->depth == 1 && (o->place == AT_VALUE || o->place == IN_SCALAR) && c != ':' && c != ',') {
		is_right = true;
		o->place = IN_SCALAR;
	}
	if (!is_right) {
		reject(ta);
		return;
	}
	buf_add_char(&o->text, c);
	if (c == ':' && o->depth == 1 && bytes_equal(o->key, BYTES("arguments")))
		o->arguments_at = o->text.n;
}

/* ---- around the object ---- */

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Where a character in front of an object leads; IN_TEXT where it cannot stand there. */
static enum state next_state(const struct text_answer *ta, char c)
{
	enum state s = ta->state;

	if (s == IN_TICKS && ta->n_ticks < 3)
		return c == '`' ? IN_TICKS : IN_TEXT;
	if (c == '{')
		return IN_OBJECT;
	if (c == '[' && s != IN_LIST)
		return IN_LIST;
	if (is_blank(c))
		return s == IN_TEXT || s == IN_BLANK ? IN_BLANK : s == IN_LIST ? IN_LIST : IN_FENCE;
	if (c == '`' && (s == IN_TEXT || s == IN_BLANK))
		return IN_TICKS;
	return is_word(c) && (s == IN_TICKS || s == IN_WORD) ? IN_WORD : IN_TEXT;
}

static void take_in_front(struct text_answer *ta, char c)
{
	enum state next = next_state(ta, c);

	if (next == IN_TEXT && ta->state != IN_TEXT) { /* it may begin another */
		release(ta);
		next = next_state(ta, c);
	}
	if (next == IN_TEXT) {
		buf_add_char(&ta->text, c);
		return;
	}
	if (ta->state == IN_TEXT) {
		ta->is_own_line = ta->text.n == 0;
		ta->n_blank = 0;
		ta->n_ticks = 0;
	}
	buf_add_char(&ta->held, c);
	ta->n_blank += next == IN_BLANK;
	ta->n_ticks += next == IN_TICKS;
	ta->is_own_line = ta->is_own_line || c == '\n' || c == '\r';
	ta->state = next;
	if (next == IN_OBJECT)
		begin_object(ta);
}

static void take_char(struct text_answer *ta, char c)
{
	if (ta->state < IN_OBJECT) {
		take_in_front(ta, c);
	} else if (ta->state == IN_OBJECT) {
		buf_add_char(&ta->held, c);
		if (ta->o.in_string)
			take_in_string(ta, c);
		else
			take_in_object(ta, c);
	} else if (ta->state == BEHIND && c == '{') {
		buf_add_char(&ta->held, c);
		begin_object(ta);
	} else if (ta->state == BEHIND && !is_blank(c) && c != ',' && c != ']' && c != '`') {
		ta->state = AT_END;
	}
}

enum err text_answer_take(struct text_answer *ta, struct bytes piece)
{
	for (size_t i = 0; i < piece.n && ta->failed == ERR_OK; i++)
		take_char(ta, piece.p[i]);
	return ta->failed == ERR_OK ? tell(ta) : ta->failed;
}

/* ---- the end ---- */

/* An object without its end: the model forgot it, or came to its limit. */
static void end_in_object(struct text_answer *ta, bool is_limit)
{
	struct object *o = &ta->o;

	if (o->is_answer || ta->n_calls > 0)
		return;
	if (is_limit && o->has_word)
		return;
	if (!is_limit && o->in_string && read_broken_call(ta))
		return;
	if (is_limit || o->in_string || (o->depth == 1 && (o->place == AT_COLON || o->place == AT_VALUE))) {
		release(ta);
		return;
	}
	while (ta->state == IN_OBJECT && o->depth > 0)
		close_bracket(ta, o->lists >> (o->depth - 1) & 1 ? ']' : '}');
}

/* The calls as an array, with those that the model made in its provider's form in front. */
static struct bytes join_calls(struct text_answer *ta, struct bytes native)
{
	if (ta->n_calls == 0)
		return native;
	if (native.n == 0)
		return bytes_of(arena_printf(ta->task->arena, "[%s]", ta->calls.p)); /* JSON holds no NUL */
	return bytes_of(arena_printf(ta->task->arena, "%.*s,%s]", (int)native.n - 1, native.p, ta->calls.p));
}

/* Calls keep the thought in front of them, for the next request. */
static struct bytes make_parts(struct text_answer *ta)
{
	struct buf b;

	if (ta->n_calls == 0 || ta->thought.n == 0)
		return (struct bytes){ 0 };
	buf_init(&b, ta->task->arena, 256);
	buf_add_str(&b, "[{\"type\":\"thinking\"");
	buf_member_string(&b, "thinking", buf_bytes(&ta->thought));
	buf_add_char(&b, '}');
	if (ta->text.n > 0) {
		buf_add_str(&b, ",{\"type\":\"text\"");
		buf_member_string(&b, "text", buf_bytes(&ta->text));
		buf_add_char(&b, '}');
	}
	buf_add_char(&b, ']');
	return buf_bytes(&b);
}

enum err text_answer_end(struct text_answer *ta, const struct llm_result *plain)
{
	struct llm_result *r = ta->result;
	enum err e;

	if (ta->state > IN_TEXT && ta->state < IN_OBJECT)
		release(ta);
	else if (ta->state == IN_OBJECT)
		end_in_object(ta, plain->finish == LLM_LENGTH);
	r->model = plain->model;
	r->usage = plain->usage;
	e = ta->failed == ERR_OK ? tell(ta) : ta->failed;
	if (e != ERR_OK)
		return e;
	r->finish = plain->finish;
	r->parts = bytes_equal(r->text, plain->text) ? plain->parts : make_parts(ta);
	r->tool_calls = join_calls(ta, plain->tool_calls);
	if (ta->n_calls > 0 && (r->finish == LLM_STOP || r->finish == LLM_LENGTH))
		r->finish = LLM_TOOL;
	return ERR_OK;
}
