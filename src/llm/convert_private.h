/* SPDX-License-Identifier: MIT */
/* convert_private: what convert.c, its aside and the formats share; only convert*.c include it. */
#ifndef PARLEY_LLM_CONVERT_PRIVATE_H
#define PARLEY_LLM_CONVERT_PRIVATE_H

#include "base/buf.h"
#include "llm/convert.h"

/* Deeper values are not said in documents and go into an aside as text, so that what comes back stays within JSONX_DEPTH. */
#define CONVERT_DEPTH (JSONX_DEPTH - 16)
#define CONVERT_CALLS_MAX 128 /* most tool calls of a message */

/* Where in the input something stands: a member, or with no name an element. The path is written only when it is needed. */
struct convert_spot {
	const struct convert_spot *up; /* NULL: name is the first word of the path */
	const char *name;
	size_t index;
};

/* Adds the wrong field `name` below a spot ("": the spot itself) to the fault and returns ERR_INVALID. */
enum err convert_fail(struct task *t, const struct convert_spot *at, const char *name, const char *code, const char *detail) MUST_CHECK;
/* The same for the first member of `rest`, an object of members that are not known. */
enum err convert_fail_rest(struct task *t, const struct convert_spot *at, struct bytes rest, const char *detail) MUST_CHECK;
/* The path of a spot. */
const char *convert_path(struct arena *a, const struct convert_spot *at);
/* A spot in the arena. */
struct convert_spot *convert_below(struct arena *a, const struct convert_spot *up, const char *name, size_t index);

enum convert_side { SIDE_SYSTEM, SIDE_USER, SIDE_MODEL };

/*
 * The smallest piece of a document that belongs to one message: a block, a part, of openai a whole message. A turn's further members are a piece
 * too, its head, in front of the others.
 */
struct convert_unit {
	enum convert_side side;
	bool is_head;
	bool is_result; /* a tool's answer: goes to the front of its turn */
	bool is_start;  /* without an aside a message begins here */
	size_t turn;    /* which turn of the document; units of one message are never of two */
	struct bytes raw; /* an object; or a string, where the turn's whole content is one */
	const struct convert_spot *at;
	struct bytes call_id, call_name; /* gemini: id of a call or of what a response answers, and that call's name; plain text */
	uint64_t digest;
	size_t owner; /* index of its message */
};

struct convert_units {
	struct arena *arena;
	struct convert_unit *items;
	size_t n, cap;
};
struct convert_unit *convert_add_unit(struct convert_units *us, enum convert_side side, struct bytes raw);

struct convert_list {
	struct arena *arena;
	struct bytes *items;
	size_t n, cap;
};
void convert_list_add(struct convert_list *l, struct bytes raw);

/* A message as it is read from its units. */
struct convert_draft {
	struct task *task;
	struct bytes role;
	bool is_text; /* the content is a string: parts is its one text part */
	struct convert_list parts, calls;
	size_t n_placed;  /* calls that stand before some part and have a marker, or need none */
	struct buf extra; /* the other members of extra, as an object without its last brace */
};

void convert_draft_init(struct convert_draft *d, struct task *t, const char *role);
/* Makes the content one string, given raw. */
void convert_draft_text(struct convert_draft *d, struct bytes raw_string);
/* Adds a part behind what is there, with markers for the calls that now stand before it. */
void convert_draft_part(struct convert_draft *d, struct bytes part);
/* Adds the provider's further members to extra: those of the message's own block, and as its member "turn" those of the turn it stands in. */
void convert_draft_rest(struct convert_draft *d, const char *provider, struct bytes rest, struct bytes turn);

/* A message on its way into a document. */
struct convert_say {
	struct task *task;
	struct convert_units *units;
	struct bytes role, content, extra;
	struct bytes tool_name; /* of a tool's answer: name of the call, plain, where one is known */
	size_t owner;
};

