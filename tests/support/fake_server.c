/* SPDX-License-Identifier: MIT */
/* fake_server: an accept loop that serves its clients one after the other. */
#include "fake_server.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void fake_server_say(int client, const void *p, size_t n)
{
	ssize_t sent = send(client, p, n, MSG_NOSIGNAL);
	(void)sent;
}

static void serve(struct fake_server *f, int client)
{
	char line[4096];
	FILE *in = fdopen(dup(client), "r");
	assert(in);
	while (fgets(line, sizeof line, in)) {
		line[strcspn(line, "\r\n")] = '\0';
		atomic_fetch_add(&f->lines, 1);
		if (!f->answer(f->context, client, line))
			break;
	}
	fclose(in);
	close(client);
}

static void *accept_clients(void *arg)
{
	struct fake_server *f = arg;
	for (;;) {
		int client = accept(f->listener, NULL, NULL);
		if (client < 0)
			return NULL;
		atomic_fetch_add(&f->connections, 1);
		serve(f, client);
	}
}

void fake_server_start(struct fake_server *f, fake_answer_fn answer, void *context)
{
	*f = (struct fake_server){ .dir = "/tmp/parley-fake-XXXXXX", .answer = answer, .context = context };
	char *made = mkdtemp(f->dir);
	assert(made);
	snprintf(f->path, sizeof f->path, "%s/fake.sock", f->dir);
	snprintf(f->setting, sizeof f->setting, "unix:%s", f->path);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	memcpy(a.sun_path, f->path, sizeof f->path);
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = bind(f->listener, (struct sockaddr *)&a, sizeof a);
	rc |= listen(f->listener, 64);
	rc |= pthread_create(&f->thread, NULL, accept_clients, f);
	assert(rc == 0);
}

void fake_server_stop(struct fake_server *f)
{
	shutdown(f->listener, SHUT_RDWR);
	pthread_join(f->thread, NULL);
	close(f->listener);
	unlink(f->path);
	rmdir(f->dir);
}
