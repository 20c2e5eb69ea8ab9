/* SPDX-License-Identifier: MIT */
/*
 * cmd_chat: `parley chat`: reads lines, sends them, shows what comes. The signals that end a program are blocked in every thread and read from a
 * descriptor: at the prompt they end the chat, and while the API is asked a thread beside it looks at them, so that Ctrl-C stops an answer.
 */
#include "main/cmd_chat.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "app/site.h"
#include "base/jsonx.h"
#include "base/secret.h"
#include "main/chat_input.h"
#include "main/chat_line.h"
#include "main/chat_link.h"
#include "main/chat_talk.h"
#include "main/chat_view.h"
#include "main/main.h"
#include "main/terminal.h"
#include "net/fetch.h"

#define CANCEL_EVERY_MS 100
#define USAGE \
	"usage: parley chat SITE AGENT [--session ID] [--user U] [--title T] [--verbose]\n" \
	"       parley chat --url URL --key-file FILE [--origin O] AGENT [--session ID] [--user U] [--title T]\n"

enum { O_URL, O_KEY_FILE, O_ORIGIN, O_SESSION, O_USER, O_TITLE, O_VERBOSE };

struct chat {
	struct cli *cli;
	struct chat_local local;
	struct chat_remote remote;
	struct chat_link link;
	struct chat_talk talk;
	struct chat_view view;
	struct chat_input *input;
	sigset_t signals;
	int signal_fd; /* readable when one of them came */
	bool is_interactive; /* somebody types */
	bool has_failed;
};

static struct bytes last_value(const struct cli_option *o)
{
	return o->n ? o->values[o->n - 1] : (struct bytes){ NULL, 0 };
}

/* ---- Ctrl-C while the API is asked ---- */

struct stopper {
	struct chat *chat;
	bool is_turn; /* there is something to cancel */
	pthread_t thread;
	int over_fd; /* becomes readable when it has answered */
};

/* Takes a pending signal; 0: there is none. */
static int take_signal(int fd)
{
	struct signalfd_siginfo info;
	return read(fd, &info, sizeof info) == sizeof info ? (int)info.ssi_signo : 0;
}

/* Tries to cancel; false as long as the turn is not known to the server. */
static bool try_cancel(struct chat *chat)
{
	struct arena *a = arena_open(4096);
	struct task t;
	task_init(&t, a);
	enum err e = chat_talk_cancel(&chat->talk, &t);
	struct bytes why = terminal_clean(a, bytes_of(t.fault.detail ? t.fault.detail : err_title(e)));
	if (e && e != ERR_NOT_FOUND)
		fprintf(stderr, "\nparley: it cannot be stopped (%.*s); Ctrl-C again leaves\n", (int)why.n, why.p);
	arena_close(&a);
	return e != ERR_NOT_FOUND;
}

/* The first Ctrl-C cancels the turn, as soon as there is one to cancel. The second leaves at once, and so does any other signal. */
static void *watch_signals(void *arg)
{
	struct stopper *s = arg;
	bool is_asked = false, is_done = false;
	for (;;) {
		struct pollfd p[2] = { { .fd = s->over_fd, .events = POLLIN }, { .fd = s->chat->signal_fd, .events = POLLIN } };
		if (poll(p, 2, is_asked && !is_done ? CANCEL_EVERY_MS : -1) < 0 && errno != EINTR)
			return NULL;
		if (p[0].revents)
			return NULL;
		int signo = p[1].revents ? take_signal(s->chat->signal_fd) : 0;
		if (signo && (is_asked || !s->is_turn || signo != SIGINT))
			_exit(EXIT_FAILED);
		is_asked = is_asked || signo;
		if (is_asked && !is_done) {
			pthread_sigmask(SIG_UNBLOCK, &s->chat->signals, NULL); /* a server may take its time: the next one ends the program, here */
			is_done = try_cancel(s->chat);
			pthread_sigmask(SIG_BLOCK, &s->chat->signals, NULL);
		}
	}
}

static void stopper_begin(struct stopper *s, struct chat *chat, bool is_turn)
{
	*s = (struct stopper){ .chat = chat, .is_turn = is_turn, .over_fd = eventfd(0, EFD_CLOEXEC) };
	if (s->over_fd < 0 || pthread_create(&s->thread, NULL, watch_signals, s) != 0)
		abort();
}

