/* SPDX-License-Identifier: MIT */
/* test_move: what is exported and imported is the same again, whole or not at all (MOV-1, MOV-2). */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "app/codec.h"
#include "app/head.h"
#include "app/lineage.h"
#include "app/move_export.h"
#include "app/move_import.h"
#include "app/move_walk.h"

#define NOBODYS_CLOCK 1767323045678

/* The harness gives each site an agent, which an import would leave as it is. */
static void remove_agent(struct api *h)
{
	struct answer a = api_delete(h, h->sk, "/v1/agents/guide");

	must_be(a, 204);
}

static void add_agent(struct api *h)
{
	struct answer a = api_post(h, h->sk, "{\"name\":\"guide\"}", "/v1/agents");

	must_be(a, 201);
}

/* A second install, without agents: a database of its own, SQLite, whatever the first is on. */
static struct api *open_other(void)
{
	const char *dsn = getenv("PARLEY_TEST_MARIADB");
	char kept[400] = "";
	struct api *h;

	if (dsn) {
		snprintf(kept, sizeof kept, "%s", dsn);
		unsetenv("PARLEY_TEST_MARIADB");
	}
	h = api_open_with(API_OWN | API_NO_CACHE, NULL);
	if (dsn)
		setenv("PARLEY_TEST_MARIADB", kept, 1);
	remove_agent(h);
	return h;
}

static int new_file(void)
{
	int fd = memfd_create("move", MFD_CLOEXEC);

	cr_assert(fd >= 0);
	return fd;
}

static struct bytes content_of(struct api *h, int fd)
{
	off_t n = lseek(fd, 0, SEEK_END);
	char *p = arena_alloc(h->arena, (size_t)n + 1);

	cr_assert_eq(pread(fd, p, (size_t)n, 0), n);
	return (struct bytes){ p, (size_t)n };
}

static int file_of(struct bytes content)
{
	int fd = new_file();

	cr_assert_eq(write(fd, content.p, content.n), (ssize_t)content.n);
	return fd;
}

/* An export as bytes. */
static struct bytes export_of(struct api *h, struct move_export x, struct move_counts *counts_r)
{
	struct move_counts n;
	int64_t size;
	int fd = new_file();

	if (ident_is_zero(&x.site))
		x.site = h->home.id;
	x.site_name = BYTES("shop");
	cr_assert_eq(move_export(&h->task, h->app, &x, fd, &n, &size), ERR_OK, "%s / %s", h->task.fault.detail, h->task.fault.internal);
	struct bytes all = content_of(h, fd);
	cr_assert_eq((int64_t)all.n, size);
	if (counts_r)
		*counts_r = n;
	close(fd);
	return all;
}

static enum err import_into(struct api *h, struct move_import *m, struct bytes file)
{
	int fd = file_of(file);

	task_clear_fault(&h->task);
	if (ident_is_zero(&m->site))
		m->site = h->home.id;
	enum err e = move_import(&h->task, h->app, m, fd, (struct bytes){ NULL, 0 });
	close(fd);
	return e;
}

static void must_import(struct api *h, struct bytes file)
{
	struct move_import m = { .n_users = 0 };

	cr_assert_eq(import_into(h, &m, file), ERR_OK, "%s / %s", h->task.fault.detail, h->task.fault.internal);
}

/* Refused with a text that holds `part`. */
static void must_refuse(struct api *h, struct bytes file, enum err wanted, const char *part)
{
	struct move_import m = { .n_users = 0 };
	enum err e = import_into(h, &m, file);

	cr_assert_eq(e, wanted, "%s instead of %s: %s", err_code(e), err_code(wanted), h->task.fault.detail);
	cr_assert_not_null(strstr(h->task.fault.detail, part), "\"%s\" does not hold \"%s\"", h->task.fault.detail, part);
	task_clear_fault(&h->task);
}

static void assert_same(struct bytes a, struct bytes b)
{
	size_t at = 0;

	while (at < a.n && at < b.n && a.p[at] == b.p[at])
		at++;
	if (at == a.n && at == b.n)
		return;
	size_t from = at > 200 ? at - 200 : 0;
	cr_assert_fail("they differ at byte %zu of %zu and %zu:\n%.*s\n---\n%.*s", at, a.n, b.n, (int)(a.n - from < 400 ? a.n - from : 400), a.p + from,
		       (int)(b.n - from < 400 ? b.n - from : 400), b.p + from);
}

static const char *const tables[] = {
	"SELECT COUNT(*) FROM sessions WHERE site = ?", "SELECT COUNT(*) FROM conversations WHERE site = ?", "SELECT COUNT(*) FROM messages WHERE site = ?",
	"SELECT COUNT(*) FROM session_tags WHERE site = ?", "SELECT COUNT(*) FROM summaries WHERE site = ?", "SELECT COUNT(*) FROM agents WHERE site = ?",
	"SELECT COUNT(*) FROM templates WHERE site = ?", "SELECT COUNT(*) FROM imports WHERE site = ?",
};

struct counted {
	int64_t rows[COUNT(tables)];
};

static struct counted count_rows(struct api *h)
{
	struct counted c;

	for (size_t i = 0; i < COUNT(tables); i++)
		c.rows[i] = sql_int(h, tables[i], DB_ARGS(db_ident(&h->home.id)));
	return c;
}

static void assert_rows(struct api *h, const struct counted *wanted)
{
	struct counted now = count_rows(h);

	for (size_t i = 0; i < COUNT(tables); i++)
		cr_assert_eq(now.rows[i], wanted->rows[i], "%s: %lld instead of %lld", tables[i], (long long)now.rows[i], (long long)wanted->rows[i]);
}

/* ---- rows past the application ---- */

static struct ident session_ident(struct api *h, const char *id)
{
	struct head head;

	cr_assert_eq(head_find(&h->task, h->app, &h->home.id, bytes_of(id), &head), ERR_OK);
	return head.session;
}

static struct ident conversation_ident(struct api *h, const char *id)
{
	struct head head;

	cr_assert_eq(head_find(&h->task, h->app, &h->home.id, bytes_of(id), &head), ERR_OK);
	return head.conversation;
}

/* A conversation that sees `parent` up to `at`; `session` zero: a detached one. */
static struct ident add_branch(struct api *h, const struct ident *session, const struct ident *parent, int64_t at)
{
	struct ident id = ident_new(), owner;
	struct bytes lineage;
	struct db_stmt stmt = { "SELECT lineage FROM conversations WHERE id = ?", NULL, "a test" };
	struct db_rows *r;

	cr_assert_eq(store_query(&h->task, h->app, &stmt, DB_ARGS(db_ident(parent)), &r), ERR_OK);
	cr_assert(lineage_branch(h->arena, parent, db_cell_bytes(r, 0, 0), at, &lineage, &owner));
	sql_run(h, "INSERT INTO conversations (id, site, session, parent, base_seq, title, created_at, lineage) VALUES (?, ?, ?, ?, ?, 'a \"branch\"', ?, ?)",
		DB_ARGS(db_ident(&id), db_ident(&h->home.id), db_ident(session), db_ident(&owner), db_int(at), db_int(NOBODYS_CLOCK),
			db_blob(lineage.n ? lineage.p : NULL, lineage.n)));
	return id;
}

static struct ident message_id(int64_t seq)
{
	struct ident id = ident_new();

