/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/layer_dir.h"

#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"

int lcm_layer_dir_open(int real_fd, const char *name, int tmp_fd, struct lcm_layer_dir **ret,
		       struct lcm_err *err)
{
	struct lcm_layer_dir *d;

	if (!name[0] || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return lcm_err_set(err, -EINVAL, "layer directory '%s': must be one plain name",
				   name);
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->tmp_fd = tmp_fd;
	d->name = strdup(name);
	d->root = d->name ? lcm_sys_open_beneath(real_fd, name, O_PATH | O_DIRECTORY, 0) : -ENOMEM;
	if (d->root < 0) {
		int r = d->root;

		lcm_layer_dir_close(d);
		return lcm_err_set(err, r, "layer directory '%s': cannot open (%s)", name,
				   strerror(-r));
	}
	*ret = d;
	return 0;
}

void lcm_layer_dir_close(struct lcm_layer_dir *d)
{
	if (!d)
		return;
	lcm_closep(&d->root);
	free(d->name);
	free(d);
}

/* ---- tmp files ---- */

static int tmp_named(struct lcm_layer_dir *d, mode_t mode, char ret_name[LCM_LAYER_NAME_MAX])
{
	static _Atomic unsigned int serial;
	char name[LCM_LAYER_NAME_MAX];
	int fd;

	do {
		(void)snprintf(name, sizeof(name), "file.%d.%u", (int)getpid(),
			       atomic_fetch_add(&serial, 1));
		fd = lcm_sys_openat(d->tmp_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
	} while (fd == -EEXIST); /* of a process that was killed and had our number */
	if (fd >= 0)
		memcpy(ret_name, name, sizeof(name));
	return fd;
}

/*
 * Unnamed: on ext4 open(O_TMPFILE) + linkat() costs 33 us a file where create + rename
 * costs 39 us, and a killed process leaves nothing behind. In the directory it will have a name in:
 * ext4 takes the inode from that directory's group, and one group for a whole image is soon full of
 * inodes deleted lately, which ext4 steps over one by one.
 */
int lcm_layer_tmp_mode(struct lcm_layer_dir *d, int dirfd, mode_t mode,
		       char ret_name[LCM_LAYER_NAME_MAX])
{
	int fd;

	if (atomic_load(&d->no_tmpfile))
		return tmp_named(d, mode, ret_name);
	fd = lcm_sys_openat(dirfd, ".", O_RDWR | O_TMPFILE, mode);
	if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -EINVAL) {
		atomic_store(&d->no_tmpfile, true);
		return tmp_named(d, mode, ret_name);
	}
	if (fd >= 0)
		ret_name[0] = '\0';
	return fd;
}

void lcm_layer_tmp_drop(struct lcm_layer_dir *d, const char *tmp_name)
{
	if (tmp_name[0])
		lcm_ignore(lcm_sys_unlinkat(d->tmp_fd, tmp_name, 0));
}

static int link_unnamed(int fd, int dirfd, const char *name)
{
	char proc[32];
	int r = lcm_sys_linkat(fd, "", dirfd, name, AT_EMPTY_PATH);

	/* AT_EMPTY_PATH wants CAP_DAC_READ_SEARCH before Linux 6.10. */
	if (r != -ENOENT)
		return r;
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	return lcm_sys_linkat(AT_FDCWD, proc, dirfd, name, AT_SYMLINK_FOLLOW);
}

int lcm_layer_tmp_link(struct lcm_layer_dir *d, int fd, const char *tmp_name, int dirfd,
		       const char *name)
{
	int r;

	if (!tmp_name[0])
		return link_unnamed(fd, dirfd, name);
	r = lcm_sys_renameat2(d->tmp_fd, tmp_name, dirfd, name, RENAME_NOREPLACE);
	if (r == -EINVAL) { /* a file system without RENAME_NOREPLACE */
		r = lcm_sys_linkat(d->tmp_fd, tmp_name, dirfd, name, 0);
		lcm_layer_tmp_drop(d, tmp_name);
		return r;
	}
	if (r < 0)
		lcm_layer_tmp_drop(d, tmp_name);
	return r;
}

/* ---- parents ---- */

static int parent_fail(int r, const char *path, struct lcm_err *err)
{
	if (r == -ELOOP || r == -EXDEV)
		return lcm_err_set(
		    err, -EUCLEAN,
		    "layer entry below '%.250s': the path goes through a symbolic link", path);
	if (r == -ENOTDIR)
		return lcm_err_set(
		    err, -EUCLEAN,
		    "layer entry below '%.250s': the path goes through what is not a directory",
		    path);
	return lcm_err_set(err, r, "directory '%.250s' of the layer: cannot open (%s)", path,
			   strerror(-r));
}

static int parent_open(struct lcm_layer_dir *d, const char *path)
{
	return lcm_sys_open_beneath(d->root, path[0] ? path : ".", O_PATH | O_DIRECTORY, 0);
}

int lcm_layer_parent(struct lcm_layer_dir *d, const char *path, size_t len, struct lcm_err *err)
{
	char dir[LCM_PATH_MAX + 1];
	int fd;

	if (len > LCM_PATH_MAX)
		return lcm_err_set(err, -ENAMETOOLONG, "layer path longer than %d bytes",
				   LCM_PATH_MAX);
	memcpy(dir, path, len);
	dir[len] = '\0';
	fd = parent_open(d, dir);
	return fd < 0 ? parent_fail(fd, dir, err) : fd;
}

int lcm_layer_parent_make(struct lcm_layer_dir *d, const char *path, size_t len,
			  struct lcm_err *err)
{
	lcm_autoclose int at = -EBADF;
	char dir[LCM_PATH_MAX + 1];
	int r = lcm_layer_parent(d, path, len, err);

