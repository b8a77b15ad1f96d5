/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/implied.h"

#include <dirent.h>
#include <limits.h>
#include <string.h>
#include <sys/xattr.h>

#include "overlay/layer_dir.h"
#include "src/base/sys.h"

struct implied {
	const int *layers; /* borrowed */
	size_t n;
	int out; /* borrowed */
	bool needed;
	struct lcm_err *err;
};

static int fail(struct implied *m, int r, const char *path, const char *what)
{
	return lcm_err_set(m->err, r, "directory '%.250s': %s (%s)", path, what, strerror(-r));
}

static bool marked(int fd, const char *xattr)
{
	return fgetxattr(fd, xattr, NULL, 0) >= 0;
}

static int open_dir(int at, const char *name)
{
	return lcm_sys_openat(at, *name ? name : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

enum found { FOUND_NOT, FOUND, FOUND_END }; /* FOUND_END: lower layers are hidden here */

/* Looks for directory @path in one layer; *@hides when a parent of it is opaque there. */
static enum found look(int layer, const char *path, int *ret_fd, bool *hides)
{
	lcm_autoclose int fd = open_dir(layer, "");
	char name[NAME_MAX + 1];

	*hides = false;
	while (fd >= 0 && *path) {
		size_t len = strcspn(path, "/");
		int next;

		*hides |= marked(fd, LCM_XATTR_OPAQUE);
		if (len > NAME_MAX)
			return FOUND_END;
		memcpy(name, path, len);
		name[len] = '\0';
		path += len + (path[len] == '/');
		next = open_dir(fd, name);
		lcm_closep(&fd);
		fd = next;
	}
	if (fd < 0)
		return fd == -ENOENT && !*hides ? FOUND_NOT : FOUND_END;
	*ret_fd = lcm_steal_fd(&fd);
	return FOUND;
}

/* The directory whose metadata is meant: the topmost that is listed, else the topmost. *@ret_top:
 * is it the topmost? */
static int meant(const struct implied *m, const char *path, bool *ret_top)
{
	lcm_autoclose int topmost = -ENOENT;

	*ret_top = false;
	for (size_t i = m->n; i > 0; i--) {
		lcm_autoclose int fd = -EBADF;
		bool hides;
		enum found f = look(m->layers[i - 1], path, &fd, &hides);

		if (f == FOUND && !marked(fd, LCM_XATTR_IMPLIED)) {
			*ret_top = topmost < 0;
			return lcm_steal_fd(&fd);
		}
		if (f == FOUND && topmost < 0)
			topmost = lcm_steal_fd(&fd);
		if (f == FOUND_END || hides)
			break;
	}
	*ret_top = true;
	return lcm_steal_fd(&topmost);
}

static int copy_xattrs(int from, int to)
{
	lcm_autofree char *names = malloc(XATTR_LIST_MAX), *value = malloc(XATTR_SIZE_MAX);
	ssize_t len = names && value ? lcm_errno(flistxattr(from, names, XATTR_LIST_MAX)) : -ENOMEM;

	for (const char *p = names; len > 0 && p < names + len; p += strlen(p) + 1) {
		ssize_t n;
		int r;

		if (strncmp(p, "trusted.overlay.", strlen("trusted.overlay.")) == 0 ||
		    strcmp(p, "security.selinux") == 0)
			continue;
		n = lcm_errno(fgetxattr(from, p, value, XATTR_SIZE_MAX));
		r = n < 0 ? (int)n : lcm_sys_fsetxattr(to, p, value, (size_t)n);
		if (r < 0)
			return r;
	}
	return (int)LCM_MIN(len, 0);
}

int lcm_dir_copy_attr(int from, int to)
{
	struct stat st;
	int r = lcm_sys_fstat(from, &st);

	if (r == 0)
		r = lcm_sys_fchown(to, st.st_uid, st.st_gid);
	if (r == 0)
		r = copy_xattrs(from, to);
	if (r == 0)
		r = lcm_sys_fchmod(to, st.st_mode & 07777);
	if (r == 0)
		r = lcm_sys_futimens(to,
				     (struct timespec[2]){ { .tv_nsec = UTIME_OMIT }, st.st_mtim });
	return r;
}

/* Makes @path and the directories above it. */
static int make(struct implied *m, const char *path)
{
	char part[PATH_MAX];
	int r = 0;

	m->needed = true;
	for (size_t i = 0; r == 0 && *path && i <= strlen(path); i++) {
		if (path[i] && path[i] != '/')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		r = lcm_sys_mkdirat(m->out, part, 0700);
		r = r == -EEXIST ? 0 : r;
	}
	return r < 0 ? fail(m, r, path, "cannot be made") : 0;
}

static int check(struct implied *m, const char *path)
{
	bool top;
	lcm_autoclose int fd = meant(m, path, &top);

	return fd < 0 || top ? 0 : make(m, path);
}

typedef int (*visit_fn)(struct implied *m, int fd, const char *path);

static int walk(struct implied *m, int at, char path[PATH_MAX], size_t len, bool after,
		visit_fn fn);

static int walk_names(struct implied *m, DIR *d, char path[PATH_MAX], size_t len, bool after,
		      visit_fn fn)
{
	struct dirent *e;
	int r = 0;

	while (r == 0 && (e = readdir(d))) {
		size_t n = strlen(e->d_name);

		if (e->d_type != DT_DIR || strcmp(e->d_name, ".") == 0 ||
		    strcmp(e->d_name, "..") == 0)
			continue;
		if (len + n + 2 > PATH_MAX)
			return fail(m, -ENAMETOOLONG, path, "is too deep");
		memcpy(path + len + (len > 0), e->d_name, n + 1);
		if (len)
			path[len] = '/';
		r = walk(m, dirfd(d), path, len + (len > 0) + n, after, fn);
		path[len] = '\0';
	}
	return r;
}

/* Every directory below and with @path (whose last component lies in @at), before or after what is
 * in it. */
static int walk(struct implied *m, int at, char path[PATH_MAX], size_t len, bool after, visit_fn fn)
{
	const char *slash = strrchr(path, '/');
	int fd = open_dir(at, slash ? slash + 1 : path), r;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d) {
		r = fd < 0 ? fd : -ENOMEM;
		lcm_closep(&fd);
		return fail(m, r, path, "cannot be read");
	}
	r = after ? 0 : fn(m, fd, path);
	if (r == 0)
		r = walk_names(m, d, path, len, after, fn);
	if (r == 0 && after)
		r = fn(m, fd, path);
	(void)closedir(d);
	return r;
}

static int visit_layer(struct implied *m, int fd, const char *path)
{
	return marked(fd, LCM_XATTR_IMPLIED) ? check(m, path) : 0;
}

static int visit_out(struct implied *m, int fd, const char *path)
{
	bool top;
	lcm_autoclose int from = meant(m, path, &top);
	int r = from < 0 ? from : lcm_dir_copy_attr(from, fd);

	return r < 0 ? fail(m, r, path, "its metadata cannot be copied") : 0;
}

int lcm_implied_write(const int *layers, size_t n, int dir, struct lcm_err *err)
{
	struct implied m = { .layers = layers, .n = n, .out = dir, .err = err };
	char path[PATH_MAX] = "";
	int r = 0;

	/* The lowest layer has nothing below it. */
	for (size_t i = n; i > 1 && r == 0; i--)
		r = walk(&m, layers[i - 1], path, 0, false, visit_layer);
	if (r == 0 && m.needed)
		r = walk(&m, dir, path, 0, true, visit_out);
	return r < 0 ? r : m.needed;
}
