/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <signal.h>
#include <sys/sysmacros.h>

#include "tests/unit/unpack_util.h"

static const struct tar_item layer[] = {
	{ .path = "./", .type = '5', .mode = 0750, .mtime = 11 },
	{ .path = "bin", .type = '5', .mode = 0755, .mtime = 12 },
	{ .path = "bin/su",
	  .data = "setuid program",
	  .mode = 04755,
	  .uid = 1,
	  .gid = 2,
	  .mtime = 13 },
	{ .path = "bin/tool", .data = "another program", .mode = 0755, .mtime = 14 },
	{ .path = "bin/link", .type = '2', .link = "tool", .mode = 0777, .mtime = 15 },
	{ .path = "bin/hard", .type = '1', .link = "bin/tool", .mode = 0755, .mtime = 14 },
	{ .path = "dev", .type = '5', .mode = 0755 },
	{ .path = "dev/fifo", .type = '6', .mode = 0600 },
	{ .path = "dev/null", .type = '3', .mode = 0666, .major = 1, .minor = 3 },
	{ .path = "empty", .data = "", .mode = 0444 },
	{ .path = "etc/.wh.gone", .data = "" },
	{ .path = "etc/.wh..wh..opq", .data = "" },
	{ .path = "etc/conf", .data = "setting", .mode = 0640, .gid = 42, .mtime = 16 },
};
#define LAYER_FILES 4 /* regular ones */

static void make_layer(struct lcm_buf *b, size_t change, const struct tar_item *changed)
{
	static const char *const records[] = { "SCHILY.xattr.user.a=b", "mtime=-1.25", NULL };

	*b = LCM_BUF(1 << 20);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(layer); i++) {
		if (i == 3)
			tar_add_pax(b, records);
		if (i != change)
			tar_add(b, &layer[i]);
		else if (changed)
			tar_add(b, changed);
	}
	tar_end(b);
}

static uint32_t entry_of(const struct lcm_toc *toc, const char *path)
{
	uint32_t i = lcm_toc_walk(toc, path, strlen(path));

	assert_int_not_equal(i, LCM_TOC_NONE);
	return i;
}

/* Nothing may be left beside the layers. */
static unsigned int tmp_entries(const struct layer_fixture *f)
{
	char path[300];
	struct dirent *e;
	unsigned int n = 0;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s/tmp", f->dir);
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	(void)closedir(d);
	return n;
}

static int place_bytes(struct layer_fixture *f, const struct lcm_toc *toc, uint32_t entry,
		       const char *data)
{
	char name[64] = "unset";
	lcm_autoclose int fd = lcm_layer_tmp(f->d, toc, entry, name);

	if (fd < 0)
		return fd;
	if (lcm_sys_write_full(fd, data, strlen(data)) < 0) {
		if (name[0])
			lcm_ignore(lcm_sys_unlinkat(f->tmp, name, 0));
		return -EIO;
	}
	return lcm_layer_place(f->d, toc, entry, fd, name, NULL);
}

