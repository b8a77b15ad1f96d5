/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of the layout manager, for each backend on the file systems it is for. */
#include "tests/unit/test.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "src/base/fsmount.h"
#include "src/base/sys.h"
#include "tests/unit/unit_pool.h"
#include "unit/frame.h"
#include "unit/unit.h"

#define MB (1ULL << 20)
#define BULK (3 * MB)
#define OWNER_A "11111111-1111-4111-8111-111111111111"
#define OWNER_B "22222222-2222-4222-8222-222222222222"

static const struct pool_row kinds[] = {
	{ "image ext4 on xfs", &lcm_unit_image_ops, "xfs", 32 * MB, 64 * MB, true, false, true },
	{ "image xfs on xfs", &lcm_unit_image_ops, "xfs", 320 * MB, 400 * MB, true, true, false },
	{ "image ext4 on btrfs", &lcm_unit_image_ops, "btrfs", 32 * MB, 64 * MB, true, false,
	  true },
	{ "image ext4 on ext4", &lcm_unit_image_ops, "ext4", 32 * MB, 64 * MB, false, false, true },
	{ "subvol on btrfs", &lcm_unit_subvol_ops, "btrfs", 32 * MB, 64 * MB, true, true, true },
};

struct world {
	const struct pool_row *k;
	struct pool *fs;
	char pool[80], root[80], run[80];
	struct lcm_units *u;
	struct lcm_err err;
};

static void begin(struct world *w, const struct pool_row *k)
{
	struct lcm_pool_options o = { .name = "p",
				      .backend = k->ops == &lcm_unit_subvol_ops ? "subvol"
										: "image" };
	void *state = (void *)(uintptr_t)k;
	struct lcm_pool p;

	*w = (struct world){ .k = k };
	assert_int_equal(pool_setup(&state), 0);
	w->fs = state;
	(void)snprintf(w->pool, sizeof(w->pool), "%s/p", w->fs->dir);
	(void)snprintf(w->root, sizeof(w->root), "%s/root", w->fs->dir);
	(void)snprintf(w->run, sizeof(w->run), "%s/run", w->fs->dir);
	assert_int_equal(lcm_units_open(w->root, w->run, &w->u, &w->err), 0);
	o.path = w->pool;
	if (lcm_pool_add(w->u, &o, &p, &w->err) < 0)
		fail_msg("%s", w->err.msg);
}

static void print(void *arg, const char *what)
{
	(void)arg;
	print_message("check: %s\n", what);
}

static void end(struct world *w)
{
	void *state = w->fs;

	assert_int_equal(lcm_unit_check(w->u, true, print, NULL, &w->err), 0);
	lcm_units_free(w->u);
	assert_int_equal(pool_teardown(&state), 0);
}

/* For a call that must succeed: its text when it does not. */
#define OK(call)                                                                                   \
	do {                                                                                       \
		int ok_r = (call);                                                                 \
		if (ok_r < 0)                                                                      \
			fail_msg("%s:%d: %s: %s (%s)", __FILE__, __LINE__, #call, strerror(-ok_r), \
				 w->err.msg);                                                      \
	} while (0)

static void make(struct world *w, const char *name, const char *owner)
{
	const struct lcm_unit_options o = { .name = name, .owner = owner, .size = w->k->size };
	struct lcm_unit v;

	OK(lcm_unit_create(w->u, &o, &v, &w->err));
	assert_string_equal(v.name, name);
}

static void put(struct world *w, const char *unit, const char *text)
{
	struct lcm_unit v;
	lcm_autoclose int dir = -EBADF;

	OK(lcm_unit_attach(w->u, unit, NULL, &v, &w->err));
	dir = lcm_sys_openat(AT_FDCWD, lcm_unit_path(w->u, &v), O_RDONLY | O_DIRECTORY, 0);
	assert_true(dir >= 0);
	assert_int_equal(lcm_write_file_at(dir, "text", text, strlen(text), 0600), 0);
	lcm_closep(&dir);
	OK(lcm_unit_detach(w->u, unit, NULL, &w->err));
}

