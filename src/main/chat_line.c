/* SPDX-License-Identifier: MIT */
/* chat_line: the table of a chat's commands. */
#include "main/chat_line.h"

enum number { NO_NUMBER, A_SEQ, A_COUNT };

static const struct {
	const char *word;
	enum chat_verb verb;
	enum number number;
	const char *usage, *help;
} verbs[] = {
	{ "new", CHAT_NEW, NO_NUMBER, "/new", "go on in an empty conversation of the same session; this one is kept" },
	{ "branch", CHAT_BRANCH, A_SEQ, "/branch [SEQ]", "go on in a branch behind message SEQ, or behind the newest; this conversation is kept" },
	{ "regenerate", CHAT_REGENERATE, NO_NUMBER, "/regenerate", "answer the newest message anew; the present answer is kept" },
	{ "history", CHAT_SHOW_HISTORY, A_COUNT, "/history [N]", "show the newest 20 messages, or N of them" },
	{ "count", CHAT_COUNT, NO_NUMBER, "/count", "count messages and conversations" },
	{ "usage", CHAT_USAGE, NO_NUMBER, "/usage", "show the tokens of this chat and of its session" },
	{ "clear", CHAT_CLEAR, NO_NUMBER, "/clear", "delete all messages of the session, in every conversation" },
	{ "help", CHAT_HELP, NO_NUMBER, "/help", "show this" },
	{ "exit", CHAT_EXIT, NO_NUMBER, "/exit", "leave (as Ctrl-D and Ctrl-C do at the prompt)" },
	{ "quit", CHAT_EXIT, NO_NUMBER, NULL, NULL },
};
#define VERBS (sizeof verbs / sizeof verbs[0])

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct bytes trim(struct bytes s)
{
	while (s.n > 0 && is_blank(s.p[s.n - 1]))
		s.n--;
	while (s.n > 0 && is_blank(s.p[0]))
		s = (struct bytes){ s.p + 1, s.n - 1 };
	return s;
}

/* A whole number of at most 18 digits, or -1. */
static int64_t read_number(struct bytes text)
{
	int64_t v = 0;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9' || i == 18)
			return -1;
		v = v * 10 + (text.p[i] - '0');
	}
	return text.n ? v : -1;
}

static enum err read_words(struct task *t, size_t verb, struct bytes words, struct chat_line *line_r)
{
	enum number wanted = verbs[verb].number;
	line_r->number = wanted == A_COUNT ? CHAT_HISTORY : -1;
	if (words.n == 0)
		return ERR_OK;
	if (wanted == NO_NUMBER)
		return task_fail(t, ERR_USAGE, "/%s takes nothing behind it", verbs[verb].word);
	line_r->number = read_number(words);
	if (line_r->number < 0 || (wanted == A_COUNT && (line_r->number < 1 || line_r->number > CHAT_HISTORY_MAX)))
		return task_fail(t, ERR_USAGE, "%s takes a number%s", verbs[verb].usage, wanted == A_COUNT ? " from 1 to 100" : "");
	return ERR_OK;
}

enum err chat_line_parse(struct task *t, struct bytes line, struct chat_line *line_r)
{
	struct bytes text = trim(line);
	*line_r = (struct chat_line){ .verb = text.n ? CHAT_SAY : CHAT_NOTHING, .text = text, .number = -1 };
	if (text.n == 0 || text.p[0] != '/')
		return ERR_OK;
	if (text.n > 1 && text.p[1] == '/') {
		line_r->text = (struct bytes){ text.p + 1, text.n - 1 };
		return ERR_OK;
	}
	size_t n = 1;
	while (n < text.n && !is_blank(text.p[n]))
		n++;
	struct bytes word = { text.p + 1, n - 1 };
	for (size_t i = 0; i < VERBS; i++)
		if (bytes_equal(word, bytes_of(verbs[i].word))) {
			line_r->verb = verbs[i].verb;
			return read_words(t, i, trim((struct bytes){ text.p + n, text.n - n }), line_r);
		}
	return task_fail(t, ERR_USAGE, "there is no command /%.*s; /help shows them, and a text that begins with / is written with //", (int)word.n, word.p);
}

void chat_line_help(FILE *to)
{
	for (size_t i = 0; i < VERBS; i++)
		if (verbs[i].help)
			fprintf(to, "  %-16s%s\n", verbs[i].usage, verbs[i].help);
	fprintf(to, "  %-16s%s\n", "//TEXT", "say a text that begins with /");
	fputs("A line that ends with \\ goes on in the next one. Ctrl-C stops an answer.\n", to);
}