struct convert_driver {
	const char *name;
	bool knows_names; /* its answers of tools name the tool */
	/* Checks the document's outer shape and takes it apart; the document is strict JSON. */
	enum err (*split)(struct task *t, struct bytes document, struct convert_units *units_r);
	/* Reads one message from its units (at least one). */
	enum err (*read)(struct task *t, const struct convert_unit *units, size_t n, struct convert_draft *draft_r);
	/* Adds the units that say a message; none when the format cannot. */
	void (*say)(const struct convert_say *s);
	/* Writes arranged units as a document; `turn` counts its turns. */
	struct bytes (*join)(struct task *t, const struct convert_units *units);
};

const struct convert_driver *convert_driver_of(enum convert_kind kind);
/* Reads a message from its units; of none an empty one without a role. */
enum err convert_read(struct task *t, const struct convert_driver *driver, const struct convert_unit *units, size_t n, struct convert_draft *d_r) MUST_CHECK;
/* Whether a message may be given an extra member of this name. */
bool convert_is_given(struct bytes name);
bool convert_is_role(struct bytes role);

extern const struct convert_driver convert_openai;
extern const struct convert_driver convert_anthropic;
extern const struct convert_driver convert_gemini;

/* ---- reading ---- */

/* No bytes: neither a value nor a member. */
#define NOTHING ((struct bytes){ NULL, 0 })

/*
 * Takes an object apart in one pass: the values of the known names (a list that ends in NULL) go to values, in its order; the other members to rest, an
 * object, or no bytes when there are none. null counts as absent where `drops_null`.
 */
void convert_take(struct arena *a, struct bytes object, const char *const *names, bool drops_null, struct bytes *values, struct bytes *rest_r);
/* The member of a value that may be no object. */
struct bytes convert_member(struct bytes value, const char *name);
bool convert_is_string(struct bytes raw);
/* The order of two texts by their bytes, as qsort wants it. */
int convert_compare(struct bytes x, struct bytes y);
/* Whether a raw value is this string. */
bool convert_is(struct arena *a, struct bytes raw, const char *text);
/* Whether a string holds blanks alone. */
bool convert_is_blank(struct arena *a, struct bytes raw_string);
/* Whether values nest no deeper than CONVERT_DEPTH. */
bool convert_is_flat(struct bytes raw);

/* The element's type, raw; fails at the spot unless it is an object with a string "type". */
enum err convert_block_type(struct task *t, struct bytes block, const struct convert_spot *at, struct bytes *type_r) MUST_CHECK;

/* ---- parts ---- */

/* A media part while it is read or said; all but the kind are raw strings, absent ones no bytes. */
struct convert_media {
	const char *kind; /* image, audio, file */
	struct bytes url, media_type, data, file_id, filename, detail;
};

/* A stored part that is or means a media part (openai's image_url too). */
bool convert_media_of(struct arena *a, struct bytes part, struct convert_media *m_r);
/* The part, with the provider's further members. */
struct bytes convert_media_part(struct arena *a, const struct convert_media *m, const char *provider, struct bytes rest);
/* "data:<type>;base64,<data>" taken apart; false for anything else. And made. */
bool convert_data_url(struct arena *a, struct bytes raw_url, struct bytes *media_type_r, struct bytes *data_r);
void convert_add_data_url(struct buf *b, struct bytes media_type, struct bytes data);
/* What kind of media a type is: image, audio, or file. */
const char *convert_media_kind(struct arena *a, struct bytes raw_media_type);

/* {"type":type, member:raw, provider:rest}; without rest no third member. */
struct bytes convert_part(struct arena *a, const char *type, const char *member, struct bytes raw, const char *provider, struct bytes rest);
struct bytes convert_raw_part(struct arena *a, const char *provider, struct bytes block);
/* The block that a stored part or call keeps for this provider, if it does. */
bool convert_raw_of(struct arena *a, struct bytes part, const char *provider, struct bytes *block_r);
/* The text, raw, that every format can say of a part: of text and refusal their own, of json its JSON; no bytes of others. */
struct bytes convert_text_of(struct arena *a, struct bytes part);
/* Adds the members that a part, a call or extra keeps for the provider, but those of known names, to an object without its last brace. */
void convert_add_rest(struct buf *b, struct bytes holder, const char *provider, const char *const *names);

