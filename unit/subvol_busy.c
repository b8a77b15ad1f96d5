/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "overlay/mountinfo.h"
#include "src/base/buf.h"
#include "src/base/fsmount.h"
#include "unit/subvol_impl.h"

#define PROCESSES_BYTES (64U << 20) /* PID_MAX_LIMIT of struct process */

struct process {
	uint64_t ns; /* of its mount namespace */
	int pid;
};

/* The directory as mounts name it. */
struct place {
	char dev[32];        /* major:minor of its file system, which for btrfs is not its st_dev */
	char path[PATH_MAX]; /* from the root of the file system */
};

/* @path has no '/' at its end, or is "/". Return: what is below it, with its '/'; NULL. */
static const char *below(const char *path, const char *of)
{
	size_t len = strcmp(of, "/") == 0 ? 0 : strlen(of);

	if (strncmp(path, of, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return NULL;
	return path + len;
}

/* @m is the mount through which @dir was opened. */
static int place_in(const struct lcm_mountinfo *m, int dir, const char *name, struct place *ret)
{
	char at[PATH_MAX], point[PATH_MAX], root[PATH_MAX];
	const char *rest;
	int r = lcm_sys_fd_path(dir, at, sizeof(at)), n;

	if (r < 0)
		return r;
	if (lcm_mountinfo_copy(&m->mount_point, point, sizeof(point)) < 0 ||
	    lcm_mountinfo_copy(&m->root, root, sizeof(root)) < 0 ||
	    lcm_mountinfo_copy(&m->dev, ret->dev, sizeof(ret->dev)) < 0)
		return -ENAMETOOLONG;
	rest = below(at, point);
	if (!rest)
		return -EXDEV;
	if (strcmp(rest, "/") == 0)
		rest = "";
	n = snprintf(ret->path, sizeof(ret->path), "%s%s/%s", strcmp(root, "/") == 0 ? "" : root,
		     rest, name);
	return n >= (int)sizeof(ret->path) ? -ENAMETOOLONG : 0;
}

static int place_find(int dir, const char *name, struct place *ret)
{
	lcm_autofree char *text = NULL;
	struct lcm_mountinfo m;
	struct statx stx;
	const char *at;
	size_t len;
	int r = lcm_sys_statx(dir, &stx);

	if (r == 0)
		r = lcm_read_file_at(AT_FDCWD, "/proc/self/mountinfo", LCM_MOUNTINFO_MAX, &text,
				     &len);
	if (r < 0)
		return r;
	at = text;
	while ((r = lcm_mountinfo_next(&at, text + len, &m)) != 0)
		if (r == 1 && m.id == stx.stx_mnt_id)
			return place_in(&m, dir, name, ret);
	return -EXDEV; /* its mount is in no namespace */
}

static bool any_mount_of(const struct place *p, const char *text, size_t len)
{
	const char *at = text;
	char root[PATH_MAX];
	struct lcm_mountinfo m;
	int r;

	while ((r = lcm_mountinfo_next(&at, text + len, &m)) != 0)
		if (r == 1 && lcm_mountinfo_is(&m.dev, p->dev) &&
		    lcm_mountinfo_copy(&m.root, root, sizeof(root)) == 0 && below(root, p->path))
			return true;
	return false;
}

/* lcm_dir_each_fn on /proc; processes that go meanwhile do not count. */
static int add_process(void *arg, int dirfd, const char *name)
{
	struct process p;
	struct lcm_file_id id;
	char path[64];

	if (sscanf(name, "%d", &p.pid) != 1)
		return 0;
	(void)snprintf(path, sizeof(path), "%d/ns/mnt", p.pid);
	if (lcm_sys_file_id(dirfd, path, &id, 0) < 0)
		return 0;
	p.ns = id.ino;
	return lcm_buf_add(arg, &p, sizeof(p));
}

static int by_ns(const void *a, const void *b)
{
	const struct process *x = a, *y = b;

	return x->ns < y->ns ? -1 : x->ns > y->ns;
}

/* One process of each namespace will do. */
static int any_namespace(const struct place *p, int proc, const struct process *all, size_t n)
{
	bool done = false;

	for (size_t i = 0; i < n; i++) {
		lcm_autofree char *text = NULL;
		char path[64];
		size_t len;
		int r;

		done = done && i && all[i].ns == all[i - 1].ns;
		if (done)
			continue;
		(void)snprintf(path, sizeof(path), "%d/mountinfo", all[i].pid);
		r = lcm_read_file_at(proc, path, LCM_MOUNTINFO_MAX, &text, &len);
		if (r == -ENOENT || r == -ESRCH || r == -EINVAL) /* it went */
			continue;
		if (r < 0)
			return r;
		if (any_mount_of(p, text, len))
			return 1;
		done = true;
	}
	return 0;
}

int lcm_subvol_busy(int dir, const char *name)
{
	lcm_autoclose int proc = lcm_sys_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY, 0);
	lcm_autobuf struct lcm_buf all = LCM_BUF(PROCESSES_BYTES);
	struct place p;
	struct stat st;
	int r = lcm_sys_fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW);

	if (r == 0)
		r = proc < 0 ? proc : place_find(dir, name, &p);
	if (r == 0)
		r = lcm_dir_each(proc, add_process, &all);
	if (r < 0)
		return r;
	qsort(all.data, all.len / sizeof(struct process), sizeof(struct process), by_ns);
	return any_namespace(&p, proc, (const struct process *)(const void *)all.data,
			     all.len / sizeof(struct process));
}