static void stopper_end(struct stopper *s)
{
	if (eventfd_write(s->over_fd, 1) != 0)
		abort();
	pthread_join(s->thread, NULL);
	close(s->over_fd);
	for (int signo; (signo = take_signal(s->chat->signal_fd)) != 0;) /* a Ctrl-C was meant for what has just ended */
		if (signo != SIGINT)
			_exit(EXIT_FAILED);
}

/* ---- the commands ---- */

static enum err run_turn(struct chat *chat, struct task *t, const struct chat_line *line)
{
	struct chat_watch watch = { &chat->view, chat_view_event };
	chat_view_begin(&chat->view, t->arena);
	enum err e = line->verb == CHAT_SAY ? chat_talk_say(&chat->talk, t, line->text, &watch) : chat_talk_regenerate(&chat->talk, t, &watch);
	chat_view_end(&chat->view);
	return e;
}

static int64_t number_of(struct bytes json, const char *name)
{
	struct bytes raw = jsonx_type(json) == JSONX_OBJECT ? jsonx_member(json, name) : (struct bytes){ NULL, 0 };
	return jsonx_type(raw) == JSONX_INT ? jsonx_int(raw) : 0;
}

static const char *plural(int64_t n)
{
	return n == 1 ? "" : "s";
}

static enum err show_count(struct chat *chat, struct task *t)
{
	struct bytes stats = { NULL, 0 };
	enum err e = chat->talk.is_made ? chat_talk_stats(&chat->talk, t, &stats) : ERR_OK;
	if (e || chat_view_json(&chat->view, t->arena, "count", stats))
		return e;
	int64_t messages = number_of(stats, "message_count"), conversations = number_of(stats, "conversations");
	printf("%lld message%s in this conversation, %lld conversation%s\n", (long long)messages, plural(messages), (long long)conversations, plural(conversations));
	return ERR_OK;
}

static enum err show_history(struct chat *chat, struct task *t, int64_t n)
{
	struct bytes list = { NULL, 0 };
	enum err e = chat->talk.is_made ? chat_talk_history(&chat->talk, t, (int)n, &list) : ERR_OK;
	if (!e && !chat_view_json(&chat->view, t->arena, "history", list))
		chat_view_history(&chat->view, t->arena, list);
	return e;
}

static enum err show_usage(struct chat *chat, struct task *t)
{
	const struct chat_view *v = &chat->view;
	struct bytes stats = { NULL, 0 };
	enum err e = chat->talk.is_made ? chat_talk_stats(&chat->talk, t, &stats) : ERR_OK;
	if (e || chat_view_json(&chat->view, t->arena, "usage", stats))
		return e;
	printf("this chat: %lld turn%s, %lld tokens in, %lld out", (long long)v->turns, plural(v->turns), (long long)v->input_tokens,
	       (long long)v->output_tokens);
	if (v->cost > 0)
		printf(", cost %g", v->cost);
	fputc('\n', stdout);
	if (stats.n == 0)
		return ERR_OK;
	struct bytes usage = jsonx_member(stats, "usage"); /* all that its turns took, also those that failed */
	printf("its session: %lld turn%s, %lld tokens in, %lld out", (long long)number_of(usage, "turns"), plural(number_of(usage, "turns")),
	       (long long)number_of(usage, "input_tokens"), (long long)number_of(usage, "output_tokens"));
	struct bytes cost = jsonx_type(usage) == JSONX_OBJECT ? jsonx_member(usage, "cost") : (struct bytes){ NULL, 0 };
	if ((jsonx_type(cost) == JSONX_INT || jsonx_type(cost) == JSONX_REAL) && jsonx_real(cost) > 0)
		printf(", cost %g", jsonx_real(cost));
	fputc('\n', stdout);
	return ERR_OK;
}

static enum err go_on_elsewhere(struct chat *chat, struct task *t, const struct chat_line *line)
{
	struct bytes made;
	bool is_new = line->verb == CHAT_NEW;
	enum err e = is_new ? chat_talk_new(&chat->talk, t, &made) : chat_talk_branch(&chat->talk, t, line->number, &made);
	if (e || chat_view_json(&chat->view, t->arena, is_new ? "new" : "branch", made))
		return e;
	if (is_new)
		puts("a new conversation");
	else
		printf("a branch that shares %lld message%s\n", (long long)number_of(made, "message_count"), plural(number_of(made, "message_count")));
	return ERR_OK;
}

