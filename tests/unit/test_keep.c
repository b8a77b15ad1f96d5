/* SPDX-License-Identifier: Apache-2.0 */
/* The holder as a real process: what is put comes back, of whoever asks, as long as anybody may
 * want it. */
#include "tests/unit/test.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "src/base/sys.h"
#include "src/daemon/daemon.h"
#include "src/daemon/keep.h"

static char dir[] = "/tmp/locum-keep-XXXXXX", program[4096];

static int file(const char *text)
{
	int fd = memfd_create("test", MFD_CLOEXEC), only_read;
	char path[32];

	assert_true(fd >= 0);
	assert_int_equal(lcm_sys_pwrite_full(fd, text, strlen(text) + 1, 0), 0);
	/* the holder writes to what it takes for /dev/fuse */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	only_read = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(only_read >= 0);
	(void)close(fd);
	return only_read;
}

static void put(struct lcm_keep *k, const char *name, const char *a, const char *b)
{
	int fuse = file(a), record = file(b);

	assert_int_equal(lcm_keep_put(k, name, fuse, record), 0);
	(void)close(fuse);
	(void)close(record);
}

static struct lcm_keep *open_keep(void)
{
	struct lcm_err err = { 0 };
	struct lcm_keep *k;

	if (lcm_keep_open(LCM_KEEP_HOLDER, dir, program, &k, &err) < 0)
		fail_msg("%s", err.msg);
	return k;
}

static void assert_text(int fd, const char *text)
{
	char got[64] = "";

	assert_true(pread(fd, got, sizeof(got) - 1, 0) > 0);
	assert_string_equal(got, text);
}

/* How many there are; each has the texts that its name says. */
static size_t look(struct lcm_keep *k)
{
	struct lcm_kept *v = NULL;
	size_t n = 0;

	assert_int_equal(lcm_keep_take(k, &v, &n, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		assert_text(v[i].fuse, v[i].name);
		assert_text(v[i].record, "record");
		(void)close(v[i].fuse);
		(void)close(v[i].record);
	}
	free(v);
	return n;
}

static void it_outlives_its_daemons(void **state)
{
	struct lcm_keep *k = open_keep();

	(void)state;
	assert_int_equal(look(k), 0);
	put(k, "one", "old", "old");
	put(k, "one", "one", "record");
	put(k, "two", "two", "record");
	lcm_keep_close(k);
	k = open_keep();
	assert_int_equal(look(k), 2);
	lcm_keep_del(k, "one");
	lcm_keep_del(k, "never there");
	assert_int_equal(look(k), 1);
	for (int i = 0; i < 200; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "n%d", i);
		put(k, name, name, "record");
	}
	assert_int_equal(look(k), 201);
	for (int i = 0; i < 200; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "n%d", i);
		lcm_keep_del(k, name);
	}
	lcm_keep_del(k, "two");
	assert_int_equal(look(k), 0);
	lcm_keep_close(k);
}

/* lcm_dir_each_fn on /proc: 1 when it is the holder of this test's directory. */
static int is_holder(void *arg, int proc, const char *name)
{
	lcm_autofree char *text = NULL;
	char path[300];
	size_t n;
	int pid;

	(void)snprintf(path, sizeof(path), "%s/cmdline", name);
	if (sscanf(name, "%d", &pid) != 1 || lcm_read_file_at(proc, path, 4096, &text, &n) < 0 ||
	    n <= 14 || strcmp(text, "locum-holder") != 0 || !strstr(text + 13, dir))
		return 0;
	*(pid_t *)arg = pid;
	return 1;
}

static pid_t holder_of(const struct lcm_keep *k)
{
	lcm_autoclose int proc = lcm_sys_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY, 0);
	struct ucred who;
	socklen_t len = sizeof(who);
	pid_t pid = 0;

	/* the peer is who listened: it is this process, whose child the holder is */
	assert_int_equal(getsockopt(lcm_keep_fd(k), SOL_SOCKET, SO_PEERCRED, &who, &len), 0);
	assert_int_equal(who.pid, getpid());
	if (lcm_dir_each(proc, is_holder, &pid) != 1)
		fail_msg("no holder");
	return pid;
}

