/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/object.h"

#include <limits.h>
#include <linux/btrfs.h>
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"

const char *lcm_object_path(int dir, const char *name, char out[LCM_OBJECT_PATH])
{
	char at[PATH_MAX];
	bool known = lcm_sys_fd_path(dir, at, sizeof(at)) == 0;

	if (snprintf(out, LCM_OBJECT_PATH, "%s%s%s", known ? at : "", known ? "/" : "", name) >=
	    LCM_OBJECT_PATH)
		memcpy(out + LCM_OBJECT_PATH - sizeof("..."), "...", sizeof("..."));
	return out;
}

int lcm_object_fail(int dir, const char *name, int r, const char *doing, struct lcm_err *err)
{
	char path[LCM_OBJECT_PATH];

	if (!err)
		return r;
	return lcm_err_set(err, r, "%s: %s: %s", lcm_object_path(dir, name, path), doing,
			   strerror(-r));
}

static int exchange_sync(int dir, const char *name, const char *with)
{
	int r = lcm_fsync_parent_at(dir, name);

	return r < 0 ? r : lcm_fsync_parent_at(dir, with);
}

int lcm_object_exchange(int dir, const char *name, const char *with, struct lcm_err *err)
{
	int r = lcm_sys_renameat2(dir, name, dir, with, RENAME_EXCHANGE);

	if (r < 0)
		return lcm_object_fail(dir, name, r, "exchange", err);
	r = exchange_sync(dir, name, with);
	if (r == 0)
		return 0;
	/* Not durable is not done: a second try would otherwise undo it. */
	lcm_ignore(lcm_sys_renameat2(dir, name, dir, with, RENAME_EXCHANGE));
	return lcm_object_fail(dir, name, r, "exchange", err);
}

/* Not BTRFS_IOC_SYNC, which first writes what everybody has in memory. */
int lcm_btrfs_commit(int fd)
{
	uint64_t id = 0;
	int r = lcm_sys_ioctl(fd, BTRFS_IOC_START_SYNC, &id);

	return r < 0 ? r : lcm_sys_ioctl(fd, BTRFS_IOC_WAIT_SYNC, &id);
}
