/* SPDX-License-Identifier: MIT */
/* test_master: real processes in a directory of their own: start, crash, reload, stop. The application is null_app. OPS-1 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../support/fcgi_client.h"
#include "base/secret.h"
#include "base/stamp.h"
#include "main/main.h"
#include "main/master.h"
#include "main/worker.h"

/* Leak checkers cannot stop the threads of a process that was forked; the tests of each part look for leaks. */
int __lsan_is_turned_off(void);

int __lsan_is_turned_off(void)
{
	return 1;
}

static struct arena *arena;
static char dir[64], path[96], conf_path[96], log_path[96], pid_path[96];
static pid_t master;

static void nap(int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

static void file_write(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	cr_assert_not_null(f);
	fputs(text, f);
	fclose(f);
}

static const char *file_read(const char *name)
{
	char *text = arena_alloc(arena, 200000);
	FILE *f = fopen(name, "r");

	if (f) {
		(void)!fread(text, 1, 199999, f);
		fclose(f);
	}
	return text;
}

static int log_count(const char *text)
{
	int n = 0;

	for (const char *p = file_read(log_path); (p = strstr(p, text)); p++)
		n++;
	return n;
}

/* Waits until the log has a line with this text so many times. */
static void assert_logged(const char *text, int n)
{
	for (int i = 0; i < 500 && log_count(text) < n; i++)
		nap(10);
	cr_assert_geq(log_count(text), n, "%s is not %d times in:\n%s", text, n, file_read(log_path));
}

static int n_threads = 4, drain_ms = 3000;

static void settings_write(const char *more)
{
	file_write(conf_path, arena_printf(arena, "listen = unix:%s\nlog_file = %s\npid_file = %s\nthreads = %d\nturn_threads = 1\n"
						  "drain_ms = %d\nsweep_interval = 500\n%s\n", path, log_path, pid_path, n_threads, drain_ms, more));
}

static void setup(void)
{
	arena = arena_open(65536);
	snprintf(dir, sizeof(dir), "/tmp/test_master.XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	chmod(dir, 0755);
	snprintf(path, sizeof(path), "%s/sock", dir);
	snprintf(conf_path, sizeof(conf_path), "%s/conf", dir);
	snprintf(log_path, sizeof(log_path), "%s/log", dir);
	snprintf(pid_path, sizeof(pid_path), "%s/pid", dir);
}

static void teardown(void)
{
	static const char *const names[] = { "sock", "sock.lock", "conf", "log", "log.1", "pid" };

	if (master > 0) {
		kill(master, SIGKILL);
		waitpid(master, NULL, 0);
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unlink(arena_printf(arena, "%s/%s", dir, names[i]));
	rmdir(dir);
	arena_close(&arena);
}

TestSuite(master, .init = setup, .fini = teardown, .timeout = 40);

/* In a child of the test: becomes what `parley serve` or `parley worker` is. */
static void become(int (*program)(struct task *t, const struct conf *conf))
{
	struct arena *a = arena_open(4096);
	struct conf conf;
	struct task t;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	task_init(&t, a);
	if (conf_load(&t, a, conf_path, NULL, 0, &conf) != ERR_OK) {
		fprintf(stderr, "%s\n", t.fault.detail);
		_exit(EXIT_CONF);
	}
	_exit(program(&t, &conf));
}

static int serve(struct task *t, const struct conf *conf)
{
	struct master_source source = { .conf_path = conf_path };

	return master_main(t, conf, &source);
}

static pid_t fork_program(int (*program)(struct task *t, const struct conf *conf))
{
	sigset_t all, before;
	pid_t pid;

	/* A signal sent before the program has looked after them waits for it. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		become(program);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	cr_assert_geq(pid, 0);
	return pid;
}

/* Exit status of a child, waited for at most 10 s; -1 when it was killed or goes on. */
static int ended(pid_t pid)
{
	int status;

	for (int i = 0; i < 1000; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		nap(10);
	}
	return -1;
}

static struct fcgi_answer get(const char *uri)
{
	struct fcgi_answer answer;

	fcgi_call(path, arena, &(struct fcgi_call){ .uri = uri }, &answer);
	return answer;
}

static bool is_up(void)
{
	return get("/").status == 200;
}

static void start(const char *settings)
{
	settings_write(settings);
	master = fork_program(serve);
	for (int i = 0; i < 1000 && !is_up(); i++)
		nap(10);
	cr_assert(is_up(), "%s", file_read(log_path));
}

static int64_t number(struct fcgi_answer answer, const char *name)
{
	const char *text = answer.body.n ? arena_copy(arena, answer.body.p, answer.body.n) : "";
	const char *at = strstr(text, arena_printf(arena, "\"%s\":", name));

	return at ? atoll(at + strlen(name) + 3) : -1;
}

struct pids {
	pid_t p[64];
	size_t n;
};

/* The children of the master that have this name. */
static struct pids children(const char *name)
{
	const char *list = file_read(arena_printf(arena, "/proc/%d/task/%d/children", (int)master, (int)master));
	struct pids pids = { .n = 0 };
	char *end;

	for (long pid = strtol(list, &end, 10); pid > 0 && pids.n < 64; pid = strtol(end, &end, 10)) {
		if (strncmp(file_read(arena_printf(arena, "/proc/%ld/comm", pid)), name, strlen(name)) == 0)
			pids.p[pids.n++] = (pid_t)pid;
	}
	return pids;
}

static bool has(const struct pids *pids, pid_t pid)
{
	for (size_t i = 0; i < pids->n; i++) {
		if (pids->p[i] == pid)
			return true;
	}
	return false;
}

static void assert_children(const char *name, size_t n)
{
	for (int i = 0; i < 500 && children(name).n != n; i++)
		nap(10);
	cr_assert_eq(children(name).n, n);
}

static void assert_workers(size_t n)
{
	assert_children("parley-worker", n);
}

/* Load: clients that call without a pause until told to stop. */

static atomic_bool is_load_over;
static atomic_int n_answered, n_lost;

static void *load_main(void *arg)
{
	struct arena *a = arena_open(65536);
	struct fcgi_answer answer;

	(void)arg;
	while (!is_load_over) {
		struct fcgi_call call = { .method = "POST", .uri = "/load", .body = BYTES("0123456789") };
		bool is_ok = fcgi_call(path, a, &call, &answer) && answer.is_ended && answer.status == 200;

		atomic_fetch_add(is_ok ? &n_answered : &n_lost, 1);
		arena_reset(a);
	}
	arena_close(&a);
	return NULL;
}

static void load_begin(pthread_t threads[3])
{
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, load_main, NULL);
}

static void load_end(pthread_t threads[3])
{
	is_load_over = true;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	cr_assert_gt(n_answered, 50);
	cr_assert_eq(n_lost, 0, "%d of %d requests were lost", n_lost, n_answered + n_lost);
}

Test(master, it_starts_workers_and_a_janitor_and_writes_its_pid)
{
	start("workers = 3");
	assert_workers(3);
	assert_children("parley-janitor", 1);
	cr_assert_eq(atoi(file_read(pid_path)), master);
	/* The master counts them after it has started them. */
	bool is_counted = false;
	for (int i = 0; i < 500 && !is_counted; i++) {
		struct bytes metrics = get("/metrics").body;

		is_counted = metrics.n && strstr(arena_copy(arena, metrics.p, metrics.n), "parley_workers 3");
		if (!is_counted)
			nap(10);
	}
	cr_assert(is_counted);
}

Test(master, workers_set_to_0_are_twice_the_cores)
{
	start("workers = 0");
	assert_workers(2 * (size_t)sysconf(_SC_NPROCESSORS_ONLN));
}

Test(master, the_socket_is_for_its_owner_and_group)
{
	struct stat st;

	start("workers = 1\nlisten_group = root");
	cr_assert_eq(lstat(path, &st), 0);
	cr_assert(S_ISSOCK(st.st_mode));
	cr_assert_eq(st.st_mode & 07777, 0660);
	cr_assert_eq(st.st_gid, 0);
}

Test(master, a_killed_worker_is_replaced)
{
	pid_t victim;
	struct pids now;

	start("workers = 2");
	assert_workers(2);
	victim = children("parley-worker").p[0];
	kill(victim, SIGKILL);
	assert_logged("\"signal\":9", 1);
	assert_workers(2);
	now = children("parley-worker");
	cr_assert_not(has(&now, victim));
	cr_assert(is_up());
}

Test(master, a_request_that_kills_its_worker_harms_no_other)
{
	start("workers = 2");
	for (int i = 0; i < 4; i++) {
		cr_assert_eq(get("/die").status, 0);
		for (int j = 0; j < 10; j++)
			cr_assert(is_up());
	}
	assert_logged("\"signal\":6", 4);
	assert_workers(2);
}

Test(master, the_janitor_sweeps_and_is_replaced)
{
	int64_t sweeps;

	start("workers = 1");
	nap(1300);
	sweeps = number(get("/"), "sweeps");
	cr_assert_geq(sweeps, 2);
	cr_assert_leq(sweeps, 4);
	kill(children("parley-janitor").p[0], SIGKILL);
	assert_logged("\"kind\":\"janitor\"", 1);
	nap(1500);
	cr_assert_gt(number(get("/"), "sweeps"), sweeps);
}

Test(master, workers_share_memory)
{
	int64_t answered;

	start("workers = 4");
	answered = number(get("/"), "answered");
	for (int i = 0; i < 40; i++)
		get("/");
	cr_assert_eq(number(get("/"), "answered"), answered + 41);
}

Test(master, a_reload_under_load_replaces_every_worker_and_loses_no_request)
{
	struct pids before, after;
	pthread_t threads[3];

	start("workers = 2");
	assert_workers(2);
	before = children("parley-worker");
	load_begin(threads);
	for (int i = 1; i <= 3; i++) {
		settings_write(arena_printf(arena, "workers = 2\nmax_body = %d", 5000 + i));
		kill(master, SIGHUP);
		assert_logged("reload_done", i);
	}
	load_end(threads);
	assert_workers(2);
	after = children("parley-worker");
	for (size_t i = 0; i < before.n; i++)
		cr_assert_not(has(&after, before.p[i]));
	cr_assert_eq(number(get("/"), "max_body"), 5003);
	cr_assert_eq(log_count("\"signal\":9"), 0);
}

Test(master, a_reload_does_not_cut_a_request_that_runs)
{
	struct buf wire;
	struct fcgi_answer answer;
	int fd;

	start("workers = 1");
	fd = fcgi_connect(path);
	buf_init(&wire, arena, 512);
	fcgi_put_call(&wire, &(struct fcgi_call){ .uri = "/slow?ms=1000" });
	cr_assert(fcgi_write(fd, buf_bytes(&wire)));
	nap(100);
	kill(master, SIGHUP);
	assert_logged("reload_done", 1);
	cr_assert(fcgi_read(fd, arena, &answer));
	cr_assert_eq(answer.status, 200);
	cr_assert_neq(number(answer, "pid"), number(get("/"), "pid"));
	close(fd);
}

Test(master, a_second_hangup_waits_for_the_first_to_be_done)
{
	start("workers = 2");
	settings_write("workers = 2\nsecret_file = !slow");
	kill(master, SIGHUP);
	assert_logged("reload_begun", 1);
	settings_write("workers = 3\nmax_body = 7777");
	kill(master, SIGHUP);
	nap(100);
	cr_assert_eq(log_count("reload_begun"), 1);
	assert_logged("reload_done", 2);
	assert_workers(3);
	cr_assert_eq(number(get("/"), "max_body"), 7777);
}

Test(master, a_reload_changes_the_number_of_workers)
{
	start("workers = 4");
	settings_write("workers = 1");
	kill(master, SIGHUP);
	assert_logged("reload_done", 1);
	assert_workers(1);
}

Test(master, invalid_settings_are_refused_and_the_old_go_on)
{
	struct pids before, after;

	start("workers = 2");
	assert_workers(2);
	before = children("parley-worker");
	settings_write("workers = many");
	kill(master, SIGHUP);
	assert_logged("reload_refused", 1);
	after = children("parley-worker");
	cr_assert_eq(before.n, after.n);
	for (size_t i = 0; i < before.n; i++)
		cr_assert(has(&after, before.p[i]));
	cr_assert(is_up());
}

Test(master, settings_with_which_no_worker_starts_are_taken_back)
{
	struct pids before, after;
	pthread_t threads[3];

	start("workers = 2");
	assert_workers(2);
	before = children("parley-worker");
	load_begin(threads);
	settings_write("workers = 2\nsecret_file = !refuse");
	kill(master, SIGHUP);
	assert_logged("reload_undone", 1);
	settings_write("workers = 2\nsecret_file = !die");
	kill(master, SIGHUP);
	assert_logged("reload_undone", 2);
	load_end(threads);
	assert_workers(2);
	after = children("parley-worker");
	for (size_t i = 0; i < before.n; i++)
		cr_assert(has(&after, before.p[i]), "the old workers never stopped");
	settings_write("workers = 2\nmax_body = 4321");
	kill(master, SIGHUP);
	assert_logged("reload_done", 1);
	cr_assert_eq(number(get("/"), "max_body"), 4321);
}

Test(master, settings_with_which_no_worker_ever_starts_end_it)
{
	settings_write("workers = 2\nsecret_file = !refuse");
	master = fork_program(serve);
	cr_assert_eq(ended(master), EXIT_CONF);
	cr_assert_geq(log_count("secret_file: refused"), 1);
	cr_assert_neq(access(path, F_OK), 0);
	master = 0;
}

Test(master, workers_that_die_at_their_start_are_tried_ever_more_slowly)
{
	int n;

	settings_write("workers = 1\nsecret_file = !die");
	master = fork_program(serve);
	nap(2000);
	n = log_count("\"kind\":\"worker\"");
	cr_assert_geq(n, 3);
	cr_assert_leq(n, 6);
	kill(master, SIGTERM);
	cr_assert_eq(ended(master), EXIT_OK);
	master = 0;
}

Test(master, a_stop_finishes_what_runs_and_leaves_nothing_behind)
{
	struct fcgi_answer answer;
	struct buf wire;
	int fd;

	start("workers = 2");
	fd = fcgi_connect(path);
	buf_init(&wire, arena, 512);
	fcgi_put_call(&wire, &(struct fcgi_call){ .uri = "/slow?ms=700" });
	cr_assert(fcgi_write(fd, buf_bytes(&wire)));
	nap(100);
	kill(master, SIGTERM);
	cr_assert(fcgi_read(fd, arena, &answer));
	cr_assert_eq(answer.status, 200);
	cr_assert(answer.is_ended);
	close(fd);
	cr_assert_eq(ended(master), EXIT_OK);
	master = 0;
	cr_assert_neq(access(path, F_OK), 0);
	cr_assert_neq(access(pid_path, F_OK), 0);
	cr_assert_eq(log_count("\"was_told\":0"), 0);
}

Test(master, what_is_queued_when_a_stop_comes_is_still_answered)
{
	struct fcgi_answer answer;
	struct buf wire;
	int fds[12];

	n_threads = 1;
	start("workers = 1");
	buf_init(&wire, arena, 512);
	fcgi_put_call(&wire, &(struct fcgi_call){ .uri = "/slow?ms=20" });
	for (int i = 0; i < 12; i++) {
		fds[i] = fcgi_connect(path);
		cr_assert(fcgi_write(fds[i], buf_bytes(&wire)));
	}
	kill(master, SIGTERM);
	for (int i = 0; i < 12; i++) {
		cr_assert(fcgi_read(fds[i], arena, &answer), "request %d", i);
		close(fds[i]);
	}
	cr_assert_eq(ended(master), EXIT_OK);
	master = 0;
}

Test(master, a_stop_cuts_what_runs_longer_than_the_drain)
{
	struct buf wire;
	int64_t began;
	int fd;

	drain_ms = 300;
	start("workers = 1");
	fd = fcgi_connect(path);
	buf_init(&wire, arena, 512);
	fcgi_put_call(&wire, &(struct fcgi_call){ .uri = "/slow?ms=20000" });
	cr_assert(fcgi_write(fd, buf_bytes(&wire)));
	nap(100);
	began = stamp_mono_ms();
	kill(master, SIGTERM);
	cr_assert_eq(ended(master), EXIT_OK);
	cr_assert_lt(stamp_mono_ms() - began, 3000);
	cr_assert_eq(log_count("drain_cut"), 1);
	master = 0;
	close(fd);
}

Test(master, workers_end_with_a_master_that_is_killed)
{
	struct pids pids;

	start("workers = 2");
	assert_workers(2);
	pids = children("parley-worker");
	kill(master, SIGKILL);
	waitpid(master, NULL, 0);
	master = 0;
	for (size_t i = 0; i < pids.n; i++) {
		int j = 0;

		while (j++ < 500 && kill(pids.p[i], 0) == 0 && !strstr(file_read(arena_printf(arena, "/proc/%d/stat", pids.p[i])), ") Z"))
			nap(10);
		cr_assert_lt(j, 500);
	}
	start("workers = 1"); /* on the socket it left behind */
}

Test(master, a_second_master_is_refused)
{
	settings_write("workers = 1");
	start("workers = 1");
	cr_assert_eq(ended(fork_program(serve)), EXIT_CONF);
	cr_assert(is_up());
	cr_assert_eq(atoi(file_read(pid_path)), master);
}

static int listen_at(const char *where)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(sa.sun_path, where);
	cr_assert_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	cr_assert_eq(listen(fd, 4), 0);
	return fd;
}

Test(master, a_stale_socket_is_replaced_a_live_one_is_not)
{
	int fd = listen_at(path);

	settings_write("workers = 1");
	cr_assert_eq(ended(fork_program(serve)), EXIT_CONF);
	cr_assert_eq(access(path, F_OK), 0);
	close(fd);
	start("workers = 1");
}

Test(master, what_is_no_socket_is_not_replaced)
{
	file_write(path, "precious");
	settings_write("workers = 1");
	cr_assert_eq(ended(fork_program(serve)), EXIT_CONF);
	cr_assert_str_eq(file_read(path), "precious");
}

Test(master, addresses_groups_and_users_that_cannot_be_are_refused)
{
	static const char *const wrong[] = { "listen = 127.0.0.1:9000", "listen = unix:relative", "listen = unix:/nowhere/at/all/sock",
					     "listen_group = no-such-group", "user = no-such-user", "log_file = /nowhere/at/all/log" };

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		if (strncmp(wrong[i], "user", 4) == 0 && geteuid() != 0)
			continue;
		file_write(conf_path, arena_printf(arena, "%s%s\n", strncmp(wrong[i], "listen =", 8) == 0 ? "" :
						   arena_printf(arena, "listen = unix:%s\n", path), wrong[i]));
		cr_assert_eq(ended(fork_program(serve)), EXIT_CONF, "%s", wrong[i]);
	}
}

Test(master, workers_run_as_the_user_and_gain_nothing)
{
	const char *status;

	if (geteuid() != 0)
		cr_skip_test("needs root");
	start("workers = 1\nuser = nobody");
	assert_workers(1);
	status = file_read(arena_printf(arena, "/proc/%d/status", (int)children("parley-worker").p[0]));
	cr_assert_not_null(strstr(status, "Uid:\t65534\t65534\t65534\t65534"), "%s", status);
	cr_assert_not_null(strstr(status, "NoNewPrivs:\t1"), "%s", status);
	cr_assert_not_null(strstr(status, "CapEff:\t0000000000000000"), "%s", status);
	kill(master, SIGTERM);
	cr_assert_eq(ended(master), EXIT_OK);
	master = 0;
}

Test(master, the_log_is_opened_again)
{
	start("workers = 1");
	cr_assert_eq(rename(log_path, arena_printf(arena, "%s.1", log_path)), 0);
	kill(master, SIGUSR1);
	for (int i = 0; i < 200 && access(log_path, F_OK) != 0; i++)
		nap(10);
	kill(children("parley-worker").p[0], SIGKILL);
	assert_logged("worker_exit", 1);
}

/* Without a master: as spawn-fcgi and mod_fcgid start it. */

Test(master, a_worker_alone_serves_descriptor_0)
{
	int fd = listen_at(path), null = open("/dev/null", O_RDONLY);
	pid_t pid;

	settings_write("");
	dup2(fd, STDIN_FILENO);
	pid = fork_program(worker_alone);
	dup2(null, STDIN_FILENO);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(number(get("/"), "pid"), pid);
	kill(pid, SIGTERM);
	cr_assert_eq(ended(pid), EXIT_OK);
	pid = fork_program(worker_alone);
	cr_assert_eq(ended(pid), EXIT_USAGE, "descriptor 0 is no socket");
	close(fd);
}

Test(master, workers_alone_share_memory_through_a_file)
{
	int fd = listen_at(path), null = open("/dev/null", O_RDONLY);
	pid_t pids[2];

	settings_write(arena_printf(arena, "shared_file = %s/log.1", dir));
	dup2(fd, STDIN_FILENO);
	pids[0] = fork_program(worker_alone);
	cr_assert_eq(number(get("/"), "answered"), 1);
	pids[1] = fork_program(worker_alone);
	dup2(null, STDIN_FILENO);
	for (int i = 2; i < 30; i++)
		cr_assert_eq(number(get("/"), "answered"), i);
	for (int i = 0; i < 2; i++) {
		kill(pids[i], SIGTERM);
		cr_assert_eq(ended(pids[i]), EXIT_OK);
	}
	close(fd);
}
