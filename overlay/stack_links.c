/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hardlinks to files of lower layers. Each such file is copied to the top, as overlayfs copies up
 * what is linked to, and gets there all of its names that can be seen: they are one inode then.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>

#include "overlay/layer_dir.h"
#include "overlay/stack_top_impl.h"
#include "src/base/buf.h"
#include "src/base/sys.h"

#define TEXTS_MAX ((size_t)256 << 20) /* bytes of paths */

/* A name at the top, and the file it is a name of. */
struct link {
	size_t layer;
	ino_t ino;
	size_t path, source; /* in texts */
};

struct links {
	struct link *v; /* owned */
	size_t n, cap;
	struct lcm_buf texts;
};

/* Where a path leads to. */
struct place {
	size_t layer;
	int dir; /* owned */
	const char *name;
	struct stat st;
};

static int fail(struct lcm_stack *m, int r, const char *path, const char *what)
{
	return lcm_layer_fail(m->err, r, path, what);
}

/* The topmost @path of the layers below @top. Return: 0, -ENOENT, -errno. */
static int find(struct lcm_stack *m, size_t top, const char *path, struct place *ret)
{
	while (top-- > 0) {
		bool hides;
		enum lcm_stack_found f = lcm_stack_look(m, top, path, &ret->dir, &ret->name,
							&hides);

		if (f == LCM_STACK_FOUND) {
			ret->layer = top;
			return lcm_sys_fstatat(ret->dir, ret->name, &ret->st, AT_SYMLINK_NOFOLLOW);
		}
		if (f == LCM_STACK_END || hides)
			break;
	}
	return -ENOENT;
}

/* Is it this layer's @path that can be seen? */
static bool seen(struct lcm_stack *m, size_t layer, const char *path)
{
	struct place p = { .dir = -EBADF };
	int r = find(m, m->n, path, &p);

	lcm_closep(&p.dir);
	return r == 0 && p.layer == layer;
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == 0;
}

static int to_nothing(struct lcm_stack *m, const char *path, const char *target)
{
	return lcm_err_set(m->err, -EUCLEAN,
			   "layer entry '%.200s': hardlink to '%.200s', which is no file of this "
			   "layer or of those below",
			   path, target);
}

/* The file that link @path to @target in @layer is another name of; in @target its own path. */
static int source_of(struct lcm_stack *m, size_t layer, const char *path, char target[PATH_MAX],
		     struct place *ret)
{
	char next[PATH_MAX];
	int r;

	*ret = (struct place){ .layer = layer, .dir = -EBADF };
	do {
		lcm_closep(&ret->dir);
		r = lcm_stack_steps(m, path);
		if (r < 0)
			return r;
		r = find(m, ret->layer, target, ret);
		if (r == 0 && S_ISDIR(ret->st.st_mode))
			r = -ENOENT;
		if (r < 0 || !is_whiteout(&ret->st))
			break;
		r = lcm_layer_link_target(ret->dir, ret->name, next);
		if (r >= 0)
			memcpy(target, next, sizeof(next));
	} while (r >= 0);
	if (r < 0)
		lcm_closep(&ret->dir);
	if (r == -ENOENT || r == -ENODATA)
		return to_nothing(m, path, target);
	return r < 0 ? fail(m, r, path, "its target cannot be found") : 0;
}

static int text_add(struct links *l, const char *s, size_t *ret)
{
	*ret = l->texts.len;
	return lcm_buf_add(&l->texts, s, strlen(s) + 1);
}

static int link_add(struct links *l, const struct place *p, const char *path, const char *source)
{
	struct link k = { .layer = p->layer, .ino = p->st.st_ino };
	int r = text_add(l, path, &k.path);

	if (r == 0)
		r = text_add(l, source, &k.source);
	if (r == 0 && l->n == l->cap) {
		size_t cap = LCM_MAX(l->cap * 2, (size_t)64);
		void *v = reallocarray(l->v, cap, sizeof(*l->v));

		if (!v)
			return -ENOMEM;
		l->v = v;
		l->cap = cap;
	}
	if (r == 0)
		l->v[l->n++] = k;
	return r;
}

