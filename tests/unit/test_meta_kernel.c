/* SPDX-License-Identifier: Apache-2.0 */
/* META against the kernel and fsck.erofs: random trees, then overlay mounts of real trees. Root
 * only. */
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "overlay/mount.h"
#include "tests/lib/meta_model.h"
#include "tests/unit/test.h"

extern char **environ;

#define TREES 200

struct fixture {
	char *dir;
	int fd;
	char image[128];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->dir = test_mkdir();
	f->fd = lcm_sys_openat(AT_FDCWD, f->dir, O_RDONLY | O_DIRECTORY, 0);
	assert_true(f->fd >= 0);
	(void)snprintf(f->image, sizeof(f->image), "%s/meta.erofs", f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	(void)close(f->fd);
	test_rmdir(f->dir);
	free(f);
	return 0;
}

static void write_image(struct fixture *f, const struct lcm_meta_layer *l, size_t n,
			struct lcm_meta_stats *st)
{
	struct lcm_err err = { 0 };
	int fd = lcm_sys_openat(AT_FDCWD, f->image, O_RDWR | O_CREAT | O_TRUNC, 0600), r;

	assert_true(fd >= 0);
	r = lcm_meta_write(l, n, fd, st, &err);
	if (r < 0)
		fail_msg("lcm_meta_write: %s", lcm_err_text(&err, r));
	(void)close(fd);
}

/* 0: the image is sound; 127: there is no fsck.erofs. Version 1.5 exits with 0 on some errors: its
 * messages count, too.
 */
static int fsck(const char *image)
{
	char *argv[] = { (char *)(uintptr_t) "fsck.erofs", (char *)(uintptr_t) "-d2",
			 (char *)(uintptr_t)image, NULL };
	lcm_autoclose int log = memfd_create("fsck", MFD_CLOEXEC);
	posix_spawn_file_actions_t fa;
	char text[4096] = "";
	int status = -1, r;
	pid_t pid;

	assert_true(log >= 0);
	assert_int_equal(posix_spawn_file_actions_init(&fa), 0);
	assert_int_equal(posix_spawn_file_actions_adddup2(&fa, log, 1), 0);
	assert_int_equal(posix_spawn_file_actions_adddup2(&fa, log, 2), 0);
	r = posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&fa);
	if (r != 0)
		return 127;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(lseek(log, 0, SEEK_SET), 0);
	assert_true(lcm_sys_read(log, text, sizeof(text) - 1) >= 0);
	if (!WIFEXITED(status))
		return 128;
	if (strstr(text, "<E>") || strstr(text, "<W>")) {
		print_message("%s", text);
		return 1;
	}
	return WEXITSTATUS(status);
}

static int mount_image(struct fixture *f)
{
	struct lcm_err err = { 0 };
	int fd = lcm_mount_erofs(f->image, false, &err);

	if (fd < 0)
		fail_msg("mount: %s", lcm_err_text(&err, fd));
	return fd;
}

/* The same tree through a read-only overlay with nothing in REAL: all but content must be there. */
static const char *check_overlay(struct fixture *f, struct mm_model *m, int meta)
{
	struct lcm_overlay_spec spec = { .lowers = &meta,
					 .n_lowers = 1,
					 .n_data = 1,
					 .upper = -1,
					 .work = -1,
					 .source = "locum-test" };
	struct lcm_err err = { 0 };
	const char *bad;
	int fd, real;

	assert_int_equal(lcm_sys_mkdirat(f->fd, "real", 0755), 0);
	real = lcm_sys_openat(f->fd, "real", O_RDONLY | O_DIRECTORY, 0);
	spec.data = &real;
	fd = lcm_mount_overlay(&spec, &err);
	if (fd < 0)
		fail_msg("overlay: %s", lcm_err_text(&err, fd));
	bad = mm_check_mount(m, fd, true);
	(void)close(fd);
	(void)close(real);
	assert_int_equal(lcm_sys_unlinkat(f->fd, "real", AT_REMOVEDIR), 0);
	return bad;
}

