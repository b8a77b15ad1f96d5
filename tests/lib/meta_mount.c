/* SPDX-License-Identifier: Apache-2.0 */
/* Compares what the kernel shows of a META image with the model. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "src/base/sys.h"
#include "tests/lib/meta_model.h"

struct check {
	const struct mm_model *m;
	int at;              /* directory that @path is in */
	char path[PATH_MAX]; /* through /proc/self/fd */
	size_t found;
	bool regular_or_dir;
};

static const char *compare_value(const char *path, const char *name, const void *want, size_t len)
{
	static char got[70000];
	ssize_t r = lgetxattr(path, name, got, sizeof(got));

	if (r != (ssize_t)len || memcmp(got, want, len) != 0)
		return "value of an xattr";
	return NULL;
}

static const char *check_xattr(void *arg, const struct lcm_xattr *x)
{
	struct check *c = arg;

	c->found++;
	if (!strncmp(x->name, "user.", 5) && !c->regular_or_dir)
		return NULL; /* the VFS does not let anyone read it */
	return compare_value(c->path, x->name, x->value, x->value_len);
}

static const char *check_xattrs(struct check *c, const struct mm_node *n)
{
	const struct lcm_toc_entry *e = mm_entry(c->m, n);
	char redirect[8192], list[4096];
	const char *bad = NULL;
	ssize_t len;

	c->found = 0;
	c->regular_or_dir = e->type == LCM_TOC_REG || e->type == LCM_TOC_DIR;
	if (e->type == LCM_TOC_REG && e->size > 0 && !c->m->overlay) {
		bad = compare_value(c->path, "trusted.overlay.metacopy", "", 0);
		if (!bad)
			bad = compare_value(c->path, "trusted.overlay.redirect", redirect,
					    mm_redirect(c->m, n, redirect, sizeof(redirect)));
		c->found = 2;
	}
	if (!bad)
		bad = mm_each_xattr(c->m, n, check_xattr, c);
	len = llistxattr(c->path, list, sizeof(list));
	if (!bad && len < 0)
		bad = "listxattr";
	for (ssize_t i = 0; i < len; i++)
		c->found -= list[i] == '\0';
	return bad || c->found == 0 ? bad : "number of xattrs";
}

static const char *check_stat(struct check *c, struct mm_node *n, const char *name)
{
	static const mode_t types[] = {
		[LCM_TOC_DIR] = S_IFDIR,  [LCM_TOC_REG] = S_IFREG,   [LCM_TOC_SYMLINK] = S_IFLNK,
		[LCM_TOC_CHAR] = S_IFCHR, [LCM_TOC_BLOCK] = S_IFBLK, [LCM_TOC_FIFO] = S_IFIFO
	};
	const struct lcm_toc_entry *e = mm_entry(c->m, n);
	struct stat st;

	if (lcm_sys_fstatat(c->at, name, &st, AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH)) <
	    0)
		return "stat";
	if (st.st_mode != (types[e->type] | e->mode))
		return "mode";
	if (st.st_uid != e->uid || st.st_gid != e->gid)
		return "owner";
	if (st.st_mtim.tv_sec != e->mtime || st.st_mtim.tv_nsec != e->mtime_nsec)
		return "mtime";
	if (st.st_nlink != n->nlink &&
	    !(c->m->overlay && !n->parent)) /* overlayfs: 1 for merged directories */
		return "link count";
	if ((e->type == LCM_TOC_REG || e->type == LCM_TOC_SYMLINK) &&
	    (uint64_t)st.st_size != e->size)
		return "size";
	if ((e->type == LCM_TOC_CHAR || e->type == LCM_TOC_BLOCK) &&
	    st.st_rdev != makedev(e->rdev_major, e->rdev_minor))
		return "device number";
	if (n->first->id && n->first->id != st.st_ino)
		return "inode number of a hardlink";
	n->first->id = st.st_ino;
	return NULL;
}

static const char *check_link(struct check *c, const struct mm_node *n, const char *name)
{
	const struct lcm_toc_entry *e = mm_entry(c->m, n);
	char got[PATH_MAX];

	if (readlinkat(c->at, name, got, sizeof(got)) != (ssize_t)e->link_len ||
	    memcmp(got, lcm_toc_link(c->m->layers[n->layer].toc, e), e->link_len) != 0)
		return "readlink";
	return NULL;
}

/* First and last byte of a placeholder: zeros, read without an error. */
static const char *check_hole(struct check *c, const struct mm_node *n, const char *name)
{
	lcm_autoclose int fd = lcm_sys_openat(c->at, name, O_RDONLY | O_NOFOLLOW, 0);
	uint64_t size = mm_entry(c->m, n)->size;
	char first = 1, last = 1;

	if (fd < 0)
		return "open of a regular file";
	if (size == 0)
		return lcm_sys_read(fd, &first, 1) == 0 ? NULL : "an empty file";
	if (lcm_sys_pread_full(fd, &first, 1, 0) < 0 ||
	    lcm_sys_pread_full(fd, &last, 1, size - 1) < 0 || first || last)
		return "reading a placeholder";
	return NULL;
}

static const char *check_dir(const struct mm_model *m, struct mm_node *n, int fd);

static const char *check_node(const struct mm_model *m, struct mm_node *n, int at, const char *name)
{
	struct check c = { .m = m, .at = at };
	const struct lcm_toc_entry *e = mm_entry(m, n);
	const char *bad = check_stat(&c, n, name);
	lcm_autoclose int fd = -EBADF;

	(void)snprintf(c.path, sizeof(c.path), "/proc/self/fd/%d/%s", at, name);
	if (!bad)
		bad = check_xattrs(&c, n);
	if (bad)
		return bad;
	if (e->type == LCM_TOC_SYMLINK)
		return check_link(&c, n, name);
	if (e->type == LCM_TOC_REG && !m->overlay)
		return check_hole(&c, n, name);
	if (!n->dir)
		return NULL;
	fd = lcm_sys_openat(at, *name ? name : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	return fd < 0 ? "open of a directory" : check_dir(m, n, fd);
}

static const char *check_dir(const struct mm_model *m, struct mm_node *n, int fd)
{
	lcm_autoclose int copy = lcm_sys_openat(fd, ".", O_RDONLY | O_DIRECTORY, 0);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	const char *bad = NULL;
	size_t seen = 0;
	struct dirent *e;

	if (!d)
		return "opendir";
	(void)lcm_steal_fd(&copy);
	while (!bad && (e = readdir(d))) {
		struct mm_node *kid = mm_child(n, e->d_name, strlen(e->d_name));

		seen++;
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		bad = kid ? check_node(m, kid, fd, e->d_name) : "a name that should not be there";
	}
	(void)closedir(d);
	if (!bad && seen != n->n_kids + 2)
		bad = "a name is missing";
	return bad;
}

static void forget_ids(struct mm_node *n)
{
	n->id = 0;
	for (size_t i = 0; i < n->n_kids; i++)
		forget_ids(n->kids[i]);
}

const char *mm_check_mount(struct mm_model *m, int dirfd, bool overlay)
{
	m->overlay = overlay;
	forget_ids(m->root);
	return check_node(m, m->root, dirfd, "");
}