static enum err clear_all(struct chat *chat, struct task *t)
{
	enum err e = chat->talk.is_made ? chat_talk_clear(&chat->talk, t) : ERR_OK;
	if (!e && !chat_view_json(&chat->view, t->arena, "clear", (struct bytes){ NULL, 0 }))
		puts("cleared");
	return e;
}

static enum err run_line(struct chat *chat, struct task *t, const struct chat_line *line)
{
	switch (line->verb) {
	case CHAT_NEW:
	case CHAT_BRANCH:
		return go_on_elsewhere(chat, t, line);
	case CHAT_CLEAR:
		return clear_all(chat, t);
	case CHAT_COUNT:
		return show_count(chat, t);
	case CHAT_SHOW_HISTORY:
		return show_history(chat, t, line->number);
	case CHAT_USAGE:
		return show_usage(chat, t);
	case CHAT_HELP:
		chat_line_help(chat->view.is_json ? stderr : stdout);
		return ERR_OK;
	default:
		return run_turn(chat, t, line);
	}
}

/* Runs a line with an eye on the signals, once it is sure that it is meant. */
static enum err run_watched(struct chat *chat, struct task *t, const struct chat_line *line)
{
	struct stopper s;
	if (line->verb == CHAT_NOTHING || line->verb == CHAT_EXIT)
		return ERR_OK;
	if (line->verb == CHAT_CLEAR && chat->is_interactive &&
	    !chat_input_confirm(chat->input, t->arena, "delete all messages of this session? [y/N] "))
		return ERR_OK;
	stopper_begin(&s, chat, line->verb == CHAT_SAY || line->verb == CHAT_REGENERATE);
	enum err e = run_line(chat, t, line);
	stopper_end(&s);
	return e;
}

/* One thing the user wants, with memory of its own; false when the chat is over. */
static bool take_line(struct chat *chat, struct task *t)
{
	struct bytes text;
	struct chat_line line = { .verb = CHAT_NOTHING };
	enum chat_read got = chat_input_read(chat->input, t->arena, &text);
	if (got == CHAT_READ_END || got == CHAT_READ_INTERRUPTED)
		return false;
	chat->talk.code[0] = 0;
	chat->talk.retry_after_s = 0;
	enum err e = got == CHAT_READ_TOO_LONG ? task_fail(t, ERR_USAGE, "this is too long to be sent") : chat_line_parse(t, text, &line);
	if (!e)
		e = run_watched(chat, t, &line);
	if (e) {
		chat_view_failure(&chat->view, t, e, &chat->talk);
		chat->has_failed = true;
	}
	fflush(stdout);
	return line.verb != CHAT_EXIT && !ferror(stdout);
}

static int run_chat(struct chat *chat)
{
	struct arena *a = arena_open(1 << 16);
	struct task t;
	bool is_going = true;
	while (is_going) {
		task_init(&t, a);
		is_going = take_line(chat, &t);
		arena_reset(a);
	}
	arena_close(&a);
	/* Who types has seen what failed; a script has not. */
	return ferror(stdout) || (chat->has_failed && !chat->is_interactive) ? EXIT_FAILED : EXIT_OK;
}

/* ---- the start ---- */

/* Reads a key or token from a file, without the blanks around it. */
static enum err read_key(struct task *t, const char *path, char key_r[CHAT_CREDENTIAL])
{
	FILE *f = fopen(path, "re");
	size_t n = f ? fread(key_r, 1, CHAT_CREDENTIAL, f) : 0;
	if (!f)
		return task_fail(t, ERR_USAGE, "%s: %s", path, strerror(errno));
	fclose(f);
	while (n > 0 && strchr(" \t\r\n", key_r[n - 1]))
		n--;
	bool is_key = n > 3 && n < CHAT_CREDENTIAL && key_r[2] == '_' && strchr("skpt", key_r[0]);
	for (size_t i = 0; i < n; i++)
		is_key = is_key && key_r[i] > ' ' && key_r[i] <= '~';
	key_r[is_key ? n : 0] = 0;
	return is_key ? ERR_OK : task_fail(t, ERR_USAGE, "%s holds neither a key (sk_..., pk_...) nor a session token (st_...)", path);
}

