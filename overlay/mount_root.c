/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/mount_root.h"

#include <sched.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>

#include "overlay/mount_sys.h"
#include "overlay/mountinfo.h"
#include "src/base/limits.h"
#include "src/base/sys.h"

/* Parts of a mount point that are made, and links to nothing on the way: an image may have made
 * them up. */
#define PARTS_MAX 128

/* A mount directly on the old root, and where it is below it: "proc", "etc/hosts". */
struct moved {
	char *rel; /* owned */
	int fd;    /* owned; its root */
};

struct moves {
	struct moved *m; /* owned, n */
	size_t n;
};

static void moves_fini(struct moves *v)
{
	for (size_t i = 0; i < v->n; i++) {
		free(v->m[i].rel);
		lcm_closep(&v->m[i].fd);
	}
	free(v->m);
}

/* The container's root before. */
struct root {
	int fd;                      /* owned */
	bool is_mount;               /* not only a directory on one */
	uint64_t mount;              /* id of the mount that it is, or is on */
	char name[LCM_PATH_MAX + 1]; /* the kernel's: as in mountinfo, links resolved */
};

static void root_fini(struct root *o)
{
	lcm_closep(&o->fd);
}

static int add(struct moves *v, int root, const char *rel)
{
	lcm_autoclose int fd = lcm_sys_open_beneath(root, rel, O_PATH, 0);
	lcm_autofree char *name = strdup(rel);
	struct moved *m;

	if (fd < 0 || !name)
		return fd < 0 ? fd : -ENOMEM;
	m = realloc(v->m, (v->n + 1) * sizeof(*m));
	if (!m)
		return -ENOMEM;
	v->m = m;
	m[v->n++] = (struct moved){ .rel = lcm_steal(&name), .fd = lcm_steal_fd(&fd) };
	return 0;
}

static int open_root(const char *rootfs, struct root *o, struct lcm_err *err)
{
	struct statx st;
	int r = o->fd = lcm_sys_openat(AT_FDCWD, rootfs, O_PATH | O_DIRECTORY, 0);

	if (r >= 0)
		r = lcm_sys_statx(o->fd, &st);
	if (r == 0)
		r = lcm_sys_fd_path(o->fd, o->name, sizeof(o->name));
	if (r < 0)
		return lcm_err_set(err, r, "root %s of the container: %s", rootfs, strerror(-r));
	if (strcmp(o->name, "/") == 0)
		return lcm_err_set(err, -EINVAL, "root %s of the container is the host's /",
				   rootfs);
	o->is_mount = st.stx_attributes & STATX_ATTR_MOUNT_ROOT;
	o->mount = st.stx_mnt_id;
	return 0;
}

/* A mount on the mount of @o. One that is not moved is missing in the container, which must not
 * start then. */
static int take_mount(const struct root *o, const struct lcm_mountinfo *m, struct moves *v,
		      struct lcm_err *err)
{
	char rel[LCM_PATH_MAX + 1];
	int r = lcm_mountinfo_below(&m->mount_point, o->name, rel, sizeof(rel));

	if (r == -EXDEV && !o->is_mount)
		return 0; /* beside the root */
	if (r == 0 && !*rel)
		return 0; /* on the root itself: whatever that is, it is covered */
	if (r == 0)
		r = add(v, o->fd, rel);
	if (r < 0)
		return lcm_err_set(err, r, "mount %.*s on the container's root %s: %s",
				   (int)m->mount_point.len, m->mount_point.p, o->name,
				   r == -EXDEV ? "it is not below it" : strerror(-r));
	return 0;
}

/* Of each mount point on the root's mount only what is on top is seen by its path. */
static int find_moves(const struct root *o, struct moves *v, struct lcm_err *err)
{
	static const char file[] = "/proc/self/mountinfo";
	lcm_autofree char *text = NULL;
	struct lcm_mountinfo m;
	size_t len = 0;
	const char *at;
	int r = lcm_read_file_at(AT_FDCWD, file, LCM_MOUNTINFO_MAX, &text, &len);

	if (r < 0)
		return lcm_err_set(err, r, "%s: %s", file, strerror(-r));
	at = text;
	while (r == 0) {
		int got = lcm_mountinfo_next(&at, text + len, &m);

		if (got <= 0)
			return got < 0 ? lcm_err_set(err, got, "%s has a damaged line", file) : 0;
		if (m.parent == o->mount)
			r = take_mount(o, &m, v, err);
	}
	return r;
}

