/* SPDX-License-Identifier: MIT */
/*
 * log: formats a line in a fixed buffer, without an arena, so that it works when everything else has failed. A line that is
 * too long is formatted again with the largest bound for a single text that lets it fit: only the longest texts are cut.
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/stamp.h"

#define LINE_SIZE 8192
#define MASK_KEEPS 7 /* characters of a credential that are shown: enough to tell which one */

static const char *const level_names[] = { "error", "warn", "info", "debug" };

#define LEVELS (sizeof(level_names) / sizeof(level_names[0]))

static int log_fd = STDERR_FILENO;
static _Atomic int log_level = LOG_INFO_LEVEL;

struct line {
	char p[LINE_SIZE];
	size_t n;
	bool over; /* some member did not fit */
	size_t text_max; /* bytes of one text; a longer one is cut and ends in "..." */
};

/* What one character (or one credential) of a text becomes. */
struct unit {
	size_t taken;
	size_t n;
	char out[MASK_KEEPS + 4];
};

enum err log_open(struct task *t, const char *path, enum log_level level)
{
	int fd = STDERR_FILENO;
	if (path && *path) {
		fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
		if (fd < 0)
			return task_fail(t, ERR_CONFIG, "log file %s: %s", path, strerror(errno));
	}
	if (log_fd == STDERR_FILENO) {
		log_fd = fd;
	} else {
		/* Replaced under its number: a thread that writes meanwhile never meets a closed descriptor. */
		if (dup3(fd, log_fd, O_CLOEXEC) < 0)
			return task_fail(t, ERR_CONFIG, "log file %s: %s", path, strerror(errno));
		if (fd != STDERR_FILENO)
			close(fd);
	}
	atomic_store(&log_level, (int)level);
	return ERR_OK;
}

bool log_wants(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

bool log_level_find(const char *name, enum log_level *level_r)
{
	for (unsigned i = 0; i < LEVELS; i++) {
		if (strcmp(level_names[i], name) == 0) {
			*level_r = (enum log_level)i;
			return true;
		}
	}
	return false;
}

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_prefix(const char *s)
{
	static const char prefixes[][4] = { "sk_", "pk_", "st_", "sh_", "sk-" };
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		if (memcmp(s, prefixes[i], 3) == 0)
			return true;
	}
	return false;
}

/* Length of the credential that begins at s[i], 0 if none does. s ends in NUL. */
static size_t credential_at(const char *s, size_t i)
{
	const char *p = s + i;
	if ((*p == 's' || *p == 'p') && p[1] && p[2] && is_prefix(p)) {
		size_t n = 3;
		while (is_alnum(p[n]) || p[n] == '_' || p[n] == '-')
			n++;
		/* In the middle of a word ("task_...", but also "%20sk_...") only what is as long as a real one. */
		bool starts_word = i == 0 || !(is_alnum(s[i - 1]) || s[i - 1] == '_');
		return n > (starts_word ? MASK_KEEPS : 24) ? n : 0;
	}
	if ((*p == 'B' || *p == 'b') && strncasecmp(p, "Bearer ", 7) == 0) {
		size_t n = 7 + strspn(p + 7, " "), start = n;
		while (is_alnum(p[n]) || (p[n] && strchr("-._~+/=", p[n])))
			n++;
		return n > start ? n : 0;
	}
	return 0;
}

/* Length of the well-formed UTF-8 character at p, 0 if there is none. */
static size_t utf8_length(const unsigned char *p)
{
	static const struct {
		unsigned char lead_from, lead_to, second_from, second_to;
		size_t n;
	} forms[] = {
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};
	for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++) {
		if (p[0] < forms[f].lead_from || p[0] > forms[f].lead_to)
			continue;
		if (p[1] < forms[f].second_from || p[1] > forms[f].second_to)
			return 0;
		for (size_t i = 2; i < forms[f].n; i++) {
			if ((p[i] & 0xc0) != 0x80)
				return 0;
		}
		return forms[f].n;
	}
	return 0;
}

static struct unit plain_unit(const char *p, size_t n)
{
	struct unit u = { .taken = n, .n = n };
	memcpy(u.out, p, n);
	return u;
}

static struct unit escaped_unit(char c)
{
	static const char letters[] = "\nn\tt\rr\"\"\\\\";
	static const char hex[] = "0123456789abcdef";
	for (const char *l = letters; *l; l += 2) {
		if (*l == c)
			return (struct unit){ 1, 2, { '\\', l[1] } };
	}
	return (struct unit){ 1, 6, { '\\', 'u', '0', '0', hex[(c >> 4) & 15], hex[c & 15] } };
}