/* @path: of the whiteout that may stand for a link. */
static int whiteout_check(struct lcm_stack *m, struct links *l, int dir, const char *name,
			  const char *path)
{
	char target[PATH_MAX];
	struct place p;
	int r = lcm_layer_link_target(dir, name, target);

	if (r == -ENODATA || r == -ENOTSUP)
		return 0;
	if (r < 0)
		return fail(m, r, path, "its xattr cannot be read");
	r = lcm_stack_steps(m, path);
	if (r < 0 || !seen(m, m->at, path))
		return r;
	r = source_of(m, m->at, path, target, &p);
	if (r < 0)
		return r;
	r = link_add(l, &p, path, target);
	lcm_closep(&p.dir);
	return r;
}

/* Calls @fn for each name in directory @fd that may be meant. */
typedef int (*name_fn)(struct lcm_stack *m, struct links *l, int dir, const struct dirent *e,
		       const char *path);

static int each_name(struct lcm_stack *m, struct links *l, int fd, const char *dir, name_fn fn)
{
	int own = lcm_sys_openat(fd, ".", O_RDONLY | O_DIRECTORY, 0), r = 0;
	DIR *d = own < 0 ? NULL : fdopendir(own);
	char path[PATH_MAX + NAME_MAX + 2];
	struct dirent *e;

	if (!d) {
		lcm_closep(&own);
		return fail(m, own < 0 ? own : -ENOMEM, dir, "cannot be read");
	}
	while (r == 0 && (e = readdir(d))) {
		if (e->d_type == DT_DIR)
			continue;
		(void)snprintf(path, sizeof(path), "%s%s%s", dir, *dir ? "/" : "", e->d_name);
		r = fn(m, l, fd, e, path);
	}
	(void)closedir(d);
	return r;
}

static int name_is_link(struct lcm_stack *m, struct links *l, int dir, const struct dirent *e,
			const char *path)
{
	return e->d_type == DT_CHR ? whiteout_check(m, l, dir, e->d_name, path) : 0;
}

static int visit_links(struct lcm_stack *m, int fd, const char *path, void *arg)
{
	return each_name(m, arg, fd, path, name_is_link);
}

/* ---- copying ---- */

static int copy_data(int from, int to)
{
	bool range = true;
	long n;

	do {
		n = lcm_errno(range ? copy_file_range(from, NULL, to, NULL, 1 << 30, 0)
				    : sendfile(to, from, NULL, 1 << 30));
		if (range && (n == -EXDEV || n == -EINVAL || n == -EOPNOTSUPP || n == -ENOSYS)) {
			range = false;
			n = 1;
		}
	} while (n > 0 || n == -EINTR);
	return (int)n;
}

static int copy_regular(const struct place *p, int out, const char *path)
{
	lcm_autoclose int from = lcm_sys_openat(p->dir, p->name, O_RDONLY | O_NOFOLLOW, 0);
	lcm_autoclose int to = from < 0
				   ? from
				   : lcm_sys_openat(out, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	int r = to < 0 ? to : copy_data(from, to);

	if (r == 0)
		r = lcm_sys_ftruncate(to, (uint64_t)p->st.st_size);
	return r < 0 ? r : lcm_sys_fsync(to);
}

static int copy_node(const struct place *p, int out, const char *path)
{
	char target[PATH_MAX];
	long n;

	if (S_ISREG(p->st.st_mode))
		return copy_regular(p, out, path);
	if (!S_ISLNK(p->st.st_mode))
		return lcm_sys_mknodat(out, path, (p->st.st_mode & S_IFMT) | 0600, p->st.st_rdev);
	n = lcm_errno(readlinkat(p->dir, p->name, target, sizeof(target) - 1));
	if (n < 0)
		return (int)n;
	target[n] = '\0';
	return lcm_sys_symlinkat(target, out, path);
}

static int make_parent(struct lcm_stack *m, const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];

	if (slash)
		memcpy(dir, path, (size_t)(slash - path));
	dir[slash ? slash - path : 0] = '\0';
	return lcm_stack_make(m, dir);
}