static void place_one(void **state)
{
	struct layer_fixture f;
	struct lcm_buf b;
	struct lcm_toc *toc;
	struct stat st;
	uint32_t su, tool;
	char text[32] = "";
	int fd;

	(void)state;
	make_layer(&b, SIZE_MAX, NULL);
	layer_setup(&f);
	toc = toc_of_bytes(&f, &b);
	su = entry_of(toc, "bin/su");
	tool = entry_of(toc, "bin/tool");
	assert_int_equal(lcm_layer_has(f.d, toc, su), 0);
	assert_int_equal(lcm_layer_open_file(f.d, toc, su), -ENOENT);
	assert_int_equal(place_bytes(&f, toc, su, "setuid program"), 0);
	assert_int_equal(lcm_layer_has(f.d, toc, su), 1);
	assert_int_equal(place_bytes(&f, toc, su, "setuid program"), -EEXIST);
	assert_int_equal(place_bytes(&f, toc, tool, "another program"), 0);
	assert_int_equal(tmp_entries(&f), 0);
	fd = lcm_layer_open_file(f.d, toc, su);
	assert_true(fd >= 0);
	assert_int_equal(lcm_sys_pread_full(fd, text, 14, 0), 0);
	assert_string_equal(text, "setuid program");
	assert_int_equal(lcm_sys_fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 04755);
	assert_int_equal(st.st_uid, 1);
	assert_int_equal(st.st_gid, 2);
	assert_int_equal(st.st_mtim.tv_sec, 13);
	lcm_closep(&fd);
	fd = lcm_layer_open_file(f.d, toc, tool);
	assert_int_equal(lcm_sys_fstat(fd, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, -2);
	assert_int_equal(st.st_mtim.tv_nsec, 750000000);
	assert_int_equal(fgetxattr(fd, "user.a", text, sizeof(text)), 1);
	lcm_closep(&fd);
	assert_int_equal(lcm_layer_has(f.d, toc, entry_of(toc, "bin")), -EINVAL);
	assert_int_equal(lcm_layer_has(f.d, toc, lcm_toc_count(toc)), -EINVAL);
	assert_int_equal(place_bytes(&f, toc, entry_of(toc, "dev/fifo"), ""), -EINVAL);
	assert_int_equal(lcm_sys_unlinkat(f.real, "l/bin/su", 0), 0);
	assert_int_equal(lcm_sys_symlinkat("/etc/passwd", f.real, "l/bin/su"), 0);
	assert_int_equal(lcm_layer_has(f.d, toc, su), -EUCLEAN);
	assert_int_equal(lcm_layer_open_file(f.d, toc, su), -ELOOP);
	lcm_toc_close(toc);
	layer_teardown(&f);
	lcm_buf_fini(&b);
}

/* What a power cut does to a file that was never synced. */
static void spoil(struct layer_fixture *f, const char *how)
{
	lcm_autoclose int fd = lcm_sys_openat(f->real, "l/bin/su", O_WRONLY | O_NOFOLLOW, 0);

	assert_true(fd >= 0);
	if (strcmp(how, "attributes") == 0)
		assert_int_equal(lcm_sys_fchmod(fd, 0600), 0);
	else if (strcmp(how, "short") == 0)
		assert_int_equal(lcm_sys_ftruncate(fd, 5), 0);
	else if (strcmp(how, "zeros") == 0)
		assert_int_equal(lcm_sys_pwrite_full(fd, "\0\0\0", 3, 4), 0);
	else
		assert_int_equal(lcm_sys_unlinkat(f->real, "l/bin/su", 0), 0);
	if (strcmp(how, "link") == 0)
		assert_int_equal(lcm_sys_symlinkat("tool", f->real, "l/bin/su"), 0);
	if (strcmp(how, "directory") == 0)
		assert_int_equal(lcm_sys_mkdirat(f->real, "l/bin/su", 0700), 0);
}

static void what_a_reboot_left(void **state)
{
	static const struct {
		const char *how;
		int r;
	} rows[] = { { "attributes", 1 },   { "gone", 0 },      { "short", -EBADMSG },
		     { "zeros", -EBADMSG }, { "link", -ELOOP }, { "directory", -EBADMSG } };
	struct layer_fixture f;
	struct lcm_buf b;
	struct lcm_toc *toc;
	struct stat st;
	uint32_t su;

	(void)state;
	make_layer(&b, SIZE_MAX, NULL);
	layer_setup(&f);
	toc = toc_of_bytes(&f, &b);
	su = entry_of(toc, "bin/su");
	assert_int_equal(lcm_layer_verify(f.d, toc, su), 0); /* nor is its directory there */
	assert_int_equal(place_bytes(&f, toc, entry_of(toc, "bin/tool"), "another program"), 0);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		assert_int_equal(place_bytes(&f, toc, su, "setuid program"), 0);
		spoil(&f, rows[i].how);
		assert_int_equal(lcm_layer_verify(f.d, toc, su), rows[i].r);
		assert_int_equal(lcm_sys_fstatat(f.real, "l/bin/su", &st, AT_SYMLINK_NOFOLLOW),
				 rows[i].r ? 0 : -ENOENT);
		if (rows[i].r == 1)
			assert_int_equal(st.st_mode & 07777, 04755);
		assert_int_equal(lcm_layer_unplace(f.d, toc, su), 0);
		assert_int_equal(lcm_layer_has(f.d, toc, su), 0);
	}
	assert_int_equal(lcm_layer_verify(f.d, toc, entry_of(toc, "bin/tool")), 1);
	lcm_toc_close(toc);
	layer_teardown(&f);
	lcm_buf_fini(&b);
}