	id.b[8] = (unsigned char)(0x80 | ((seq >> 24) & 0x3f));
	id.b[9] = (unsigned char)(seq >> 16);
	id.b[10] = (unsigned char)(seq >> 8);
	id.b[11] = (unsigned char)seq;
	return id;
}

static void add_row(struct api *h, const struct ident *conversation, int64_t seq, const char *content, const char *extra)
{
	struct ident id = message_id(seq);
	struct bytes packed = codec_pack(h->arena, bytes_of(content)), packed_extra = { NULL, 0 };

	if (extra)
		packed_extra = codec_pack(h->arena, bytes_of(extra));
	sql_run(h, "INSERT INTO messages (conversation, seq, id, site, role, content, extra, created_at, tokens) VALUES (?, ?, ?, ?, 4, ?, ?, ?, 17)",
		DB_ARGS(db_ident(conversation), db_int(seq), db_ident(&id), db_ident(&h->home.id), db_blob(packed.p, packed.n),
			db_blob(packed_extra.p, packed_extra.n), db_int(NOBODYS_CLOCK + seq)));
}

static void add_rows(struct api *h, const struct ident *conversation, int64_t from, int64_t to)
{
	for (int64_t seq = from; seq <= to; seq++)
		add_row(h, conversation, seq, api_text(h, "\"%lld of a branch\"", (long long)seq), NULL);
}

static void add_summary(struct api *h, const struct ident *session, const struct ident *conversation, int64_t upto)
{
	struct bytes text = codec_pack(h->arena, BYTES("They spoke of \"bread\".\nAnd cake."));

	sql_run(h, "INSERT INTO summaries (conversation, upto_seq, site, method, content, tokens_before, tokens_after, created_at)"
		" VALUES (?, ?, ?, 'extract', ?, 900, 12, ?)",
		DB_ARGS(db_ident(conversation), db_int(upto), db_ident(&h->home.id), db_blob(text.p, text.n), db_int(NOBODYS_CLOCK)));
	sql_run(h, "UPDATE sessions SET flags = 4 WHERE id = ?", DB_ARGS(db_ident(session)));
}

/* A site with everything that can be moved. */
static void fill(struct api *h)
{
	struct answer a = api_post(h, h->sk, "{\"name\":\"baker\",\"title\":\"The \\u2603 baker\",\"instructions\":\"Be \\\"brief\\\".\\nAlways.\","
				   "\"temperature\":0.7,\"max_output_tokens\":99,\"language\":\"de-CH\",\"model\":\"echo\",\"tool_mode\":\"text\",\"max_iterations\":7,\"fallbacks\":[{\"provider\":\"echo\",\"model\":\"b\"}]}", "/v1/agents");
	must_be(a, 201);
	a = api_post(h, h->sk, "{\"name\":\"support\",\"config\":{\"temperature\":0.3},\"required_context\":[\"order\"],\"memory_categories\":[\"a\",\"b\"]}",
		     "/v1/templates");
	must_be(a, 201);
	new_session(h, h->sk, "{\"agent\":\"baker\",\"id\":\"order:1\",\"user\":\"ann\",\"title\":\"T\\u00e4g \\ud83d\\ude00\",\"tags\":[\"b\",\"a \\\"quoted\\\"\"],"
		    "\"metadata\":{\"k\":\"v\",\"\\u00fc\":\"\\u0000\"},\"state\":{\"n\":[1,\n2],\"big\":9007199254740993},\"config\":{\"temperature\":1}}", NULL);
	add_messages(h, "order:1", 1, 60);
	a = api_post(h, h->sk, "{\"role\":\"assistant\",\"content\":[\n{\"type\":\"text\",\r\n\"text\":\"a\\u0000\\ud83d\\ude00\\u202e\"}],\"metadata\":{\"x\":\n{}},"
		     "\"tool_calls\":[{\"id\":\"c1\"}],\"tokens_used\":7}", "/v1/sessions/order:1/messages");
	must_be(a, 201);
	struct ident session = session_ident(h, "order:1"), root = conversation_ident(h, "order:1");
	struct ident branch = add_branch(h, &session, &root, 40), twig = add_branch(h, &session, &branch, 43), none = add_branch(h, &session, &root, 0);
	add_rows(h, &branch, 41, 45);
	add_rows(h, &twig, 44, 44);
	add_row(h, &twig, 45, "null", "{\"deleted_at\":\"2026-01-02T03:04:05.678Z\"}");
	char *long_text = arena_alloc(h->arena, 300002);
	memset(long_text, 'x', 300001);
	long_text[0] = long_text[300000] = '"';
	add_row(h, &none, 1, long_text, NULL);
	add_summary(h, &session, &root, 30);
	add_summary(h, &session, &branch, 44);
	const char *turned = new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"bob\"}", NULL);
	a = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", turned);
	must_be(a, 200);
	a = api_post(h, h->sk, "{}", "/v1/sessions/%s/end", turned);
	must_be(a, 200);
	new_session(h, h->pk, NULL, NULL); /* of somebody without a name, and empty */
	/* Many sessions of one millisecond: their order must not hang on ids that are made anew elsewhere. */
	for (int i = 0; i < 12; i++)
		new_session(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"id\":\"same-%d\",\"user\":\"ann\"}", i), NULL);
	sql_run(h, "UPDATE sessions SET created_at = 5 WHERE site = ? AND own_id LIKE 'same-%'", DB_ARGS(db_ident(&h->home.id)));
}

/* MOV-1, MOV-2 */
Test(move, an_export_imported_elsewhere_exports_the_same_bytes)
{
	struct api *h = api_open(), *other = open_other(), *third;
	struct move_counts n;
	fill(h);
	struct bytes first = export_of(h, (struct move_export){ .n_corrupt = 0 }, &n);
	cr_assert_eq(n.sessions, 15);
	cr_assert_eq(n.conversations, 18);
	cr_assert_eq(n.messages, 61 + 5 + 2 + 1 + 2);
	must_import(other, first);
	struct bytes second = export_of(other, (struct move_export){ .n_corrupt = 0 }, NULL);
	assert_same(first, second);
	struct counted here = count_rows(h), there = count_rows(other);
	for (size_t i = 0; i + 1 < COUNT(tables); i++)
		cr_assert_eq(here.rows[i], there.rows[i], "%s", tables[i]);
	/* and back into the store it came from */
	third = api_open_with(API_OWN, NULL);
	remove_agent(third);
	must_import(third, second);
	assert_same(first, export_of(third, (struct move_export){ .n_corrupt = 0 }, NULL));
	struct answer a = api_get(third, third->sk, "/v1/sessions/order:1?messages=1"), b = api_get(h, h->sk, "/v1/sessions/order:1?messages=1");
	must_be(a, 200);
	cr_assert_str_eq(str_at(&a, "messages[0].id"), str_at(&b, "messages[0].id"));
	assert_int(a, "message_count", 61);
	a = api_post(third, third->sk, "{\"role\":\"user\",\"content\":\"goes on\"}", "/v1/sessions/order:1/messages");
	must_be(a, 201);
	assert_int(a, "seq", 62);
	api_close(&third);
	api_close(&other);
	api_close(&h);
}

/* ---- bad files ---- */

static int64_t count_of(struct bytes text, const char *part)
{
	int64_t n = 0;
	size_t part_n = strlen(part);

	for (const char *at = text.p; (at = memmem(at, (size_t)(text.p + text.n - at), part, part_n)); at += part_n)
		n++;
	return n;
}

