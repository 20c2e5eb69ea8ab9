/* SPDX-License-Identifier: MIT */
/*
 * master: one loop around signals, the ends of children and deadlines. After each event `tick` compares what runs with what should run and
 * starts or stops one step's worth; there is no other plan, so a worker that dies in the middle of a reload needs no special case.
 */
#include "main/master.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/secret.h"
#include "base/stamp.h"
#include "main/janitor.h"
#include "main/listener.h"
#include "main/main.h"
#include "main/privilege.h"
#include "main/worker.h"

#define CHILDREN 1024          /* workers of several reloads may drain at once; past this a start waits */
#define WORKERS_MAX 256
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000
#define STEADY_MS 10000        /* a child that lived this long did not crash at its start */
#define READY_MS 60000         /* longest start of a worker */
#define KILL_GRACE_MS 1000     /* on top of the drain, which a worker ends by itself */
#define RELOAD_CRASHES 5       /* new workers that may die before a reload is taken back */

enum kind { WORKER, JANITOR, KINDS };

struct child {
	pid_t pid; /* 0: free */
	enum kind kind;
	int generation;
	int64_t started, deadline; /* monotonic ms; killed at the deadline, 0: none */
	bool is_ready, is_ending;
};

/* Settings, and the workers that run with them. */
struct generation {
	int number;
	struct arena *arena; /* of the settings; NULL: the caller's */
	struct conf conf;
};

struct backoff {
	int64_t until; /* no start before */
	int64_t pause;
};

struct master {
	const struct master_source *source;
	struct generation now, before; /* before: while a reload runs, to go back to */
	int n_generations;
	bool is_reloading, is_reload_queued, is_stopping, was_ready;
	int n_reload_crashes;
	int status;
	struct listener listener;
	const char *pid_file; /* the first settings' */
	void *app_shared;
	pid_t pid;
	int signal_fd, ready_read, ready_write;
	struct privilege privilege; /* of the children */
	struct backoff backoff[KINDS];
	struct child children[CHILDREN];
};

static const char *const kind_names[KINDS] = { "worker", "janitor" };

#define EACH_CHILD(m, c) \
	for (struct child *c = (m)->children; c < (m)->children + CHILDREN; c++) \
		if (c->pid)

static int worker_target(const struct master *m)
{
	int64_t n = m->now.conf.workers;

	if (n == 0)
		n = 2 * sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > WORKERS_MAX ? WORKERS_MAX : (int)n;
}

/* Workers as they stand; those that are ending are not counted. */
struct census {
	int fresh, fresh_ready, old, all, janitors;
};

static struct census census_take(struct master *m)
{
	struct census n = { 0 };

	EACH_CHILD(m, c) {
		n.all++;
		n.janitors += c->kind == JANITOR;
		if (c->kind != WORKER || c->is_ending)
			continue;
		n.fresh += c->generation == m->now.number;
		n.fresh_ready += c->generation == m->now.number && c->is_ready;
		n.old += c->generation != m->now.number;
	}
	return n;
}

/* Children. */

/* What a forked child does. Its memory is a copy: nothing it changes is seen by the master. */
static int child_run(struct master *m, enum kind kind)
{
	struct worker_start start = { .listen_fd = m->listener.fd, .app_shared = m->app_shared, .ready_fd = m->ready_write };
	struct arena *a = arena_open(16384);
	struct task t;
	int status;

	task_init(&t, a);
	close(m->signal_fd);
	close(m->ready_read);
	close(m->listener.lock_fd);
	if (!privilege_drop(&m->privilege)) {
		log_error(NULL, "privileges_not_dropped", { "user", m->privilege.user ? m->privilege.user : "", 0 }, { "error", strerror(errno), 0 });
		return EXIT_CONF;
	}
	/* After setuid, which would clear it. A master that died in between is no longer our parent. */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != m->pid)
		return EXIT_FAILED;
	if (kind == WORKER) {
		prctl(PR_SET_NAME, "parley-worker");
		status = worker_main(&t, &m->now.conf, &start);
	} else {
		prctl(PR_SET_NAME, "parley-janitor");
		close(m->listener.fd);
		close(m->ready_write);
		status = janitor_main(&t, &m->now.conf, m->app_shared);
	}
	arena_close(&a);
	return status;
}

static void backoff_raise(struct backoff *b)
{
	b->pause = b->pause == 0 ? BACKOFF_MIN_MS : b->pause * 2 < BACKOFF_MAX_MS ? b->pause * 2 : BACKOFF_MAX_MS;
	b->until = stamp_mono_ms() + b->pause;
}

