/* SPDX-License-Identifier: MIT */
/* test_dsn: the setting `database`, in all its forms and with every mistake. */
#include <criterion/criterion.h>

#include "db/dsn.h"

static struct arena *arena;
static struct task task;

static void open_task(void)
{
	arena = arena_open(0);
	task_init(&task, arena);
}

static void close_task(void)
{
	arena_close(&arena);
}

TestSuite(dsn, .init = open_task, .fini = close_task);

static struct dsn parsed(const char *text)
{
	struct dsn dsn;

	cr_assert_eq(dsn_parse(&task, arena, text, &dsn), ERR_OK, "%s: %s", text, task.fault.detail);
	return dsn;
}

static void refused(const char *text, const char *because)
{
	struct dsn dsn;

	cr_assert_eq(dsn_parse(&task, arena, text, &dsn), ERR_CONFIG, "%s", text);
	cr_assert(strstr(task.fault.detail, because), "%s: %s", text, task.fault.detail);
}

Test(dsn, a_file_is_taken_as_it_is_written)
{
	cr_assert_str_eq(parsed("sqlite:/var/lib/parley/a%20b?c.db").path, "/var/lib/parley/a%20b?c.db");
	cr_assert_str_eq(parsed("sqlite::memory:").path, ":memory:");
	cr_assert_str_eq(parsed("sqlite:x.db").path, "x.db");
}

Test(dsn, a_host_has_the_usual_port_unless_one_is_given)
{
	struct dsn dsn = parsed("mariadb://parley:secret@db.example.org/talk");

	cr_assert_null(dsn.path);
	cr_assert_null(dsn.socket);
	cr_assert_str_eq(dsn.user, "parley");
	cr_assert_str_eq(dsn.password, "secret");
	cr_assert_str_eq(dsn.schema, "talk");
	cr_assert_eq(dsn.n_hosts, 1);
	cr_assert_str_eq(dsn.hosts[0].name, "db.example.org");
	cr_assert_eq(dsn.hosts[0].port, 3306);
	cr_assert_eq(parsed("mariadb://u@h:65535/n").hosts[0].port, 65535);
}

Test(dsn, several_hosts_keep_their_order)
{
	struct dsn dsn = parsed("mariadb://u:p@one,two:3307,[fe80::1%eth0],[::1]:3308/n");

	cr_assert_eq(dsn.n_hosts, 4);
	cr_assert_str_eq(dsn.hosts[0].name, "one");
	cr_assert_str_eq(dsn.hosts[1].name, "two");
	cr_assert_eq(dsn.hosts[1].port, 3307);
	cr_assert_str_eq(dsn.hosts[2].name, "fe80::1%eth0");
	cr_assert_eq(dsn.hosts[2].port, 3306);
	cr_assert_str_eq(dsn.hosts[3].name, "::1");
	cr_assert_eq(dsn.hosts[3].port, 3308);
}

Test(dsn, a_socket_stands_in_for_the_hosts)
{
	struct dsn dsn = parsed("mariadb://root@/n?socket=/run/my%20sql/s");

	cr_assert_eq(dsn.n_hosts, 0);
	cr_assert_str_eq(dsn.socket, "/run/my sql/s");
	cr_assert_str_eq(dsn.password, "");
}

Test(dsn, what_is_percent_encoded_is_decoded)
{
	struct dsn dsn = parsed("mariadb://us%3Aer:p%40s%2fs%25@h/n%c3%a9");

	cr_assert_str_eq(dsn.user, "us:er");
	cr_assert_str_eq(dsn.password, "p@s/s%");
	cr_assert_str_eq(dsn.schema, "n\xc3\xa9");
}

Test(dsn, a_password_may_hold_the_separators_that_come_before_it)
{
	struct dsn dsn = parsed("mariadb://u:a:b@c@h/n");

	cr_assert_str_eq(dsn.password, "a:b@c");
	cr_assert_str_eq(dsn.hosts[0].name, "h");
}

Test(dsn, every_mistake_is_named)
{
	refused("", "must start with");
	refused("mysql://u:p@h/n", "must start with");
	refused("/var/lib/x.db", "must start with");
	refused("sqlite:", "path of a file");
	refused("mariadb://h/n", "user is missing");
	refused("mariadb://u@h", "name is missing");
	refused("mariadb://u@h/", "name is missing");
	refused("mariadb://u@/n", "host or ?socket");
	refused("mariadb://u@h/n?socket=/s", "not both");
	refused("mariadb://u@/n?socket=s", "absolute path");
	refused("mariadb://u@/n?socket", "absolute path");
	refused("mariadb://u@h/n?charset=latin1", "only option");
	refused("mariadb://u@h/n?", "only option");
	refused("mariadb://u@h:/n", "port");
	refused("mariadb://u@h:0/n", "port");
	refused("mariadb://u@h:65536/n", "port");
	refused("mariadb://u@h:99999999999999999999/n", "port");
	refused("mariadb://u@h:1x/n", "port");
	refused("mariadb://u@h,,i/n", "no name");
	refused("mariadb://u@h,/n", "no name");
	refused("mariadb://u@[::1/n", "end with ']'");
	refused("mariadb://u@[::1]3306/n", "brackets");
	refused("mariadb://u@[]/n", "no name");
	refused("mariadb://u@h h/n", "no host name has");
	refused("mariadb://u:%4@h/n", "%25");
	refused("mariadb://u:%zz@h/n", "%25");
	refused("mariadb://u:%00@h/n", "control character");
	refused("mariadb://u@h/n%0a", "control character");
	refused("mariadb://u@a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q/n", "at most 16");
}

Test(dsn, a_mistake_never_repeats_the_password)
{
	const char *wrong[] = { "mariadb://u:hunter2@h", "mariadb://u:hunter2%@h/n", "mariadb://u:hunter2@h:x/n", "mysql://u:hunter2@h/n",
				"mariadb://u:hunter2@h/n?a=b" };

	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		struct dsn dsn;

		cr_assert_eq(dsn_parse(&task, arena, wrong[i], &dsn), ERR_CONFIG);
		cr_assert_null(strstr(task.fault.detail, "hunter2"), "%s", task.fault.detail);
	}
}