/* A file of these lines under a header that is right. */
static struct bytes sealed(struct api *h, struct bytes lines)
{
	struct secret_digest d;
	unsigned char hash[SECRET_HASH_SIZE];
	char hex[2 * SECRET_HASH_SIZE + 1], header[MOVE_HEADER_SIZE];
	struct buf b;

	secret_digest_begin(&d);
	secret_digest_add(&d, lines.p, lines.n);
	secret_digest_end(&d, hash);
	secret_hex(hash, sizeof hash, hex);
	struct move_header mh = { .version = 1, .scope = BYTES("site"), .site = BYTES("shop"), .checksum = bytes_of(hex), .counts = {
		.sessions = count_of(lines, "\"type\":\"session\""), .conversations = count_of(lines, "\"type\":\"conversation\""),
		.messages = count_of(lines, "\"type\":\"message\""), .lines = count_of(lines, "\n"),
	} };
	move_header_format(&mh, header);
	buf_init(&b, h->arena, lines.n + sizeof header + 1);
	buf_add(&b, header, sizeof header);
	buf_add_bytes(&b, lines);
	return buf_bytes(&b);
}

/* `lines` of a file with the first `from` replaced; its header fits again. */
static struct bytes changed(struct api *h, struct bytes file, const char *from, const char *to)
{
	struct bytes lines = { file.p + MOVE_HEADER_SIZE, file.n - MOVE_HEADER_SIZE };
	const char *at = memmem(lines.p, lines.n, from, strlen(from));
	struct buf b;

	cr_assert_not_null(at, "%s is not in the file", from);
	buf_init(&b, h->arena, file.n + strlen(to) + 1);
	buf_add(&b, lines.p, (size_t)(at - lines.p));
	buf_add_str(&b, to);
	at += strlen(from);
	buf_add(&b, at, (size_t)(lines.p + lines.n - at));
	return sealed(h, buf_bytes(&b));
}

/* A small file: one session, a branch, four messages. */
static struct bytes small_file(struct api *h)
{
	new_session(h, h->sk, "{\"agent\":\"guide\",\"id\":\"small\",\"user\":\"ann\",\"tags\":[\"t\"]}", NULL);
	add_messages(h, "small", 1, 3);
	struct ident session = session_ident(h, "small"), root = conversation_ident(h, "small"), branch = add_branch(h, &session, &root, 2);
	add_rows(h, &branch, 3, 3);
	return export_of(h, (struct move_export){ .session = session }, NULL);
}

Test(move, a_file_that_is_not_whole_changes_nothing)
{
	struct api *h = api_open(), *other = open_other();
	struct bytes file = small_file(h);
	struct counted before = count_rows(other);
	for (size_t n = 0; n < file.n; n += n < 600 ? 7 : 61) {
		struct move_import m = { .n_users = 0 };
		cr_assert_eq(import_into(other, &m, (struct bytes){ file.p, n }), ERR_INVALID, "%zu bytes", n);
	}
	must_refuse(other, (struct bytes){ file.p, 0 }, ERR_INVALID, "line 1: the file is empty");
	must_refuse(other, (struct bytes){ file.p, file.n - 1 }, ERR_INVALID, "cut off inside its last line");
	const char *last = memrchr(file.p, '\n', file.n - 1);
	must_refuse(other, (struct bytes){ file.p, (size_t)(last + 1 - file.p) }, ERR_INVALID, "lines behind its header");
	/* every byte counts, wherever it is changed */
	for (size_t at = MOVE_HEADER_SIZE; at < file.n; at += 13) {
		char *copy = arena_copy(other->arena, file.p, file.n);
		struct move_import m = { .n_users = 0 };
		copy[at] ^= 1;
		cr_assert_eq(import_into(other, &m, (struct bytes){ copy, file.n }), ERR_INVALID, "byte %zu", at);
	}
	assert_rows(other, &before);
	must_import(other, file);
	api_close(&other);
	api_close(&h);
}

Test(move, what_is_wrong_is_told_with_its_line)
{
	static const struct {
		const char *from, *to, *told;
	} cases[] = {
		{ "\"role\":\"user\"", "\"role\":\"wizard\"", "line 6: role" },
		{ "\"seq\":2", "\"seq\":3", "line 7: " },
		{ "\"type\":\"message\"", "\"type\":\"massage\"", "line 6: type" },
		{ "\"content\":\"2\"", "\"content\":2", "line 7: content: must be a string or an array" },
		{ "\"content\":\"2\"", "\"content\":\"2\",\"content\":\"3\"", "line 7: this is no JSON: a key appears twice" },
		{ "\"content\":\"2\"", "\"content\":\"2\",\"colour\":\"red\"", "line 7: colour" },
		{ "\"content\":\"2\"", "\"content\":[]", "line 7: content" },
		{ "\"content\":\"2\"", "\"content\":[7]", "line 7: content" },
		{ "\"content\":\"2\"", "\"content\":\"2\",\"extra\":{\"seq\":\"x\"}", "line 7: extra: must not have the member seq" },
		{ "\"content\":\"2\"", "\"content\":\"2\",\"extra\":{\"r\\u006fle\":\"system\"}", "line 7: extra: must not have the member role" },
		{ "\"content\":\"2\"", "\"content\":\"2\",\"tokens\":9223372036854775807", "line 7: tokens" },
		{ "\"version\":", "\"version\":922337203685477580", "line 2: version" },
		{ "\"base_seq\":2", "\"base_seq\":4", "line 9: seq: is 3 where 5 comes next" },
		{ "\"base_seq\":2", "\"base_seq\":-1", "line 5: base_seq" },
		{ "\"status\":\"active\"", "\"status\":\"alive\"", "line 3: status" },
		{ "\"user\":\"ann\"", "\"user\":\"\"", "line 3: user" },
		{ "\"user\":\"ann\"", "\"user\":7", "line 3: user" },
		{ "\"own_id\":\"small\"", "\"own_id\":\"ses_small\"", "line 3: own_id" },
		{ "\"own_id\":\"small\",", "", "line 3: id: a session has either" },
		{ "\"agent\":\"guide\"", "\"agent\":\"nobody\"", "line 3: agent: there is no agent named \"nobody\"" },
		{ "\"provider\":\"echo\"", "\"provider\":\"far\"", "line 2: provider" },
		{ "\"model\":\"\"", "\"model\":\"\",\"fallbacks\":[7]", "line 2: fallbacks[0]" },
		{ "\"model\":\"\"", "\"model\":\"\",\"fallbacks\":[{\"provider\":\"echo\",\"to\":1}]", "line 2: fallbacks[0].to" },
		{ "\"model\":\"\"", "\"model\":\"\",\"fallbacks\":[{\"provider\":\"echo\"},{\"provider\":\"far\"}]", "line 2: fallbacks[1].provider" },
		{ "\"name\":\"guide\"", "\"name\":\"Not a name\"", "line 2: name" },
		{ "\"metadata\":{}", "\"metadata\":{\"a\":1}", "line 3: metadata.a" },
		{ "\"config\":{}", "\"config\":{\"temperature\":9}", "line 3: config.temperature" },
		{ "\"type\":\"agent\"", "\"type\":\"message\"", "line 2: " },
		{ "{\"type\":\"agent\"", "[{\"type\":\"agent\"", "line 2: this is no JSON" },
	};
	struct api *h = api_open(), *other = open_other();
	struct bytes file = small_file(h);
	struct counted before = count_rows(other);
	for (size_t i = 0; i < COUNT(cases); i++)
		must_refuse(other, changed(h, file, cases[i].from, cases[i].to), ERR_INVALID, cases[i].told);
	assert_rows(other, &before);
	api_close(&other);
	api_close(&h);
}