static void differences_are_found(void **state)
{
	static const struct {
		size_t at;
		struct tar_item item; /* path NULL: left out */
		int r;
		const char *text;
	} rows[] = {
		{ 2, { 0 }, -EUCLEAN, "bin/su: not in the layer" },
		{ 2, { .path = "bin/xx", .data = "x" }, -EUCLEAN, "bin/xx: not in the TOC" },
		{ 2,
		  { .path = "bin/su",
		    .data = "setuid progrAm",
		    .mode = 04755,
		    .uid = 1,
		    .gid = 2,
		    .mtime = 13 },
		  -EBADMSG,
		  "digest" },
		{ 2,
		  { .path = "bin/su",
		    .data = "setuid program!",
		    .mode = 04755,
		    .uid = 1,
		    .gid = 2,
		    .mtime = 13 },
		  -EUCLEAN,
		  "size" },
		{ 2,
		  { .path = "bin/su",
		    .data = "setuid program",
		    .mode = 0755,
		    .uid = 1,
		    .gid = 2,
		    .mtime = 13 },
		  -EUCLEAN,
		  "mode" },
		{ 2,
		  { .path = "bin/su",
		    .data = "setuid program",
		    .mode = 04755,
		    .uid = 0,
		    .gid = 2,
		    .mtime = 13 },
		  -EUCLEAN,
		  "owner" },
		{ 2,
		  { .path = "bin/su",
		    .data = "setuid program",
		    .mode = 04755,
		    .uid = 1,
		    .gid = 3,
		    .mtime = 13 },
		  -EUCLEAN,
		  "owner" },
		{ 2,
		  { .path = "bin/su",
		    .data = "setuid program",
		    .mode = 04755,
		    .uid = 1,
		    .gid = 2,
		    .mtime = 9 },
		  -EUCLEAN,
		  "mtime" },
		{ 2, { .path = "bin/su", .type = '5', .mode = 04755 }, -EUCLEAN, "type" },
		{ 4,
		  { .path = "bin/link", .type = '2', .link = "toot", .mode = 0777, .mtime = 15 },
		  -EUCLEAN,
		  "symlink target" },
		{ 5,
		  { .path = "bin/hard", .type = '1', .link = "bin/su" },
		  -EUCLEAN,
		  "hardlink target" },
		{ 8,
		  { .path = "dev/null", .type = '3', .mode = 0666, .major = 1, .minor = 4 },
		  -EUCLEAN,
		  "device" },
		{ 10, { 0 }, -EUCLEAN, "etc/gone: not in the layer" },
		{ 11, { 0 }, -EUCLEAN, "opaque" },
		{ 10, { .path = "etc/.wh.other", .data = "" }, -EUCLEAN, "not in the TOC" },
		{ 1, { .path = "bin", .type = '5', .mode = 0700, .mtime = 12 }, -EUCLEAN, "mode" },
		{ 0, { 0 }, -EUCLEAN, "not in the layer" },
		{ 0, { .path = "usr", .type = '5', .mode = 0755 }, -EUCLEAN, "not in the TOC" },
	};
	struct lcm_buf good;

	(void)state;
	make_layer(&good, SIZE_MAX, NULL);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct layer_fixture f;
		struct lcm_err err = { 0 };
		struct lcm_buf b;
		struct lcm_toc *toc;
		int r;

		make_layer(&b, rows[i].at, rows[i].item.path ? &rows[i].item : NULL);
		layer_setup(&f);
		toc = toc_of_bytes(&f, &good);
		r = unpack_bytes(&f, &b, toc, &err);
		if (r != rows[i].r || !strstr(err.msg, rows[i].text))
			fail_msg("row %zu: %d %s", i, r, err.msg);
		if (rows[i].at == 2)
			assert_int_not_equal(lcm_layer_has(f.d, toc, entry_of(toc, "bin/su")), 1);
		assert_int_equal(tmp_entries(&f), 0);
		lcm_toc_close(toc);
		layer_teardown(&f);
		lcm_buf_fini(&b);
	}
	lcm_buf_fini(&good);
}

