/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/stack_top.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "overlay/layer_dir.h"
#include "overlay/stack_top_impl.h"
#include "src/base/sys.h"

static int fail(struct lcm_stack *m, int r, const char *path, const char *what)
{
	return lcm_err_set(m->err, r, "directory '%.250s': %s (%s)", path, what, strerror(-r));
}

bool lcm_stack_marked(int fd, const char *xattr)
{
	return fgetxattr(fd, xattr, NULL, 0) >= 0;
}

static int open_dir(int at, const char *name)
{
	return lcm_sys_openat(at, *name ? name : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

/* ---- looking ---- */

/* One directory down; *@fd is replaced. */
static int enter(int *fd, const char *name, size_t len)
{
	char buf[NAME_MAX + 1];
	int next;

	if (len > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(buf, name, len);
	buf[len] = '\0';
	next = open_dir(*fd, buf);
	lcm_closep(fd);
	*fd = next;
	return LCM_MIN(next, 0);
}

enum lcm_stack_found lcm_stack_look(struct lcm_stack *m, size_t layer, const char *path,
				    int *ret_dir, const char **ret_name, bool *hides)
{
	lcm_autoclose int fd = open_dir(m->layers[layer], "");
	struct stat st;
	int r = LCM_MIN(fd, 0);

	*hides = false;
	m->steps++;
	for (const char *slash; r == 0 && (slash = strchr(path, '/')); path = slash + 1) {
		*hides |= lcm_stack_marked(fd, LCM_XATTR_OPAQUE);
		r = enter(&fd, path, (size_t)(slash - path));
		m->steps++;
	}
	if (r == 0 && *path) {
		*hides |= lcm_stack_marked(fd, LCM_XATTR_OPAQUE);
		r = lcm_sys_fstatat(fd, path, &st, AT_SYMLINK_NOFOLLOW);
	}
	if (r < 0)
		return r == -ENOENT && !*hides ? LCM_STACK_NOT : LCM_STACK_END;
	*ret_dir = lcm_steal_fd(&fd);
	*ret_name = *path ? path : ".";
	return LCM_STACK_FOUND;
}

int lcm_stack_steps(struct lcm_stack *m, const char *path)
{
	if (m->steps <= LCM_STACK_STEPS_MAX)
		return 0;
	return lcm_err_set(m->err, -EFBIG,
			   "layer entry '%.200s': too many directories that layers do not list, or "
			   "hardlinks to files of lower layers, in too many layers",
			   path);
}

/* Looks for directory @path in one layer. */
static enum lcm_stack_found look_dir(struct lcm_stack *m, size_t layer, const char *path,
				     int *ret_fd, bool *hides)
{
	lcm_autoclose int at = -EBADF;
	const char *name;
	enum lcm_stack_found f = lcm_stack_look(m, layer, path, &at, &name, hides);
	int fd = f == LCM_STACK_FOUND ? open_dir(at, name) : -ENOENT;

	if (f != LCM_STACK_FOUND)
		return f;
	if (fd < 0)
		return LCM_STACK_END;
	*ret_fd = fd;
	return LCM_STACK_FOUND;
}

/* The directory whose metadata is meant: the topmost that is listed, else the topmost. *@ret_top:
 * is it the topmost? */
static int meant(struct lcm_stack *m, const char *path, bool *ret_top)
{
	lcm_autoclose int topmost = -ENOENT;

	*ret_top = false;
	for (size_t i = m->n; i > 0; i--) {
		lcm_autoclose int fd = -EBADF;
		bool hides;
		enum lcm_stack_found f = look_dir(m, i - 1, path, &fd, &hides);

		if (f == LCM_STACK_FOUND && !lcm_stack_marked(fd, LCM_XATTR_IMPLIED)) {
			*ret_top = topmost < 0;
			return lcm_steal_fd(&fd);
		}
		if (f == LCM_STACK_FOUND && topmost < 0)
			topmost = lcm_steal_fd(&fd);
		if (f == LCM_STACK_END || hides)
			break;
	}
	*ret_top = true;
	return lcm_steal_fd(&topmost);
}

/* ---- attributes ---- */

static int copy_xattrs(const char *from, const char *to)
{
	lcm_autofree char *names = malloc(XATTR_LIST_MAX), *value = malloc(XATTR_SIZE_MAX);
	ssize_t len = names && value ? lcm_errno(llistxattr(from, names, XATTR_LIST_MAX)) : -ENOMEM;

	for (const char *p = names; len > 0 && p < names + len; p += strlen(p) + 1) {
		ssize_t n;
		int r;

		if (strncmp(p, "trusted.overlay.", strlen("trusted.overlay.")) == 0 ||
		    strcmp(p, "security.selinux") == 0)
			continue;
		n = lcm_errno(lgetxattr(from, p, value, XATTR_SIZE_MAX));
		r = n < 0 ? (int)n : lcm_sys_lsetxattr(to, p, value, (size_t)n);
		if (r < 0)
			return r;
	}
	return (int)LCM_MIN(len, 0);
}

int lcm_stack_copy_attr(int from_dir, const char *from, int to_dir, const char *to)
{
	char a[PATH_MAX + 64], b[PATH_MAX + 64];
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT } };
	struct stat st;
	int r = lcm_sys_fstatat(from_dir, from, &st, AT_SYMLINK_NOFOLLOW);

	(void)snprintf(a, sizeof(a), "/proc/self/fd/%d/%s", from_dir, from);
	(void)snprintf(b, sizeof(b), "/proc/self/fd/%d/%s", to_dir, to);
	if (r == 0)
		r = lcm_sys_fchownat(to_dir, to, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW);
	if (r == 0)
		r = copy_xattrs(a, b);
	if (r == 0 && !S_ISLNK(st.st_mode))
		r = lcm_sys_fchmodat(to_dir, to, st.st_mode & 07777);
	ts[1] = st.st_mtim;
	return r < 0 ? r : lcm_sys_utimensat(to_dir, to, ts, AT_SYMLINK_NOFOLLOW);
}

int lcm_dir_copy_attr(int from, int to)
{
	return lcm_stack_copy_attr(from, ".", to, ".");
}

/* ---- directories ---- */

int lcm_stack_make(struct lcm_stack *m, const char *path)
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

struct walk {
	struct lcm_stack *m;
	bool after;
	lcm_stack_fn fn;
	void *arg;
	char path[PATH_MAX];
};

static int walk(struct walk *w, int at, size_t len);

static int walk_names(struct walk *w, DIR *d, size_t len)
{
	struct dirent *e;
	int r = 0;

	while (r == 0 && (e = readdir(d))) {
		size_t n = strlen(e->d_name);

		if (e->d_type != DT_DIR || strcmp(e->d_name, ".") == 0 ||
		    strcmp(e->d_name, "..") == 0)
			continue;
		if (len + n + 2 > PATH_MAX)
			return fail(w->m, -ENAMETOOLONG, w->path, "is too deep");
		memcpy(w->path + len + (len > 0), e->d_name, n + 1);
		if (len)
			w->path[len] = '/';
		r = walk(w, dirfd(d), len + (len > 0) + n);
		w->path[len] = '\0';
	}
	return r;
}

/* The directory w->path, whose last component lies in @at. */
static int walk(struct walk *w, int at, size_t len)
{
	const char *slash = strrchr(w->path, '/');
	int fd = open_dir(at, slash ? slash + 1 : w->path), r;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d) {
		r = fd < 0 ? fd : -ENOMEM;
		lcm_closep(&fd);
		return fail(w->m, r, w->path, "cannot be read");
	}
	r = w->after ? 0 : w->fn(w->m, fd, w->path, w->arg);
	if (r == 0)
		r = walk_names(w, d, len);
	if (r == 0 && w->after)
		r = w->fn(w->m, fd, w->path, w->arg);
	(void)closedir(d);
	return r;
}