static bool child_start(struct master *m, enum kind kind)
{
	struct child *c = m->children;
	pid_t pid;

	while (c < m->children + CHILDREN && c->pid)
		c++;
	if (c == m->children + CHILDREN || stamp_mono_ms() < m->backoff[kind].until)
		return false;
	pid = fork();
	if (pid == 0)
		exit(child_run(m, kind));
	if (pid < 0) {
		log_error(NULL, "fork_failed", { "error", strerror(errno), 0 });
		backoff_raise(&m->backoff[kind]);
		return false;
	}
	*c = (struct child){ .pid = pid, .kind = kind, .generation = m->now.number, .started = stamp_mono_ms() };
	if (kind == WORKER) {
		c->deadline = c->started + READY_MS;
		metric_add(METRIC_worker_starts_total, 1);
	}
	return true;
}

static void child_stop(struct child *c, int64_t drain_ms)
{
	if (c->is_ending)
		return;
	c->is_ending = true;
	c->deadline = stamp_mono_ms() + drain_ms + KILL_GRACE_MS;
	kill(c->pid, SIGTERM);
}

static void generation_close(struct generation *g)
{
	if (g->arena)
		arena_close(&g->arena);
	*g = (struct generation){ 0 };
}

/* Goes back to the settings before a reload; what was started with the new ones ends, what it was to replace never did. */
static void reload_undo(struct master *m, const char *why)
{
	log_error(NULL, "reload_undone", { "reason", why, 0 });
	EACH_CHILD(m, c) {
		if (c->generation == m->now.number)
			child_stop(c, m->now.conf.drain_ms);
	}
	generation_close(&m->now);
	m->now = m->before;
	m->before = (struct generation){ 0 };
	m->is_reloading = false;
	m->backoff[WORKER] = (struct backoff){ 0 };
}

/* A child ended by itself: is it worth another try? */
static void child_lost(struct master *m, const struct child *c, int status)
{
	bool is_unable = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CONF;

	if (c->kind == WORKER)
		metric_add(METRIC_worker_crashes_total, 1);
	if (stamp_mono_ms() - c->started >= STEADY_MS)
		m->backoff[c->kind] = (struct backoff){ 0 };
	else
		backoff_raise(&m->backoff[c->kind]);
	if (c->kind != WORKER || c->is_ready || m->is_stopping)
		return;
	if (m->is_reloading && c->generation == m->now.number) {
		m->n_reload_crashes++;
		if (is_unable || m->n_reload_crashes >= RELOAD_CRASHES)
			reload_undo(m, is_unable ? "a worker cannot start with the new settings" : "new workers die before they are ready");
	} else if (is_unable && !m->was_ready) {
		log_error(NULL, "master_gives_up", { "reason", "a worker cannot start with these settings", 0 });
		m->status = EXIT_CONF;
		m->is_stopping = true;
	}
}

static void children_reap(struct master *m)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		EACH_CHILD(m, c) {
			if (c->pid != pid)
				continue;
			struct child lost = *c;

			c->pid = 0;
			log_write(NULL, lost.is_ending ? LOG_INFO_LEVEL : LOG_ERROR_LEVEL, "worker_exit",
				  LOG_ITEMS({ "kind", kind_names[lost.kind], 0 }, { "child", NULL, pid },
					    { "status", NULL, WIFEXITED(status) ? WEXITSTATUS(status) : -1 },
					    { "signal", NULL, WIFSIGNALED(status) ? WTERMSIG(status) : 0 },
					    { "lived_ms", NULL, stamp_mono_ms() - lost.started }, { "was_told", NULL, lost.is_ending }));
			if (!lost.is_ending)
				child_lost(m, &lost, status);
			break;
		}
	}
}

static void ready_take(struct master *m)
{
	pid_t pid;

	while (read(m->ready_read, &pid, sizeof(pid)) == sizeof(pid)) {
		EACH_CHILD(m, c) {
			if (c->pid != pid || c->is_ready)
				continue;
			c->is_ready = true;
			m->was_ready = true;
			if (!c->is_ending)
				c->deadline = 0;
		}
	}
}

/* Signals. */

static void log_reopen(struct master *m)
{
	struct arena *a = arena_open(1024);
	struct task t;

	task_init(&t, a);
	enum err e = worker_log_open(&t, &m->now.conf);

	if (e != ERR_OK)
		(void)worker_report(&t, e, "log_not_reopened");
	else if (m->privilege.user && *m->now.conf.log_file && chown(m->now.conf.log_file, m->privilege.uid, (gid_t)-1) != 0)
		log_warn(NULL, "log_owner_not_changed", { "error", strerror(errno), 0 }); /* workers cannot open it again by themselves */
	arena_close(&a);
}