Test(move, limits_hold_for_what_is_imported)
{
	struct api *h = api_open(), *other = open_other();
	struct bytes file = small_file(h);
	struct buf tags, pairs;
	buf_init(&tags, h->arena, 200000);
	buf_init(&pairs, h->arena, 4096);
	buf_add_str(&tags, "\"tags\":[");
	for (int i = 0; i < 10000; i++)
		buf_addf(&tags, "%s\"t%d\"", i ? "," : "", i);
	buf_add_char(&tags, ']');
	buf_add_str(&pairs, "\"metadata\":{");
	for (int i = 0; i < 17; i++)
		buf_addf(&pairs, "%s\"k%d\":\"v\"", i ? "," : "", i);
	buf_add_char(&pairs, '}');
	struct counted before = count_rows(other);
	must_refuse(other, changed(h, file, "\"tags\":[\"t\"]", tags.p), ERR_INVALID, "line 3: tags");
	must_refuse(other, changed(h, file, "\"metadata\":{}", pairs.p), ERR_INVALID, "line 3: metadata");
	must_refuse(other, changed(h, file, "\"state\":{}", api_text(h, "\"state\":{\"a\":\"%0262144d\"}", 0)), ERR_INVALID, "line 3: state");
	assert_rows(other, &before);
	api_close(&other);
	api_close(&h);
}

/* MOV-2, SEC: the id of a session with an own id is known to whoever knows both and the site; a file must not take the place of one to come. */
Test(move, an_id_that_another_sites_own_id_will_need_is_refused)
{
	struct api *h = api_open(), *other = open_other();
	const char *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"ann\"}", NULL);
	struct bytes file = export_of(h, (struct move_export){ .session = session_ident(h, id) }, NULL);
	struct api_site foreign = api_add_site(other, "https://other.example");
	struct ident wanted = head_own_ident(&foreign.id, BYTES("order-7"));
	char text[IDENT_SIZE];
	ident_format("ses_", &wanted, text);
	must_refuse(other, changed(h, file, id, text), ERR_INVALID, "line 3: id: is none that a session was given");
	must_import(other, file);
	new_session(other, foreign.sk, "{\"agent\":\"guide\",\"id\":\"order-7\"}", NULL);
	api_close(&other);
	api_close(&h);
}

/* MOV-1: what may be stored may be moved, however deep it is: no visitor makes a site's export one that nobody can read. */
Test(move, the_deepest_that_can_be_stored_is_moved)
{
	struct api *h = api_open(), *other = open_other();
	struct buf b;
	const char *id = new_session(h, h->sk, "{\"agent\":\"guide\"}", NULL);
	buf_init(&b, h->arena, 1024);
	buf_add_str(&b, "{\"tool_calls\":");
	for (int i = 1; i < JSONX_DEPTH; i++)
		buf_add_char(&b, '[');
	for (int i = 1; i < JSONX_DEPTH; i++)
		buf_add_char(&b, ']');
	buf_add_char(&b, '}');
	/* past the interface, whose answer is deeper still than what this reader of answers takes */
	struct ident conversation = conversation_ident(h, id);
	add_row(h, &conversation, 1, "\"x\"", buf_bytes(&b).p);
	struct bytes file = export_of(h, (struct move_export){ .session = session_ident(h, id) }, NULL);
	must_import(other, file);
	assert_same(file, export_of(other, (struct move_export){ .session = session_ident(other, id) }, NULL));
	api_close(&other);
	api_close(&h);
}

/* Lines that are right by themselves and wrong together. */
Test(move, ancestors_and_ids_must_make_sense)
{
	struct api *h = api_open(), *other = open_other();
	struct bytes file = small_file(h);
	struct bytes lines = { file.p + MOVE_HEADER_SIZE, file.n - MOVE_HEADER_SIZE };
	const char *at[8], *end = lines.p + lines.n;
	size_t n = 0;
	for (const char *p = lines.p; p < end; p = (const char *)memchr(p, '\n', (size_t)(end - p)) + 1)
		at[n++] = p;
	cr_assert_eq(n, 8);
#define LINE(i) (int)((i) + 1 < n ? at[(i) + 1] - at[i] : end - at[i]), at[i]
	struct counted before = count_rows(other);
	/* the branch in front of its parent: a cycle could only be written so */
	must_refuse(other, sealed(h, bytes_of(api_text(h, "%.*s%.*s%.*s%.*s", LINE(0), LINE(1), LINE(3), LINE(2)))), ERR_INVALID, "line 4: parent");
	must_refuse(other, sealed(h, bytes_of(api_text(h, "%.*s%.*s%.*s%.*s", LINE(0), LINE(1), LINE(2), LINE(2)))), ERR_INVALID, "line 5: id");
	must_refuse(other, sealed(h, bytes_of(api_text(h, "%.*s%.*s", LINE(0), LINE(2)))), ERR_INVALID, "line 3: the line belongs to no session");
	must_refuse(other, sealed(h, bytes_of(api_text(h, "%.*s%.*s", LINE(0), LINE(1)))), ERR_INVALID, "line 3: conversation: is not among");
	must_refuse(other, sealed(h, bytes_of(api_text(h, "%.*s%.*s%.*s%.*s%.*s", LINE(0), LINE(1), LINE(2), LINE(1), LINE(2)))), ERR_INVALID,
		    "line 5: this session stands on line 3 already");
	must_refuse(other, sealed(h, bytes_of(api_text(h, "%.*s%.*s", LINE(0), LINE(0)))), ERR_INVALID, "line 3: this agent stands on line 2");
	must_refuse(other, sealed(h, bytes_of(api_text(h, "%.*s%.*s%.*s%.*s", LINE(0), LINE(1), LINE(2), LINE(5)))), ERR_INVALID, "line 5: seq: is 2 where 1");
	must_refuse(other, sealed(h, bytes_of(api_text(h, "%.*s%.*s%.*s%.*s%.*s", LINE(0), LINE(1), LINE(2), LINE(4), LINE(4)))), ERR_INVALID, "line 6: seq");
	must_refuse(other, changed(h, file, "\"id\":\"msg_", "\"id\":\"msg_z"), ERR_INVALID, "line 6: id");
	struct bytes cut = sealed(h, (struct bytes){ lines.p, (size_t)(at[7] - lines.p) });
	must_refuse(other, changed(h, cut, "\"base_seq\":2", "\"base_seq\":4"), ERR_INVALID,
		    "line 5: base_seq: is behind the parent's last message, which is 3");
	assert_rows(other, &before);
	must_import(other, sealed(h, BYTES("")));
	api_close(&other);
	api_close(&h);
}

