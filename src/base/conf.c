/* SPDX-License-Identifier: MIT */
/*
 * conf: the rows of conf.def as one array that says where each value goes. Reading goes on after a problem, so that the
 * operator sees them all at once.
 */
#include "base/conf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "base/log.h"

#define FILE_MAX ((size_t)1 << 20)
#define NAME_MAX_SIZE 64 /* of a setting's name, with its NUL */

enum kind { KIND_SECTION, KIND_STRING, KIND_INT, KIND_BOOL };

struct row {
	enum kind kind;
	const char *name; /* of a section: its title */
	size_t offset;
	const char *def_string;
	int64_t def, min, max;
	const char *unit;
	bool is_secret;
	const char *help;
};

static const struct row rows[] = {
#define CONF_SECTION(title) { .kind = KIND_SECTION, .name = title },
#define CONF_STRING(name_, def_, secret_, help_) \
	{ KIND_STRING, #name_, offsetof(struct conf, name_), def_, 0, 0, 0, "", secret_, help_ },
#define CONF_INT(name_, def_, min_, max_, unit_, help_) \
	{ KIND_INT, #name_, offsetof(struct conf, name_), NULL, def_, min_, max_, unit_, false, help_ },
#define CONF_BOOL(name_, def_, help_) \
	{ KIND_BOOL, #name_, offsetof(struct conf, name_), NULL, def_, 0, 1, "", false, help_ },
#include "base/conf.def"
#undef CONF_SECTION
#undef CONF_STRING
#undef CONF_INT
#undef CONF_BOOL
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* The largest first, so that the first that divides a value is the one to write it with. */
static const struct suffix {
	const char *unit, *text;
	int64_t factor;
} suffixes[] = {
	{ "bytes", "g", 1 << 30 }, { "bytes", "m", 1 << 20 }, { "bytes", "k", 1 << 10 },
	{ "ms", "d", 86400000 },   { "ms", "h", 3600000 },    { "ms", "m", 60000 },
	{ "ms", "s", 1000 },       { "ms", "ms", 1 },
};

#define SUFFIXES (sizeof(suffixes) / sizeof(suffixes[0]))

/* Where a value comes from. */
struct place {
	const char *source; /* file name, or "environment", or "command line" */
	int line;           /* of a file, from 1; 0 for the others */
};

struct load {
	struct task *t;
	struct arena *arena; /* of the values */
	struct conf *c;
	struct buf problems;
	int lines[ROWS]; /* where the file set a row; 0: nowhere */
};

static void *member(const struct row *r, struct conf *c)
{
	return (char *)c + r->offset;
}

static const void *const_member(const struct row *r, const struct conf *c)
{
	return (const char *)c + r->offset;
}

/* Begins a line about a problem; the caller adds its text. */
static struct buf *problem(struct load *l, struct place at)
{
	if (l->problems.n > 0)
		buf_add_char(&l->problems, '\n');
	if (at.line > 0)
		buf_addf(&l->problems, "%s:%d: ", at.source, at.line);
	else
		buf_addf(&l->problems, "%s: ", at.source);
	return &l->problems;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct bytes trimmed(struct bytes s)
{
	while (s.n > 0 && is_blank(s.p[0]))
		s = (struct bytes){ s.p + 1, s.n - 1 };
	while (s.n > 0 && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

static bool has_name(const struct row *r, struct bytes name)
{
	return r->kind != KIND_SECTION && bytes_equal(bytes_of(r->name), name);
}

static const struct row *find_row(struct bytes name)
{
	for (size_t i = 0; i < ROWS; i++) {
		if (has_name(&rows[i], name))
			return &rows[i];
	}
	return NULL;
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* How many insertions, removals and changes of one character lead from one name to the other. */
static size_t edit_distance(struct bytes a, const char *b)
{
	size_t n = strlen(b), before[NAME_MAX_SIZE], now[NAME_MAX_SIZE];
	assert(n < NAME_MAX_SIZE);
	for (size_t j = 0; j <= n; j++)
		before[j] = j;
	for (size_t i = 0; i < a.n; i++) {
		now[0] = i + 1;
		for (size_t j = 0; j < n; j++) {
			size_t changed = before[j] + (a.p[i] != b[j]);
			now[j + 1] = smaller(changed, smaller(before[j + 1], now[j]) + 1);
		}
		memcpy(before, now, (n + 1) * sizeof(now[0]));
	}
	return before[n];
}

static const char *nearest_name(struct bytes name)
{
	const char *nearest = NULL;
	size_t least = name.n / 3 > 2 ? name.n / 3 + 1 : 3; /* from here on it is another word */
	for (size_t i = 0; i < ROWS && name.n < NAME_MAX_SIZE; i++) {
		size_t n = strlen(rows[i].name), apart = n > name.n ? n - name.n : name.n - n;
		if (rows[i].kind == KIND_SECTION || apart >= least)
			continue;
		size_t d = edit_distance(name, rows[i].name);
		if (d < least) {
			least = d;
			nearest = rows[i].name;
		}
	}
	return nearest;
}

static void report_unknown(struct load *l, struct place at, struct bytes name)
{
	const char *nearest = nearest_name(name);
	struct buf *b = problem(l, at);
	buf_add_str(b, "unknown setting ");
	buf_add_json(b, (struct bytes){ name.p, smaller(name.n, NAME_MAX_SIZE) });
	if (nearest)
		buf_addf(b, "; did you mean %s?", nearest);
}

static void add_number(struct buf *b, const char *unit, int64_t v)
{
	for (size_t i = 0; i < SUFFIXES; i++) {
		if (v != 0 && strcmp(suffixes[i].unit, unit) == 0 && v % suffixes[i].factor == 0) {
			buf_addf(b, "%lld%s", (long long)(v / suffixes[i].factor), suffixes[i].text);
			return;
		}
	}
	buf_add_int(b, v);
}

/* The factor of a suffix; 0 if the unit has no such suffix. No suffix is 1. */
static int64_t factor_of(const char *unit, struct bytes suffix)
{
	for (size_t i = 0; i < SUFFIXES; i++) {
		if (strcmp(suffixes[i].unit, unit) == 0 && strlen(suffixes[i].text) == suffix.n &&
		    strncasecmp(suffixes[i].text, suffix.p, suffix.n) == 0)
			return suffixes[i].factor;
	}
	return suffix.n == 0 ? 1 : 0;
}

/* A number with an optional sign and suffix; false if it is none. One past 64 bits is read as the nearest. */
static bool parse_number(const char *unit, struct bytes text, int64_t *v_r)
{
	bool negative = text.n > 0 && text.p[0] == '-', overflow = false;
	size_t i = negative, digits = 0;
	int64_t v = 0;
	for (; i < text.n && text.p[i] >= '0' && text.p[i] <= '9'; i++, digits++)
		overflow |= __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, text.p[i] - '0', &v);
	if (digits == 0)
		return false;
	int64_t factor = factor_of(unit, trimmed((struct bytes){ text.p + i, text.n - i }));
	overflow |= __builtin_mul_overflow(v, factor, &v);
	if (overflow)
		v = INT64_MAX;
	*v_r = negative ? -v : v;
	return factor > 0;
}

static void set_int(struct load *l, struct place at, const struct row *r, struct bytes value)
{
	int64_t v;
	if (parse_number(r->unit, value, &v) && v >= r->min && v <= r->max) {
		memcpy(member(r, l->c), &v, sizeof(v));
		return;
	}
	struct buf *b = problem(l, at);
	buf_addf(b, "%s must be a number from ", r->name);
	add_number(b, r->unit, r->min);
	buf_add_str(b, " to ");
	add_number(b, r->unit, r->max);
	buf_add_str(b, ", not ");
	buf_add_json(b, (struct bytes){ value.p, smaller(value.n, 60) });
	if (r->unit[0])
		buf_add_str(b, strcmp(r->unit, "ms") == 0 ? " (suffixes: ms, s, m, h, d)" : " (suffixes: k, m, g)");
}

static void set_bool(struct load *l, struct place at, const struct row *r, struct bytes value)
{
	static const char *const words[] = { "no", "yes", "false", "true", "off", "on", "0", "1" };
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (bytes_equal(bytes_of(words[i]), value)) {
			bool v = i % 2 == 1;
			memcpy(member(r, l->c), &v, sizeof(v));
			return;
		}
	}
	struct buf *b = problem(l, at);
	buf_addf(b, "%s must be yes or no, not ", r->name);
	buf_add_json(b, (struct bytes){ value.p, smaller(value.n, 60) });
}

static void set_string(struct load *l, struct place at, const struct row *r, struct bytes value)
{
	for (size_t i = 0; i < value.n; i++) {
		if ((unsigned char)value.p[i] < 0x20 || value.p[i] == 0x7f) {
			buf_addf(problem(l, at), "%s has a control character", r->name);
			return;
		}
	}
	const char *v = arena_copy(l->arena, value.p, value.n);
	memcpy(member(r, l->c), &v, sizeof(v));
}

static void set(struct load *l, struct place at, const struct row *r, struct bytes value)
{
	static void (*const setters[])(struct load *, struct place, const struct row *, struct bytes) = {
		[KIND_STRING] = set_string,
		[KIND_INT] = set_int,
		[KIND_BOOL] = set_bool,
	};
	setters[r->kind](l, at, r, value);
}

static void set_defaults(struct conf *c)
{
	for (const struct row *r = rows; r < rows + ROWS; r++) {
		bool yes = r->def != 0;
		if (r->kind == KIND_STRING)
			memcpy(member(r, c), &r->def_string, sizeof(r->def_string));
		else if (r->kind == KIND_INT)
			memcpy(member(r, c), &r->def, sizeof(r->def));
		else if (r->kind == KIND_BOOL)
			memcpy(member(r, c), &yes, sizeof(yes));
	}
}

/* Drops a comment: a # at the start or behind a blank. A # inside a word, as in a password, stays. */
static struct bytes without_comment(struct bytes s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '#' && (i == 0 || is_blank(s.p[i - 1])))
			return trimmed((struct bytes){ s.p, i });
	}
	return s;
}

/* Reads a value in quotes, where a backslash stands before a quote or a backslash. False if the quotes do not fit. */
static bool unquote(struct arena *a, struct bytes s, struct bytes *value_r)
{
	struct buf b;
	size_t i = 1;
	buf_init(&b, a, s.n);
	for (; i < s.n && s.p[i] != s.p[0]; i++) {
		if (s.p[i] == '\\' && i + 1 < s.n && (s.p[i + 1] == s.p[0] || s.p[i + 1] == '\\'))
			i++;
		buf_add_char(&b, s.p[i]);
	}
	if (i >= s.n)
		return false;
	*value_r = buf_bytes(&b);
	return without_comment(trimmed((struct bytes){ s.p + i + 1, s.n - i - 1 })).n == 0;
}

static void parse_line(struct load *l, struct place at, struct bytes line)
{
	line = trimmed(line);
	if (line.n == 0 || line.p[0] == '#')
		return;
	const char *equals = memchr(line.p, '=', line.n);
	if (!equals) {
		buf_add_str(problem(l, at), "a line must be name = value");
		return;
	}
	struct bytes name = trimmed((struct bytes){ line.p, (size_t)(equals - line.p) });
	struct bytes value = trimmed((struct bytes){ equals + 1, (size_t)(line.p + line.n - equals) - 1 });
	const struct row *r = find_row(name);
	if (!r) {
		report_unknown(l, at, name);
		return;
	}
	int *first = &l->lines[r - rows];
	if (*first > 0)
		buf_addf(problem(l, at), "%s was already set on line %d", r->name, *first);
	*first = at.line;
	bool quoted = value.n > 0 && (value.p[0] == '"' || value.p[0] == '\'');
	if (!quoted)
		value = without_comment(value);
	else if (!unquote(l->t->arena, value, &value)) {
		buf_addf(problem(l, at), "%s: the quotes do not fit", r->name);
		return;
	}
	set(l, at, r, value);
}

static void read_text(struct load *l, const char *source, struct bytes text)
{
	struct place at = { source, 0 };
	if (text.n >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0)
		text = (struct bytes){ text.p + 3, text.n - 3 }; /* editors put it there */
	while (text.n > 0) {
		const char *end = memchr(text.p, '\n', text.n);
		size_t n = end ? (size_t)(end - text.p) : text.n;
		at.line++;
		parse_line(l, at, (struct bytes){ text.p, n });
		n += end != NULL;
		text = (struct bytes){ text.p + n, text.n - n };
	}
}

/* Reads a descriptor to its end, at most one byte past FILE_MAX. False with errno. */
static bool read_all(int fd, struct buf *b)
{
	for (;;) {
		size_t room = smaller(64 << 10, FILE_MAX + 1 - b->n);
		ssize_t n = room > 0 ? read(fd, buf_room(b, room), room) : 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0;
		b->n += (size_t)n;
	}
}

static void read_file(struct load *l, const char *path)
{
	struct place at = { path, 0 };
	struct buf b;
	buf_init(&b, l->t->arena, 0);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || !read_all(fd, &b))
		buf_add_str(problem(l, at), strerror(errno));
	else if (b.n > FILE_MAX)
		buf_add_str(problem(l, at), "the file is too large");
	else
		read_text(l, path, buf_bytes(&b));
	if (fd >= 0)
		close(fd);
}

static void read_environment(struct load *l)
{
	/* Other variables of this prefix belong to scripts and are none of ours, so nothing is unknown here. */
	for (const struct row *r = rows; r < rows + ROWS; r++) {
		if (r->kind == KIND_SECTION)
			continue;
		char *name = arena_printf(l->t->arena, "PARLEY_%s", r->name);
		for (char *p = name; *p; p++) {
			if (*p >= 'a' && *p <= 'z')
				*p -= 'a' - 'A';
		}
		const char *value = getenv(name);
		if (value)
			set(l, (struct place){ arena_printf(l->t->arena, "environment %s", name), 0 }, r, bytes_of(value));
	}
}

static void read_override(struct load *l, const char *text)
{
	struct place at = { "command line", 0 };
	const char *equals = strchr(text, '=');
	struct bytes name = trimmed((struct bytes){ text, equals ? (size_t)(equals - text) : strlen(text) });
	const struct row *r = find_row(name);
	if (!r)
		report_unknown(l, at, name);
	else if (!equals)
		buf_addf(problem(l, at), "%s needs a value: %s=VALUE", r->name, r->name);
	else if (r->is_secret)
		buf_addf(problem(l, at), "%s may hold a secret, which other users could see here; set it in the file or the environment",
			 r->name);
	else
		set(l, at, r, trimmed(bytes_of(equals + 1)));
}

/* What no single row can say. */
static void check_together(struct load *l)
{
	const struct conf *c = l->c;
	struct place at = { "settings", 0 };
	enum log_level level;
	if (c->threads > 1 && c->turn_threads >= c->threads)
		buf_addf(problem(l, at), "turn_threads (%lld) must be less than threads (%lld)", (long long)c->turn_threads,
			 (long long)c->threads);
	if (strncmp(c->listen, "unix:", 5) != 0 || !c->listen[5])
		buf_add_str(problem(l, at), "listen must be unix:PATH");
	if (!log_level_find(c->log_level, &level))
		buf_add_str(problem(l, at), "log_level must be error, warn, info or debug");
}

static void begin(struct load *l, struct task *t, struct arena *a, struct conf *c)
{
	*l = (struct load){ .t = t, .arena = a, .c = c };
	buf_init(&l->problems, t->arena, 0);
	set_defaults(c);
}

static enum err finish(struct load *l)
{
	check_together(l);
	return l->problems.n == 0 ? ERR_OK : task_fail(l->t, ERR_CONFIG, "%s", l->problems.p);
}

enum err conf_load(struct task *t, struct arena *a, const char *path, const char *const *overrides, size_t n_overrides,
		   struct conf *c)
{
	struct load l;
	begin(&l, t, a, c);
	if (path)
		read_file(&l, path);
	read_environment(&l);
	for (size_t i = 0; i < n_overrides; i++)
		read_override(&l, overrides[i]);
	return finish(&l);
}

enum err conf_parse(struct task *t, struct arena *a, const char *name, struct bytes text, struct conf *c)
{
	struct load l;
	begin(&l, t, a, c);
	read_text(&l, name, text);
	return finish(&l);
}

/* Writes a value so that parse_line reads it back: in quotes when it could be misread without. */
static void add_string(struct buf *b, const char *s)
{
	size_t n = strlen(s);
	struct bytes whole = { s, n }, plain = without_comment(trimmed(whole));
	if (n == 0 || (plain.n == n && s[0] != '"' && s[0] != '\'')) {
		buf_add_str(b, s);
		return;
	}
	buf_add_char(b, '"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			buf_add_char(b, '\\');
		buf_add_char(b, *s);
	}
	buf_add_char(b, '"');
}

static void add_value(const struct row *r, const struct conf *c, struct buf *b)
{
	const void *m = const_member(r, c);
	if (r->kind == KIND_BOOL)
		buf_add_str(b, *(const bool *)m ? "yes" : "no");
	else if (r->kind == KIND_INT)
		add_number(b, r->unit, *(const int64_t *)m);
	else
		add_string(b, *(const char *const *)m);
}

static void add_setting(const struct row *r, const struct conf *c, struct buf *b)
{
	buf_addf(b, "%s = ", r->name);
	size_t before = b->n;
	add_value(r, c, b);
	if (b->n == before)
		b->n--; /* an empty value leaves no blank at the end of the line */
	buf_add_char(b, '\n');
}

/* Writes text as comment lines of at most 100 columns. */
static void add_comment(struct buf *b, const char *text)
{
	size_t column = 0;
	while (*text) {
		size_t word = strcspn(text, " ");
		bool breaks = column > 0 && column + 1 + word > 100;
		if (column == 0 || breaks) {
			buf_add_str(b, breaks ? "\n#" : "#");
			column = 1;
		}
		buf_add_char(b, ' ');
		buf_add(b, text, word);
		column += 1 + word;
		text += word;
		text += strspn(text, " ");
	}
	buf_add_char(b, '\n');
}

static void add_sample_row(const struct row *r, const struct conf *defaults, struct buf *b)
{
	if (r->kind == KIND_SECTION) {
		buf_addf(b, "\n\n### %s\n", r->name);
		return;
	}
	buf_add_char(b, '\n');
	add_comment(b, r->help);
	if (r->kind == KIND_INT) {
		buf_add_str(b, "# From ");
		add_number(b, r->unit, r->min);
		buf_add_str(b, " to ");
		add_number(b, r->unit, r->max);
		buf_add_str(b, r->unit[0] ? "" : ", a plain number");
		buf_add_str(b, ".\n");
	} else if (r->kind == KIND_BOOL) {
		buf_add_str(b, "# yes or no.\n");
	}
	buf_add_char(b, '#');
	add_setting(r, defaults, b);
}

void conf_format_sample(struct buf *out)
{
	struct conf defaults;
	set_defaults(&defaults);
	add_comment(out, "parley.conf: the settings of parley. Lines such as \"#name = value\" show the defaults; to change one, "
			 "take its # away.");
	add_comment(out, "A value may stand in quotes. Sizes take k, m and g behind the number, times ms, s, m, h and d. "
			 "The environment (PARLEY_ and the name in capitals) overrules this file, the command line "
			 "(-o name=value) overrules both.");
	add_comment(out, "`parley config` prints the settings in force.");
	for (size_t i = 0; i < ROWS; i++)
		add_sample_row(&rows[i], &defaults, out);
}

void conf_format(const struct conf *c, struct buf *out)
{
	for (const struct row *r = rows; r < rows + ROWS; r++) {
		if (r->kind == KIND_SECTION)
			continue;
		if (r->is_secret)
			buf_addf(out, "%s = %s\n", r->name, **(const char *const *)const_member(r, c) ? "(set)" : "(not set)");
		else
			add_setting(r, c, out);
	}
}
