/* SPDX-License-Identifier: MIT */
/*
 * convert: stored messages as a provider's own document, and back. Pure: bytes in, bytes out.
 *
 * A message is a role (system, developer, user, assistant, tool), a content, an object of further members (extra) and an object that
 * belongs to the caller (metadata). The content is a JSON string, or an array of parts. These are the parts that every format reads and writes
 * as far as it can say them; any other object with a "type" is kept as it is:
 *
 *   {"type":"text","text":T}
 *   {"type":"image"|"audio"|"file", "url":U | "data":BASE64,"media_type":M | "file_id":I, "filename":F?, "detail":D?}
 *   {"type":"json","json":OBJECT}        what a tool answered, where that is no text
 *   {"type":"thinking","thinking":T, PROVIDER:{...}}   what a model thought; goes back to the provider it names and to no other
 *   {"type":"refusal","refusal":T}
 *   {"type":"tool_call","index":N}       where among the parts the Nth of the message's tool_calls stands, if not behind all parts
 *   {"type":PROVIDER,"raw":OBJECT}       a block that only this provider knows, byte for byte
 *
 * PROVIDER is openai, anthropic or gemini. A part, a tool call and `extra` itself may have a member of such a name: an object of the members that
 * this provider's form had and that are not listed here (a signature, a cache mark). It is spliced in again for that provider alone. In extra its
 * "turn" holds those of the turn that the message stood in, where turns hold several.
 *
 * extra.tool_calls is [{"id":I,"name":N,"arguments":TEXT}], as turns store it; OpenAI's nested form is understood too. A tool's answer is a message of
 * role tool with extra.tool_call_id, and extra.is_error where it failed.
 *
 * What a format cannot say is in the aside, a JSON value that travels beside the document. It knows its messages by digests of what the document
 * says of them, which neither blanks nor the order of members change. So a document that was edited keeps the aside of the messages that
 * were not touched, and of the others says what it says.
 */
#ifndef PARLEY_LLM_CONVERT_H
#define PARLEY_LLM_CONVERT_H

#include "base/jsonx.h"

enum convert_kind { CONVERT_NONE, CONVERT_OPENAI, CONVERT_ANTHROPIC, CONVERT_GEMINI };

/* The words of convert_find, for field tables. */
#define CONVERT_CHOICES "openai|anthropic|gemini"

/* A format by its name, CONVERT_NONE for another word; and its name. */
enum convert_kind convert_find(struct bytes name);
const char *convert_name(enum convert_kind kind);

/* All are JSON texts but the role, a plain word. Empty extra and metadata are absent ones. */
struct convert_message {
	struct bytes role;
	struct bytes content;
	struct bytes extra;
	struct bytes metadata;
	const char *path; /* set by convert_parse: where the message begins, "input.messages[3]", for what the caller has to say about it */
};

/*
 * Writes n messages (validated JSON, as stored) as a document that the provider accepts in its request:
 *
 *   openai     {"messages":[...]}
 *   anthropic  {"system":...,"messages":[...]}           system is left out when there is none
 *   gemini     {"systemInstruction":...,"contents":[...]}  the same
 *
 * and the aside, `null` when the document says it all. Messages whose content is null (deleted) are in neither, nor are members of extra that no
 * message may be given when it is appended, which are facts of the store. Tool calls and their results are said as they stand: whoever cuts a
 * history keeps them together. The time is that of reading the messages, and n log n of sorting them. Both are in the task's arena. aside_r may be NULL: nobody
 * will read the document back.
 */
void convert_format(struct task *t, enum convert_kind kind, const struct convert_message *messages, size_t n, struct bytes *document_r,
		    struct bytes *aside_r);

/*
 * Reads a document, and the aside if there is one (empty or `null`: none). Takes any bytes. With both as convert_format gave them, the messages
 * are the ones it was given, equal as JSON; arguments of tool calls that a document says as an object come back in the spelling it has
 * there. Without an aside this is the best reading of the document.
 *
 * ERR_INVALID with each field that is wrong: "input", "input.messages[3].content[0].type", "aside.messages[2]" ... Messages are checked as those that
 * are appended one by one: role, content, the types of known members of extra, at most 16 KB of metadata. Their number and size is the caller's matter.
 */
enum err convert_parse(struct task *t, enum convert_kind kind, struct bytes document, struct bytes aside, struct convert_message **messages_r,
		       size_t *n_r) MUST_CHECK;

#endif