Test(move, other_versions_and_other_files_are_named)
{
	struct api *h = api_open();
	struct bytes file = sealed(h, BYTES(""));
	char *next = arena_copy(h->arena, file.p, file.n);
	memcpy(next, "{\"parley_export\":2", 18);
	must_refuse(h, (struct bytes){ next, file.n }, ERR_INVALID, "line 1: this export is of version 2");
	must_refuse(h, BYTES("{\"a\":1}\n"), ERR_INVALID, "line 1: this is no export of parley");
	must_refuse(h, BYTES("id,name\n1,ann\n"), ERR_INVALID, "line 1: this is no export of parley");
	must_refuse(h, BYTES("[]\n"), ERR_INVALID, "line 1: this is no export of parley");
	char *blank = arena_copy(h->arena, file.p, file.n);
	memset(blank, 0, MOVE_HEADER_SIZE - 1); /* as an export that was killed leaves it */
	must_refuse(h, (struct bytes){ blank, file.n }, ERR_INVALID, "line 1: this is no export of parley, or one that was not finished");
	api_close(&h);
}

/* ---- twice, elsewhere, interrupted ---- */

Test(move, an_import_is_done_once)
{
	struct api *h = api_open(), *other = open_other();
	struct bytes file = small_file(h);
	must_import(other, file);
	struct counted after = count_rows(other);
	must_refuse(other, file, ERR_CONFLICT, "this file was imported already, at 20");
	/* the same sessions in another file */
	struct bytes again = changed(h, file, "\"title\":\"\"", "\"title\":\"x\"");
	must_refuse(other, again, ERR_CONFLICT, "line 3: the session small exists already");
	struct move_import skip = { .skips_existing = true };
	cr_assert_eq(import_into(other, &skip, again), ERR_OK, "%s", other->task.fault.detail);
	cr_assert_eq(skip.n_skipped, 1);
	cr_assert_eq(skip.done.sessions + skip.done.conversations + skip.done.messages, 0);
	after.rows[7]++;
	assert_rows(other, &after);
	/* and where it came from */
	must_refuse(h, file, ERR_CONFLICT, "line 3: the session small exists already");
	api_close(&other);
	api_close(&h);
}

Test(move, names_and_conversations_that_are_taken_are_named)
{
	struct api *h = api_open(), *other = open_other();
	struct bytes file = small_file(h);
	must_import(other, file);
	struct bytes renamed = changed(h, file, "\"own_id\":\"small\"", "\"own_id\":\"other\"");
	must_refuse(other, renamed, ERR_CONFLICT, "line 3: another session has the name api_ann_");
	struct bytes named = changed(other, renamed, "\"name\":\"api_ann_", "\"name\":\"xpi_ann_");
	must_refuse(other, named, ERR_CONFLICT, "has the conversation cnv_");
	api_close(&other);
	api_close(&h);
}

Test(move, a_dry_run_counts_and_changes_nothing)
{
	struct api *h = api_open(), *other = open_other();
	fill(h);
	add_agent(other);
	struct bytes file = export_of(h, (struct move_export){ .n_corrupt = 0 }, NULL);
	struct counted before = count_rows(other);
	struct move_import m = { .is_dry = true };
	cr_assert_eq(import_into(other, &m, file), ERR_OK, "%s", other->task.fault.detail);
	assert_rows(other, &before);
	cr_assert_eq(m.done.sessions, 15);
	cr_assert_eq(m.done.conversations, 18);
	cr_assert_eq(m.done.messages, 71);
	cr_assert_eq(m.n_agents, 1); /* guide is there */
	cr_assert_eq(m.n_templates, 1);
	struct move_import real = { .n_users = 0 };
	cr_assert_eq(import_into(other, &real, file), ERR_OK);
	cr_assert_eq(real.done.messages, 71);
	cr_assert_eq(real.n_agents, 1);
	api_close(&other);
	api_close(&h);
}

Test(move, users_get_the_names_they_have_elsewhere)
{
	struct api *h = api_open(), *other = open_other();
	fill(h);
	struct bytes file = export_of(h, (struct move_export){ .n_corrupt = 0 }, NULL);
	struct move_user users[] = { { BYTES("zoe"), BYTES("zed") }, { BYTES("ann"), BYTES("ann@new") }, { BYTES("bob"), BYTES("ann") } };
	struct move_import m = { .users = users, .n_users = 3 };
	cr_assert_eq(import_into(other, &m, file), ERR_OK, "%s", other->task.fault.detail);
	struct answer a = api_get(other, other->sk, "/v1/sessions/order:1");
	assert_str(a, "user", "ann@new");
	a = api_get(other, other->sk, "/v1/sessions?user=ann");
	cr_assert_eq(count_at(&a, "data"), 1);
	a = api_get(other, other->sk, "/v1/sessions?user=ann@new&limit=100");
	cr_assert_eq(count_at(&a, "data"), 13);
	cr_assert_eq(sql_int(other, "SELECT COUNT(*) FROM sessions WHERE site = ? AND user_id LIKE 'anon_%'", DB_ARGS(db_ident(&other->home.id))), 1);
	a = api_get(other, other->sk, "/v1/sessions?tag=b");
	must_be(a, 200);
	cr_assert_eq(count_at(&a, "data"), 1);
	api_close(&other);
	api_close(&h);
}

static enum err break_off(struct task *t, struct db_conn *c, struct move_import *m)
{
	(void)c, (void)m;
	return task_fail(t, ERR_UNAVAILABLE, "the power went");
}

/* Several sessions, so that batches end inside some and hold several others. */
static struct bytes long_file(struct api *h)
{
	for (int i = 0; i < 4; i++) {
		const char *id = api_text(h, "long-%d", i);
		new_session(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"id\":\"%s\"}", id), NULL);
		add_messages(h, id, 1, i % 2 ? 20 : 700);
		struct ident session = session_ident(h, id), root = conversation_ident(h, id), branch = add_branch(h, &session, &root, 10);
		add_rows(h, &branch, 11, 15);
	}
	return export_of(h, (struct move_export){ .n_corrupt = 0 }, NULL);
}

Test(move, an_interrupted_import_goes_on_where_it_stopped)
{
	struct api *h = api_open(), *other = open_other();
	struct bytes file = long_file(h);
	struct move_import cut = { .at_end = break_off };
	cr_assert_eq(import_into(other, &cut, file), ERR_UNAVAILABLE);
	/* whole sessions are there, the rest is nobody's */
	struct answer a = api_get(other, other->sk, "/v1/sessions/long-0?messages=1");
	must_be(a, 200);
	assert_int(a, "message_count", 700);
	a = api_get(other, other->sk, "/v1/sessions/long-3");
	must_be(a, 404);
	cr_assert_gt(sql_int(other, "SELECT COUNT(*) FROM conversations c WHERE site = ? AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = c.session)",
			     DB_ARGS(db_ident(&other->home.id))), 0);
	int64_t stored = sql_int(other, "SELECT COUNT(*) FROM messages WHERE site = ?", DB_ARGS(db_ident(&other->home.id)));
	cr_assert(stored > 700 && stored < 1460, "%lld", (long long)stored);
	struct move_import rest = { .n_users = 0 };
	cr_assert_eq(import_into(other, &rest, file), ERR_OK, "%s / %s", other->task.fault.detail, other->task.fault.internal);
	cr_assert_gt(rest.resumed_at, 700);
	cr_assert_eq(rest.done.messages, 1460);
	assert_same(file, export_of(other, (struct move_export){ .n_corrupt = 0 }, NULL));
	cr_assert_eq(sql_int(other, "SELECT COUNT(*) FROM conversations WHERE site = ?", DB_ARGS(db_ident(&other->home.id))), 8);
	must_refuse(other, file, ERR_CONFLICT, "imported already");
	api_close(&other);
	api_close(&h);
}