static struct unit next_unit(const char *s, size_t i)
{
	unsigned char c = (unsigned char)s[i];
	if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f)
		return escaped_unit((char)c);
	if (c >= 0x80) {
		size_t n = utf8_length((const unsigned char *)s + i);
		if (n > 0)
			return plain_unit(s + i, n);
		struct unit bad = plain_unit("\xef\xbf\xbd", 3); /* U+FFFD */
		bad.taken = 1;
		return bad;
	}
	size_t secret = credential_at(s, i);
	if (secret == 0)
		return plain_unit(s + i, 1);
	struct unit u = plain_unit(s + i, MASK_KEEPS);
	memcpy(u.out + MASK_KEEPS, "...", 3);
	u.n += 3;
	u.taken = secret;
	return u;
}

/* Leaves room for what ends a line. */
static bool put(struct line *l, const char *p, size_t n)
{
	if (n > LINE_SIZE - sizeof("}\n") - l->n)
		return false;
	memcpy(l->p + l->n, p, n);
	l->n += n;
	return true;
}

/* Bytes that stand for themselves and cannot begin a credential, at most `max` of them. */
static size_t ordinary_run(const char *s, size_t max)
{
	size_t n = 0;
	while (n < max && s[n] >= ' ' && s[n] < 0x7f && !strchr("\"\\spBb", s[n]))
		n++;
	return n;
}

static bool put_text(struct line *l, const char *s)
{
	size_t start = l->n + 1;
	if (!put(l, "\"", 1))
		return false;
	for (size_t i = 0; s[i];) {
		size_t run = ordinary_run(s + i, l->text_max - (l->n - start));
		if (!put(l, s + i, run))
			return false;
		i += run;
		if (!s[i])
			break;
		struct unit u = next_unit(s, i);
		if (l->n - start + u.n > l->text_max)
			return put(l, "...\"", 4);
		if (!put(l, u.out, u.n))
			return false;
		i += u.taken;
	}
	return put(l, "\"", 1);
}

/* Adds a whole member, or nothing of it. */
static void put_member(struct line *l, const char *name, const char *text, int64_t number)
{
	char digits[24];
	size_t before = l->n;
	bool fits = put(l, before > 0 ? "," : "{", 1) && put_text(l, name) && put(l, ":", 1);
	if (fits && text)
		fits = put_text(l, text);
	else if (fits)
		fits = put(l, digits, (size_t)snprintf(digits, sizeof(digits), "%lld", (long long)number));
	if (!fits) {
		l->n = before;
		l->over = true;
	}
}

static void format_line(struct line *l, const struct task *t, enum log_level level, const char *event,
			const struct log_item *items, const char *time)
{
	l->n = 0;
	l->over = false;
	put_member(l, "time", time, 0);
	put_member(l, "level", level_names[level], 0);
	put_member(l, "event", event, 0);
	put_member(l, "pid", NULL, getpid());
	if (t && t->id[0])
		put_member(l, "request_id", t->id, 0);
	for (; items && items->name; items++)
		put_member(l, items->name, items->text, items->number);
}

static void write_line(const char *p, size_t n)
{
	while (n > 0) {
		ssize_t written = write(log_fd, p, n);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return; /* there is nowhere left to say it */
		p += written;
		n -= (size_t)written;
	}
}

void log_write(const struct task *t, enum log_level level, const char *event, const struct log_item *items)
{
	if (!log_wants(level))
		return;
	int error = errno; /* callers log between a failure and its use */
	struct line l;
	char time[STAMP_SIZE];
	stamp_format(stamp_now(), time);
	l.text_max = LINE_SIZE;
	format_line(&l, t, level, event, items, time);
	if (l.over) {
		size_t fits = STAMP_SIZE, over = LINE_SIZE;
		while (over - fits > 1) {
			l.text_max = (fits + over) / 2;
			format_line(&l, t, level, event, items, time);
			if (l.over)
				over = l.text_max;
			else
				fits = l.text_max;
		}
		l.text_max = fits;
		format_line(&l, t, level, event, items, time);
	}
	l.p[l.n++] = '}';
	l.p[l.n++] = '\n';
	write_line(l.p, l.n);
	errno = error;
}
