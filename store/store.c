/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>

#include "src/base/sys.h"
#include "store/db.h"

static const char *const dir_names[LCM_STORE_DIR_MAX] = {
	[LCM_DIR_REAL] = "real",
	[LCM_DIR_BLOBS] = "blobs",
	[LCM_DIR_TOC] = "toc",
	[LCM_DIR_SEALS] = "seals",
	[LCM_DIR_META] = "meta",
	[LCM_DIR_METER] = "meter",
	[LCM_DIR_TMP] = "tmp",
	[LCM_DIR_CONTAINERS] = "containers",
	[LCM_DIR_SNAPSHOTS] = "snapshots",
};

/* The root: ours alone, or everything below could be swapped under us. */
static int root_open(struct lcm_store *s, const char *root, struct lcm_err *err)
{
	struct stat st;
	int r = lcm_mkdir_p(root, 0700);

	if (r < 0)
		return lcm_err_set(err, r, "state directory %s cannot be made: %s", root,
				   strerror(-r));
	s->root = realpath(root, NULL);
	s->root_fd = s->root
			 ? lcm_sys_openat(AT_FDCWD, s->root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0)
			 : (int)lcm_errno(-1);
	r = s->root_fd < 0 ? s->root_fd : lcm_sys_fstat(s->root_fd, &st);
	if (r < 0)
		return lcm_err_set(err, r, "state directory %s cannot be opened: %s", root,
				   strerror(-r));
	if (st.st_uid != geteuid())
		return lcm_err_set(err, -EPERM,
				   "state directory %s belongs to user %u, not to user %u; name "
				   "another with --root, or chown it",
				   root, (unsigned int)st.st_uid, (unsigned int)geteuid());
	if (st.st_mode & 022)
		return lcm_err_set(err, -EPERM,
				   "state directory %s can be written by others; check what is in "
				   "it, then chmod 0700 %s",
				   root, root);
	return (st.st_mode & 07777) == 0700 ? 0 : lcm_sys_fchmod(s->root_fd, 0700);
}

/* The lock is the flock(2), not the file: it goes with the process. The pid in it is for people. */
static int lock_take(struct lcm_store *s, struct lcm_err *err)
{
	char pid[24] = "";
	int r, len;

	s->lock_fd = lcm_sys_openat(s->root_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0)
		return lcm_err_set(err, s->lock_fd, "%s/lock: %s", s->root, strerror(-s->lock_fd));
	r = (int)lcm_errno(flock(s->lock_fd, LOCK_EX | LOCK_NB));
	if (r == -EWOULDBLOCK) {
		ssize_t n = lcm_sys_read(s->lock_fd, pid, sizeof(pid) - 1);

		pid[LCM_MAX(n, (ssize_t)0)] = '\0';
		pid[strspn(pid, "0123456789")] = '\0';
		return lcm_err_set(err, -EBUSY,
				   "%s is in use by another locum daemon (pid %s); talk to that "
				   "one, or name another --root",
				   s->root, pid[0] ? pid : "not known");
	}
	if (r < 0)
		return lcm_err_set(err, r, "%s/lock: %s", s->root, strerror(-r));
	len = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	r = lcm_sys_ftruncate(s->lock_fd, 0);
	if (r == 0)
		r = lcm_sys_pwrite_full(s->lock_fd, pid, (size_t)len, 0);
	return r < 0 ? lcm_err_set(err, r, "%s/lock: %s", s->root, strerror(-r)) : 0;
}

/* A directory below @at that is really one and on the same file system. */
static int subdir_open(struct lcm_store *s, int at, const char *name, int *ret_fd,
		       struct lcm_err *err)
{
	struct stat root, st;
	int r = lcm_sys_mkdirat(at, name, 0700), fd;

	if (r < 0 && r != -EEXIST)
		return lcm_err_set(err, r, "%s/%s cannot be made: %s", s->root, name, strerror(-r));
	fd = lcm_sys_openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return lcm_err_set(err, fd, "%s/%s cannot be opened: %s", s->root, name,
				   strerror(-fd));
	*ret_fd = fd;
	r = lcm_sys_fstat(s->root_fd, &root);
	if (r == 0)
		r = lcm_sys_fstat(fd, &st);
	if (r < 0)
		return lcm_err_set(err, r, "%s/%s: %s", s->root, name, strerror(-r));
	if (st.st_dev != root.st_dev)
		return lcm_err_set(err, -EXDEV,
				   "%s/%s is another file system than %s; files are renamed "
				   "between them, use one for all",
				   s->root, name, s->root);
	return 0;
}