Test(move, an_unfinished_import_can_be_taken_back)
{
	struct api *h = api_open(), *other = open_other();
	struct bytes file = long_file(h);
	add_agent(other);
	new_session(other, other->sk, "{\"agent\":\"guide\",\"id\":\"stays\"}", NULL);
	struct counted before = count_rows(other);
	struct move_import m = { .at_end = break_off };
	cr_assert_eq(import_into(other, &m, file), ERR_UNAVAILABLE);
	int fd = file_of(file);
	cr_assert_eq(move_discard(&other->task, other->app, &m, fd, (struct bytes){ NULL, 0 }), ERR_OK, "%s", other->task.fault.detail);
	int64_t n;
	cr_assert_eq(app_sweep(&other->task, other->app, &n), ERR_OK);
	assert_rows(other, &before);
	cr_assert_eq(move_discard(&other->task, other->app, &m, fd, (struct bytes){ NULL, 0 }), ERR_NOT_FOUND);
	close(fd);
	must_import(other, file);
	struct move_import done = { .site = other->home.id };
	fd = file_of(file);
	cr_assert_eq(move_discard(&other->task, other->app, &done, fd, (struct bytes){ NULL, 0 }), ERR_NOT_FOUND);
	close(fd);
	api_close(&other);
	api_close(&h);
}

/* ---- what a session sees is what is moved ---- */

/* A clone of `small` at 3, made of rows: its conversation descends from another session's. */
static const char *add_clone(struct api *h, struct ident *conversation_r)
{
	const char *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"id\":\"clone\"}", NULL);
	struct ident session = session_ident(h, id), root = conversation_ident(h, "small");
	*conversation_r = add_branch(h, &session, &root, 3);
	sql_run(h, "UPDATE sessions SET conversation = ? WHERE id = ?", DB_ARGS(db_ident(conversation_r), db_ident(&session)));
	head_changed(&h->task, h->app, &h->home.id, &session);
	return id;
}

static const char *contents_of(struct api *h, const char *id)
{
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s/messages?limit=100", id);
	struct buf b;

	must_be(a, 200);
	buf_init(&b, h->arena, 256);
	for (size_t i = 0; i < count_at(&a, "data"); i++)
		buf_addf(&b, "%s ", is_null_at(&a, api_text(h, "data[%zu].content", i)) ? "null" : str_at(&a, api_text(h, "data[%zu].content", i)));
	return b.p ? b.p : "";
}

/* MOV-1: a clone comes whole and is independent. */
Test(move, a_clone_is_moved_with_what_it_inherits)
{
	struct api *h = api_open(), *other = open_other();
	struct ident cloned;
	small_file(h);
	const char *id = add_clone(h, &cloned);
	add_rows(h, &cloned, 4, 5);
	struct ident session = session_ident(h, id), twig = add_branch(h, &session, &cloned, 4);
	add_rows(h, &twig, 5, 5);
	/* the clone hides one message, and shows another for it */
	struct ident small = conversation_ident(h, "small");
	struct bytes hidden = codec_pack(h->arena, BYTES("\"redacted\""));
	sql_run(h, "INSERT INTO message_masks (session, conversation, seq, site, content, created_at) VALUES (?, ?, 2, ?, ?, 1)",
		DB_ARGS(db_ident(&session), db_ident(&small), db_ident(&h->home.id), db_blob(hidden.p, hidden.n)));
	sql_run(h, "UPDATE sessions SET flags = 1 WHERE id = ?", DB_ARGS(db_ident(&session)));
	head_changed(&h->task, h->app, &h->home.id, &session);
	struct move_counts n;
	struct bytes file = export_of(h, (struct move_export){ .session = session }, &n);
	cr_assert_eq(n.conversations, 3);
	cr_assert_eq(n.messages, 5 + 1);
	must_import(other, file);
	cr_assert_str_eq(contents_of(other, id), contents_of(h, id));
	cr_assert_not_null(strstr(contents_of(other, id), "1 redacted 3 4 of a branch 5 of a branch"));
	assert_same(file, export_of(other, (struct move_export){ .session = session_ident(other, id) }, NULL));
	cr_assert_eq(sql_int(other, "SELECT COUNT(*) FROM message_masks WHERE site = ?", DB_ARGS(db_ident(&other->home.id))), 0);
	api_close(&other);
	api_close(&h);
}

/* A branch whose parent was deleted keeps what it saw of it, and its grandparent. */
Test(move, a_branch_of_a_deleted_branch_is_moved_whole)
{
	struct api *h = api_open(), *other = open_other();
	small_file(h);
	struct ident session = session_ident(h, "small"), root = conversation_ident(h, "small"), nobody = { { 0 } };
	struct ident middle = add_branch(h, &session, &root, 2);
	add_rows(h, &middle, 3, 6);
	struct ident leaf = add_branch(h, &session, &middle, 5);
	add_rows(h, &leaf, 6, 7);
	sql_run(h, "UPDATE conversations SET session = ? WHERE id = ?", DB_ARGS(db_ident(&nobody), db_ident(&middle)));
	struct move_counts n;
	struct bytes file = export_of(h, (struct move_export){ .session = session }, &n);
	cr_assert_eq(n.conversations, 3);
	cr_assert_eq(n.messages, 3 + 1 + 5);
	must_import(other, file);
	assert_same(file, export_of(other, (struct move_export){ .session = session_ident(other, "small") }, NULL));
	cr_assert_eq(sql_int(other, "SELECT base_seq FROM conversations WHERE id = ?", DB_ARGS(db_ident(&leaf))), 2);
	cr_assert_eq(sql_int(other, "SELECT COUNT(*) FROM messages WHERE conversation = ?", DB_ARGS(db_ident(&leaf))), 5);
	api_close(&other);
	api_close(&h);
}

Test(move, a_users_export_holds_that_users_sessions_and_their_agents)
{
	struct api *h = api_open(), *other = open_other();
	struct move_counts n;
	fill(h);
	struct bytes file = export_of(h, (struct move_export){ .user = BYTES("bob") }, &n);
	cr_assert_eq(n.sessions, 1);
	cr_assert_eq(n.messages, 2);
	cr_assert_not_null(memmem(file.p, file.n, "\"scope\":\"user\"", 14));
	cr_assert_not_null(memmem(file.p, file.n, "\"name\":\"guide\"", 14));
	cr_assert_null(memmem(file.p, file.n, "\"name\":\"baker\"", 14));
	cr_assert_null(memmem(file.p, file.n, "ann", 3));
	must_import(other, file);
	export_of(h, (struct move_export){ .user = BYTES("nobody") }, &n);
	cr_assert_eq(n.lines, 0);
	api_close(&other);
	api_close(&h);
}

