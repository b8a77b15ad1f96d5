/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/mount.h"

#include <stdio.h>
#include <dirent.h>
#include <string.h>
#include <sys/mount.h>

#include "overlay/mount_sys.h"
#include "overlay/mountinfo.h"
#include "src/base/limits.h"
#include "src/base/log.h"
#include "src/base/sys.h"

int lcm_mount_gate(int fuse_fd, struct lcm_err *err)
{
	struct lcm_fs fs = lcm_fs_new("fuse");
	char number[16];

	(void)snprintf(number, sizeof(number), "%d", fuse_fd);
	lcm_fs_string(&fs, "source", "locum-gate");
	lcm_fs_string(&fs, "fd", number);
	lcm_fs_string(&fs, "rootmode", "40000");
	lcm_fs_string(&fs, "user_id", "0");
	lcm_fs_string(&fs, "group_id", "0");
	lcm_fs_flag(&fs, "allow_other");
	lcm_fs_flag(&fs, "ro");
	return lcm_fs_finish(&fs, MOUNT_ATTR_RDONLY, "gate (fuse)", err);
}

int lcm_mount_tmpfs(struct lcm_err *err)
{
	struct lcm_fs fs = lcm_fs_new("tmpfs");

	lcm_fs_string(&fs, "source", "locum");
	lcm_fs_string(&fs, "mode", "0700");
	return lcm_fs_finish(&fs, 0, "tmpfs", err);
}

static void layers_set(struct lcm_fs *fs, const char *key, const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		lcm_fs_set(fs, FSCONFIG_SET_FD, key, NULL, fds[i]);
}

/* overlayfs.rst, "Layers via file descriptors". */
static int overlay_by_fd(const struct lcm_overlay_spec *spec, struct lcm_err *err)
{
	struct lcm_fs fs = lcm_fs_new("overlay");

	lcm_fs_string(&fs, "source", spec->source ? spec->source : "locum");
	layers_set(&fs, "lowerdir+", spec->lowers, spec->n_lowers);
	layers_set(&fs, "datadir+", spec->data, spec->n_data);
	if (spec->upper >= 0) {
		layers_set(&fs, "upperdir", &spec->upper, 1);
		layers_set(&fs, "workdir", &spec->work, 1);
	}
	lcm_fs_string(&fs, "metacopy", spec->metacopy ? "on" : "off");
	/* The upper must mount again on other lowers (META first, the plain layers later): no
	 * index, no origin check.
	 */
	lcm_fs_string(&fs, "index", "off");
	return lcm_fs_finish(&fs, 0, "overlay", err);
}

int lcm_mount_overlay_how(const struct lcm_overlay_spec *spec, enum lcm_mount_how how,
			  struct lcm_err *err)
{
	struct lcm_overlay_spec s = *spec;
	lcm_autoclose int empty = -EBADF;
	int two[2], fd, r;

	if (spec->n_lowers == 0 || (spec->upper >= 0) != (spec->work >= 0))
		return lcm_err_set(err, -EINVAL,
				   "overlay: needs a lower layer, and upper and work together");
	if (spec->upper < 0 && spec->n_lowers + spec->n_data == 1) {
		/* "at least 2 lowerdir are needed while upperdir nonexistent": an empty one changes
		 * nothing. */
		empty = lcm_mount_tmpfs(err);
		if (empty < 0)
			return empty;
		two[0] = spec->lowers[0];
		two[1] = empty;
		s.lowers = two;
		s.n_lowers = 2;
	}
	if (how == LCM_MOUNT_BY_PATH)
		return lcm_mount_overlay_by_path(&s, err);
	r = overlay_by_fd(&s, err);
	if (how == LCM_MOUNT_BY_FD || (r != -EINVAL && r != -EBADF && r != -EOPNOTSUPP))
		return r;
	/*
	 * Before 6.13 there is no FSCONFIG_SET_FD for layers, before 6.15 neither detached mounts
	 * nor O_PATH descriptors are taken. The first text is the better one when the other way
	 * fails as well.
	 */
	lcm_debug("overlay: layers by descriptor refused (%s), trying paths", strerror(-r));
	fd = lcm_mount_overlay_by_path(&s, NULL);
	return fd < 0 ? r : fd;
}

