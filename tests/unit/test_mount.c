/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real mounts in a mount namespace of our own. Needs root; without it the test is skipped
 * (LCM_TESTS_MUST_RUN=1 makes that a failure).
 */
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "overlay/mount.h"
#include "overlay/mount_sys.h"
#include "overlay/mountinfo.h"
#include "tests/unit/dirs.h"

extern char **environ;

static char *dir; /* the working directory of every test */

static int setup(void **state)
{
	(void)state;
	dir = test_mkdir();
	return chdir(dir);
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(chdir("/"), 0);
	test_rmdir(dir); /* fails when a mount was left below */
	return 0;
}

static void put(const char *path, const char *text)
{
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0644), 0);
}

static void placeholder(const char *path, size_t size, const char *redirect)
{
	int fd = lcm_sys_openat(AT_FDCWD, path, O_CREAT | O_WRONLY, 0640);

	assert_true(fd >= 0);
	assert_int_equal(lcm_sys_ftruncate(fd, size), 0);
	assert_int_equal(lcm_sys_fsetxattr(fd, "trusted.overlay.metacopy", "", 0), 0);
	assert_int_equal(
	    lcm_sys_fsetxattr(fd, "trusted.overlay.redirect", redirect, strlen(redirect)), 0);
	(void)close(fd);
}

static void assert_text(int dirfd, const char *path, const char *want)
{
	lcm_autofree char *got = NULL;
	size_t len = 0;

	assert_int_equal(lcm_read_file_at(dirfd, path, 1U << 20, &got, &len), 0);
	assert_string_equal(got, want);
}

/* Fails on any line of mountinfo with this word. */
static void assert_no_mount(const char *word)
{
	lcm_autofree char *text = NULL;
	size_t len = 0;

	assert_int_equal(lcm_read_file_at(AT_FDCWD, "/proc/self/mountinfo", 64U << 20, &text, &len),
			 0);
	assert_null(strstr(text, word));
}