/* OPS-6: a record that cannot be read costs its own content. */
Test(move, a_corrupt_record_does_not_stop_an_export)
{
	struct api *h = api_open(), *other = open_other();
	struct move_counts n;
	small_file(h);
	new_session(h, h->sk, "{\"agent\":\"guide\",\"id\":\"broken\"}", NULL);
	struct ident root = conversation_ident(h, "small"), broken = session_ident(h, "broken");
	sql_run(h, "UPDATE messages SET content = ? WHERE conversation = ? AND seq = 2", DB_ARGS(db_blob("junk", 4), db_ident(&root)));
	sql_run(h, "UPDATE sessions SET state = ? WHERE id = ?", DB_ARGS(db_blob("junk", 4), db_ident(&broken)));
	struct move_export x = { .site = h->home.id, .site_name = BYTES("shop") };
	int64_t size;
	int fd = new_file();
	cr_assert_eq(move_export(&h->task, h->app, &x, fd, &n, &size), ERR_OK);
	cr_assert_eq(x.n_corrupt, 2);
	cr_assert_eq(n.sessions, 1);
	must_import(other, content_of(h, fd));
	cr_assert_str_eq(contents_of(other, "small"), "1 null 3 ");
	close(fd);
	x.session = broken;
	fd = new_file();
	cr_assert_eq(move_export(&h->task, h->app, &x, fd, &n, &size), ERR_CORRUPT);
	close(fd);
	api_close(&other);
	api_close(&h);
}

/* ---- over HTTP ---- */

Test(move, a_session_goes_over_http_and_comes_back)
{
	struct api *h = api_open(), *other = open_other();
	small_file(h);
	struct answer a = api_get(h, h->sk, "/v1/sessions/small/export");
	must_be(a, 200);
	cr_assert_str_eq(header_of(&a, "Content-Type"), "application/x-ndjson");
	cr_assert_eq(atoll(header_of(&a, "Content-Length")), (long long)a.body.n);
	struct answer dry = ask(other, .method = "POST", .to = "/v1/import?dry_run=true", .key = other->sk, .type = "application/x-ndjson",
				.body = a.body.p, .body_n = a.body.n);
	must_be(dry, 200);
	assert_int(dry, "messages", 4);
	cr_assert(bool_at(&dry, "dry_run"));
	for (int i = 0; i < 2; i++) { /* the same key: the same answer, once done */
		struct answer b = ask(other, .method = "POST", .to = "/v1/import", .key = other->sk, .type = "application/x-ndjson",
				      .body = a.body.p, .body_n = a.body.n, .idem = "the-import-of-monday");
		must_be(b, 200);
		assert_int(b, "sessions", 1);
		assert_int(b, "conversations", 2);
		assert_int(b, "messages", 4);
		assert_int(b, "skipped", 0);
	}
	struct answer twice = ask(other, .method = "POST", .to = "/v1/import", .key = other->sk, .type = "application/x-ndjson", .body = a.body.p,
				  .body_n = a.body.n);
	assert_code(twice, 409, "conflict");
	struct answer back = api_get(other, other->sk, "/v1/export?user=ann");
	must_be(back, 200);
	cr_assert_eq(back.body.n, a.body.n);
	api_close(&other);
	api_close(&h);
}

Test(move, a_visitor_gets_what_is_its_own)
{
	struct api *h = api_open();
	const char *token, *id = new_session(h, h->pk, NULL, &token);
	must_be(api_post(h, token, "{\"role\":\"user\",\"content\":\"mine\"}", "/v1/sessions/%s/messages", id), 201);
	struct answer a = api_get(h, token, "/v1/sessions/%s/export", id);
	must_be(a, 200);
	cr_assert_not_null(strstr(a.body.p, "\"content\":\"mine\""));
	cr_assert_null(strstr(a.body.p, "\"type\":\"agent\""));
	cr_assert_not_null(strstr(a.body.p, "\"ip_address\":\"\""));
	a = api_get(h, h->sk, "/v1/sessions/%s/export", id);
	cr_assert_not_null(strstr(a.body.p, "203.0.113.9"));
	const char *other = new_session(h, h->pk, NULL, NULL);
	must_be(api_get(h, token, "/v1/sessions/%s/export", other), 404);
	must_be(api_get(h, token, "/v1/export"), 403);
	must_be(api_get(h, h->pk, "/v1/export"), 403);
	struct api_site foreign = api_add_site(h, "https://other.example");
	must_be(api_get(h, foreign.sk, "/v1/sessions/%s/export", id), 404);
	a = api_get(h, foreign.sk, "/v1/export");
	must_be(a, 200);
	cr_assert_null(strstr(a.body.p, "\"type\":\"session\""));
	api_close(&h);
}

Test(move, a_body_that_is_no_export_is_refused)
{
	struct api *h = api_open();
	struct answer a = ask(h, .method = "POST", .to = "/v1/import", .key = h->sk, .body = "{}");
	assert_code(a, 415, "unsupported_media_type");
	a = ask(h, .method = "POST", .to = "/v1/import", .key = h->sk, .type = "application/x-ndjson", .body = "{}\n");
	assert_code(a, 400, "invalid_request");
	a = ask(h, .method = "POST", .to = "/v1/import", .key = h->sk, .type = "application/x-ndjson; charset=utf-8", .body = "");
	assert_code(a, 400, "invalid_request");
	a = ask(h, .method = "POST", .to = "/v1/import", .key = h->pk, .type = "application/x-ndjson", .body = "{}\n", .origin = ORIGIN);
	must_be(a, 403);
	a = ask(h, .method = "POST", .to = "/v1/import?dry=1", .key = h->sk, .type = "application/x-ndjson", .body = "{}\n");
	must_be(a, 400);
	api_close(&h);
}

/* ---- what nobody may forget ---- */

/* A new column must be moved, or be named here with the others that are not. */
Test(move, every_column_is_moved_or_named)
{
	static const struct {
		const char *table;
		int64_t columns;
	} known[] = {
		{ "sessions", 26 },      /* site, agent and flags are made anew */
		{ "conversations", 8 },  /* site, session and lineage likewise */
		{ "messages", 11 }, { "summaries", 8 }, { "agents", 17 }, { "templates", 11 },
	};
	struct api *h = open_other();
	for (size_t i = 0; i < COUNT(known); i++)
		cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM pragma_table_info(?)", DB_ARGS(db_text(bytes_of(known[i].table)))), known[i].columns,
			     "%s has other columns than move_export and move_import know", known[i].table);
	api_close(&h);
}

/* ---- with everything that a session can go through ---- */

static const char *post(struct api *h, const char *body, const char *path, const char *wanted)
{
	struct answer a = api_post(h, h->sk, body, "%s", path);

	must_be(a, 201);
	return wanted ? api_text(h, "%s", str_at(&a, wanted)) : NULL;
}