int lcm_stack_walk(struct lcm_stack *m, int root, bool after, lcm_stack_fn fn, void *arg)
{
	struct walk w = { .m = m, .after = after, .fn = fn, .arg = arg };

	return walk(&w, root, 0);
}

static int visit_layer(struct lcm_stack *m, int fd, const char *path, void *arg)
{
	lcm_autoclose int from = -EBADF;
	bool top = true;

	(void)arg;
	if (lcm_stack_marked(fd, LCM_XATTR_IMPLIED))
		from = meant(m, path, &top);
	if (from >= 0 && !top)
		return lcm_stack_make(m, path);
	return lcm_stack_steps(m, path);
}

static int visit_out(struct lcm_stack *m, int fd, const char *path, void *arg)
{
	bool top;
	lcm_autoclose int from = meant(m, path, &top);
	int r = from < 0 ? from : lcm_dir_copy_attr(from, fd);

	(void)arg;
	return r < 0 ? fail(m, r, path, "its metadata cannot be copied") : 0;
}

bool lcm_stack_top_none(const int *layers, size_t n)
{
	return n == 0 || (n == 1 && !lcm_stack_marked(layers[0], LCM_XATTR_LINKS));
}

int lcm_stack_top_write(const int *layers, size_t n, int dir, struct lcm_err *err)
{
	struct lcm_stack m = { .layers = layers, .n = n, .out = dir, .err = err };
	int r = 0;

	/* The lowest layer has nothing below it. */
	for (size_t i = n; i > 1 && r == 0; i--)
		r = lcm_stack_walk(&m, layers[i - 1], false, visit_layer, NULL);
	if (r == 0)
		r = lcm_stack_links(&m);
	if (r == 0 && m.needed)
		r = lcm_stack_walk(&m, dir, true, visit_out, NULL);
	return r < 0 ? r : m.needed;
}