/* xorshift: the same trees on every machine. */
static uint64_t next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static void random_trees(void **state)
{
	struct fixture *f = *state;
	uint64_t seed = 0x6c6f63756d, nodes = 0;

	for (int i = 0; i < TREES; i++) {
		size_t len = next_random(&seed) % 4096;
		uint8_t data[4096];
		struct lcm_meta_stats st;
		struct mm_layers l;
		struct mm_model m;
		const char *bad;
		int fd;

		for (size_t j = 0; j < len; j++)
			data[j] = (uint8_t)(next_random(&seed) >> 20);
		if (len)
			data[0] = MM_LAYERS_MAX;
		mm_generate(data, len, f->fd, &l);
		write_image(f, l.l, l.n, &st);
		assert_int_equal(fsck(f->image), 0);
		mm_build(&m, l.l, l.n);
		fd = mount_image(f);
		bad = mm_check_mount(&m, fd, false);
		if (!bad && i % 8 == 0)
			bad = check_overlay(f, &m, fd);
		if (bad)
			fail_msg("tree %d: %s", i, bad);
		nodes += m.inodes;
		(void)close(fd);
		mm_fini(&m);
		mm_layers_fini(&l);
	}
	assert_true(nodes > 5000);
}

/* A checker that accepts everything proves nothing: break the image, and both must say so. */
static void damage_is_seen(void **state)
{
	struct fixture *f = *state;
	static const uint8_t data[] = { 1,  20, 1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
					12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24 };
	struct lcm_meta_stats st;
	struct mm_layers l;
	uint8_t byte;
	int fd;

	mm_generate(data, sizeof(data), f->fd, &l);
	write_image(f, l.l, l.n, &st);
	assert_int_equal(fsck(f->image), 0);
	fd = lcm_sys_openat(AT_FDCWD, f->image, O_RDWR, 0);
	assert_int_equal(lcm_sys_pread_full(fd, &byte, 1, 1300), 0);
	byte ^= 0x10;
	assert_int_equal(lcm_sys_pwrite_full(fd, &byte, 1, 1300), 0);
	(void)close(fd);
	assert_int_not_equal(fsck(f->image), 0);
	assert_true(lcm_mount_erofs(f->image, false, NULL) < 0);
	mm_layers_fini(&l);
}

/* ---- under overlayfs ---- */

static struct lcm_toc *toc_of(struct fixture *f, const char *file, const struct lcm_toc_item *items,
			      size_t n)
{
	struct lcm_toc_id id = { .compression = LCM_COMP_NONE, .blob_size = 1, .blob = { { 1 } } };
	struct lcm_toc_builder *b = NULL;
	struct lcm_toc *toc = NULL;
	struct lcm_err err = { 0 };

	assert_int_equal(lcm_toc_builder_new(&b), 0);
	for (size_t i = 0; i < n; i++)
		if (lcm_toc_builder_add(b, &items[i], &err) < 0)
			fail_msg("%s", err.msg);
	if (lcm_toc_builder_finish(b, &id, f->fd, file, false, &err) < 0)
		fail_msg("%s", err.msg);
	lcm_toc_builder_free(b);
	assert_int_equal(lcm_toc_open(f->fd, file, &toc, &err), 0);
	return toc;
}

static int overlay_of(struct fixture *f, int meta, int real)
{
	struct lcm_overlay_spec spec = {
		.lowers = &meta, .n_lowers = 1, .data = &real, .n_data = 1, .source = "locum-test"
	};
	struct lcm_err err = { 0 };
	int fd;

	assert_int_equal(lcm_sys_mkdirat(f->fd, "upper", 0755), 0);
	assert_int_equal(lcm_sys_mkdirat(f->fd, "work", 0755), 0);
	spec.upper = lcm_sys_openat(f->fd, "upper", O_RDONLY | O_DIRECTORY, 0);
	spec.work = lcm_sys_openat(f->fd, "work", O_RDONLY | O_DIRECTORY, 0);
	fd = lcm_mount_overlay(&spec, &err);
	if (fd < 0)
		fail_msg("overlay: %s", lcm_err_text(&err, fd));
	(void)close(spec.upper);
	(void)close(spec.work);
	return fd;
}

static void overlay_gone(struct fixture *f, int fd)
{
	(void)close(fd);
	assert_int_equal(lcm_rmtree_at(f->fd, "upper"), 0);
	assert_int_equal(lcm_rmtree_at(f->fd, "work"), 0);
	assert_int_equal(lcm_rmtree_at(f->fd, "real"), 0);
}

/* REAL/<layer>/<path> for every path; each file holds its own path. */
static int make_real(struct fixture *f, const char *layer, const struct lcm_toc_item *items,
		     size_t n)
{
	int real, dir;

	assert_int_equal(lcm_sys_mkdirat(f->fd, "real", 0755), 0);
	real = lcm_sys_openat(f->fd, "real", O_RDONLY | O_DIRECTORY, 0);
	assert_int_equal(lcm_sys_mkdirat(real, layer, 0755), 0);
	dir = lcm_sys_openat(real, layer, O_RDONLY | O_DIRECTORY, 0);
	for (size_t i = 0; i < n; i++) {
		if (items[i].type == LCM_TOC_DIR && strcmp(items[i].path, "./") != 0) {
			assert_int_equal(lcm_sys_mkdirat(dir, items[i].path, 0755), 0);
		} else if (items[i].type == LCM_TOC_REG) {
			lcm_autoclose int fd = lcm_sys_openat(dir, items[i].path,
							      O_WRONLY | O_CREAT | O_EXCL, 0600);

			assert_true(fd >= 0);
			assert_int_equal(lcm_sys_write_full(fd, items[i].path, items[i].path_len),
					 0);
		}
	}
	(void)close(dir);
	return real;
}