/*
 * Tell ext4 that trees in @fd have nothing to do with each other: each begins in a block group of
 * its own. Without it all layers share the groups near REAL, and what was just removed there slows
 * down every inode made (ext4 steps over inodes deleted in the last minutes one by one). Other file
 * systems refuse or ignore it.
 */
static void spread_trees(int fd)
{
	int flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && !(flags & FS_TOPDIR_FL)) {
		flags |= FS_TOPDIR_FL;
		(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
}

static int dirs_open(struct lcm_store *s, struct lcm_err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < LCM_STORE_DIR_MAX; i++)
		r = subdir_open(s, s->root_fd, dir_names[i], &s->dirs[i], err);
	if (r == 0)
		spread_trees(s->dirs[LCM_DIR_REAL]);
	return r < 0 ? r : subdir_open(s, s->dirs[LCM_DIR_TMP], ".trash", &s->trash_fd, err);
}

static int store_load(struct lcm_store *s, const char *root, struct lcm_err *err)
{
	int r = root_open(s, root, err);

	if (r == 0)
		r = lock_take(s, err);
	if (r == 0)
		r = dirs_open(s, err);
	if (r == 0)
		r = lcm_db_open(s, err);
	return r < 0 ? r : lcm_garbage_collect(s, err);
}

int lcm_store_open(const char *root, struct lcm_store **ret, struct lcm_err *err)
{
	struct lcm_store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->root_fd = s->lock_fd = s->trash_fd = -EBADF;
	for (size_t i = 0; i < LCM_STORE_DIR_MAX; i++)
		s->dirs[i] = -EBADF;
	if (err)
		*err = (struct lcm_err){ 0 };
	r = store_load(s, root, err);
	if (r < 0) {
		lcm_store_close(s);
		return err && err->code
			   ? r
			   : lcm_err_set(err, r, "state directory %s: %s", root, strerror(-r));
	}
	*ret = s;
	return 0;
}

void lcm_store_close(struct lcm_store *s)
{
	if (!s)
		return;
	lcm_db_close(s);
	for (size_t i = 0; i < LCM_STORE_DIR_MAX; i++)
		lcm_closep(&s->dirs[i]);
	lcm_closep(&s->trash_fd);
	lcm_closep(&s->root_fd);
	lcm_closep(&s->lock_fd); /* last: the next owner may come in */
	free(s->root);
	free(s->boot);
	free(s);
}

int lcm_store_root_fd(const struct lcm_store *s)
{
	return s->root_fd;
}

int lcm_store_real_fd(const struct lcm_store *s)
{
	return s->dirs[LCM_DIR_REAL];
}

int lcm_store_blobs_fd(const struct lcm_store *s)
{
	return s->dirs[LCM_DIR_BLOBS];
}

int lcm_store_toc_fd(const struct lcm_store *s)
{
	return s->dirs[LCM_DIR_TOC];
}

int lcm_store_seals_fd(const struct lcm_store *s)
{
	return s->dirs[LCM_DIR_SEALS];
}

int lcm_store_meter_fd(const struct lcm_store *s)
{
	return s->dirs[LCM_DIR_METER];
}

int lcm_store_meta_fd(const struct lcm_store *s)
{
	return s->dirs[LCM_DIR_META];
}

int lcm_store_tmp_fd(const struct lcm_store *s)
{
	return s->dirs[LCM_DIR_TMP];
}

int lcm_store_containers_fd(const struct lcm_store *s)
{
	return s->dirs[LCM_DIR_CONTAINERS];
}

const char *lcm_store_root(const struct lcm_store *s)
{
	return s->root;
}

int lcm_store_begin(struct lcm_store *s)
{
	return lcm_db_begin(s);
}

int lcm_store_end(struct lcm_store *s, int status)
{
	return lcm_db_end(s, status);
}

int lcm_store_totals(struct lcm_store *s, struct lcm_store_totals *ret)
{
	lcm_autostmt sqlite3_stmt *q = lcm_stmt(s, LCM_STMT_TOTALS);
	struct lcm_store_totals t = { 0 };
	uint64_t *const to[] = { &t.layers,     &t.layers_complete, &t.real_bytes,
				 &t.blob_bytes, &t.images,          &t.mounts };
	int r = lcm_stmt_step(s, q);

	if (r <= 0)
		return r < 0 ? r : -EUCLEAN;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(to); i++) {
		r = lcm_column_u64(q, (int)i, to[i]);
		if (r < 0)
			return r;
	}
	*ret = t;
	return 0;
}