/* Opens the way to the API. */
static enum err open_link(struct chat *chat, const struct cli_option *o, const struct bytes *words, char key_r[CHAT_CREDENTIAL])
{
	struct cli *c = chat->cli;
	struct site site;
	if (o[O_URL].n) {
		secret_init();
		fetch_init();
		enum err e = read_key(c->task, last_value(&o[O_KEY_FILE]).p, key_r);
		if (!e)
			e = chat_remote_init(c->task, last_value(&o[O_URL]).p, last_value(&o[O_ORIGIN]).p, &chat->remote);
		chat->link = chat_remote_link(&chat->remote);
		return e;
	}
	enum err e = cli_open(c, CLI_NEEDS_APP, o[O_VERBOSE].n ? NULL : "/dev/null");
	if (!e)
		e = site_find_by_name(c->task, c->app, words[0], &site);
	if (e)
		return e;
	chat->local = (struct chat_local){ c->app, site.id };
	chat->link = chat_local_link(&chat->local);
	return ERR_OK;
}

/* Blocks them before there is a second thread, so that none is ended by them. */
static enum err open_signals(struct chat *chat)
{
	sigemptyset(&chat->signals);
	sigaddset(&chat->signals, SIGINT);
	sigaddset(&chat->signals, SIGTERM);
	sigaddset(&chat->signals, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	pthread_sigmask(SIG_BLOCK, &chat->signals, NULL);
	chat->signal_fd = signalfd(-1, &chat->signals, SFD_CLOEXEC | SFD_NONBLOCK);
	return chat->signal_fd < 0 ? task_fail_internal(chat->cli->task, ERR_INTERNAL, "signalfd: %s", strerror(errno)) : ERR_OK;
}

static void open_view(struct chat *chat)
{
	const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
	bool may_colour = isatty(STDERR_FILENO) && isatty(STDOUT_FILENO) && !(no_colour && *no_colour) && term && strcmp(term, "dumb") != 0;
	chat->view = (struct chat_view){ .out = stdout, .notes = stderr, .is_json = chat->cli->wants_json, .is_terminal = isatty(STDOUT_FILENO),
					 .has_colour = may_colour };
	chat->is_interactive = isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

static int cmd_chat(struct cli *c)
{
	struct cli_option o[] = { { .name = "--url" }, { .name = "--key-file" }, { .name = "--origin" }, { .name = "--session" }, { .name = "--user" },
				  { .name = "--title" }, { .name = "--verbose", .is_flag = true }, { .name = NULL } };
	struct chat chat = { .cli = c };
	struct stopper s;
	struct bytes words[2];
	size_t n;
	char key[CHAT_CREDENTIAL] = "";
	if (!cli_parse(c, o, words, 2, &n) || n != (o[O_URL].n ? 1 : 2) || !o[O_URL].n != !o[O_KEY_FILE].n || (o[O_ORIGIN].n && !o[O_URL].n)) {
		fputs(USAGE, stderr);
		return EXIT_USAGE;
	}
	terminal_init();
	open_view(&chat);
	enum err e = open_signals(&chat);
	stopper_begin(&s, &chat, false);
	if (!e)
		e = open_link(&chat, o, words, key);
	if (!e)
		e = chat_talk_open(&chat.talk, c->task, &chat.link, key, words[n - 1], last_value(&o[O_USER]), last_value(&o[O_TITLE]), last_value(&o[O_SESSION]));
	stopper_end(&s);
	secret_wipe(key, sizeof key);
	if (e)
		return cli_fail(c, e);
	chat.input = chat_input_open(chat.signal_fd, chat.is_interactive ? STDERR_FILENO : -1, chat_input_history_path(c->task->arena));
	int status = run_chat(&chat);
	chat_input_close(&chat.input);
	chat_talk_close(&chat.talk);
	return status;
}

const struct cli_command cmd_chat_commands[] = {
	{ "chat", "SITE AGENT | --url URL --key-file FILE AGENT [--session ID] [--user U] [--title T]", "Talk to an agent: straight on the store, or to a server", CLI_NEEDS_NOTHING, cmd_chat },
	{ .name = NULL },
};
