/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root of a container that its runtime has prepared, replaced: real mounts in real mount
 * namespaces. Needs root; without it the test is skipped (LCM_TESTS_MUST_RUN=1 makes that a
 * failure).
 */
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "overlay/mount.h"
#include "overlay/mount_root.h"
#include "tests/unit/dirs.h"

/* What lcm_mount_replace_root() did, in a process of its own. */
struct result {
	int r;
	bool begun;
	int fds; /* how many more were open after it than before */
	struct lcm_err err;
};

/* By the linker: stands for strdup(3) in all that is tested. */
char *__wrap_strdup(const char *s);
static long strdup_fails; /* which call from now on; 0: none */

static char *dir;             /* the working directory of every test; no link on the way */
static pid_t container;       /* waits in a mount namespace of its own; 0: none */
static struct result *result; /* shared with the child */

char *__wrap_strdup(const char *s)
{
	size_t len = strlen(s) + 1;
	char *p = strdup_fails && --strdup_fails == 0 ? NULL : malloc(len);

	return p ? memcpy(p, s, len) : NULL;
}

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		(void)closedir(d);
	return n;
}

static void put(const char *path, const char *text)
{
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0644), 0);
}

/* image/: the image's only layer; mnt/: where it is mounted; b/rootfs/: the container's root. */
static int setup(void **state)
{
	(void)state;
	dir = test_mkdir();
	assert_int_equal(chdir(dir), 0);
	DIRS("image", "up", "wk", "mnt", "b/rootfs", "outside");
	put("image/of-image", "image");
	put("b/rootfs/of-bundle", "bundle");
	return 0;
}

static void stop_container(void)
{
	if (!container)
		return;
	(void)kill(container, SIGKILL);
	assert_int_equal(waitpid(container, NULL, 0), container);
	container = 0;
}

static int teardown(void **state)
{
	struct lcm_err err;

	(void)state;
	stop_container();
	assert_int_equal(lcm_umount("mnt", true, &err), 0);
	assert_int_equal(chdir("/"), 0);
	test_rmdir(dir);
	return 0;
}

static void mount_image(void)
{
	struct lcm_err err = { 0 };
	int l = open_dir("image"), u = open_dir("up"), w = open_dir("wk");
	int m = lcm_mount_overlay(
	    &(struct lcm_overlay_spec){
		.lowers = &l, .n_lowers = 1, .upper = u, .work = w, .source = "locum:x" },
	    &err);

	if (m < 0 || lcm_mount_attach(m, "mnt", &err) < 0)
		fail_msg("%s", err.msg);
	(void)close(m);
	(void)close(l);
	(void)close(u);
	(void)close(w);
}

/* A tmpfs with the file "in" in it, which says where it was mounted. */
static void mount_tmpfs(const char *at)
{
	char path[256];

	if (mount("none", at, "tmpfs", 0, NULL) < 0)
		_exit(1);
	(void)snprintf(path, sizeof(path), "%s/in", at);
	if (lcm_write_file_at(AT_FDCWD, path, at, strlen(at), 0644) < 0)
		_exit(1);
}

static void bind_root(void)
{
	if (mount("b/rootfs", "b/rootfs", NULL, MS_BIND | MS_REC, NULL) < 0)
		_exit(1);
}