int lcm_mount_overlay(const struct lcm_overlay_spec *spec, struct lcm_err *err)
{
	return lcm_mount_overlay_how(spec, LCM_MOUNT_ANY, err);
}

/* O_PATH descriptor of a directory that a mount may be put on. */
static int open_target(const char *path, struct lcm_err *err)
{
	lcm_autoclose int dir = lcm_sys_openat(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0);
	struct statx stx;
	int r;

	if (dir == -ENOENT)
		return lcm_err_set(err, dir, "%s does not exist; make it first: mkdir -p %s", path,
				   path);
	if (dir == -ENOTDIR)
		return lcm_err_set(err, dir, "%s is not a directory; name an empty directory",
				   path);
	if (dir < 0)
		return lcm_err_set(err, dir, "%s: %s", path, strerror(-dir));
	r = lcm_sys_statx(dir, &stx);
	if (r < 0)
		return lcm_err_set(err, r, "%s: %s", path, strerror(-r));
	if (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT)
		return lcm_err_set(
		    err, -EBUSY,
		    "%s is a mount point already; unmount it (umount %s) or name another directory",
		    path, path);
	return lcm_steal_fd(&dir);
}

int lcm_mount_check_target(const char *path, struct lcm_err *err)
{
	lcm_autoclose int dir = open_target(path, err);
	struct dirent *e;
	bool empty = true;
	DIR *d;

	if (dir < 0)
		return dir;
	d = opendir(path);
	if (!d)
		return lcm_err_set(err, (int)lcm_errno(-1), "%s cannot be read", path);
	while (empty && (e = readdir(d)))
		empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	(void)closedir(d);
	return empty
		   ? 0
		   : lcm_err_set(
			 err, -ENOTEMPTY,
			 "%s is not empty; name an empty directory, what is in it would be hidden",
			 path);
}

int lcm_mount_attach(int mount_fd, const char *path, struct lcm_err *err)
{
	lcm_autoclose int dir = open_target(path, err);
	int r;

	if (dir < 0)
		return dir;
	r = lcm_sys_move_mount(mount_fd, dir);
	return r < 0 ? lcm_err_set(err, r, "%s: cannot be mounted on: %s", path, strerror(-r)) : 0;
}

/* A reconfigure without parameters: reconfigure_super() shrinks the dentry cache, then sets
 * nothing. */
static int reconfigure(const char *path, bool read_only)
{
	lcm_autoclose int fs = lcm_sys_fspick(path);
	int r;

	if (fs < 0)
		return fs;
	/* The picked context starts out read-write; overlayfs without an upper refuses that
	 * (EROFS). */
	r = read_only ? lcm_sys_fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) : 0;
	return r < 0 ? r : lcm_sys_fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0);
}

int lcm_mount_shrink(const char *path)
{
	int r = reconfigure(path, false);

	return r == -EROFS ? reconfigure(path, true) : r;
}

int lcm_umount(const char *path, bool lazy, struct lcm_err *err)
{
	int r = lcm_sys_umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0));

	if (r == -EBUSY)
		return lcm_err_set(
		    err, r, "%s is in use; end what runs in it (fuser -vm %s) or unmount lazily",
		    path, path);
	if (r == -EINVAL)
		return lcm_err_set(err, r, "%s is not a mount point", path);
	return r < 0 ? lcm_err_set(err, r, "%s: cannot be unmounted: %s", path, strerror(-r)) : 0;
}

int lcm_mounted_source(const char *path, const char *source)
{
	lcm_autofree char *real = realpath(path, NULL), *text = NULL;
	struct lcm_mountinfo m;
	const char *at;
	size_t len = 0;
	int r;

	if (!real) {
		r = (int)lcm_errno(-1);
		return r == -ENOENT || r == -ENOTDIR ? 0 : r;
	}
	r = lcm_read_file_at(AT_FDCWD, "/proc/self/mountinfo", LCM_MOUNTINFO_MAX, &text, &len);
	if (r < 0)
		return r;
	at = text;
	while ((r = lcm_mountinfo_next(&at, text + len, &m)) != 0) {
		if (r < 0)
			continue;
		if (lcm_mountinfo_is(&m.type, "overlay") && lcm_mountinfo_is(&m.source, source) &&
		    lcm_mountinfo_is(&m.mount_point, real))
			return 1;
	}
	return 0;
}