/* ---- against each other ---- */

#define THREADS 6
#define FILES 300

struct race {
	struct layer_fixture *f;
	const struct lcm_toc *toc;
	const struct lcm_buf *tar;
	_Atomic unsigned long placed, existed;
	_Atomic bool bad;
};

static void race_item(size_t i, char path[32], char data[64])
{
	(void)snprintf(path, 32, "d%zu/e%zu/file%zu", i % 7, i % 3, i);
	(void)snprintf(data, 64, "content of file %zu", i);
}

/* A file that is there at all must be whole and final. */
static void race_look(struct race *r, uint32_t entry, const char *data)
{
	int fd = lcm_layer_open_file(r->f->d, r->toc, entry);
	char text[64] = "";
	struct stat st;

	if (fd == -ENOENT)
		return;
	if (fd < 0 || lcm_sys_fstat(fd, &st) < 0 || (st.st_mode & 07777) != 04711 ||
	    st.st_uid != 3 || st.st_mtim.tv_sec != 77 || (size_t)st.st_size != strlen(data) ||
	    lcm_sys_pread_full(fd, text, strlen(data), 0) < 0 || strcmp(text, data) != 0)
		r->bad = true;
	lcm_closep(&fd);
}

static void *race_placer(void *arg)
{
	struct race *r = arg;

	for (size_t i = 0; i < FILES; i++) {
		char path[32], data[64];
		uint32_t entry;
		int s;

		race_item(i, path, data);
		entry = lcm_toc_walk(r->toc, path, strlen(path));
		race_look(r, entry, data);
		s = place_bytes(r->f, r->toc, entry, data);
		if (s == 0)
			r->placed++;
		else if (s == -EEXIST)
			r->existed++;
		else
			r->bad = true;
		if (lcm_layer_has(r->f->d, r->toc, entry) != 1)
			r->bad = true;
	}
	return NULL;
}

static void on_placed(void *arg, uint32_t entry)
{
	struct race *r = arg;

	if (lcm_layer_has(r->f->d, r->toc, entry) != 1)
		r->bad = true;
}

static void place_and_unpack_together(void **state)
{
	struct layer_fixture f;
	struct lcm_buf b = LCM_BUF(4 << 20);
	struct race r = { .f = &f, .tar = &b };
	const struct lcm_unpack_ops ops = { .placed = on_placed, .arg = &r };
	struct lcm_unpack_result res;
	struct lcm_err err = { 0 };
	struct tar_source src;
	pthread_t t[THREADS];
	unsigned int fds;

	(void)state;
	for (size_t i = 0; i < FILES; i++) {
		char path[32], data[64];
		const struct tar_item item = {
			.path = path, .data = data, .mode = 04711, .uid = 3, .mtime = 77
		};

		race_item(i, path, data);
		tar_add(&b, &item);
	}
	tar_end(&b);
	layer_setup(&f);
	r.toc = toc_of_bytes(&f, &b);
	fds = count_fds();
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, race_placer, &r), 0);
	src = source_of_bytes(&b, 1000);
	if (unpack_source(&f, &src, r.toc, &ops, &res, &err) != 0)
		fail_msg("%s", err.msg);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	assert_false(r.bad);
	assert_int_equal(res.files, FILES);
	assert_int_equal(r.placed + r.existed, THREADS * FILES);
	assert_true(r.placed <= FILES);
	assert_int_equal(tmp_entries(&f), 0);
	assert_int_equal(count_fds(), fds);
	lcm_toc_close((struct lcm_toc *)(uintptr_t)r.toc);
	layer_teardown(&f);
	lcm_buf_fini(&b);
}