/* ---- tool calls ---- */

struct convert_call {
	struct bytes id, name;  /* plain */
	struct bytes arguments; /* the text, plain */
};

/* A stored call of either form with id and name; false for anything else. */
bool convert_call_of(struct arena *a, struct bytes call, struct convert_call *c_r);
/* The flat call. The arguments are given as text. */
struct bytes convert_call_part(struct arena *a, const struct convert_call *c, const char *provider, struct bytes rest);
/* The arguments where they are an object that a document can hold, else {}. */
struct bytes convert_arguments(struct arena *a, struct bytes arguments);
/* An id that every provider takes: itself if it is of at most 40 letters, digits, _ and -, else one that is made of its hash. */
struct bytes convert_safe_id(struct arena *a, struct bytes id);
/* The same where any id is taken that an answer may be stored with: of at most 128 bytes without control characters. */
struct bytes convert_fit_id(struct arena *a, struct bytes id);
/* Calls back, in order, for what stands in content and tool_calls: each stored part (is_call false) or call. */
void convert_each(const struct convert_say *s, void (*found)(void *arg, struct bytes raw, bool is_call), void *arg);

/* Adds the head of a turn, if extra keeps members for one besides those of known names. */
void convert_say_head(const struct convert_say *s, const char *provider, enum convert_side side, const char *const *names);

/* Which side of a document a role speaks on. */
enum convert_side convert_side_of(struct bytes role);
/* Takes back the head of a turn, the unit `first`, when nothing was said behind it. */
void convert_drop_lone_head(struct convert_units *us, size_t first);

/* How a document frames its units: the member for the system's and how they are joined, the member for the turns and how one is. */
struct convert_frame {
	const char *system, *turns;
	void (*join_system)(struct buf *b, const struct convert_unit *units, size_t n);
	void (*join_turn)(struct buf *b, const struct convert_unit *units, size_t n);
};
/* Writes arranged units, the system's in front, as a document. */
struct bytes convert_join(struct task *t, const struct convert_units *units, const struct convert_frame *frame);

/* ---- canonical text ---- */

/* One spelling of a value: no blanks, strings unescaped and escaped anew, members sorted, numbers as the doubles most clients make of them. */
void convert_canon(struct buf *b, struct bytes raw);
/* Whether two values are the same bytes, or one string in two spellings. */
bool convert_same(struct arena *a, struct bytes x, struct bytes y);
uint64_t convert_digest(struct arena *a, const struct convert_unit *u);

/* ---- the aside (convert_aside.c) ---- */

/* The rows of an aside. */
struct convert_entry {
	size_t start, n;     /* units of the document; n 0: it says nothing of the message */
	struct bytes change; /* object of what has to change in the draft, or no bytes */
	const struct convert_spot *at;
	bool is_restored;
	size_t first; /* is_restored: its first unit in the document at hand */
};

struct convert_aside {
	uint64_t *digests;
	size_t n_digests;
	struct convert_entry *entries;
	size_t n_entries;
};

/* What has to change in the draft to get the message; no bytes: nothing. */
struct bytes convert_diff(struct task *t, const struct convert_message *m, const struct convert_draft *d);
/* Makes that change. */
enum err convert_apply(struct task *t, struct convert_draft *d, struct bytes change, const struct convert_spot *at, struct bytes *metadata_r) MUST_CHECK;
struct bytes convert_aside_format(struct task *t, const char *format, const struct convert_units *us, const struct convert_entry *entries, size_t n);
enum err convert_aside_parse(struct task *t, const char *format, struct bytes raw, struct convert_aside *aside_r) MUST_CHECK;
/* Finds the messages of an aside that a document left as they were: sets is_restored and first, and the owner of their units. */
void convert_align(struct task *t, struct convert_aside *aside, struct convert_units *us);

#define NO_OWNER ((size_t)-1)

#endif