static void holds(struct world *w, const char *unit, const char *text)
{
	struct lcm_unit v;
	lcm_autofree char *got = NULL;
	char path[256];
	size_t len;

	OK(lcm_unit_attach(w->u, unit, NULL, &v, &w->err));
	(void)snprintf(path, sizeof(path), "%s/text", lcm_unit_path(w->u, &v));
	OK(lcm_read_file_at(AT_FDCWD, path, 100, &got, &len));
	assert_string_equal(got, text);
	OK(lcm_unit_detach(w->u, unit, NULL, &w->err));
}

/* ---- what each kind must do ---- */

static void one_owner_one_unit(struct world *w)
{
	struct lcm_unit_options o = { .owner = OWNER_A, .size = w->k->size };
	struct lcm_unit v, by;

	make(w, "a", OWNER_A);
	assert_int_equal(lcm_unit_create(w->u, &o, &v, &w->err), -EEXIST);
	assert_non_null(strstr(w->err.msg, "has a unit already: a"));
	o = (struct lcm_unit_options){ .name = "a", .size = w->k->size };
	assert_int_equal(lcm_unit_create(w->u, &o, &v, &w->err), -EEXIST);
	o.name = OWNER_B;
	assert_int_equal(lcm_unit_create(w->u, &o, &v, &w->err), -EINVAL);
	o.name = "x/y";
	assert_int_equal(lcm_unit_create(w->u, &o, &v, &w->err), -EINVAL);
	o = (struct lcm_unit_options){ .owner = "../../etc", .size = w->k->size };
	assert_int_equal(lcm_unit_create(w->u, &o, &v, &w->err), -EINVAL);
	OK(lcm_unit_get(w->u, OWNER_A, &by, &w->err));
	assert_string_equal(by.name, "a");
	OK(lcm_unit_get(w->u, by.id, &v, &w->err));
	assert_int_equal(v.seq, by.seq);
	assert_int_equal(lcm_unit_get(w->u, "b", &v, &w->err), -ENOENT);
	assert_int_equal(lcm_pool_remove(w->u, "p", &w->err), -ENOTEMPTY);
}

static void copies_are_apart(struct world *w)
{
	const struct lcm_unit_options o = { .name = "c", .owner = OWNER_B };
	struct lcm_unit v;

	make(w, "a", OWNER_A);
	put(w, "a", "one");
	OK(lcm_unit_snapshot(w->u, "a", "s1", &w->err));
	assert_int_equal(lcm_unit_snapshot(w->u, "a", "s1", &w->err), -EEXIST);
	put(w, "a", "two");
	OK(lcm_unit_clone(w->u, "a", "s1", &o, &v, &w->err));
	assert_string_equal(v.owner, OWNER_B);
	holds(w, "c", "one");
	put(w, "c", "three");
	holds(w, "a", "two");
	OK(lcm_unit_rollback(w->u, "a", "s1", &w->err));
	holds(w, "a", "one");
	holds(w, "c", "three");
	OK(lcm_unit_snapshot_delete(w->u, "a", "s1", &w->err));
	assert_int_equal(lcm_unit_rollback(w->u, "a", "s1", &w->err), -ENOENT);
	OK(lcm_unit_delete(w->u, "a", &w->err));
	holds(w, "c", "three");
}

static void attached_units_are_safe(struct world *w)
{
	const struct lcm_unit_options o = { .name = "live" };
	struct lcm_unit v, c;
	int r;

	make(w, "a", OWNER_A);
	put(w, "a", "one");
	OK(lcm_unit_snapshot(w->u, "a", "s", &w->err));
	OK(lcm_unit_attach(w->u, "a", "mount1", &v, &w->err));
	OK(lcm_unit_attach(w->u, "a", "mount1", &v, &w->err));
	assert_int_equal(lcm_unit_attach(w->u, "a", "mount2", &v, &w->err), -EBUSY);
	assert_non_null(strstr(w->err.msg, "mount mount1 has it"));
	assert_int_equal(lcm_unit_attach(w->u, "a", NULL, &v, &w->err), -EBUSY);
	assert_int_equal(lcm_unit_detach(w->u, "a", NULL, &w->err), -EBUSY);
	assert_int_equal(lcm_unit_delete(w->u, "a", &w->err), -EBUSY);
	assert_int_equal(lcm_unit_rollback(w->u, "a", "s", &w->err), -EBUSY);
	r = lcm_unit_clone(w->u, "a", NULL, &o, &c, &w->err);
	assert_int_equal(r, w->k->live ? 0 : -EBUSY);
	r = lcm_unit_snapshot(w->u, "a", "s2", &w->err);
	assert_int_equal(r, w->k->live ? 0 : -EBUSY);
	OK(lcm_unit_detach(w->u, "a", "mount1", &w->err));
	OK(lcm_unit_detach(w->u, "a", NULL, &w->err));
	if (w->k->live)
		holds(w, "live", "one");
	OK(lcm_unit_delete(w->u, "a", &w->err));
}