/* A path in the image: part [at, end) of it is looked at. */
struct point {
	char path[LCM_PATH_MAX + 1];
	char name[LCM_NAME_LEN_MAX + 1]; /* that part */
	size_t at, end;
};

/* The last part of @p that is missing while those before it are there. Return: O_PATH fd of the
 * directory that it is missing in, -errno. */
static int find_missing(int root, struct point *p)
{
	char up[LCM_PATH_MAX + 3];
	int fd = -ENOENT;

	p->at = strlen(p->path);
	while (fd == -ENOENT && p->at) {
		p->end = p->at;
		while (p->end && p->path[p->end - 1] == '/')
			p->end--;
		p->at = p->end;
		while (p->at && p->path[p->at - 1] != '/')
			p->at--;
		(void)snprintf(up, sizeof(up), "./%.*s", (int)p->at, p->path);
		fd = lcm_sys_open_in_root(root, up, O_PATH | O_DIRECTORY);
	}
	if (fd >= 0)
		(void)snprintf(p->name, sizeof(p->name), "%.*s", (int)(p->end - p->at),
			       p->path + p->at);
	return fd;
}

/* What the link @p->name in @up says takes its place in the path. */
static int follow(int up, struct point *p)
{
	char to[LCM_PATH_MAX + 1], path[sizeof(p->path)];
	long n = lcm_errno(readlinkat(up, p->name, to, sizeof(to)));
	int len;

	if (n < 0)
		return (int)n;
	len = snprintf(path, sizeof(path), "%.*s%.*s%s", *to == '/' ? 0 : (int)p->at, p->path,
		       (int)n, to, p->path + p->end);
	if ((size_t)n >= sizeof(to) || (size_t)len >= sizeof(path))
		return -ENAMETOOLONG;
	(void)snprintf(p->path, sizeof(p->path), "%s", path);
	return 0;
}

/* By a link an image could have a volume cover what runtimes write to themselves (CVE-2019-16884),
 * or a cgroup made. What is mounted there by right is on that mount, not on the root. */
static int refuse_kernel(int fd)
{
	static const long magics[] = { PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC,
				       CGROUP2_SUPER_MAGIC };
	struct statfs fs;
	int r = (int)lcm_errno(fstatfs(fd, &fs));

	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(magics); i++)
		if (fs.f_type == magics[i])
			r = -EXDEV;
	return r;
}

/* One part of @p that is missing below @root is made; a link to nothing is followed one step. */
static int make_part(int root, struct point *p, bool dir)
{
	lcm_autoclose int up = find_missing(root, p);
	int r;

	if (up < 0)
		return up;
	r = refuse_kernel(up);
	if (r < 0)
		return r;
	if (p->end - p->at >= sizeof(p->name))
		return -ENAMETOOLONG;
	dir = dir || p->path[p->end + strspn(p->path + p->end, "/")];
	r = dir ? lcm_sys_mkdirat(up, p->name, 0755)
		: lcm_sys_mknodat(up, p->name, S_IFREG | 0644, 0);
	return r == -EEXIST ? follow(up, p) : r;
}

/*
 * The file or directory @rel below @root, made with its parents when it is missing. An image may
 * have links to nothing there, as /etc/resolv.conf of systemd's hosts: what they lead to inside the
 * image is made, as runtimes do. No call follows a link but those that stay in @root.
 * Return: O_PATH fd or -errno.
 */
static int have_point(int root, const char *rel, bool dir)
{
	struct point p;

	if (snprintf(p.path, sizeof(p.path), "%s", rel) >= (int)sizeof(p.path))
		return -ENAMETOOLONG;
	for (int i = 0; i < PARTS_MAX; i++) {
		int r = lcm_sys_open_in_root(root, p.path, O_PATH);

		if (r != -ENOENT)
			return r;
		r = make_part(root, &p, dir);
		if (r < 0)
			return r;
	}
	return -ELOOP;
}