static void assert_content(int root, const char *path, const char *want)
{
	lcm_autofree char *got = NULL;
	size_t len = 0;
	int r = lcm_read_file_at(root, path, 1U << 20, &got, &len);

	if (r < 0)
		fail_msg("%.100s: %s", path, strerror(-r));
	assert_int_equal(len, strlen(want));
	assert_memory_equal(got, want, len);
}

static struct lcm_toc_item file_item(const char *path)
{
	return (struct lcm_toc_item){ .type = LCM_TOC_REG,
				      .path = path,
				      .path_len = strlen(path),
				      .size = strlen(path),
				      .mode = 0640 };
}

/* Content through a redirect whose name has each byte a file name may have, alone, first, last and
 * doubled. */
static void every_byte_in_names(void **state)
{
	struct fixture *f = *state;
	static struct lcm_toc_item items[1024];
	static char names[1024][16];
	struct lcm_meta_layer layer = { .name = "l1" };
	struct lcm_meta_stats st;
	size_t n = 0;
	int meta, real, root;

	for (int c = 1; c < 256; c++) {
		static const char *const forms[] = { "%c", "a%cb", "%c%ca", "d%c" };

		for (size_t k = 0; k < LCM_ARRAY_SIZE(forms); k++) {
			(void)snprintf(names[n], sizeof(names[n]), forms[k], c, c);
			if (c == '/' || !strcmp(names[n], "."))
				continue;
			items[n] = file_item(names[n]);
			n++;
		}
	}
	assert_true(n > 1000);
	layer.toc = toc_of(f, "t", items, n);
	write_image(f, &layer, 1, &st);
	assert_int_equal(fsck(f->image), 0);
	meta = mount_image(f);
	real = make_real(f, "l1", items, n);
	root = overlay_of(f, meta, real);
	for (size_t i = 0; i < n; i++)
		assert_content(root, names[i], names[i]);
	(void)close(real);
	(void)close(meta);
	overlay_gone(f, root);
	lcm_toc_close((struct lcm_toc *)(uintptr_t)layer.toc);
}

/* A file whose path has exactly @len bytes, below directories of 200; returns the number of items.
 */
static size_t deep_items(struct lcm_toc_item *items, char (*paths)[LCM_PATH_MAX + 1], size_t len)
{
	size_t n = 0;

	for (size_t at = 200;; at += 201) {
		bool last = at + 1 >= len;
		size_t end = last ? len : at;

		memset(paths[n], 'd', end);
		paths[n][end] = '\0';
		for (size_t i = 200; i < end; i += 201)
			paths[n][i] = '/';
		items[n] = file_item(paths[n]);
		if (!last)
			items[n].type = LCM_TOC_DIR;
		n++;
		if (last)
			return n;
	}
}

/* vfs_path_lookup() takes PATH_MAX - 1 bytes of redirect, one more is refused here and not there.
 */
static void paths_near_path_max(void **state)
{
	static const struct {
		size_t layer_len, path_len;
		int want;
	} rows[] = {
		{ 1, 199, 0 },
		{ 1, 3000, 0 },
		{ 1, LCM_PATH_MAX, 0 },
		{ 93, 4000, 0 },
		{ 94, 4000, -ENAMETOOLONG },
		{ 255, 3838, 0 },
	};
	static char paths[32][LCM_PATH_MAX + 1];
	struct fixture *f = *state;
	struct lcm_toc_item items[32];

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		size_t n = deep_items(items, paths, rows[i].path_len);
		struct lcm_meta_stats st = { .inodes = 7 };
		struct lcm_meta_layer layer;
		int meta, real, root, fd, r;
		char name[256] = "";

		memset(name, 'n', rows[i].layer_len);
		layer = (struct lcm_meta_layer){ .name = name, .toc = toc_of(f, "t", items, n) };
		fd = memfd_create("meta", MFD_CLOEXEC);
		r = lcm_meta_write(&layer, 1, fd, &st, NULL);
		(void)close(fd);
		assert_int_equal(r, rows[i].want);
		if (r == 0) {
			write_image(f, &layer, 1, &st);
			meta = mount_image(f);
			real = make_real(f, name, items, n);
			root = overlay_of(f, meta, real);
			assert_content(root, items[n - 1].path, items[n - 1].path);
			(void)close(real);
			(void)close(meta);
			overlay_gone(f, root);
		} else {
			assert_int_equal(st.inodes, 7);
		}
		lcm_toc_close((struct lcm_toc *)(uintptr_t)layer.toc);
	}
}