	if (r != -ENOENT)
		return r;
	at = parent_open(d, "");
	for (size_t pos = 0; at >= 0 && pos < len;) {
		const char *slash = memchr(path + pos, '/', len - pos);
		size_t n = slash ? (size_t)(slash - path) - pos : len - pos;
		int next;

		memcpy(dir, path + pos, n);
		dir[n] = '\0';
		pos += n + 1;
		next = lcm_sys_open_beneath(at, dir, O_PATH | O_DIRECTORY, 0);
		if (next == -ENOENT) {
			r = lcm_sys_mkdirat(at, dir, 0755);
			next = r < 0 && r != -EEXIST
				   ? r
				   : lcm_sys_open_beneath(at, dir, O_PATH | O_DIRECTORY, 0);
		}
		if (next < 0)
			return parent_fail(next, dir, err);
		lcm_closep(&at);
		at = next;
	}
	return at < 0 ? parent_fail(at, "", err) : lcm_steal_fd(&at);
}

/* ---- one file of a TOC ---- */

/* The path of a regular file and where its name begins. */
static int file_path(const struct lcm_toc *toc, uint32_t entry, char path[LCM_PATH_MAX + 1],
		     size_t *ret_name)
{
	const char *slash;
	int r;

	if (entry >= lcm_toc_count(toc) || lcm_toc_entry(toc, entry)->type != LCM_TOC_REG)
		return -EINVAL;
	r = lcm_toc_path(toc, entry, path, LCM_PATH_MAX + 1);
	if (r < 0)
		return r;
	slash = strrchr(path, '/');
	*ret_name = slash ? (size_t)(slash - path) + 1 : 0;
	return 0;
}

static size_t dir_len(size_t name_off)
{
	return name_off ? name_off - 1 : 0;
}

int lcm_layer_tmp(struct lcm_layer_dir *d, const struct lcm_toc *toc, uint32_t entry,
		  char ret_name[64])
{
	lcm_autoclose int dirfd = -EBADF;
	char path[LCM_PATH_MAX + 1];
	size_t name;
	int r = file_path(toc, entry, path, &name);

	if (r < 0)
		return r;
	dirfd = lcm_layer_parent_make(d, path, dir_len(name), NULL);
	return dirfd < 0
		   ? dirfd
		   : lcm_layer_tmp_mode(d, dirfd, lcm_toc_entry(toc, entry)->mode & 0777, ret_name);
}

static int place(struct lcm_layer_dir *d, const struct lcm_toc *toc, uint32_t entry, int fd,
		 const char *tmp_name, bool *linked, struct lcm_err *err)
{
	lcm_autofree struct lcm_xattr *xattrs = NULL;
	lcm_autoclose int dirfd = -EBADF;
	struct lcm_layer_attr a;
	char path[LCM_PATH_MAX + 1];
	size_t name;
	int r = file_path(toc, entry, path, &name);

	if (r < 0)
		return lcm_err_set(err, r, "TOC entry %u: not a regular file that can be placed",
				   entry);
	r = lcm_layer_attr_of(toc, lcm_toc_entry(toc, entry), &a, &xattrs);
	if (r < 0)
		return r;
	r = lcm_layer_attr_set(fd, &a, path, err);
	if (r < 0)
		return r;
	dirfd = lcm_layer_parent_make(d, path, dir_len(name), err);
	if (dirfd < 0)
		return dirfd;
	*linked = true;
	r = lcm_layer_tmp_link(d, fd, tmp_name, dirfd, path + name);
	return r < 0 ? lcm_layer_fail(err, r, path, "cannot be put in its place") : 0;
}

int lcm_layer_place(struct lcm_layer_dir *d, const struct lcm_toc *toc, uint32_t entry, int fd,
		    const char *tmp_name, struct lcm_err *err)
{
	bool linked = false;
	int r = place(d, toc, entry, fd, tmp_name, &linked, err);

	if (!linked)
		lcm_layer_tmp_drop(d, tmp_name);
	return r;
}

int lcm_layer_file_check(int dirfd, const char *name, uint64_t size)
{
	struct stat st;
	int r = lcm_sys_fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return S_ISREG(st.st_mode) && (uint64_t)st.st_size == size ? 1 : -EUCLEAN;
}

int lcm_layer_has(struct lcm_layer_dir *d, const struct lcm_toc *toc, uint32_t entry)
{
	lcm_autoclose int dirfd = -EBADF;
	char path[LCM_PATH_MAX + 1];
	size_t name;
	int r = file_path(toc, entry, path, &name);

	if (r < 0)
		return r;
	dirfd = lcm_layer_parent(d, path, dir_len(name), NULL);
	if (dirfd < 0)
		return dirfd == -ENOENT ? 0 : dirfd;
	return lcm_layer_file_check(dirfd, path + name, lcm_toc_entry(toc, entry)->size);
}

int lcm_layer_open_file(struct lcm_layer_dir *d, const struct lcm_toc *toc, uint32_t entry)
{
	char path[LCM_PATH_MAX + 1];
	size_t name;
	int r = file_path(toc, entry, path, &name);

	if (r < 0)
		return r;
	return lcm_sys_open_beneath(d->root, path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0);
}