/* ---- the same tree, whatever happened before ---- */

static void reference_tree(struct layer_fixture *f, struct lcm_buf *b)
{
	struct lcm_err err = { 0 };

	make_layer(b, SIZE_MAX, NULL);
	layer_setup(f);
	if (unpack_bytes(f, b, NULL, &err) != 0)
		fail_msg("%s", err.msg);
}

static void same_tree(const struct layer_fixture *a, const struct layer_fixture *b)
{
	char cmd[600];

	(void)snprintf(cmd, sizeof(cmd), "exec tests/lib/treecmp %s %s >/dev/null", a->path,
		       b->path);
	RUN("sh", "-c", cmd);
}

static int die_at(void *arg)
{
	int *left = arg;

	if (--*left == 0)
		(void)kill(getpid(), SIGKILL);
	return 0;
}

static void survives_kill(void **state)
{
	struct layer_fixture ref;
	struct lcm_buf b;

	(void)state;
	reference_tree(&ref, &b);
	for (int at = 1; at <= (int)LCM_ARRAY_SIZE(layer); at++) {
		struct layer_fixture f;
		struct lcm_err err = { 0 };
		struct lcm_toc *toc;
		int status;
		pid_t pid;

		layer_setup(&f);
		toc = toc_of_bytes(&f, &b);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			struct tar_source src = source_of_bytes(&b, 512);
			int left = at;
			const struct lcm_unpack_ops ops = { .checkpoint = die_at, .arg = &left };
			struct lcm_unpack_result res;

			lcm_ignore(unpack_source(&f, &src, toc, &ops, &res, NULL));
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		assert_int_equal(tmp_entries(&f), 0);
		if (unpack_bytes(&f, &b, toc, &err) != 0)
			fail_msg("%s", err.msg);
		same_tree(&ref, &f);
		lcm_toc_close(toc);
		layer_teardown(&f);
	}
	layer_teardown(&ref);
	lcm_buf_fini(&b);
}

#ifdef LCM_FAULTS
/* Every file that is there is whole, whatever failed. */
static void nothing_half_placed(struct layer_fixture *f, const struct lcm_toc *toc)
{
	static const char *const paths[] = { "bin/su", "bin/tool", "empty", "etc/conf" };

	_Static_assert(LCM_ARRAY_SIZE(paths) == LAYER_FILES, "all of them");
	for (size_t i = 0; i < LCM_ARRAY_SIZE(paths); i++) {
		const struct lcm_toc_entry *e = lcm_toc_entry(toc, entry_of(toc, paths[i]));
		int fd = lcm_layer_open_file(f->d, toc, entry_of(toc, paths[i]));
		lcm_autofree char *text = NULL;
		struct lcm_digest d;
		struct stat st;

		if (fd == -ENOENT)
			continue;
		assert_true(fd >= 0);
		assert_int_equal(lcm_sys_fstat(fd, &st), 0);
		assert_int_equal(st.st_size, e->size);
		assert_int_equal(st.st_mode & 07777, e->mode);
		assert_int_equal(st.st_uid, e->uid);
		assert_int_equal(st.st_gid, e->gid);
		assert_int_equal(st.st_mtim.tv_sec, e->mtime);
		text = malloc(e->size + 1);
		assert_int_equal(lcm_sys_pread_full(fd, text, e->size, 0), 0);
		assert_int_equal(lcm_digest_of(text, e->size, &d), 0);
		assert_true(lcm_digest_equal(&d, &e->digest));
		lcm_closep(&fd);
	}
}