/* What a container sees and does: metadata, content, copy-up, nothing of the overlay's own xattrs.
 */
static void overlay_semantics(void **state)
{
	static const struct lcm_xattr cap = {
		"security.capability", 19, 20,
		(const uint8_t *)"\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
	};
	struct lcm_toc_item items[] = { { .type = LCM_TOC_DIR,
					  .path = "./",
					  .path_len = 2,
					  .mode = 0751,
					  .uid = 5,
					  .mtime = 99 },
					file_item("ping"),
					file_item("big"),
					{ .type = LCM_TOC_HARDLINK,
					  .path = "pong",
					  .path_len = 4,
					  .link = "ping",
					  .link_len = 4 },
					{ .type = LCM_TOC_CHAR,
					  .path = "null",
					  .path_len = 4,
					  .mode = 0666,
					  .rdev_major = 1,
					  .rdev_minor = 3 } };
	struct fixture *f = *state;
	struct lcm_meta_layer layer = { .name = "l1" };
	struct lcm_meta_stats st;
	char value[64], list[256];
	struct stat sb;
	int meta, real, root, fd;

	items[1].mode = 04755;
	items[1].uid = 70000;
	items[1].mtime = -7;
	items[1].mtime_nsec = 13;
	items[1].xattrs = &cap;
	items[1].n_xattrs = 1;
	layer.toc = toc_of(f, "t", items, LCM_ARRAY_SIZE(items));
	write_image(f, &layer, 1, &st);
	meta = mount_image(f);
	real = make_real(f, "l1", items, LCM_ARRAY_SIZE(items));
	root = overlay_of(f, meta, real);

	assert_int_equal(lcm_sys_fstatat(root, "pong", &sb, 0), 0);
	assert_int_equal(sb.st_mode, S_IFREG | 04755);
	assert_int_equal(sb.st_uid, 70000);
	assert_int_equal(sb.st_nlink, 2);
	assert_int_equal(sb.st_size, 4);
	assert_int_equal(sb.st_mtim.tv_sec, -7);
	assert_int_equal(sb.st_mtim.tv_nsec, 13);
	assert_content(root, "pong", "ping");
	fd = lcm_sys_openat(root, "ping", O_RDONLY, 0);
	assert_int_equal(fgetxattr(fd, "security.capability", value, sizeof(value)), 20);
	assert_int_equal(flistxattr(fd, list, sizeof(list)), 20);
	(void)close(fd);
	assert_int_equal(lcm_sys_fstatat(root, "null", &sb, 0), 0);
	assert_int_equal(sb.st_rdev, 0x103);

	assert_int_equal(lcm_sys_fchmodat(root, "big", 0600),
			 0); /* copy-up of a file never opened */
	assert_content(root, "big", "big");
	fd = lcm_sys_openat(root, "ping", O_WRONLY | O_APPEND, 0);
	assert_int_equal(lcm_sys_write_full(fd, "!", 1), 0);
	(void)close(fd);
	assert_content(root, "ping", "ping!");
	assert_int_equal(lcm_sys_renameat(root, "big", root, "moved"), 0);
	assert_content(root, "moved", "big");

	(void)close(real);
	(void)close(meta);
	overlay_gone(f, root);
	lcm_toc_close((struct lcm_toc *)(uintptr_t)layer.toc);
}

/* A private mount namespace; children of it take their mounts with them. */
static bool can_mount(void)
{
	return getuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(random_trees, setup, teardown),
		cmocka_unit_test_setup_teardown(damage_is_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(every_byte_in_names, setup, teardown),
		cmocka_unit_test_setup_teardown(paths_near_path_max, setup, teardown),
		cmocka_unit_test_setup_teardown(overlay_semantics, setup, teardown),
	};
	struct lcm_mount_features have;

	if (!can_mount() || lcm_mount_probe("/tmp", &have, NULL) < 0 || !have.erofs_file ||
	    !have.data_only || !have.redirect_no_metacopy || fsck("/dev/null") == 127) {
		fprintf(stderr, "skipped: needs root, fsck.erofs, and a kernel that mounts META\n");
		return getenv("LCM_TESTS_MUST_RUN") ? 1 : 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