static int move_over(int root, const struct moved *m, struct lcm_err *err)
{
	lcm_autoclose int to = -EBADF;
	struct stat st;
	int r = lcm_sys_fstat(m->fd, &st);

	if (r == 0)
		r = to = have_point(root, m->rel, S_ISDIR(st.st_mode));
	if (r >= 0)
		r = refuse_kernel(to);
	if (r >= 0)
		r = lcm_sys_move_mount(m->fd, to);
	if (r == -EXDEV)
		return lcm_err_set(err, r,
				   "mount point /%s of the image leads into a file system of the "
				   "kernel's, such as /proc",
				   m->rel);
	return r < 0 ? lcm_err_set(err, r, "mount point /%s of the image: %s", m->rel, strerror(-r))
		     : 0;
}

/* In the namespace: the tree goes on top, and what was mounted on the old root moves over. */
static int replace(int tree, const char *rootfs, bool *ret_begun, struct lcm_err *err)
{
	LCM_CLEANUP(moves_fini) struct moves v = { .n = 0 };
	LCM_CLEANUP(root_fini) struct root o = { .fd = -EBADF };
	int r = open_root(rootfs, &o, err);

	if (r == 0)
		r = find_moves(&o, &v, err);
	if (r < 0)
		return r;
	r = lcm_sys_move_mount(tree, o.fd);
	if (r < 0)
		return lcm_err_set(err, r, "root %s of the container: %s", rootfs, strerror(-r));
	*ret_begun = true;
	for (size_t i = 0; r == 0 && i < v.n; i++)
		r = move_over(tree, &v.m[i], err);
	return r;
}

/* Return: 1: we are in the mount namespace of @pid now; 0: we were there before; -errno. */
static int enter(pid_t pid)
{
	lcm_autoclose int fd = -EBADF;
	struct lcm_file_id theirs, ours;
	char path[64];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	fd = lcm_sys_openat(AT_FDCWD, path, O_RDONLY, 0);
	if (fd < 0)
		return fd == -ENOENT ? -ESRCH : fd;
	r = lcm_sys_file_id(AT_FDCWD, path, &theirs, 0);
	if (r == 0)
		r = lcm_sys_file_id(AT_FDCWD, "/proc/self/ns/mnt", &ours, 0);
	if (r < 0 || (theirs.dev == ours.dev && theirs.ino == ours.ino))
		return r;
	r = (int)lcm_errno(setns(fd, CLONE_NEWNS));
	return r < 0 ? r : 1;
}

static int fail_enter(pid_t pid, int r, struct lcm_err *err)
{
	return lcm_err_set(err, r, "mount namespace of process %d: %s", (int)pid, strerror(-r));
}

/* Return: a private, detached clone of the overlay at @source; -errno. */
static int clone_tree(const char *source, struct lcm_err *err)
{
	lcm_autoclose int tree = lcm_sys_open_clone(AT_FDCWD, source, 0);
	struct statfs fs;
	int r = tree < 0 ? tree : lcm_sys_mount_private(tree);

	if (r == 0)
		r = (int)lcm_errno(fstatfs(tree, &fs));
	if (r < 0)
		return lcm_err_set(err, r, "%s cannot be cloned: %s", source, strerror(-r));
	if (fs.f_type != OVERLAYFS_SUPER_MAGIC)
		return lcm_err_set(err, -ENOENT, "%s: no overlay is mounted there any more",
				   source);
	return lcm_steal_fd(&tree);
}

int lcm_mount_replace_root(pid_t pid, pid_t owner, const char *source, const char *rootfs,
			   bool *ret_begun, struct lcm_err *err)
{
	lcm_autoclose int tree = -EBADF;
	int r = enter(owner);

	*ret_begun = false;
	if (r < 0)
		return fail_enter(owner, r, err);
	tree = clone_tree(source, err);
	if (tree < 0)
		return tree;
	r = enter(pid);
	if (r < 0)
		return fail_enter(pid, r, err);
	if (r == 0)
		return lcm_err_set(err, -EINVAL,
				   "process %d has the host's mounts, nothing can be mounted for "
				   "it alone",
				   (int)pid);
	return replace(tree, rootfs, ret_begun, err);
}