static void fault_sweep(const struct layer_fixture *ref, const struct lcm_buf *b, bool with_toc,
			int error)
{
	int r = -1;
	long n;

	for (n = 1; r != 0; n++) {
		struct layer_fixture f;
		struct lcm_toc *toc;
		unsigned int fds;

		layer_setup(&f);
		toc = toc_of_bytes(&f, b);
		fds = count_fds();
		lcm_fault_arm(n, error);
		r = unpack_bytes(&f, b, with_toc ? toc : NULL, NULL);
		lcm_fault_disarm();
		assert_int_equal(count_fds(), fds);
		assert_int_equal(tmp_entries(&f), 0);
		if (with_toc) {
			nothing_half_placed(&f, toc);
			if (r != 0) /* and again, to the end */
				assert_int_equal(unpack_bytes(&f, b, toc, NULL), 0);
		}
		if (with_toc || r == 0)
			same_tree(ref, &f);
		lcm_toc_close(toc);
		layer_teardown(&f);
		assert_true(n < 1000);
	}
	assert_true(n > 50);
}

static void faults_leave_nothing(void **state)
{
	static const int errors[] = { EIO, ENOSPC };
	struct layer_fixture ref;
	struct lcm_buf b;

	(void)state;
	reference_tree(&ref, &b);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(errors); i++) {
		fault_sweep(&ref, &b, false, errors[i]);
		fault_sweep(&ref, &b, true, errors[i]);
	}
	layer_teardown(&ref);
	lcm_buf_fini(&b);
}
#endif

/* ---- the tool that says "equal" must be able to say "different" ---- */

static void treecmp_sees(void **state)
{
	static const char *const changes[] = {
		"touch b/new",
		"rm b/f",
		"chmod 600 b/f",
		"chown 5 b/f",
		"echo y >b/f && touch -d @7 b/f",
		"touch -d @7.000000001 b/f",
		"setfattr -n user.x -v 1 b/f",
		"rm b/h && cp -p b/f b/h",
		"ln -sfn z b/s && touch -hd @7 b/s",
		"rm b/f && mkdir b/f",
		"rm b/p && mknod b/p c 1 4",
		"touch -d @9 b/d",
		"setfattr -n trusted.overlay.opaque -v y b/d && touch -d @7 b/d",
	};
	static const char make[] = "cd \"$0\" && mkdir a && cd a && mkdir d && echo x >f && ln f h "
				   "&& ln -s t s && mknod p c 1 3 && "
				   "touch -hd @7 * && cd .. && rm -rf b && cp -a a b && exec true";
	char *dir = test_mkdir(), cmd[1024];

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(changes); i++) {
		char a[64], b[64];

		RUN("sh", "-c", make, dir);
		(void)snprintf(a, sizeof(a), "%s/a", dir);
		(void)snprintf(b, sizeof(b), "%s/b", dir);
		(void)snprintf(cmd, sizeof(cmd), "exec tests/lib/treecmp %s %s >/dev/null", a, b);
		RUN("sh", "-c", cmd);
		RUN("sh", "-c", "cd \"$0\" && eval \"$1\"", dir, changes[i]);
		if (run_program((const char *const[]){ "sh", "-c", cmd, NULL }) != 1)
			fail_msg("treecmp does not see: %s", changes[i]);
		RUN("rm", "-rf", a, b);
	}
	(void)snprintf(cmd, sizeof(cmd), "cd %s && mkdir a b", dir);
	RUN("sh", "-c", cmd);
	(void)snprintf(cmd, sizeof(cmd), "exec tests/lib/treecmp %s/a %s/b >/dev/null", dir, dir);
	assert_int_equal(run_program((const char *const[]){ "sh", "-c", cmd, NULL }),
			 1); /* nothing compared */
	test_rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(treecmp_sees),
		cmocka_unit_test(place_one),
		cmocka_unit_test(what_a_reboot_left),
		cmocka_unit_test(differences_are_found),
		cmocka_unit_test(place_and_unpack_together),
		cmocka_unit_test(survives_kill),
#ifdef LCM_FAULTS
		cmocka_unit_test(faults_leave_nothing),
#endif
	};

	if (geteuid() != 0) {
		fprintf(stderr, "test_unpack_toc: needs root (owners, devices)\n");
		return getenv("LCM_TESTS_MUST_RUN") ? 1 : 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