static int copy_up(struct lcm_stack *m, const struct link *k, const char *texts)
{
	const char *path = texts + k->path;
	struct place p = { .dir = -EBADF };
	int r = find(m, k->layer + 1, texts + k->source, &p);

	if (r == 0)
		r = make_parent(m, path);
	if (r == 0)
		r = copy_node(&p, m->out, path);
	if (r == 0)
		r = lcm_stack_copy_attr(p.dir, p.name, m->out, path);
	lcm_closep(&p.dir);
	return r < 0
		   ? fail(m, r, path, "the file of a lower layer that it links to cannot be copied")
		   : 0;
}

static int link_up(struct lcm_stack *m, const char *first, const char *path)
{
	int r = make_parent(m, path);

	if (r == 0)
		r = lcm_sys_linkat(m->out, first, m->out, path, 0);
	return r < 0 ? fail(m, r, path, "cannot be linked to its other names") : 0;
}

/* ---- all names of a file ---- */

static int by_file(const void *a, const void *b)
{
	const struct link *x = a, *y = b;

	if (x->layer != y->layer)
		return x->layer < y->layer ? -1 : 1;
	return (x->ino > y->ino) - (x->ino < y->ino);
}

/* The first of the links to inode @ino of @layer, or NULL. */
static const struct link *first_of(const struct links *l, size_t layer, ino_t ino)
{
	const struct link key = { .layer = layer, .ino = ino };
	size_t low = 0, high = l->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (by_file(&l->v[mid], &key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low < l->n && by_file(&l->v[low], &key) == 0 ? &l->v[low] : NULL;
}

static int name_of_source(struct lcm_stack *m, struct links *l, int dir, const struct dirent *e,
			  const char *path)
{
	const struct link *k = first_of(l, m->at, e->d_ino);
	int r = k ? lcm_stack_steps(m, path) : 0;

	(void)dir;
	if (!k || r < 0 || !seen(m, m->at, path))
		return r;
	return link_up(m, l->texts.data + k->path, path);
}

static int visit_sources(struct lcm_stack *m, int fd, const char *path, void *arg)
{
	return each_name(m, arg, fd, path, name_of_source);
}

static int links_write(struct lcm_stack *m, struct links *l)
{
	const struct link *first = NULL;
	int r = 0;

	qsort(l->v, l->n, sizeof(*l->v), by_file);
	for (size_t i = 0; i < l->n && r == 0; i++) {
		if (first && by_file(first, &l->v[i]) == 0) {
			r = link_up(m, l->texts.data + first->path, l->texts.data + l->v[i].path);
			continue;
		}
		first = &l->v[i];
		r = copy_up(m, first, l->texts.data);
	}
	for (size_t i = 0; i < l->n && r == 0; i++) {
		if (i && l->v[i - 1].layer == l->v[i].layer)
			continue;
		m->at = l->v[i].layer;
		r = lcm_stack_walk(m, m->layers[m->at], false, visit_sources, l);
	}
	return r;
}

int lcm_stack_links(struct lcm_stack *m)
{
	struct links l = { .texts = LCM_BUF(TEXTS_MAX) };
	int r = 0;

	for (m->at = 0; m->at < m->n && r == 0; m->at++)
		if (lcm_stack_marked(m->layers[m->at], LCM_XATTR_LINKS))
			r = lcm_stack_walk(m, m->layers[m->at], false, visit_links, &l);
	if (r == 0 && l.n)
		r = links_write(m, &l);
	lcm_buf_fini(&l.texts);
	free(l.v);
	return r;
}