static void mkfs_erofs(const char *image, const char *tree)
{
	char *argv[] = { (char *)"mkfs.erofs", (char *)"--quiet", (char *)image, (char *)tree,
			 NULL };
	posix_spawn_file_actions_t fa;
	int status = -1;
	pid_t pid;

	assert_int_equal(posix_spawn_file_actions_init(&fa), 0);
	assert_int_equal(posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0), 0);
	assert_int_equal(posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ), 0);
	(void)posix_spawn_file_actions_destroy(&fa);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void probe_finds_all(void **state)
{
	struct lcm_mount_features f = { 0 };
	struct lcm_err err = { 0 };
	uint64_t start = lcm_now_ns();

	(void)state;
	assert_int_equal(lcm_mount_probe(dir, &f, &err), 0);
	assert_true(lcm_now_ns() - start < 10000000000ULL);
	/* What any kernel since 6.5 with these modules has; the rest is printed for the reader. */
	assert_true(f.overlay);
	assert_true(f.fuse);
	print_message(
	    "data_only %d redirect_no_metacopy %d erofs_file %d erofs_loop %d layer_fds %d "
	    "fuse_resend %d\n",
	    f.data_only, f.redirect_no_metacopy, f.erofs_file, f.erofs_loop, f.layer_fds,
	    f.fuse_resend);
	assert_no_mount(dir);
	f.overlay = false;
	assert_int_equal(lcm_mount_probe("/nonexistent", &f, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/nonexistent"));
	assert_false(f.overlay);
}

/* META on EROFS, one data layer in a directory; every way of mounting that the kernel has. */
static void overlay_reads_through_erofs(enum lcm_mount_how how,
					int (*erofs)(const char *, struct lcm_err *))
{
	struct lcm_err err = { 0 };
	int meta, real, m;

	DIRS("m", "real/l1", "up", "wk");
	placeholder("m/a", 5, "/l1/x/a");
	put("m/empty", "");
	mkfs_erofs("meta.erofs", "m");
	meta = erofs("meta.erofs", &err);
	if (meta < 0)
		fail_msg("%s", err.msg);
	real = open_dir("real");
	m = lcm_mount_overlay_how(&(struct lcm_overlay_spec){ .lowers = &meta,
							      .n_lowers = 1,
							      .data = &real,
							      .n_data = 1,
							      .upper = open_dir("up"),
							      .work = open_dir("wk"),
							      .source = "locum:t" },
				  how, &err);
	if (m < 0)
		fail_msg("%s", err.msg);
	assert_no_mount("erofs");
	/* The file is looked up in REAL at open, not before. */
	assert_int_equal(lcm_sys_openat(m, "a", O_RDONLY, 0), -ENOENT);
	DIRS("real/l1/x");
	put("real/l1/x/a", "hello");
	assert_text(m, "a", "hello");
	assert_text(m, "empty", "");
	(void)close(m);
	(void)close(meta);
	(void)close(real);
}

static void overlay_by_fd(void **state)
{
	(void)state;
	overlay_reads_through_erofs(LCM_MOUNT_BY_FD, lcm_mount_erofs_file);
}

static void overlay_by_path(void **state)
{
	(void)state;
	overlay_reads_through_erofs(LCM_MOUNT_BY_PATH, lcm_mount_erofs_file);
	assert_no_mount("locum-mount");
}

static void overlay_over_loop(void **state)
{
	(void)state;
	overlay_reads_through_erofs(LCM_MOUNT_ANY, lcm_mount_erofs_loop);
}

static void erofs_says_why(void **state)
{
	struct lcm_err err = { 0 };

	(void)state;
	put("junk", "not a file system");
	assert_true(lcm_mount_erofs("junk", false, &err) < 0);
	assert_non_null(strstr(err.msg, "junk"));
	assert_int_equal(lcm_mount_erofs("missing", false, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "missing"));
}

/*
 * A gate without a library, as fuse.h has it: /l1/big is a regular file of 5 bytes, nothing else is
 * there. Entries are not cached, so that an inode nobody uses is forgotten.
 */
struct gate {
	int fd;
	_Atomic unsigned int forgotten; /* lookups of big that the kernel gave back */
};

union gate_out {
	struct fuse_init_out init;
	struct fuse_statfs_out statfs;
	struct fuse_attr_out attr;
	struct fuse_entry_out entry;
	struct fuse_open_out open;
};

static struct fuse_attr gate_attr(uint64_t node)
{
	return (struct fuse_attr){ .ino = node,
				   .mode = node == 3 ? S_IFREG | 0644 : S_IFDIR | 0755,
				   .nlink = 1,
				   .size = node == 3 ? 5 : 0 };
}

/* Return: length of the answer's body, -errno. */
static long gate_answer(const struct fuse_in_header *h, const char *name, union gate_out *out)
{
	switch (h->opcode) {
	case FUSE_INIT:
		out->init = (struct fuse_init_out){ .major = 7, .minor = 31, .max_write = 4096 };
		return sizeof(out->init);
	case FUSE_STATFS:
		out->statfs.st.namelen = 255;
		return sizeof(out->statfs);
	case FUSE_GETATTR:
		out->attr.attr = gate_attr(h->nodeid);
		return sizeof(out->attr);
	case FUSE_LOOKUP:
		out->entry.nodeid = h->nodeid == 1 && strcmp(name, "l1") == 0    ? 2
				    : h->nodeid == 2 && strcmp(name, "big") == 0 ? 3
										 : 0;
		out->entry.attr = gate_attr(out->entry.nodeid);
		return out->entry.nodeid ? (long)sizeof(out->entry) : -ENOENT;
	case FUSE_OPEN:
		return sizeof(out->open);
	case FUSE_RELEASE:
		return 0;
	default:
		return -ENOSYS;
	}
}

static void gate_count(struct gate *g, const struct fuse_in_header *h)
{
	const struct fuse_batch_forget_in *batch = (const void *)(h + 1);
	const struct fuse_forget_one *one = (const void *)(batch + 1);

	if (h->opcode == FUSE_FORGET && h->nodeid == 3)
		g->forgotten +=
		    (unsigned int)((const struct fuse_forget_in *)(const void *)(h + 1))->nlookup;
	for (uint32_t i = 0; h->opcode == FUSE_BATCH_FORGET && i < batch->count; i++)
		if (one[i].nodeid == 3)
			g->forgotten += (unsigned int)one[i].nlookup;
}

static void *gate_serve(void *arg)
{
	struct gate *g = arg;
	_Alignas(8) char in[1 << 17];

	for (;;) {
		struct fuse_in_header *h = (struct fuse_in_header *)in;
		struct {
			struct fuse_out_header h;
			union gate_out body;
		} out = { 0 };
		long len;

		if (lcm_errno(read(g->fd, in, sizeof(in))) < 0)
			return NULL; /* ENODEV: the last mount is gone */
		gate_count(g, h);
		if (h->opcode == FUSE_FORGET || h->opcode == FUSE_BATCH_FORGET)
			continue;
		len = gate_answer(h, (const char *)(h + 1), &out.body);
		out.h.unique = h->unique;
		out.h.error = (int32_t)LCM_MIN(len, 0L);
		out.h.len = (uint32_t)(sizeof(out.h) + (size_t)LCM_MAX(len, 0L));
		lcm_ignore(lcm_sys_write_full(g->fd, &out, out.h.len));
	}
}

static void gate_invalidate_big(struct gate *g)
{
	struct {
		struct fuse_out_header h;
		struct fuse_notify_inval_entry_out entry;
		char name[4];
	} __attribute__((packed)) note = {
		.h = { .len = sizeof(note), .error = FUSE_NOTIFY_INVAL_ENTRY },
		.entry = { .parent = 2, .namelen = 3 },
		.name = "big",
	};

	assert_int_equal(lcm_sys_write_full(g->fd, &note, sizeof(note)), 0);
}

static void gate_is_a_layer(void **state)
{
	struct gate g = { .fd = lcm_sys_openat(AT_FDCWD, "/dev/fuse", O_RDWR, 0) };
	struct lcm_err err = { 0 };
	int data[2], meta, m, fd;
	pthread_t t;

	(void)state;
	assert_true(g.fd >= 0);
	DIRS("m", "real/l1", "mnt");
	placeholder("m/a", 5, "/l1/a");
	placeholder("m/b", 5, "/l1/b");
	placeholder("m/big", 5, "/l1/big");
	put("real/l1/a", "hello");
	data[0] = open_dir("real");
	data[1] = lcm_mount_gate(g.fd, &err);
	if (data[1] < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(pthread_create(&t, NULL, gate_serve, &g), 0);
	meta = open_dir("m");
	m = lcm_mount_overlay(&(struct lcm_overlay_spec){ .lowers = &meta,
							  .n_lowers = 1,
							  .data = data,
							  .n_data = 2,
							  .upper = -1,
							  .work = -1 },
			      &err);
	if (m < 0 || lcm_mount_attach(m, "mnt", &err) < 0)
		fail_msg("%s", err.msg);
	assert_no_mount("fuse");
	(void)close(m);
	(void)close(data[1]); /* overlayfs has a clone of its own */
	assert_text(AT_FDCWD, "mnt/a", "hello");
	assert_int_equal(lcm_sys_openat(AT_FDCWD, "mnt/b", O_RDONLY, 0), -ENOENT);
	/* A big file stays bound to the gate until it is closed, its entry invalidated and the
	 * overlay's dentry gone.
	 */
	fd = lcm_sys_openat(AT_FDCWD, "mnt/big", O_RDONLY, 0);
	assert_true(fd >= 0);
	(void)close(fd);
	gate_invalidate_big(&g);
	assert_int_equal(g.forgotten, 0);
	assert_int_equal(lcm_mount_shrink("mnt"), 0);
	for (int i = 0; i < 5000 && g.forgotten == 0; i++)
		(void)poll(NULL, 0, 1);
	assert_int_equal(g.forgotten, 1);
	assert_int_equal(lcm_umount("mnt", false, &err), 0);
	(void)close(meta);
	(void)close(data[0]);
	assert_int_equal(pthread_join(t, NULL), 0); /* ends with the file system */
	(void)close(g.fd);
}

static void gate_needs_no_answer(void **state)
{
	int fuse = lcm_sys_openat(AT_FDCWD, "/dev/fuse", O_RDWR, 0), m;
	struct lcm_err err = { 0 };

	(void)state;
	m = lcm_mount_gate(fuse, &err);
	assert_true(m >= 0);
	assert_no_mount("locum-gate");
	(void)close(m);
	assert_true(lcm_mount_gate(fuse, &err) < 0); /* one session, one mount */
	(void)close(fuse);
	assert_true(lcm_mount_gate(-1, &err) < 0);
	assert_non_null(strstr(err.msg, "gate"));
}

static void overlay_read_only_single(void **state)
{
	static const enum lcm_mount_how hows[] = { LCM_MOUNT_ANY, LCM_MOUNT_BY_PATH };
	struct lcm_err err = { 0 };

	(void)state;
	DIRS("l1");
	put("l1/a", "one");
	for (size_t i = 0; i < LCM_ARRAY_SIZE(hows); i++) {
		int l = open_dir("l1");
		int m = lcm_mount_overlay_how(
		    &(struct lcm_overlay_spec){
			.lowers = &l, .n_lowers = 1, .upper = -1, .work = -1 },
		    hows[i], &err);

		if (m < 0)
			fail_msg("%s", err.msg);
		assert_text(m, "a", "one");
		assert_int_equal(lcm_sys_openat(m, "b", O_CREAT | O_WRONLY, 0644), -EROFS);
		(void)close(m);
		(void)close(l);
	}
}

static void overlay_many_layers(void **state)
{
	int l[200], m;
	char name[32], text[16];
	struct lcm_err err = { 0 };

	(void)state;
	for (int i = 0; i < 200; i++) {
		(void)snprintf(name, sizeof(name), "layer%d", i);
		DIRS(name);
		(void)snprintf(name, sizeof(name), "layer%d/f%d", i, i);
		(void)snprintf(text, sizeof(text), "%d", i);
		put(name, text);
		(void)snprintf(name, sizeof(name), "layer%d/top", i);
		put(name, text);
		(void)snprintf(name, sizeof(name), "layer%d", i);
		l[i] = open_dir(name);
	}
	for (int how = LCM_MOUNT_ANY; how <= LCM_MOUNT_BY_PATH; how++) {
		m = lcm_mount_overlay_how(
		    &(struct lcm_overlay_spec){
			.lowers = l, .n_lowers = 200, .upper = -1, .work = -1 },
		    (enum lcm_mount_how)how, &err);
		if (m < 0)
			fail_msg("%s", err.msg);
		assert_text(m, "top", "0");
		assert_text(m, "f199", "199");
		(void)close(m);
	}
	for (int i = 0; i < 200; i++)
		(void)close(l[i]);
}

static void overlay_refuses(void **state)
{
	struct lcm_err err = { 0 };
	int l, u;

	(void)state;
	DIRS("l1", "up");
	put("file", "");
	l = open_dir("l1");
	u = open_dir("up");
	assert_int_equal(
	    lcm_mount_overlay(&(struct lcm_overlay_spec){ .upper = -1, .work = -1 }, &err),
	    -EINVAL);
	assert_int_equal(
	    lcm_mount_overlay(
		&(struct lcm_overlay_spec){ .lowers = &l, .n_lowers = 1, .upper = u, .work = -1 },
		&err),
	    -EINVAL);
	/* Upper and work may not be the same directory: the kernel says so. */
	assert_true(
	    lcm_mount_overlay(
		&(struct lcm_overlay_spec){ .lowers = &l, .n_lowers = 1, .upper = u, .work = u },
		&err) < 0);
	assert_non_null(strstr(err.msg, "overlay"));
	assert_no_mount("locum-mount");
	(void)close(l);
	(void)close(u);
}

/* An ordinary overlay at ./mnt; read-only when there is no upper. */
static void attach_at_mnt(bool writable, const char *source)
{
	struct lcm_err err = { 0 };
	int l, u = -1, w = -1, m;

	DIRS("l1", "up", "wk", "mnt");
	put("l1/a", "one");
	l = open_dir("l1");
	if (writable) {
		u = open_dir("up");
		w = open_dir("wk");
	}
	m = lcm_mount_overlay(
	    &(struct lcm_overlay_spec){
		.lowers = &l, .n_lowers = 1, .upper = u, .work = w, .source = source },
	    &err);
	if (m < 0 || lcm_mount_attach(m, "mnt", &err) < 0)
		fail_msg("%s", err.msg);
	(void)close(m);
	(void)close(l);
	(void)close(u);
	(void)close(w);
}

static void attach_refuses(void **state)
{
	static const struct {
		const char *path;
		int r;
		const char *advice;
	} rows[] = {
		{ "none", -ENOENT, "mkdir" },
		{ "file", -ENOTDIR, "directory" },
		{ "mnt", -EBUSY, "umount" },
		{ "/", -EBUSY, "another directory" },
	};
	struct lcm_err err = { 0 };
	int m = lcm_mount_tmpfs(&err);

	(void)state;
	attach_at_mnt(true, "locum:x");
	put("file", "");
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		assert_int_equal(lcm_mount_attach(m, rows[i].path, &err), rows[i].r);
		assert_non_null(strstr(err.msg, rows[i].path));
		assert_non_null(strstr(err.msg, rows[i].advice));
	}
	(void)close(m);
	assert_int_equal(lcm_umount("mnt", false, &err), 0);
	assert_int_equal(lcm_umount("mnt", false, &err), -EINVAL);
	assert_int_equal(lcm_umount("none", true, &err), -ENOENT);
}

static void umount_busy_and_lazy(void **state)
{
	struct lcm_err err = { 0 };
	int fd;

	(void)state;
	attach_at_mnt(true, "locum:x");
	fd = lcm_sys_openat(AT_FDCWD, "mnt/a", O_RDONLY, 0);
	assert_int_equal(lcm_umount("mnt", false, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "in use"));
	assert_int_equal(lcm_umount("mnt", true, &err), 0);
	(void)close(fd);
}

static void mounted_source_is_found(void **state)
{
	struct lcm_err err = { 0 };

	(void)state;
	DIRS("a b\\c#\n");
	attach_at_mnt(true, "locum:a b#c");
	assert_int_equal(lcm_mounted_source("mnt", "locum:a b#c"), 1);
	assert_int_equal(lcm_mounted_source("./mnt/../mnt", "locum:a b#c"), 1);
	assert_int_equal(lcm_mounted_source("mnt", "locum:a b"), 0);
	assert_int_equal(lcm_mounted_source("up", "locum:a b#c"), 0);
	assert_int_equal(lcm_mounted_source("none", "locum:a b#c"), 0);
	assert_int_equal(mount("mnt", "a b\\c#\n", NULL, MS_BIND, NULL), 0);
	assert_int_equal(lcm_mounted_source("a b\\c#\n", "locum:a b#c"), 1);
	assert_int_equal(lcm_umount("a b\\c#\n", false, &err), 0);
	assert_int_equal(lcm_umount("mnt", false, &err), 0);
	assert_int_equal(lcm_mounted_source("mnt", "locum:a b#c"), 0);
}

static void super_options(const char *path, char *out, size_t cap)
{
	lcm_autofree char *real = realpath(path, NULL), *text = NULL;
	struct lcm_mountinfo m;
	const char *at;
	size_t len = 0;

	assert_int_equal(lcm_read_file_at(AT_FDCWD, "/proc/self/mountinfo", 64U << 20, &text, &len),
			 0);
	at = text;
	while (lcm_mountinfo_next(&at, text + len, &m) > 0)
		if (lcm_mountinfo_is(&m.mount_point, real))
			(void)snprintf(out, cap, "%.*s", (int)m.super_options.len,
				       m.super_options.p);
}

static void shrink_changes_nothing(void **state)
{
	char before[1024] = "", after[1024] = "";
	struct lcm_err err = { 0 };
	struct statvfs st;

	(void)state;
	for (int writable = 0; writable < 2; writable++) {
		attach_at_mnt(writable, "locum:x");
		super_options("mnt", before, sizeof(before));
		assert_int_equal(lcm_mount_shrink("mnt"), 0);
		super_options("mnt", after, sizeof(after));
		assert_true(before[0]);
		assert_string_equal(before, after);
		assert_int_equal(statvfs("mnt", &st), 0);
		assert_int_equal(!(st.f_flag & ST_RDONLY), writable);
		assert_text(AT_FDCWD, "mnt/a", "one");
		assert_int_equal(lcm_umount("mnt", false, &err), 0);
	}
	assert_int_equal(lcm_mount_shrink("none"), -ENOENT);
	assert_true(lcm_mount_shrink("mnt") < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(probe_finds_all, setup, teardown),
		cmocka_unit_test_setup_teardown(overlay_by_fd, setup, teardown),
		cmocka_unit_test_setup_teardown(overlay_by_path, setup, teardown),
		cmocka_unit_test_setup_teardown(overlay_over_loop, setup, teardown),
		cmocka_unit_test_setup_teardown(erofs_says_why, setup, teardown),
		cmocka_unit_test_setup_teardown(gate_is_a_layer, setup, teardown),
		cmocka_unit_test_setup_teardown(gate_needs_no_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(overlay_read_only_single, setup, teardown),
		cmocka_unit_test_setup_teardown(overlay_many_layers, setup, teardown),
		cmocka_unit_test_setup_teardown(overlay_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(attach_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(umount_busy_and_lazy, setup, teardown),
		cmocka_unit_test_setup_teardown(mounted_source_is_found, setup, teardown),
		cmocka_unit_test_setup_teardown(shrink_changes_nothing, setup, teardown),
	};

	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		fprintf(stderr, "test_mount: needs root and mount namespaces\n");
		return getenv("LCM_TESTS_MUST_RUN") ? 1 : 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
