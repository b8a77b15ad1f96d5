/* SPDX-License-Identifier: Apache-2.0 */
/* Units in plain directories: so far only an answer to whether they could work. */
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/quota.h>
#include <sys/syscall.h>

#include "src/base/sys.h"
#include "unit/backend.h"

#define PROJECT_QUOTAS 2 /* PRJQUOTA of linux/quota.h */

/* quotactl_fd(2), which names the file system by a descriptor. */
static bool enforces_project_quotas(int fd)
{
	struct fs_quota_stat st = { .qs_version = FS_QSTAT_VERSION };
	long r = lcm_errno(syscall(SYS_quotactl_fd, fd, QCMD(Q_XGETQSTAT, PROJECT_QUOTAS), 0, &st));

	return r == 0 && (st.qs_flags & FS_QUOTA_PDQ_ENFD);
}

static int dir_probe(int pool, const char *path, struct lcm_err *err)
{
	struct fsxattr attr;

	if (lcm_sys_ioctl(pool, FS_IOC_FSGETXATTR, &attr) < 0)
		return lcm_err_set(err, -ENOTSUP, "%s: its file system has no project ids", path);
	if (!enforces_project_quotas(pool))
		return lcm_err_set(err, -ENOTSUP,
				   "%s: its file system does not enforce project quotas (mount it "
				   "with prjquota)",
				   path);
	return lcm_err_set(err, -ENOTSUP,
			   "%s: units in directories with project quotas are not built yet; use "
			   "the backend image",
			   path);
}

/* No pool of this kind passes the probe. */
static int no_create(int dir, const char *name, uint64_t size, bool thin, struct lcm_err *err)
{
	(void)dir, (void)size, (void)thin;
	return lcm_err_set(err, -ENOTSUP, "%s: units in directories are not built yet", name);
}

static int no_copy(int from_dir, const char *from, int to_dir, const char *to, bool read_only,
		   bool live, struct lcm_err *err)
{
	(void)from_dir, (void)from;
	return no_create(to_dir, to, read_only, live, err);
}

static int no_exchange(int dir, const char *name, const char *with, struct lcm_err *err)
{
	(void)with;
	return no_create(dir, name, 0, false, err);
}

static int no_resize(int dir, const char *name, int mnt, uint64_t size, struct lcm_err *err)
{
	(void)mnt;
	return no_create(dir, name, size, false, err);
}

static int no_mount(int dir, const char *name, struct lcm_err *err)
{
	return no_create(dir, name, 0, false, err);
}

static int no_busy(int dir, const char *name)
{
	return no_create(dir, name, 0, false, NULL);
}

static int no_size(int dir, const char *name, uint64_t *ret, struct lcm_err *err)
{
	(void)ret;
	return no_create(dir, name, 0, false, err);
}

static int no_usage(int dir, const char *name, uint64_t reserved, uint64_t *ret_used,
		    uint64_t *ret_promised, struct lcm_err *err)
{
	(void)ret_used, (void)ret_promised;
	return no_create(dir, name, reserved, false, err);
}

const struct lcm_unit_ops lcm_unit_dir_ops = {
	.probe = dir_probe,
	.create = no_create,
	.copy = no_copy,
	.exchange = no_exchange,
	.resize = no_resize,
	.mount = no_mount,
	.busy = no_busy,
	.size = no_size,
	.usage = no_usage,
	.remove = no_mount,
};
