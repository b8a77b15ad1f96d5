/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "overlay/layer_dir.h"
#include "src/base/sys.h"

#define PROC_NAME_MAX (32 + LCM_NAME_LEN_MAX) /* "/proc/self/fd/<number>/<name>" */

int lcm_layer_fail(struct lcm_err *err, int code, const char *path, const char *what)
{
	return lcm_err_set(err, code, "layer entry '%.250s': %s (%s)", path, what, strerror(-code));
}

int lcm_layer_attr_of(const struct lcm_toc *toc, const struct lcm_toc_entry *e,
		      struct lcm_layer_attr *ret, struct lcm_xattr **ret_xattrs)
{
	struct lcm_layer_attr a = { .mode = e->mode,
				    .uid = e->uid,
				    .gid = e->gid,
				    .mtime = e->mtime,
				    .mtime_nsec = e->mtime_nsec };
	struct lcm_xattr *list = NULL, x;
	uint32_t pos = 0;
	size_t n = 0;

	while (lcm_toc_xattr_next(toc, e, &pos, &x))
		n++;
	if (n) {
		list = calloc(n, sizeof(*list));
		if (!list)
			return -ENOMEM;
	}
	for (pos = 0; a.n_xattrs < n && lcm_toc_xattr_next(toc, e, &pos, &x);)
		list[a.n_xattrs++] = x;
	a.xattrs = list;
	*ret = a;
	*ret_xattrs = list;
	return 0;
}

static int xattr_fail(struct lcm_err *err, int r, const char *path, const char *name)
{
	return lcm_err_set(err, r, "layer entry '%.200s': cannot set xattr %.100s (%s)%s", path,
			   name, strerror(-r),
			   r == -ENOTSUP ? "; keep the store on a file system with xattrs" : "");
}

/* The times an entry gets; when it was last read is nobody's business. */
static void times_of(const struct lcm_layer_attr *a, struct timespec ts[2])
{
	ts[0] = (struct timespec){ .tv_nsec = UTIME_OMIT };
	ts[1] = (struct timespec){ .tv_sec = a->mtime, .tv_nsec = a->mtime_nsec };
}

int lcm_layer_attr_set(int fd, const struct lcm_layer_attr *a, const char *path,
		       struct lcm_err *err)
{
	struct timespec ts[2];
	struct stat st;
	bool chowned;
	int r = lcm_sys_fstat(fd, &st);

	if (r < 0)
		return lcm_layer_fail(err, r, path, "cannot stat");
	chowned = st.st_uid != a->uid || st.st_gid != a->gid;
	if (chowned) {
		r = lcm_sys_fchown(fd, a->uid, a->gid);
		if (r < 0)
			return lcm_layer_fail(err, r, path, "cannot set owner");
	}
	for (size_t i = 0; i < a->n_xattrs; i++) {
		const struct lcm_xattr *x = &a->xattrs[i];

		r = lcm_sys_fsetxattr(fd, x->name, x->value, x->value_len);
		if (r < 0)
			return xattr_fail(err, r, path, x->name);
	}
	if ((st.st_mode & 07777) != a->mode || (chowned && (a->mode & 07000)) || a->n_xattrs) {
		r = lcm_sys_fchmod(fd, a->mode);
		if (r < 0)
			return lcm_layer_fail(err, r, path, "cannot set mode");
	}
	times_of(a, ts);
	r = lcm_sys_futimens(fd, ts);
	return r < 0 ? lcm_layer_fail(err, r, path, "cannot set time") : 0;
}

static int xattrs_set_at(int dirfd, const char *name, const struct lcm_layer_attr *a,
			 const char *path, struct lcm_err *err)
{
	char proc[PROC_NAME_MAX];

	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", dirfd, name);
	for (size_t i = 0; i < a->n_xattrs; i++) {
		const struct lcm_xattr *x = &a->xattrs[i];
		int r = lcm_sys_lsetxattr(proc, x->name, x->value, x->value_len);

		if (r < 0)
			return xattr_fail(err, r, path, x->name);
	}
	return 0;
}

int lcm_layer_attr_set_at(int dirfd, const char *name, bool symlink, const struct lcm_layer_attr *a,
			  const char *path, struct lcm_err *err)
{
	struct timespec ts[2];
	struct stat st;
	int r = lcm_sys_fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW);

	if (r < 0)
		return lcm_layer_fail(err, r, path, "cannot stat");
	if (S_ISLNK(st.st_mode) != symlink)
		return lcm_layer_fail(err, -EUCLEAN, path, "was replaced while it was made");
	if (st.st_uid != a->uid || st.st_gid != a->gid) {
		r = lcm_sys_fchownat(dirfd, name, a->uid, a->gid, AT_SYMLINK_NOFOLLOW);
		if (r < 0)
			return lcm_layer_fail(err, r, path, "cannot set owner");
	}
	r = xattrs_set_at(dirfd, name, a, path, err);
	if (r < 0)
		return r;
	if (!symlink) {
		r = lcm_sys_fchmodat(dirfd, name, a->mode);
		if (r < 0)
			return lcm_layer_fail(err, r, path, "cannot set mode");
	}
	times_of(a, ts);
	r = lcm_sys_utimensat(dirfd, name, ts, AT_SYMLINK_NOFOLLOW);
	return r < 0 ? lcm_layer_fail(err, r, path, "cannot set time") : 0;
}

int lcm_layer_link_below(int dirfd, const char *name, const char *target, const char *path,
			 struct lcm_err *err)
{
	const struct lcm_xattr link = { .name = LCM_XATTR_LINK,
					.value = (const uint8_t *)target,
					.value_len = (uint32_t)strlen(target) };
	const struct lcm_layer_attr a = { .xattrs = &link, .n_xattrs = 1 };
	int r = lcm_sys_mknodat(dirfd, name, S_IFCHR, 0);

	if (r < 0)
		return r == -EEXIST ? r : lcm_layer_fail(err, r, path, "cannot be made");
	r = xattrs_set_at(dirfd, name, &a, path, err);
	if (r < 0)
		lcm_ignore(lcm_sys_unlinkat(dirfd, name, 0));
	return r;
}

int lcm_layer_link_target(int dirfd, const char *name, char ret[PATH_MAX])
{
	char proc[PROC_NAME_MAX];
	long n;

	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", dirfd, name);
	n = lcm_errno(lgetxattr(proc, LCM_XATTR_LINK, ret, PATH_MAX - 1));
	if (n >= 0)
		ret[n] = '\0';
	return (int)n;
}