static void reload_begin(struct master *m)
{
	struct generation new = { .number = m->n_generations + 1, .arena = arena_open(16384) };
	const struct master_source *s = m->source;
	struct arena *a = arena_open(4096);
	struct task t;

	task_init(&t, a);
	if (conf_load(&t, new.arena, s->conf_path, s->overrides, s->n_overrides, &new.conf) != ERR_OK) {
		(void)worker_report(&t, t.fault.code, "reload_refused");
		generation_close(&new);
		log_reopen(m);
		arena_close(&a);
		return;
	}
	if (strcmp(new.conf.listen, m->now.conf.listen) != 0 || strcmp(new.conf.user, m->now.conf.user) != 0 ||
	    strcmp(new.conf.shared_file, m->now.conf.shared_file) != 0)
		log_warn(NULL, "reload_ignores", { "settings", "listen, user and shared_file only change with a new master", 0 });
	m->n_generations++;
	m->before = m->now;
	m->now = new;
	m->is_reloading = true;
	m->n_reload_crashes = 0;
	m->backoff[WORKER] = (struct backoff){ 0 };
	log_reopen(m);
	log_info(NULL, "reload_begun", { "generation", NULL, new.number });
	EACH_CHILD(m, c) {
		if (c->kind == JANITOR)
			child_stop(c, m->before.conf.drain_ms);
	}
	arena_close(&a);
}

static void stop_begin(struct master *m, bool is_impatient)
{
	if (m->is_stopping) {
		EACH_CHILD(m, c) {
			if (is_impatient)
				c->deadline = stamp_mono_ms();
		}
		return;
	}
	log_info(NULL, "master_stopping", { "drain_ms", NULL, m->now.conf.drain_ms });
	m->is_stopping = true;
}

static void signals_take(struct master *m)
{
	struct signalfd_siginfo info;

	while (read(m->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGTERM:
			stop_begin(m, false);
			break;
		case SIGINT:
		case SIGQUIT:
			stop_begin(m, true);
			break;
		case SIGHUP:
			m->is_reload_queued = true;
			break;
		case SIGUSR1:
			log_reopen(m);
			EACH_CHILD(m, c)
				kill(c->pid, SIGUSR1);
			break;
		default: /* SIGCHLD: children_reap looks after each event */
			break;
		}
	}
}

/* One step. */

static void worker_old_stop(struct master *m)
{
	EACH_CHILD(m, c) {
		if (c->kind == WORKER && !c->is_ending && c->generation != m->now.number) {
			child_stop(c, m->before.conf.drain_ms);
			return;
		}
	}
}

/*
 * Brings the number of workers nearer to what it should be. In a reload at most one more than that runs: a new one is started, and when it is
 * ready an old one is told to stop. Without one, all that are missing start together.
 */
static void workers_step(struct master *m)
{
	int want = worker_target(m);

	for (;;) {
		struct census n = census_take(m);
		bool is_starting = n.fresh_ready < n.fresh;

		if (n.old == 0) {
			if (n.fresh >= want || !child_start(m, WORKER))
				return;
		} else if (!is_starting && n.fresh + n.old > want) {
			worker_old_stop(m);
		} else if (is_starting || !child_start(m, WORKER)) {
			return;
		}
	}
}

static void reload_step(struct master *m)
{
	struct census n = census_take(m);

	if (m->is_reloading && n.old == 0 && n.fresh_ready >= worker_target(m)) {
		log_info(NULL, "reload_done", { "generation", NULL, m->now.number });
		m->is_reloading = false;
		generation_close(&m->before);
	}
	if (m->is_reload_queued && !m->is_reloading) {
		m->is_reload_queued = false;
		reload_begin(m);
	}
}

static void overdue_kill(struct master *m)
{
	int64_t now = stamp_mono_ms();

	EACH_CHILD(m, c) {
		if (!c->deadline || now < c->deadline)
			continue;
		log_warn(NULL, "child_killed", { "kind", kind_names[c->kind], 0 }, { "child", NULL, c->pid });
		kill(c->pid, SIGKILL);
		c->deadline = now + BACKOFF_MAX_MS; /* in case it cannot be killed at once */
	}
}

/*
 * Nobody shall connect any more; what has is answered by the workers before they end. A new master may take the place from here on, so the
 * pid file goes first, while the listener's lock still says that it is ours.
 */
