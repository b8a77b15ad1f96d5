/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to mount an overlay on kernels that take layers by path only: mount(2) in a
 * scratch tmpfs that is private (nothing propagates) and gone when the call returns.
 * Attached directories are named /proc/self/fd/N, detached mounts are attached there first.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "overlay/mount_sys.h"
#include "overlay/mountinfo.h"
#include "src/base/buf.h"
#include "src/base/limits.h"
#include "src/base/sys.h"

#define OPTIONS_MAX 4000 /* mount(2) copies one page of options */

struct scratch {
	char path[32];   /* "" until it exists */
	int dir;         /* owned; root of the tmpfs */
	unsigned int n;  /* detached layers attached so far */
	char *mountinfo; /* owned */
	size_t mountinfo_len;
};

static void scratch_fini(struct scratch *s)
{
	free(s->mountinfo);
	lcm_closep(&s->dir);
	if (s->path[0]) {
		lcm_ignore(lcm_sys_umount2(s->path, MNT_DETACH));
		lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, s->path, AT_REMOVEDIR));
	}
}

static int scratch_init(struct scratch *s, struct lcm_err *err)
{
	lcm_autoclose int tmpfs = lcm_mount_tmpfs(err), on = -EBADF;
	int r;

	if (tmpfs < 0)
		return tmpfs;
	(void)snprintf(s->path, sizeof(s->path), "/tmp/locum-mount.XXXXXX");
	if (!mkdtemp(s->path)) {
		s->path[0] = '\0';
		r = (int)lcm_errno(-1);
		return lcm_err_set(err, r, "overlay: no scratch directory in /tmp: %s",
				   strerror(-r));
	}
	on = lcm_sys_openat(AT_FDCWD, s->path, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
	r = on < 0 ? on : lcm_sys_move_mount(tmpfs, on);
	if (r == 0)
		r = lcm_sys_mount_private(tmpfs);
	if (r == 0)
		r = s->dir = lcm_sys_openat(tmpfs, ".", O_RDONLY | O_DIRECTORY, 0);
	if (r >= 0)
		r = lcm_read_file_at(AT_FDCWD, "/proc/self/mountinfo", LCM_MOUNTINFO_MAX,
				     &s->mountinfo, &s->mountinfo_len);
	return r < 0 ? lcm_err_set(err, r, "overlay: scratch mount %s: %s", s->path, strerror(-r))
		     : 0;
}

/* A mount that mountinfo does not list hangs nowhere, so no path leads to it as a layer. */
static bool detached(const struct scratch *s, uint64_t mnt_id)
{
	const char *at = s->mountinfo, *end = at + s->mountinfo_len;
	struct lcm_mountinfo m;
	int r;

	while ((r = lcm_mountinfo_next(&at, end, &m)) != 0)
		if (r > 0 && m.id == mnt_id)
			return false;
	return true;
}

/* Appends a path that leads to @fd. */
static int layer_path(struct scratch *s, int fd, struct lcm_buf *opt)
{
	lcm_autoclose int on = -EBADF;
	struct statx stx;
	char name[16];
	int r = lcm_sys_statx(fd, &stx);

	if (r < 0)
		return r;
	if (!(stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) || !detached(s, stx.stx_mnt_id))
		return lcm_buf_printf(opt, "/proc/self/fd/%d", fd);
	(void)snprintf(name, sizeof(name), "%u", s->n++);
	r = lcm_sys_mkdirat(s->dir, name, 0700);
	if (r < 0)
		return r;
	on = lcm_sys_openat(s->dir, name, O_PATH | O_DIRECTORY, 0);
	r = on < 0 ? on : lcm_sys_move_mount(fd, on);
	return r < 0 ? r : lcm_buf_printf(opt, "%s/%s", s->path, name);
}

static int layers_add(struct scratch *s, struct lcm_buf *opt, const char *first, const char *next,
		      const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int r = lcm_buf_printf(opt, "%s", i ? next : first);

		if (r == 0)
			r = layer_path(s, fds[i], opt);
		if (r < 0)
			return r;
	}
	return 0;
}

static int options_write(struct scratch *s, const struct lcm_overlay_spec *spec,
			 struct lcm_buf *opt)
{
	int r = layers_add(s, opt, "lowerdir=", ":", spec->lowers, spec->n_lowers);

	if (r == 0)
		r = layers_add(s, opt, "::", "::", spec->data, spec->n_data);
	if (r == 0 && spec->upper >= 0)
		r = layers_add(s, opt, ",upperdir=", "", &spec->upper, 1);
	if (r == 0 && spec->upper >= 0)
		r = layers_add(s, opt, ",workdir=", "", &spec->work, 1);
	return r < 0 ? r
		     : lcm_buf_printf(opt, ",metacopy=%s,index=off", spec->metacopy ? "on" : "off");
}

/* The overlay, attached inside the scratch mount and cloned from there. */
static int scratch_mount(struct scratch *s, const struct lcm_overlay_spec *spec,
			 struct lcm_err *err)
{
	lcm_autobuf struct lcm_buf opt = LCM_BUF(OPTIONS_MAX);
	char at[48];
	int r = options_write(s, spec, &opt);

	if (r == -EFBIG)
		return lcm_err_set(err, -E2BIG,
				   "overlay: %zu layers do not fit into one page of mount options; "
				   "this needs Linux 6.13",
				   spec->n_lowers);
	(void)snprintf(at, sizeof(at), "%s/m", s->path);
	if (r == 0)
		r = lcm_sys_mkdirat(s->dir, "m", 0700);
	if (r == 0)
		r = lcm_sys_mount(spec->source ? spec->source : "locum", at, "overlay",
				  spec->upper >= 0 ? 0 : MS_RDONLY, lcm_buf_str(&opt));
	if (r == 0)
		r = lcm_sys_open_clone(AT_FDCWD, at, 0);
	return r < 0 ? lcm_err_set(err, r, "overlay: %s; the kernel's reason is in dmesg",
				   strerror(-r))
		     : r;
}

int lcm_mount_overlay_by_path(const struct lcm_overlay_spec *spec, struct lcm_err *err)
{
	struct scratch s = { .dir = -EBADF };
	int r = scratch_init(&s, err);

	if (r == 0)
		r = scratch_mount(&s, spec, err);
	scratch_fini(&s);
	return r;
}
