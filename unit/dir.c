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

/* No pool of this kind passes the probe: nothing else is asked of it. */
const struct lcm_unit_ops lcm_unit_dir_ops = { .probe = dir_probe };
