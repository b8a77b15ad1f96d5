/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "unit/object.h"
#include "unit/subvol_impl.h"

/* Levels of a tree; one that high is none: all deletions are counted. */
#define SUBTREE_LEVELS "8"

/* Return: a descriptor of /sys/fs/btrfs/UUID/qgroups; -ENOENT: quotas are off; -errno. */
static int qgroups_open(int fd)
{
	struct btrfs_ioctl_fs_info_args info = { 0 };
	char path[128];
	size_t at;
	int r = lcm_sys_ioctl(fd, BTRFS_IOC_FS_INFO, &info);

	if (r < 0)
		return r;
	at = (size_t)snprintf(path, sizeof(path), "/sys/fs/btrfs/");
	for (size_t i = 0; i < BTRFS_FSID_SIZE; i++)
		at += (size_t)snprintf(path + at, sizeof(path) - at, "%s%02x",
				       i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
				       info.fsid[i]);
	(void)snprintf(path + at, sizeof(path) - at, "/qgroups");
	return lcm_sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
}

static int read_number(int dir, const char *name, uint64_t *ret)
{
	lcm_autofree char *text = NULL;
	size_t len;
	int r = lcm_read_file_at(dir, name, 64, &text, &len);

	if (r < 0)
		return r;
	return sscanf(text, "%" SCNu64, ret) == 1 ? 0 : -EUCLEAN;
}

static bool is_simple(int qgroups)
{
	lcm_autofree char *mode = NULL;
	size_t len;

	/* Before 6.7 there is no such file, and only one mode. */
	return lcm_read_file_at(qgroups, "mode", 64, &mode, &len) == 0 &&
	       strncmp(mode, "squota", strlen("squota")) == 0;
}

static int count_deletions(int qgroups)
{
	lcm_autoclose int fd = lcm_sys_openat(qgroups, "drop_subtree_threshold", O_WRONLY, 0);

	if (fd == -ENOENT) /* before 6.1 they were always counted */
		return 0;
	return fd < 0 ? fd : lcm_sys_write_full(fd, SUBTREE_LEVELS, strlen(SUBTREE_LEVELS));
}

/* What was begun by somebody else is as good. */
static int rescan(int fd)
{
	struct btrfs_ioctl_quota_rescan_args args = { 0 };
	int r = lcm_sys_ioctl(fd, BTRFS_IOC_QUOTA_RESCAN, &args);

	if (r < 0 && r != -EINPROGRESS)
		return r;
	return lcm_sys_ioctl(fd, BTRFS_IOC_QUOTA_RESCAN_WAIT, NULL);
}

static int quota_enable(int fd)
{
	struct btrfs_ioctl_quota_ctl_args args = { .cmd = BTRFS_QUOTA_CTL_ENABLE };
	int r = lcm_sys_ioctl(fd, BTRFS_IOC_QUOTA_CTL, &args);

	return r < 0 ? r : lcm_sys_ioctl(fd, BTRFS_IOC_QUOTA_RESCAN_WAIT, NULL);
}

int lcm_quota_ready(int fd, const char *what, struct lcm_err *err)
{
	lcm_autoclose int qgroups = qgroups_open(fd);
	uint64_t inconsistent = 0;
	int r;

	if (qgroups == -ENOENT) {
		r = quota_enable(fd);
		if (r < 0)
			return lcm_err_set(err, r, "%s: enabling quotas of btrfs: %s", what,
					   strerror(-r));
		qgroups = qgroups_open(fd);
	}
	if (qgroups < 0)
		return lcm_err_set(err, qgroups, "%s: /sys/fs/btrfs: %s", what, strerror(-qgroups));
	if (is_simple(qgroups))
		return lcm_err_set(err, -ENOTSUP,
				   "%s: its btrfs has simple quotas, which do not count what is "
				   "shared; btrfs quota disable, then try again",
				   what);
	r = count_deletions(qgroups);
	if (r == 0)
		r = read_number(qgroups, "inconsistent", &inconsistent);
	if (r == -ENOENT)
		r = 0;
	if (r == 0 && inconsistent)
		r = rescan(fd);
	return r < 0 ? lcm_err_set(err, r, "%s: quotas of btrfs: %s", what, strerror(-r)) : 0;
}

int lcm_qgroup_read(int fd, uint64_t id, struct lcm_qgroup *ret)
{
	lcm_autoclose int qgroups = qgroups_open(fd), dir = -EBADF;
	struct lcm_qgroup q = { 0 };
	uint64_t flags = 0;
	char name[32];
	int r = qgroups;

	(void)snprintf(name, sizeof(name), "0_%" PRIu64, id);
	if (r >= 0)
		r = dir = lcm_sys_openat(qgroups, name, O_RDONLY | O_DIRECTORY, 0);
	if (r >= 0)
		r = read_number(dir, "referenced", &q.referenced);
	if (r == 0)
		r = read_number(dir, "exclusive", &q.exclusive);
	if (r == 0)
		r = read_number(dir, "limit_flags", &flags);
	if (r == 0 && (flags & BTRFS_QGROUP_LIMIT_MAX_RFER))
		r = read_number(dir, "max_referenced", &q.limit);
	if (r == 0)
		*ret = q;
	return r;
}

int lcm_qgroup_limit(int root, uint64_t id, uint64_t bytes)
{
	struct btrfs_ioctl_qgroup_limit_args args = {
		.qgroupid = id,
		.lim = { .flags = BTRFS_QGROUP_LIMIT_MAX_RFER, .max_rfer = bytes },
	};
	int r = lcm_sys_ioctl(root, BTRFS_IOC_QGROUP_LIMIT, &args);

	return r < 0 ? r : lcm_btrfs_commit(root);
}