static void place_leave(struct master *m)
{
	if (m->listener.fd >= 0 && *m->pid_file)
		unlink(m->pid_file);
	listener_close(&m->listener);
}

/* Starts and stops what is due. Returns false when all is over. */
static bool tick(struct master *m)
{
	overdue_kill(m);
	if (m->is_stopping) {
		place_leave(m);
		EACH_CHILD(m, c)
			child_stop(c, m->now.conf.drain_ms);
		metric_set(METRIC_workers, 0);
		return census_take(m).all > 0;
	}
	reload_step(m);
	workers_step(m);
	if (census_take(m).janitors == 0)
		(void)child_start(m, JANITOR);
	metric_set(METRIC_workers, census_take(m).fresh + census_take(m).old);
	return true;
}

/* Milliseconds to the next deadline, -1: none. */
static int next_wake(struct master *m)
{
	int64_t now = stamp_mono_ms(), next = INT64_MAX;

	EACH_CHILD(m, c) {
		if (c->deadline && c->deadline < next)
			next = c->deadline;
	}
	for (int kind = 0; kind < KINDS; kind++) {
		if (m->backoff[kind].until > now && m->backoff[kind].until < next)
			next = m->backoff[kind].until;
	}
	if (next == INT64_MAX)
		return -1;
	return next <= now ? 0 : next - now > 60000 ? 60000 : (int)(next - now) + 1;
}

static void loop(struct master *m)
{
	struct pollfd p[2] = { { .fd = m->signal_fd, .events = POLLIN }, { .fd = m->ready_read, .events = POLLIN } };

	while (tick(m)) {
		(void)poll(p, 2, next_wake(m));
		signals_take(m);
		ready_take(m);
		children_reap(m);
	}
}

/* Start and end. */

static enum err pid_file_write(struct task *t, const char *path)
{
	char text[16];
	int fd, n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	if (!*path)
		return ERR_OK;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0 || write(fd, text, (size_t)n) != n) {
		int error = errno;

		if (fd >= 0)
			close(fd);
		return task_fail(t, ERR_CONFIG, "pid_file: %s: %s", path, strerror(error));
	}
	close(fd);
	return ERR_OK;
}

static enum err signals_open(struct task *t, struct master *m)
{
	static const int taken[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGCHLD };
	int fds[2];
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); i++)
		sigaddset(&set, taken[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	m->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (m->signal_fd < 0 || pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
		return task_fail_internal(t, ERR_INTERNAL, "signalfd or pipe: %s", strerror(errno));
	m->ready_read = fds[0];
	m->ready_write = fds[1];
	return ERR_OK;
}

/* Everything that is made once, before the first fork. */
static enum err master_open(struct task *t, struct master *m)
{
	const struct conf *conf = &m->now.conf;
	enum err e = worker_log_open(t, conf);

	if (e == ERR_OK)
		e = privilege_find(t, conf->user, &m->privilege);
	if (e == ERR_OK)
		e = signals_open(t, m);
	if (e == ERR_OK)
		e = listener_open(t, conf->listen, conf->listen_group, &m->listener);
	if (e == ERR_OK)
		e = worker_shared_open(t, conf, &m->app_shared);
	if (e == ERR_OK)
		e = pid_file_write(t, conf->pid_file);
	if (e == ERR_OK)
		log_reopen(m); /* gives the file to the user */
	secret_init();
	return e;
}

static void master_close(struct master *m)
{
	place_leave(m);
	if (m->signal_fd >= 0)
		close(m->signal_fd);
	if (m->ready_read >= 0) {
		close(m->ready_read);
		close(m->ready_write);
	}
	generation_close(&m->now);
	generation_close(&m->before);
}

int master_main(struct task *t, const struct conf *conf, const struct master_source *source)
{
	struct master *m = arena_alloc(t->arena, sizeof(*m));
	enum err e;
	int status;

	m->source = source;
	m->now.conf = *conf;
	m->pid_file = conf->pid_file;
	m->pid = getpid();
	m->signal_fd = m->ready_read = m->ready_write = m->listener.fd = m->listener.lock_fd = -1;
	e = master_open(t, m);
	if (e != ERR_OK) {
		status = worker_report(t, e, "master_not_started");
		master_close(m);
		return status;
	}
	log_info(NULL, "master_started", { "listen", conf->listen, 0 }, { "workers", NULL, worker_target(m) },
		 { "threads", NULL, conf->threads });
	loop(m);
	status = m->status;
	master_close(m);
	log_info(NULL, "master_stopped", { "status", NULL, status });
	return status;
}