/* As a runtime does it before createRuntime: @prepare() runs in the container's namespace. */
static void start_container(void (*prepare)(void))
{
	int pipes[2];
	char byte;

	assert_int_equal(pipe(pipes), 0);
	container = fork();
	assert_true(container >= 0);
	if (container == 0) {
		if (unshare(CLONE_NEWNS) < 0 || chdir(dir) < 0)
			_exit(1);
		prepare();
		if (write(pipes[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	(void)close(pipes[1]);
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	(void)close(pipes[0]);
}

static void replace_in_child(const char *source, const char *rootfs)
{
	int before = count_fds();

	result->r = lcm_mount_replace_root(container, getppid(), source, rootfs, &result->begun,
					   &result->err);
	result->fds = count_fds() - before;
	_exit(0);
}

static void replace(const char *rootfs)
{
	char source[256], path[256];
	pid_t pid;

	(void)snprintf(source, sizeof(source), "%s/mnt", dir);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, rootfs);
	*result = (struct result){ .r = -ECHILD };
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		replace_in_child(source, path);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(result->fds, 0);
}

static void replace_works(const char *rootfs)
{
	replace(rootfs);
	if (result->r < 0)
		fail_msg("%s: %d %s", rootfs, result->r, result->err.msg);
	assert_true(result->begun);
}

/* A file below ./@root in the container's namespace; @want NULL: there is none. */
static void assert_sees_in(const char *root, const char *file, const char *want)
{
	lcm_autofree char *got = NULL;
	char path[256];
	size_t len = 0;
	int fd, r;

	(void)snprintf(path, sizeof(path), "/proc/%d/root%s/%s", (int)container, dir, root);
	fd = open_dir(path);
	r = lcm_sys_open_in_root(fd, file, O_RDONLY);
	(void)close(fd);
	if (r >= 0) {
		fd = r;
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		r = lcm_read_file_at(AT_FDCWD, path, 1U << 20, &got, &len);
		(void)close(fd);
	}
	if (want ? r < 0 || strcmp(got, want) != 0 : r != -ENOENT)
		fail_msg("%s: %d \"%s\" instead of \"%s\"", file, r, got ? got : "",
			 want ? want : "");
}

/* In the root that it would start on. */
static void assert_sees(const char *file, const char *want)
{
	assert_sees_in("b/rootfs", file, want);
}

/* ---- mounts move ---- */

static void prepare_plain(void)
{
	bind_root();
	if (lcm_mkdir_p("b/rootfs/proc", 0755) < 0 || lcm_mkdir_p("b/rootfs/a/vol", 0755) < 0)
		_exit(1);
	mount_tmpfs("b/rootfs/proc");
	mount_tmpfs("b/rootfs/a/vol");
}

static void mounts_move(void **state)
{
	(void)state;
	DIRS("image/proc");
	mount_image();
	start_container(prepare_plain);
	replace_works("b/rootfs");
	assert_sees("of-image", "image");
	assert_sees("of-bundle", NULL);
	assert_sees("proc/in", "b/rootfs/proc");
	assert_sees("a/vol/in", "b/rootfs/a/vol");
}

/* The kernel names mounts without links, whatever way the bundle goes. */
static void mounts_move_through_links(void **state)
{
	static const char *const ways[] = { "link/rootfs", "b/to-root", "far" };

	(void)state;
	mount_image();
	assert_int_equal(lcm_sys_symlinkat("b", AT_FDCWD, "link"), 0);
	assert_int_equal(lcm_sys_symlinkat("./rootfs", AT_FDCWD, "b/to-root"), 0);
	assert_int_equal(lcm_sys_symlinkat("link/to-root", AT_FDCWD, "far"), 0);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(ways); i++) {
		start_container(prepare_plain);
		replace_works(ways[i]);
		assert_sees("of-image", "image");
		assert_sees("proc/in", "b/rootfs/proc");
		assert_sees("a/vol/in", "b/rootfs/a/vol");
		stop_container();
	}
}

/* Not a mount of its own: what is mounted below it is on the mount that it is on. */
static void prepare_unbound(void)
{
	if (lcm_mkdir_p("b/rootfs/vol", 0755) < 0)
		_exit(1);
	mount_tmpfs("b/rootfs/vol");
	mount_tmpfs("outside");
}

static void mounts_move_from_a_directory(void **state)
{
	(void)state;
	mount_image();
	start_container(prepare_unbound);
	replace_works("b/rootfs");
	assert_sees("of-image", "image");
	assert_sees("vol/in", "b/rootfs/vol");
	assert_sees_in("outside", "in", "outside");
}

static void a_root_that_is_all(void **state)
{
	(void)state;
	mount_image();
	start_container(prepare_plain);
	assert_int_equal(lcm_sys_symlinkat("/", AT_FDCWD, "all"), 0);
	replace("all");
	assert_int_equal(result->r, -EINVAL);
	assert_non_null(strstr(result->err.msg, "/all of the container"));
	assert_false(result->begun);
	replace("none");
	assert_int_equal(result->r, -ENOENT);
	assert_false(result->begun);
	assert_sees("of-bundle", "bundle");
}

static void memory_runs_out(void **state)
{
	(void)state;
	mount_image();
	start_container(prepare_plain);
	for (strdup_fails = 1; strdup_fails <= 2; strdup_fails++) {
		replace("b/rootfs");
		assert_int_equal(result->r, -ENOMEM);
		assert_false(result->begun);
	}
	strdup_fails = 0;
	replace_works("b/rootfs");
	assert_sees("proc/in", "b/rootfs/proc");
}

/* ---- links in the image ---- */

static void prepare_etc(void)
{
	bind_root();
	if (lcm_mkdir_p("b/rootfs/etc/deep/dir", 0755) < 0)
		_exit(1);
	mount_tmpfs("b/rootfs/etc/deep/dir");
	if (lcm_write_file_at(AT_FDCWD, "b/rootfs/etc/file", "", 0, 0644) < 0 ||
	    mount("b/rootfs/etc/deep/dir/in", "b/rootfs/etc/file", NULL, MS_BIND, NULL) < 0)
		_exit(1);
}

#define LINK(to, at) assert_int_equal(lcm_sys_symlinkat(to, AT_FDCWD, "image/" at), 0)
#define IN "b/rootfs/etc/deep/dir"

static void assert_missing(const char *path)
{
	struct stat st;

	assert_int_equal(lcm_sys_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW), -ENOENT);
}

/* Debian: /etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf, without a /run/systemd. */
static void links_to_nothing_are_made(void **state)
{
	(void)state;
	DIRS("image/etc");
	LINK("../run/made/file", "etc/file");
	LINK("//var/./a/../b/", "etc/deep");
	mount_image();
	start_container(prepare_etc);
	replace_works("b/rootfs");
	assert_sees("etc/file", IN);
	assert_sees("run/made/file", IN);
	assert_sees("etc/deep/dir/in", IN);
	assert_sees("var/b/dir/in", IN);
}

static void links_lead_to_links(void **state)
{
	(void)state;
	DIRS("image/x/y");
	LINK("x/y", "etc");
	LINK("/one", "x/y/file");
	LINK("two", "one");
	LINK("x/y/../three", "two");
	LINK("../../four", "x/y/deep");
	LINK("five", "four");
	mount_image();
	start_container(prepare_etc);
	replace_works("b/rootfs");
	assert_sees("etc/file", IN);
	assert_sees("x/three", IN);
	assert_sees("five/dir/in", IN);
}

/* "/" and ".." are the image's. */
static void links_do_not_lead_out(void **state)
{
	lcm_autofree char *abs = NULL;

	(void)state;
	DIRS("image/etc");
	assert_true(asprintf(&abs, "%s/outside/abs", dir) > 0);
	assert_int_equal(lcm_sys_symlinkat(abs, AT_FDCWD, "image/etc/file"), 0);
	LINK("../../../../../../../../../../../../../../outside", "etc/deep");
	mount_image();
	start_container(prepare_etc);
	replace_works("b/rootfs");
	assert_sees("etc/file", IN);
	assert_sees(abs + 1, IN);
	assert_sees("outside/dir/in", IN);
	assert_missing("outside/abs");
	assert_missing("outside/dir");
	assert_missing("/outside");
}

static void fails_with(int r)
{
	mount_image();
	start_container(prepare_etc);
	replace("b/rootfs");
	assert_int_equal(result->r, r);
	assert_non_null(strstr(result->err.msg, "mount point /etc/"));
	assert_true(result->begun);
}

static void links_in_circles(void **state)
{
	(void)state;
	DIRS("image/etc");
	LINK("b", "etc/a");
	LINK("a", "etc/b");
	LINK("a/x", "etc/deep");
	fails_with(-ELOOP);
}

/* Each time it is longer; the kernel would stop after 40. */
static void links_that_grow(void **state)
{
	(void)state;
	DIRS("image/etc");
	LINK("deep/x", "etc/deep");
	fails_with(-ELOOP);
}

static void links_through_files(void **state)
{
	(void)state;
	DIRS("image/etc");
	put("image/etc/a-file", "");
	LINK("a-file/x", "etc/deep");
	fails_with(-ENOTDIR);
}

static void prepare_proc(void)
{
	bind_root();
	if (lcm_mkdir_p("b/rootfs/proc", 0755) < 0 ||
	    mount("none", "b/rootfs/proc", "proc", 0, NULL) < 0 ||
	    lcm_mkdir_p("b/rootfs/etc/deep", 0755) < 0)
		_exit(1);
	mount_tmpfs("b/rootfs/etc/deep");
}

/* /proc has moved already, and is inside the image. */
static void links_into_proc(void **state)
{
	static const char *const to[] = { "/proc/sys", "../proc", "/proc/none/x" };

	(void)state;
	DIRS("image/etc", "image/proc");
	for (size_t i = 0; i < LCM_ARRAY_SIZE(to); i++) {
		if (i)
			assert_int_equal(lcm_sys_unlinkat(AT_FDCWD, "image/etc/deep", 0), 0);
		assert_int_equal(lcm_sys_symlinkat(to[i], AT_FDCWD, "image/etc/deep"), 0);
		mount_image();
		start_container(prepare_proc);
		replace("b/rootfs");
		assert_int_equal(result->r, -EXDEV);
		assert_non_null(strstr(result->err.msg, "mount point /etc/deep of the image"));
		assert_true(result->begun);
		stop_container();
		assert_int_equal(lcm_umount("mnt", false, NULL), 0);
	}
	mount_image();
}

static void links_that_are_too_deep(void **state)
{
	char to[600] = "";

	(void)state;
	DIRS("image/etc");
	for (size_t i = 0; i < 290; i++)
		(void)snprintf(to + 2 * i, sizeof(to) - 2 * i, "/d");
	assert_int_equal(lcm_sys_symlinkat(to, AT_FDCWD, "image/etc/deep"), 0);
	fails_with(-ELOOP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(mounts_move, setup, teardown),
		cmocka_unit_test_setup_teardown(mounts_move_through_links, setup, teardown),
		cmocka_unit_test_setup_teardown(mounts_move_from_a_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(a_root_that_is_all, setup, teardown),
		cmocka_unit_test_setup_teardown(memory_runs_out, setup, teardown),
		cmocka_unit_test_setup_teardown(links_to_nothing_are_made, setup, teardown),
		cmocka_unit_test_setup_teardown(links_lead_to_links, setup, teardown),
		cmocka_unit_test_setup_teardown(links_do_not_lead_out, setup, teardown),
		cmocka_unit_test_setup_teardown(links_in_circles, setup, teardown),
		cmocka_unit_test_setup_teardown(links_that_grow, setup, teardown),
		cmocka_unit_test_setup_teardown(links_through_files, setup, teardown),
		cmocka_unit_test_setup_teardown(links_into_proc, setup, teardown),
		cmocka_unit_test_setup_teardown(links_that_are_too_deep, setup, teardown),
	};

	result = mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (result == MAP_FAILED || geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		fprintf(stderr, "test_mount_root: needs root and mount namespaces\n");
		return getenv("LCM_TESTS_MUST_RUN") ? 1 : 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