static void a_killed_one_is_noticed(void **state)
{
	struct lcm_keep *k = open_keep();
	struct pollfd p = { .fd = lcm_keep_fd(k), .events = POLLIN };
	struct lcm_err err = { 0 };
	int fd = file("x");

	(void)state;
	put(k, "one", "one", "record");
	assert_int_equal(look(k), 1);
	assert_int_equal(kill(holder_of(k), SIGKILL), 0);
	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(lcm_keep_put(k, "two", fd, fd), -EPIPE);
	if (lcm_keep_again(k, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(look(k), 0);
	put(k, "two", "two", "record");
	assert_int_equal(look(k), 1);
	lcm_keep_del(k, "two");
	(void)close(fd);
	lcm_keep_close(k);
}

static void nonsense_ends_the_connection(void **state)
{
	struct lcm_keep *k = open_keep();
	struct lcm_keep_msg m = { .op = LCM_KEEP_DEL };
	struct pollfd p = { .fd = lcm_keep_fd(k), .events = POLLIN };
	struct lcm_keep *again;

	(void)state;
	put(k, "one", "one", "record");
	memset(m.name, 'x', sizeof(m.name)); /* no NUL */
	assert_int_equal(lcm_keep_send(lcm_keep_fd(k), &m, NULL), 0);
	assert_int_equal(poll(&p, 1, 10000), 1);
	again = open_keep();
	assert_int_equal(look(again), 1);
	lcm_keep_del(again, "one");
	lcm_keep_close(k);
	lcm_keep_close(again);
}

/* What is started and dies before it answers is an error, and nobody waits for it. */
static void one_that_dies_at_once(void **state)
{
	char other[] = "/tmp/locum-keep-XXXXXX";
	struct lcm_err err = { 0 };
	struct lcm_keep *k;

	(void)state;
	assert_non_null(mkdtemp(other));
	for (int i = 0; i < 50; i++)
		assert_true(lcm_keep_open(LCM_KEEP_HOLDER, other, "/bin/true", &k, &err) < 0);
	assert_non_null(strstr(err.msg, "/bin/true"));
	assert_int_equal(lcm_rmtree_at(AT_FDCWD, other), 0);
}

/* One that ends the connection and lives on is not waited for either. */
static void another_in_place_of_a_living_one(void **state)
{
	struct lcm_keep *k = open_keep();
	struct lcm_keep_msg m = { .op = '?' };
	struct pollfd p = { .fd = lcm_keep_fd(k), .events = POLLIN };
	uint32_t before = lcm_keep_generation(k);
	struct lcm_err err = { 0 };

	(void)state;
	put(k, "one", "one", "record");
	assert_int_equal(lcm_keep_send(lcm_keep_fd(k), &m, NULL), 0);
	assert_int_equal(poll(&p, 1, 10000), 1);
	if (lcm_keep_again(k, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_not_equal(lcm_keep_generation(k), before);
	assert_int_equal(look(k), 0);
	lcm_keep_close(k);
}

static void names_of_keepers(void **state)
{
	enum lcm_keep_by by;

	(void)state;
	assert_int_equal(lcm_keep_parse("systemd", &by), 0);
	assert_int_equal(by, LCM_KEEP_SYSTEMD);
	assert_int_equal(lcm_keep_parse("", &by), -EINVAL);
}

static void nobody_keeps_nothing(void **state)
{
	struct lcm_keep *k;
	struct lcm_kept *v;
	size_t n;

	(void)state;
	assert_int_equal(lcm_keep_open(LCM_KEEP_NONE, dir, program, &k, NULL), 0);
	assert_int_equal(lcm_keep_put(k, "one", 0, 1), 0);
	assert_int_equal(lcm_keep_take(k, &v, &n, NULL), 0);
	assert_int_equal(n, 0);
	assert_int_equal(lcm_keep_fd(k), -EBADF);
	lcm_keep_close(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_outlives_its_daemons),
		cmocka_unit_test(a_killed_one_is_noticed),
		cmocka_unit_test(nonsense_ends_the_connection),
		cmocka_unit_test(one_that_dies_at_once),
		cmocka_unit_test(another_in_place_of_a_living_one),
		cmocka_unit_test(names_of_keepers),
		cmocka_unit_test(nobody_keeps_nothing),
	};
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	char *slash;
	int r;

	program[n > 0 ? n : 0] = '\0';
	for (int up = 0; up < 3 && (slash = strrchr(program, '/')); up++)
		*slash = '\0';
	(void)strncat(program, "/locum-holder", sizeof(program) - strlen(program) - 1);
	if (!mkdtemp(dir))
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	lcm_ignore(lcm_rmtree_at(AT_FDCWD, dir));
	return r;
}