static void sizes_change(struct world *w)
{
	struct lcm_unit v;
	int r;

	make(w, "a", OWNER_A);
	put(w, "a", "one");
	OK(lcm_unit_resize(w->u, "a", 2 * w->k->size, &w->err));
	OK(lcm_unit_get(w->u, "a", &v, &w->err));
	assert_int_equal(v.size, 2 * w->k->size);
	OK(lcm_unit_attach(w->u, "a", NULL, &v, &w->err));
	r = lcm_unit_resize(w->u, "a", 3 * w->k->size, &w->err);
	assert_int_equal(r, w->k->grow_live ? 0 : -EBUSY);
	OK(lcm_unit_detach(w->u, "a", NULL, &w->err));
	holds(w, "a", "one");
	assert_int_equal(lcm_unit_resize(w->u, "a", 1, &w->err), -EINVAL);
	assert_int_equal(lcm_unit_resize(w->u, "a", 100000 * MB, &w->err), -ENOSPC);
	OK(lcm_unit_get(w->u, "a", &v, &w->err));
	assert_int_equal(v.size, (w->k->grow_live ? 3 : 2) * w->k->size);
}

#ifdef LCM_FAULTS
/* Runs @verb in a process that is killed at its @nth call. Return: whether it came to its end. */
static bool killed_at(struct world *w, long nth, int (*verb)(struct world *w))
{
	int status = -1;
	pid_t pid;

	lcm_units_free(w->u);
	pid = fork();
	assert_true(pid >= 0);
	OK(lcm_units_open(w->root, w->run, &w->u, &w->err));
	if (pid == 0) {
		lcm_fault_arm(nth, 0);
		_exit(verb(w) < 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
	return status == 0;
}

/* Bytes of the unit that its file system does not show: its log, or all where it is the pool's. */
static uint64_t not_shown(struct world *w)
{
	struct lcm_unit v;
	struct statvfs st;

	OK(lcm_unit_get(w->u, "a", &v, &w->err));
	assert_string_equal(v.op, "");
	assert_int_equal(statvfs(lcm_unit_path(w->u, &v), &st), 0);
	return w->k->ops->thick ? v.size - (uint64_t)st.f_blocks * st.f_frsize : 0;
}

static int grow(struct world *w)
{
	struct lcm_unit v;
	int r = lcm_unit_get(w->u, "a", &v, NULL);

	return r < 0 ? r : lcm_unit_resize(w->u, "a", v.size + 16 * MB, NULL);
}

/* Killed as it grows under its user, at every call: the next verb finishes it. */
static void growing_is_finished(struct world *w)
{
	struct lcm_unit v;
	uint64_t gap;
	bool done = false;

	if (!w->k->grow_live)
		return;
	make(w, "a", OWNER_A);
	OK(lcm_unit_attach(w->u, "a", NULL, &v, &w->err));
	gap = not_shown(w);
	for (long nth = 1; !done; nth++) {
		done = killed_at(w, nth, grow);
		OK(lcm_unit_gc(w->u, NULL, NULL, &w->err));
		assert_in_range(not_shown(w), 0, gap + MB);
	}
	OK(lcm_unit_detach(w->u, "a", NULL, &w->err));
}

/* Some frames of a unit, whose log is not empty where it can be copied in use. */
static void export_one(struct world *w)
{
	lcm_autoclose int fd = lcm_sys_openat(w->fs->top, "stream", O_WRONLY | O_CREAT, 0600);
	char path[LCM_UUID + 16];
	struct lcm_unit v;

	make(w, "a", OWNER_A);
	OK(lcm_unit_attach(w->u, "a", NULL, &v, &w->err));
	(void)snprintf(path, sizeof(path), "run/u/%s/bulk", v.id);
	assert_int_equal(pool_fill(w->fs, path, BULK), BULK);
	if (!w->k->live)
		OK(lcm_unit_detach(w->u, "a", NULL, &w->err));
	OK(lcm_unit_snapshot(w->u, "a", "s", &w->err));
	OK(lcm_unit_detach(w->u, "a", NULL, &w->err));
	OK(lcm_unit_export(w->u, "a", "s", 0, fd, &w->err));
}

static int import(struct world *w, const char *resume)
{
	const struct lcm_unit_options o = { .name = "came", .owner = OWNER_B };
	lcm_autoclose int fd = lcm_sys_openat(w->fs->top, "stream", O_RDONLY, 0);
	struct lcm_unit v;

	return fd < 0 ? fd : lcm_unit_import(w->u, &o, fd, resume, &v, &w->err);
}

static int import_new(struct world *w)
{
	return import(w, NULL);
}

static int import_on(struct world *w)
{
	return import(w, "came");
}

/* Goes on with what is there; where that is refused, deletes it and begins again. Return: whether
 * it could go on. */
static bool import_in_the_end(struct world *w)
{
	struct lcm_unit v;
	int r = lcm_unit_get(w->u, "came", &v, &w->err);

	if (r == 0 && !v.op[0])
		return false;
	if (r == 0) {
		r = import_on(w);
		if (r == 0)
			return true;
		assert_int_equal(r, -ENOENT);
		assert_non_null(strstr(w->err.msg, "delete it and begin again"));
		OK(lcm_unit_delete(w->u, "came", &w->err));
	}
	assert_int_equal(r, -ENOENT);
	OK(import_new(w));
	return false;
}

static void came_whole(struct world *w)
{
	lcm_autofree char *got = NULL;
	char path[LCM_UUID + 16];
	struct lcm_unit v;
	size_t len;

	OK(lcm_unit_attach(w->u, "came", NULL, &v, &w->err));
	(void)snprintf(path, sizeof(path), "run/u/%s/bulk", v.id);
	OK(lcm_read_file_at(w->fs->top, path, BULK, &got, &len));
	assert_int_equal(len, BULK);
	assert_memory_equal(got, "locum old secret", 16);
	assert_memory_equal(got, got + 16, BULK - 16);
	OK(lcm_unit_detach(w->u, "came", NULL, &w->err));
	assert_int_equal(lcm_unit_check(w->u, false, print, NULL, &w->err), 0);
	OK(lcm_unit_delete(w->u, "came", &w->err));
}

/* Killed at every call. */
static void imports_go_on(struct world *w)
{
	int went_on = 0;
	bool done = false;
	long nth = 1;

	/* Images are received the same way everywhere, and each commit of btrfs takes its time. */
	if (w->k->ops->thick && strcmp(w->k->fs, "btrfs") == 0)
		return;
	export_one(w);
	for (; !done; nth++) {
		done = killed_at(w, nth, import_new);
		went_on += import_in_the_end(w);
		came_whole(w);
	}
	print_message("%s: killed at %ld calls, went on after %d\n", w->k->name, nth - 2, went_on);
	assert_true(went_on > 10);
}

/* Return: whether what came may be gone on with; then the digest of it. */
static bool came_half(struct world *w, struct lcm_digest *ret)
{
	lcm_auto(lcm_hash) hash = lcm_hash_new();
	lcm_autofree char *buf = malloc(MB);
	lcm_autoclose int data = -EBADF, tmp = -EBADF;
	char path[LCM_UUID + 16];
	struct lcm_unit v;
	struct stat st;
	ssize_t n = 0;
	bool is;

	assert_true(hash && buf);
	OK(lcm_unit_get(w->u, "came", &v, &w->err));
	(void)snprintf(path, sizeof(path), ".tmp/%s", v.id);
	tmp = lcm_sys_openat(w->fs->fd, path, O_RDONLY | O_DIRECTORY, 0);
	is = tmp >= 0 && lcm_sys_fstatat(tmp, "stream.json", &st, 0) == 0;
	if (is)
		data = lcm_sys_openat(tmp, "data", O_RDONLY, 0);
	while (is && (n = lcm_sys_read(data, buf, MB)) > 0)
		lcm_hash_update(hash, buf, (size_t)n);
	assert_int_equal(n, 0);
	lcm_hash_final(hash, ret);
	return is;
}

static void drop_end_of_stream(struct world *w)
{
	lcm_autoclose int fd = lcm_sys_openat(w->fs->top, "stream", O_RDWR, 0);
	struct stat st;

	assert_int_equal(lcm_sys_fstat(fd, &st), 0);
	assert_int_equal(lcm_sys_ftruncate(fd, (uint64_t)st.st_size - LCM_FRAME_BYTES), 0);
}

/* Killed as late as can be, after its file system was mounted: nothing of that is in what comes
 * then, not even where the stream has nothing. */
static void resumed_is_the_stream(struct world *w)
{
	struct lcm_digest got, want;
	long nth;

	if (!w->k->ops->thick)
		return;
	export_one(w);
	lcm_fault_arm(LONG_MAX, EIO);
	OK(import_new(w));
	nth = lcm_fault_count() + 1;
	lcm_fault_disarm();
	do {
		OK(lcm_unit_delete(w->u, "came", &w->err));
		assert_true(nth > 1);
		lcm_ignore(killed_at(w, nth--, import_new));
	} while (!came_half(w, &got));
	drop_end_of_stream(w);
	assert_int_equal(import_on(w), -EIO);
	assert_true(came_half(w, &got));
	OK(lcm_unit_delete(w->u, "came", &w->err));
	assert_int_equal(import_new(w), -EIO);
	assert_true(came_half(w, &want));
	assert_true(lcm_digest_equal(&got, &want));
	OK(lcm_unit_delete(w->u, "came", &w->err));
}
#endif

static void the_floor_holds(struct world *w)
{
	const struct lcm_unit_options big = { .size = 4096 * MB };
	struct lcm_pool_space before, s;
	struct lcm_unit_options o = { .name = "rest" };
	struct lcm_pool p;
	struct lcm_unit v;

	make(w, "a", OWNER_A);
	OK(lcm_pool_get(w->u, NULL, &p, &w->err));
	OK(lcm_pool_space(w->u, &p, &before, &w->err));
	assert_int_equal(lcm_unit_create(w->u, &big, &v, &w->err), -ENOSPC);
	OK(lcm_pool_space(w->u, &p, &s, &w->err));
	assert_int_equal(s.units, 1);
	assert_true(s.promised == before.promised);
	o.size = s.available + 4096;
	assert_int_equal(lcm_unit_create(w->u, &o, &v, &w->err), -ENOSPC);
	OK(lcm_unit_snapshot(w->u, "a", "s", &w->err));
	OK(lcm_pool_space(w->u, &p, &s, &w->err));
	/* An empty subvolume has been promised all of its size already. */
	if (w->k->ops->thick)
		assert_true(s.available <= before.available - w->k->size / 2);
	else
		assert_true(s.available <= before.available + 4 * MB);
}

static uint64_t available(struct world *w)
{
	struct lcm_pool_space s;
	struct lcm_pool p;

	OK(lcm_pool_get(w->u, "p", &p, &w->err));
	OK(lcm_pool_space(w->u, &p, &s, &w->err));
	return s.available / 4 * 3 & ~4095ULL;
}

/* Most of what is left can be had, by a new unit, by one that grows, and again when that was
 * deleted. */
static void what_is_left_can_be_had(struct world *w)
{
	struct lcm_unit_options o = { .name = "large", .size = available(w) };
	struct lcm_unit v;

	for (int i = 0; i < (w->k->ops->thick ? 2 : 1); i++) {
		OK(lcm_unit_create(w->u, &o, &v, &w->err));
		OK(lcm_unit_resize(w->u, "large", o.size + available(w), &w->err));
		OK(lcm_unit_delete(w->u, "large", &w->err));
	}
}

static void what_is_wrong_is_found(struct world *w)
{
	char a[LCM_UUID + 120], b[LCM_UUID + 120];
	struct lcm_unit va, vb, v;
	static const char strange[] = "00000000-0000-4000-8000-000000000000";

	make(w, "a", OWNER_A);
	make(w, "b", OWNER_B);
	assert_int_equal(lcm_unit_check(w->u, true, print, NULL, &w->err), 0);
	OK(lcm_unit_get(w->u, "a", &va, &w->err));
	OK(lcm_unit_get(w->u, "b", &vb, &w->err));
	(void)snprintf(a, sizeof(a), "%s/%s/data", w->pool, va.id);
	(void)snprintf(b, sizeof(b), "%s/%s/data", w->pool, vb.id);
	assert_int_equal(lcm_sys_renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE), 0);
	assert_int_equal(lcm_unit_check(w->u, true, NULL, NULL, &w->err), 2);
	assert_int_equal(lcm_unit_attach(w->u, "a", NULL, &v, &w->err), -EUCLEAN);
	assert_int_equal(lcm_sys_renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE), 0);
	(void)snprintf(a, sizeof(a), "%s/%s", w->pool, strange);
	assert_int_equal(lcm_sys_mkdirat(AT_FDCWD, a, 0700), 0);
	assert_int_equal(lcm_unit_check(w->u, false, NULL, NULL, &w->err), 1);
	assert_int_equal(lcm_sys_unlinkat(AT_FDCWD, a, AT_REMOVEDIR), 0);
	(void)snprintf(a, sizeof(a), "%s/%s", w->pool, va.id);
	(void)snprintf(b, sizeof(b), "%s/%s", w->pool, strange);
	assert_int_equal(lcm_sys_renameat(AT_FDCWD, a, AT_FDCWD, b), 0);
	assert_int_equal(lcm_unit_check(w->u, false, NULL, NULL, &w->err),
			 2); /* lost, and nobody's */
	assert_int_equal(lcm_sys_renameat(AT_FDCWD, b, AT_FDCWD, a), 0);
}