/* MOV-1: branches, edits, deletions, redactions, a clone of it all, and a deleted original. */
Test(move, what_the_api_made_of_a_session_is_moved)
{
	struct api *h = api_open(), *other = open_other(), *third = open_other();
	new_session(h, h->sk, "{\"agent\":\"guide\",\"id\":\"origin\",\"user\":\"ann\"}", NULL);
	add_messages(h, "origin", 1, 30);
	struct answer list = api_get(h, h->sk, "/v1/sessions/origin/messages?limit=30");
	const char *root = api_text(h, "%s", str_at(&list, "data[0].conversation_id"));
	const char *third_message = str_at(&list, "data[2].id"), *fifth = str_at(&list, "data[4].id");
	const char *branch = post(h, "{\"at\":20,\"title\":\"side\"}", api_text(h, "/v1/sessions/origin/conversations/%s/branch", root), "id");
	post(h, "{\"role\":\"user\",\"content\":\"on the side\"}", api_text(h, "/v1/sessions/origin/messages?conversation=%s", branch), NULL);
	struct answer a = api_delete(h, h->sk, "/v1/sessions/origin/messages/%s", fifth);
	cr_assert_lt(a.status, 300, "%d %s", a.status, a.body.p);
	a = api_post(h, h->sk, "{\"content\":\"said otherwise\"}", "/v1/sessions/origin/messages/%s/edit", third_message);
	cr_assert_lt(a.status, 300, "%d %s", a.status, a.body.p);
	a = api_post(h, h->sk, "{\"id\":\"copy\",\"user\":\"bob\"}", "/v1/sessions/origin/clone");
	must_be(a, 201);
	const char *copied = "copy";
	post(h, "{\"role\":\"user\",\"content\":\"in the copy\"}", "/v1/sessions/copy/messages", NULL);
	/* what each hides from itself alone */
	const char *first = str_at(&list, "data[0].id"), *second = str_at(&list, "data[1].id");
	a = api_delete(h, h->sk, "/v1/sessions/origin/messages/%s", first);
	cr_assert_lt(a.status, 300, "%d %s", a.status, a.body.p);
	a = api_post(h, h->sk, "{\"text\":\"hidden\"}", "/v1/sessions/copy/messages/%s/redact", second);
	cr_assert_lt(a.status, 300, "%d %s", a.status, a.body.p);
	cr_assert_gt(sql_int(h, "SELECT COUNT(*) FROM message_masks WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 0);
	struct bytes all = export_of(h, (struct move_export){ .n_corrupt = 0 }, NULL);
	must_import(other, all);
	assert_same(all, export_of(other, (struct move_export){ .n_corrupt = 0 }, NULL));
	cr_assert_str_eq(contents_of(other, "origin"), contents_of(h, "origin"));
	cr_assert_str_eq(contents_of(other, copied), contents_of(h, copied));
	cr_assert_not_null(strstr(contents_of(other, "origin"), "null 2 "));
	cr_assert_not_null(strstr(contents_of(other, copied), "1 hidden "));
	/* the copy alone, when the original is gone on both sides */
	must_be(api_delete(h, h->sk, "/v1/sessions/origin"), 204);
	must_be(api_delete(other, other->sk, "/v1/sessions/origin"), 204);
	cr_assert_str_eq(contents_of(other, copied), contents_of(h, copied));
	struct bytes copy = export_of(h, (struct move_export){ .session = session_ident(h, copied) }, NULL);
	assert_same(copy, export_of(other, (struct move_export){ .session = session_ident(other, copied) }, NULL));
	must_import(third, copy);
	cr_assert_str_eq(contents_of(third, copied), contents_of(h, copied));
	/* and what is imported lives on: branches, clones, deletions */
	post(third, "{\"role\":\"user\",\"content\":\"goes on\"}", "/v1/sessions/copy/messages", NULL);
	post(third, "{\"id\":\"copy2\"}", "/v1/sessions/copy/clone", NULL);
	must_be(api_delete(third, third->sk, "/v1/sessions/copy"), 204);
	cr_assert_not_null(strstr(contents_of(third, "copy2"), "in the copy goes on"));
	must_be(api_delete(third, third->sk, "/v1/sessions/copy2"), 204);
	int64_t n;
	cr_assert_eq(app_sweep(&third->task, third->app, &n), ERR_OK);
	cr_assert_eq(sql_int(third, "SELECT COUNT(*) FROM messages WHERE site = ?", DB_ARGS(db_ident(&third->home.id))), 0);
	cr_assert_eq(sql_int(third, "SELECT COUNT(*) FROM conversations WHERE site = ?", DB_ARGS(db_ident(&third->home.id))), 0);
	api_close(&third);
	api_close(&other);
	api_close(&h);
}

/* ---- while others write ---- */

struct traffic {
	struct api *h;
	_Atomic bool is_over;
	int n_exports;
};

static void write_or_export(void *arg, int i)
{
	struct traffic *tr = arg;

	for (int round = 0; i == 0 && round < 6; round++) { /* the exporter: what it wrote is in order */
		struct answer a = api_get(tr->h, tr->h->sk, "/v1/export");
		must_be(a, 200);
		struct move_visitor none = { .line = NULL };
		struct task t;
		task_init(&t, a.arena);
		cr_assert_eq(move_walk(&t, -1, a.body, &none, NULL), ERR_OK, "%s", t.fault.detail);
		tr->n_exports++;
	}
	if (i == 0)
		tr->is_over = true;
	for (int k = 0; i > 0 && !tr->is_over; k++) {
		const char *own = api_text(tr->h, "busy-%d-%d", i, k % 3);
		struct answer a = api_post(tr->h, tr->h->sk, api_text(tr->h, "{\"agent\":\"guide\",\"id\":\"%s\",\"if_exists\":\"return\"}", own), "/v1/sessions");
		cr_assert(a.status == 201 || a.status == 200, "%d %s", a.status, a.body.p);
		add_messages(tr->h, own, 1, 30);
		if (k % 4 == 3)
			must_be(api_delete(tr->h, tr->h->sk, "/v1/sessions/%s", own), 204);
	}
}

/* Each session is there whole or not at all, and never with a gap. */
Test(move, an_export_under_traffic_is_in_order)
{
	struct traffic tr = { .h = api_open_with(API_FILE, NULL) };

	in_parallel(4, write_or_export, &tr);
	cr_assert_eq(tr.n_exports, 6);
	api_close(&tr.h);
}

/* The strings that break things elsewhere, as content, title, state and metadata, wherever the API takes them. */
Test(move, naughty_strings_are_moved_byte_for_byte, .timeout = 120)
{
	const char *shared = getenv("PARLEY_SHARED");
	char path[400], *text = calloc(1, 1 << 20);
	struct jsonx_walk w;
	int n_sessions = 0;

	snprintf(path, sizeof path, "%s/data/naughty-strings/blns.json", shared && shared[0] ? shared : "../shared");
	FILE *f = fopen(path, "r");
	if (!f) {
		free(text);
		cr_skip_test("there is no list of naughty strings at ../shared");
	}
	struct bytes list = { text, fread(text, 1, (1 << 20) - 1, f) };
	fclose(f);
	struct api *h = api_open(), *other = open_other();
	new_session(h, h->sk, "{\"agent\":\"guide\",\"id\":\"naughty\"}", NULL);
	jsonx_walk_begin(&w, list);
	while (jsonx_walk_next(&w)) {
		int n = (int)w.value.n;
		const char *p = w.value.p;
		must_be(api_post(h, h->sk, api_text(h, "{\"role\":\"user\",\"content\":%.*s,\"metadata\":{\"a\":[%.*s]}}", n, p, n, p), "/v1/sessions/naughty/messages"), 201);
		struct answer a = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"user\":%.*s,\"title\":%.*s,\"state\":{\"a\":%.*s},\"metadata\":{\"a\":%.*s}}",
							     n, p, n, p, n, p, n, p), "/v1/sessions");
		n_sessions += a.status == 201;
	}
	cr_assert_gt(n_sessions, 300);
	struct bytes first = export_of(h, (struct move_export){ .n_corrupt = 0 }, NULL);
	must_import(other, first);
	assert_same(first, export_of(other, (struct move_export){ .n_corrupt = 0 }, NULL));
	free(text);
	api_close(&other);
	api_close(&h);
}
