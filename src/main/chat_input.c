/* SPDX-License-Identifier: MIT */
/* chat_input: one reader of bytes that also hears of signals; libedit, where it is there, edits lines on top of it. */
#include "main/chat_input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#ifdef HAVE_LIBEDIT
#include <histedit.h>
#endif

#include "base/buf.h"

#define TEXT_MAX ((size_t)16 << 20)
#define HISTORY_LINES 1000
#define PROMPT "> "
#define PROMPT_MORE ". "

struct chat_input {
	int signal_fd;
	bool is_terminal, is_interrupted;
	FILE *prompts;
	const char *prompt;
	char chunk[4096]; /* read and not taken yet */
	size_t at, n;
#ifdef HAVE_LIBEDIT
	EditLine *edit;
	History *history;
	char *history_path;
#endif
};

/* The next byte, or -1 at the end and when the user interrupts. */
static int next_byte(struct chat_input *in)
{
	while (in->at == in->n) {
		struct pollfd p[2] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = in->signal_fd, .events = POLLIN } };
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return -1;
		if (p[1].revents) {
			in->is_interrupted = true;
			return -1;
		}
		if (!p[0].revents)
			continue;
		ssize_t n = read(STDIN_FILENO, in->chunk, sizeof in->chunk);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return -1;
		in->at = 0;
		in->n = (size_t)n;
	}
	return (unsigned char)in->chunk[in->at++];
}

/* ---- with libedit ---- */

#ifdef HAVE_LIBEDIT

/* One character for libedit; what is no UTF-8 becomes U+FFFD. */
static int on_char(EditLine *edit, wchar_t *c_r)
{
	struct chat_input *in = NULL;
	mbstate_t state = { 0 };
	el_get(edit, EL_CLIENTDATA, &in);
	for (;;) {
		int byte = next_byte(in);
		if (byte < 0)
			return 0;
		char c = (char)byte;
		size_t n = mbrtowc(c_r, &c, 1, &state);
		if (n == (size_t)-2)
			continue;
		if (n == (size_t)-1)
			*c_r = 0xfffd;
		return 1;
	}
}

static char *on_prompt(EditLine *edit)
{
	struct chat_input *in = NULL;
	el_get(edit, EL_CLIENTDATA, &in);
	return (char *)in->prompt;
}

/* Makes the folders in front of a file, and the file, for their owner alone. */
static bool make_file(const char *path)
{
	char folder[4096];
	size_t n = strlen(path);
	if (n >= sizeof folder)
		return false;
	for (size_t i = 1; i < n; i++)
		if (path[i] == '/') {
			memcpy(folder, path, i);
			folder[i] = 0;
			if (mkdir(folder, 0700) != 0 && errno != EEXIST)
				return false;
		}
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	bool is_own = fchmod(fd, 0600) == 0;
	close(fd);
	return is_own;
}

