/* SPDX-License-Identifier: MIT */
/* fuzz_move: a line of an export and a whole file of them: whatever comes in, what is taken for right reads back as it was written. */
#include <assert.h>
#include <string.h>

#include "app/lineage.h"
#include "app/move_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const seeds[] = {
	"{\"type\":\"agent\",\"name\":\"a\",\"title\":\"\",\"instructions\":\"\",\"provider\":\"echo\",\"model\":\"\",\"language\":\"\",\"temperature\":0.7,"
	"\"max_output_tokens\":0,\"version\":1,\"created_at\":1,\"updated_at\":1}\n",
	"{\"type\":\"session\",\"own_id\":\"s\",\"name\":\"n\",\"agent\":\"a\",\"agent_name\":\"a\",\"user\":\"u\",\"client_type\":\"web\",\"context\":\"c\",\"title\":\"\","
	"\"status\":\"active\",\"tags\":[],\"metadata\":{},\"state\":{},\"config\":{},\"conversation\":\"cnv_00000000000000000000000001\",\"website_domain\":\"\","
	"\"ip_address\":\"\",\"version\":1,\"created_at\":1,\"updated_at\":1,\"active_at\":1,\"ended_at\":0,\"expires_at\":0,\"idle_ttl\":0}\n",
	"{\"type\":\"conversation\",\"id\":\"cnv_00000000000000000000000001\",\"parent\":null,\"base_seq\":0,\"title\":\"\",\"created_at\":1}\n",
	"{\"type\":\"message\",\"conversation\":\"cnv_00000000000000000000000001\",\"seq\":1,\"id\":\"msg_00000000000008000004000000\",\"role\":\"user\","
	"\"content\":\"x\",\"created_at\":1}\n",
	"{\"type\":\"message\",\"conversation\":\"cnv_00000000000000000000000001\",\"seq\":2,\"id\":\"msg_00000000000008000008000000\",\"role\":\"tool\","
	"\"content\":[],\"metadata\":{},\"extra\":{\"a\":1},\"tokens\":4,\"created_at\":1}\n",
	"{\"type\":\"conversation\",\"id\":\"cnv_00000000000000000000000002\",\"parent\":\"cnv_00000000000000000000000001\",\"base_seq\":1,\"title\":\"\",\"created_at\":1}\n",
	"{\"type\":\"summary\",\"conversation\":\"cnv_00000000000000000000000001\",\"upto_seq\":1,\"method\":\"m\",\"content\":\"c\",\"tokens_before\":1,"
	"\"tokens_after\":1,\"created_at\":1}\n",
	"{\"type\":\"template\",\"name\":\"t\",\"title\":\"\",\"preset\":\"\",\"config\":{},\"required_context\":[],\"memory_categories\":[],\"version\":1,"
	"\"created_at\":1,\"updated_at\":1}\n",
};

/* A line that is accepted, written and read again, is the same bytes. */
static void read_line(struct task *t, struct bytes text)
{
	struct move_line line, back;
	struct buf first, second;
	if (move_line_parse(t, text, &line) != ERR_OK) {
		assert(t->fault.code != ERR_OK && t->fault.detail);
		task_clear_fault(t);
		return;
	}
	buf_init(&first, t->arena, 256);
	buf_init(&second, t->arena, 256);
	move_line_format(&first, &line);
	assert(memchr(first.p, '\n', first.n) == first.p + first.n - 1);
	enum err e = move_line_parse(t, (struct bytes){ first.p, first.n - 1 }, &back);
	assert(e == ERR_OK);
	move_line_format(&second, &back);
	assert(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
}

static enum err see_line(struct task *t, void *arg, const struct move_walk *w, const struct move_line *line)
{
	(void)t, (void)arg, (void)line;
	for (size_t i = 0; w->is_in_session && i < w->n_lines; i++) {
		assert(lineage_is_sound(w->lines[i].lineage) && lineage_base(w->lines[i].lineage) == w->lines[i].base_seq);
		assert(w->lines[i].last_seq >= w->lines[i].base_seq);
	}
	return ERR_OK;
}

static enum err see_session(struct task *t, void *arg, const struct move_walk *w)
{
	(void)t, (void)arg;
	assert(ident_map_find(&w->by_id, &w->s.conversation, NULL));
	return ERR_OK;
}

/* Lines chosen by the input, one of them with bytes of the input laid over it, under a header that counts them right. */
static void walk_lines(struct task *t, const uint8_t *data, size_t size)
{
	struct move_header h = { .version = MOVE_VERSION, .scope = BYTES("site"), .site = BYTES("s") };
	struct move_visitor v = { NULL, see_line, see_session };
	struct secret_digest d;
	unsigned char hash[SECRET_HASH_SIZE];
	char hex[2 * SECRET_HASH_SIZE + 1];
	struct buf b;
	size_t n = size < 16 ? size : 16, k = n;
	buf_init(&b, t->arena, 8192);
	memset(buf_room(&b, MOVE_HEADER_SIZE), ' ', MOVE_HEADER_SIZE);
	b.n = MOVE_HEADER_SIZE;
	for (size_t i = 0; i < n; i++) {
		const char *seed = seeds[data[i] % 8];
		size_t from = b.n, type = data[i] % 8;
		buf_add_str(&b, seed);
		for (; data[i] >= 128 && k + 1 < size && data[k] != 255; k += 2)
			b.p[from + data[k] % (b.n - from - 1)] = (char)data[k + 1];
		k++;
		h.counts.lines++;
		h.counts.sessions += type == 1;
		h.counts.conversations += type == 2 || type == 5;
		h.counts.messages += type == 3 || type == 4;
	}
	secret_digest_begin(&d);
	secret_digest_add(&d, b.p + MOVE_HEADER_SIZE, b.n - MOVE_HEADER_SIZE);
	secret_digest_end(&d, hash);
	secret_hex(hash, sizeof hash, hex);
	h.checksum = bytes_of(hex);
	move_header_format(&h, b.p);
	if (move_walk(t, -1, buf_bytes(&b), &v, NULL) != ERR_OK)
		assert(t->fault.code == ERR_INVALID && strncmp(t->fault.detail, "line ", 5) == 0);
	task_clear_fault(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *a = arena_open(16384);
	struct bytes input = { (const char *)data, size };
	struct move_visitor v = { NULL, see_line, see_session };
	struct task t;
	secret_init();
	task_init(&t, a);
	read_line(&t, input);
	walk_lines(&t, data, size);
	if (move_walk(&t, -1, input, &v, NULL) != ERR_OK)
		assert(t.fault.code == ERR_INVALID);
	arena_close(&a);
	return 0;
}