static void another_disk_is_noticed(struct world *w)
{
	lcm_autoclose int disk = lcm_sys_open_clone(AT_FDCWD, w->pool, 0), at = -EBADF;
	struct lcm_unit v;

	make(w, "a", OWNER_A);
	assert_true(disk >= 0);
	lcm_closep(&w->fs->fd);
	assert_int_equal(umount2(w->pool, 0), 0);
	assert_int_equal(lcm_unit_attach(w->u, "a", NULL, &v, &w->err), -ESTALE);
	assert_int_equal(lcm_unit_delete(w->u, "a", &w->err), -ESTALE);
	assert_true(lcm_unit_check(w->u, false, NULL, NULL, &w->err) > 0);
	assert_int_equal(mount("none", w->pool, "tmpfs", 0, ""), 0);
	assert_int_equal(lcm_unit_delete(w->u, "a", &w->err), -ESTALE);
	assert_int_equal(umount2(w->pool, 0), 0);
	at = lcm_sys_openat(AT_FDCWD, w->pool, O_PATH | O_DIRECTORY, 0);
	assert_int_equal(lcm_sys_move_mount(disk, at), 0);
	w->fs->fd = lcm_sys_openat(AT_FDCWD, w->pool, O_RDONLY | O_DIRECTORY, 0);
}

static void (*const parts[])(struct world *w) = {
	one_owner_one_unit,     copies_are_apart,        attached_units_are_safe,
	sizes_change,           the_floor_holds,         what_is_left_can_be_had,
	what_is_wrong_is_found, another_disk_is_noticed,
#ifdef LCM_FAULTS
	growing_is_finished,    imports_go_on,           resumed_is_the_stream,
#endif
};

static void one_kind(void **state)
{
	for (size_t k = 0; k < LCM_ARRAY_SIZE(parts); k++) {
		struct world w;

		begin(&w, *state);
		parts[k](&w);
		end(&w);
	}
}

int main(void)
{
	struct CMUnitTest tests[LCM_ARRAY_SIZE(kinds)];

	if (!pool_may_run("test_units"))
		return getenv("LCM_TESTS_MUST_RUN") ? 1 : 77;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(kinds); i++)
		tests[i] = (struct CMUnitTest){ .name = kinds[i].name,
						.test_func = one_kind,
						.initial_state = (void *)(uintptr_t)&kinds[i] };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