static void editor_open(struct chat_input *in, const char *history_path)
{
	HistEvent ev;
	in->edit = el_init("parley", stdin, in->prompts, in->prompts);
	in->history = history_init();
	if (!in->edit || !in->history)
		return;
	history(in->history, &ev, H_SETSIZE, HISTORY_LINES);
	history(in->history, &ev, H_SETUNIQUE, 1);
	el_set(in->edit, EL_CLIENTDATA, in);
	el_set(in->edit, EL_EDITOR, "emacs");
	el_set(in->edit, EL_PROMPT, on_prompt);
	el_set(in->edit, EL_HIST, history, in->history);
	el_wset(in->edit, EL_GETCFN, on_char);
	el_set(in->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
	el_source(in->edit, NULL);
	if (history_path && make_file(history_path)) {
		in->history_path = strdup(history_path);
		history(in->history, &ev, H_LOAD, history_path);
	}
}

static void editor_close(struct chat_input *in)
{
	free(in->history_path);
	if (in->history)
		history_end(in->history);
	if (in->edit)
		el_end(in->edit);
}

/* A line by way of the editor; false at the end and when it is interrupted. */
static bool read_edited(struct chat_input *in, struct buf *b)
{
	HistEvent ev;
	int n = 0;
	el_resize(in->edit);
	el_set(in->edit, EL_PREP_TERM, 1); /* before the prompt: who sees it may type */
	const char *line = el_gets(in->edit, &n);
	if (!line || n <= 0 || in->is_interrupted)
		return false;
	bool is_blank = strspn(line, " \t\r\n") == strlen(line);
	if (!is_blank)
		history(in->history, &ev, H_ENTER, line);
	if (!is_blank && in->history_path && make_file(in->history_path)) /* now: nobody knows how the program ends */
		history(in->history, &ev, H_SAVE, in->history_path);
	buf_add(b, line, (size_t)n);
	if (b->n && b->p[b->n - 1] == '\n')
		b->n--;
	return true;
}

static bool is_edited(const struct chat_input *in)
{
	return in->edit && in->history;
}

#else

static void editor_open(struct chat_input *in, const char *history_path)
{
	(void)in;
	(void)history_path;
}

static void editor_close(struct chat_input *in)
{
	(void)in;
}

static bool read_edited(struct chat_input *in, struct buf *b)
{
	(void)in;
	(void)b;
	return false;
}

static bool is_edited(const struct chat_input *in)
{
	(void)in;
	return false;
}

#endif

/* ---- the lines ---- */

static void prompt(struct chat_input *in, const char *text)
{
	fputs(text, in->prompts);
	fflush(in->prompts);
}

/* A line as it comes; false when there is none. One that is too long is read to its end and not kept whole. */
static bool read_plain(struct chat_input *in, struct buf *b)
{
	bool is_begun = false;
	if (in->is_terminal)
		prompt(in, in->prompt);
	for (;;) {
		int c = next_byte(in);
		if (in->is_interrupted || (c < 0 && !is_begun))
			return false;
		if (c < 0 || c == '\n')
			return true;
		is_begun = true;
		if (b->n <= TEXT_MAX)
			buf_add_char(b, (char)c);
	}
}

static bool read_line(struct chat_input *in, struct buf *b)
{
	return is_edited(in) ? read_edited(in, b) : read_plain(in, b);
}

enum chat_read chat_input_read(struct chat_input *in, struct arena *a, struct bytes *text_r)
{
	struct buf b;
	bool is_more = false;
	buf_init(&b, a, 256);
	*text_r = (struct bytes){ "", 0 };
	in->is_interrupted = false;
	for (;;) {
		in->prompt = is_more ? PROMPT_MORE : PROMPT;
		if (!read_line(in, &b)) {
			if (in->is_terminal)
				prompt(in, "\n");
			if (in->is_interrupted || !is_more)
				return in->is_interrupted ? CHAT_READ_INTERRUPTED : CHAT_READ_END;
			break;
		}
		is_more = b.n > 0 && b.p[b.n - 1] == '\\';
		if (!is_more)
			break;
		b.p[b.n - 1] = '\n';
	}
	*text_r = buf_bytes(&b);
	return b.n > TEXT_MAX ? CHAT_READ_TOO_LONG : CHAT_READ_LINE;
}

bool chat_input_confirm(struct chat_input *in, struct arena *a, const char *question)
{
	struct buf b;
	buf_init(&b, a, 16);
	in->is_interrupted = false;
	in->prompt = question;
	return read_line(in, &b) && b.n > 0 && (b.p[0] == 'y' || b.p[0] == 'Y');
}

struct chat_input *chat_input_open(int signal_fd, int terminal_fd, const char *history_path)
{
	struct chat_input *in = calloc(1, sizeof *in);
	bool is_terminal = terminal_fd >= 0;
	FILE *prompts = is_terminal ? fdopen(fcntl(terminal_fd, F_DUPFD_CLOEXEC, 0), "w") : NULL; /* standard error writes each character by itself */
	if (!in || (is_terminal && !prompts))
		abort();
	in->signal_fd = signal_fd;
	in->is_terminal = is_terminal;
	in->prompts = prompts;
	in->prompt = PROMPT;
	if (is_terminal)
		editor_open(in, history_path);
	return in;
}

void chat_input_close(struct chat_input **in)
{
	if (!*in)
		return;
	if ((*in)->is_terminal) {
		editor_close(*in);
		fclose((*in)->prompts);
	}
	free(*in);
	*in = NULL;
}

const char *chat_input_history_path(struct arena *a)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	if (state && state[0] == '/')
		return arena_printf(a, "%s/parley/chat_history", state);
	return home && home[0] == '/' ? arena_printf(a, "%s/.local/state/parley/chat_history", home) : NULL;
}
