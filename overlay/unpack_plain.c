/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer without a TOC: nobody looks at the directory yet, so files are written where
 * they belong. What the names of whiteouts mean follows lcm_toc_builder_add().
 */
#include <string.h>

#include "overlay/dirs.h"
#include "overlay/unpack_run.h"
#include "src/base/sys.h"

struct plain {
	struct lcm_unpack_run *u; /* borrowed */
	struct lcm_dirs dirs;
	struct lcm_buf links; /* "PATH\0TARGET\0" of hardlinks whose target was not there */
	const char **waiting; /* owned, during links_below(); the PATHs in order */
	size_t n_waiting;
};

static const char *dir_name(const char *path, size_t dir_len)
{
	return dir_len ? path + dir_len + 1 : path;
}

/* What is at @name: -ENOENT, -errno, or the file type; *@whiteout: a character device 0:0. */
static long there(int dirfd, const char *name, bool *whiteout)
{
	struct stat st;
	int r = lcm_sys_fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW);

	*whiteout = r == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0;
	return r < 0 ? r : (long)(st.st_mode & S_IFMT);
}

/* A later entry of the same name wins: take the earlier away. */
static int take_away(struct plain *p, int dirfd, const char *name, const char *path,
		     size_t path_len)
{
	bool whiteout;
	long is = there(dirfd, name, &whiteout);
	int r;

	if (is < 0)
		return lcm_layer_fail(p->u->err, (int)is, path, "cannot stat what it replaces");
	if (is == S_IFDIR) {
		lcm_dirs_gone(&p->dirs, path, path_len);
		r = lcm_rmtree_at(dirfd, name);
	} else {
		r = lcm_sys_unlinkat(dirfd, name, 0);
	}
	return r < 0 ? lcm_layer_fail(p->u->err, r, path, "cannot remove what it replaces") : 0;
}

/*
 * Makes directory @path in @dirfd unless it is there. A whiteout in its place goes, and the
 * directory is opaque instead; anything else goes only when @replace.
 */
static int dir_make(struct plain *p, int dirfd, const char *path, size_t len, size_t name_off,
		    bool replace, struct lcm_dir_record **ret)
{
	char name[LCM_NAME_LEN_MAX + 1];
	bool whiteout = false;
	long is;
	int r;

	memcpy(name, path + name_off, len - name_off);
	name[len - name_off] = '\0';
	r = lcm_sys_mkdirat(dirfd, name, 0755);
	if (r == -EEXIST) {
		is = there(dirfd, name, &whiteout);
		if (is < 0)
			return (int)is;
		r = 0;
		if (is != S_IFDIR && !whiteout && !replace)
			return lcm_err_set(p->u->err, -EUCLEAN,
					   "layer entry below '%.*s', which is not a directory%s",
					   (int)LCM_MIN(len, (size_t)250), path,
					   is == S_IFLNK ? " but a symbolic link" : "");
		if (is != S_IFDIR) {
			r = lcm_sys_unlinkat(dirfd, name, 0);
			if (r == 0)
				r = lcm_sys_mkdirat(dirfd, name, 0755);
		}
	}
	if (r < 0)
		return lcm_layer_fail(p->u->err, r, name, "cannot make the directory");
	r = lcm_dirs_add(&p->dirs, path, len, ret);
	if (r == 0 && whiteout)
		(*ret)->opaque = (*ret)->listed = true;
	return r;
}

/* Makes the missing directories of @path, none of which the tar has listed so far. */
static int parents_make(struct plain *p, const char *path, size_t len)
{
	for (size_t end = 0, begin = 0; end < len; begin = end + 1) {
		const char *slash = memchr(path + begin, '/', len - begin);
		lcm_autoclose int dirfd = -EBADF;
		struct lcm_dir_record *rec;
		int r;

		end = slash ? (size_t)(slash - path) : len;
		if (lcm_dirs_find(&p->dirs, path, end))
			continue;
		dirfd = lcm_layer_parent(p->u->d, path, begin ? begin - 1 : 0, p->u->err);
		if (dirfd < 0)
			return dirfd;
		r = dir_make(p, dirfd, path, end, begin, false, &rec);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Descriptor of the directory @path, made when missing; borrowed until the next call. */
static int parent_get(struct plain *p, const char *path, size_t len)
{
	int fd = lcm_unpack_parent_cached(p->u, path, len), r;

	if (fd >= 0)
		return fd;
	if (!lcm_dirs_find(&p->dirs, path, len)) {
		r = parents_make(p, path, len);
		if (r < 0)
			return r;
	}
	fd = lcm_layer_parent(p->u->d, path, len, p->u->err);
	return fd < 0 ? fd : lcm_unpack_parent_keep(p->u, path, len, fd);
}

static int whiteout_put(struct plain *p, int dirfd, const struct lcm_tar_entry *e)
{
	const char *name = e->path + e->name_off + LCM_UNPACK_WHITEOUT_LEN;
	char path[LCM_PATH_MAX + 1];
	struct lcm_dir_record *rec;
	size_t len = e->name_off + strlen(name);
	int r;

	if (!name[0] || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return lcm_err_set(p->u->err, -EUCLEAN, "layer entry '%.250s': whiteout of no name",
				   e->path);
	r = lcm_sys_mknodat(dirfd, name, S_IFCHR, 0);
	if (r == 0)
		lcm_dirs_find(&p->dirs, e->path, e->name_off ? e->name_off - 1 : 0)->whiteouts =
		    true;
	if (r != -EEXIST)
		return r < 0 ? lcm_layer_fail(p->u->err, r, e->path, "cannot make the whiteout")
			     : 0;
	/* The layer has the name itself: only what lower layers have is hidden. */
	memcpy(path, e->path, e->name_off);
	memcpy(path + e->name_off, name, strlen(name));
	rec = lcm_dirs_find(&p->dirs, path, len);
	if (rec)
		rec->opaque = rec->listed = true;
	return 0;
}

static int dir_put(struct plain *p, int dirfd, const struct lcm_tar_entry *e)
{
	struct lcm_dir_record *rec;
	int r = dir_make(p, dirfd, e->path, e->path_len, e->name_off, true, &rec);

	if (r == 0)
		r = lcm_dirs_describe(rec, e);
	return r;
}

static int file_put(struct plain *p, int dirfd, const struct lcm_tar_entry *e)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
	const char *name = e->path + e->name_off;
	struct lcm_layer_attr a = lcm_unpack_attr(e);
	lcm_autoclose int fd = lcm_sys_openat(dirfd, name, flags, e->mode & 0777);
	int r;

	if (fd == -EEXIST) {
		r = take_away(p, dirfd, name, e->path, e->path_len);
		if (r < 0)
			return r;
		fd = lcm_sys_openat(dirfd, name, flags, e->mode & 0777);
	}
	if (fd < 0)
		return lcm_layer_fail(p->u->err, fd, e->path, "cannot be made");
	r = lcm_unpack_data(p->u, e, fd, NULL, NULL);
	if (r == 0)
		r = lcm_layer_attr_set(fd, &a, e->path, p->u->err);
	if (r == 0) {
		p->u->result.files++;
		p->u->result.bytes += e->size;
	}
	return r;
}

static int node_put(struct plain *p, int dirfd, const struct lcm_tar_entry *e)
{
	const char *name = e->path + e->name_off;
	int r = lcm_unpack_node(p->u, dirfd, name, e);

	if (r != -EEXIST)
		return r;
	r = take_away(p, dirfd, name, e->path, e->path_len);
	if (r == 0)
		r = lcm_unpack_node(p->u, dirfd, name, e);
	return r;
}

/* What it replaces goes now: what has its name in the end came later. */
static int link_later(struct plain *p, int dirfd, const struct lcm_tar_entry *e)
{
	const char *name = e->path + e->name_off;
	bool whiteout;
	int r = 0;

	if (there(dirfd, name, &whiteout) != -ENOENT)
		r = take_away(p, dirfd, name, e->path, e->path_len);
	if (r == 0)
		r = lcm_buf_add(&p->links, e->path, e->path_len + 1);
	return r < 0 ? r : lcm_buf_add(&p->links, e->link, e->link_len + 1);
}

static int link_put(struct plain *p, int dirfd, const struct lcm_tar_entry *e)
{
	const char *name = e->path + e->name_off;
	int r;

	if (strcmp(e->path, e->link) == 0)
		return lcm_err_set(p->u->err, -EUCLEAN, "layer entry '%.250s': hardlink to itself",
				   e->path);
	r = lcm_unpack_link(p->u, e->link, dirfd, name, e->path);
	if (r == -EEXIST) {
		r = take_away(p, dirfd, name, e->path, e->path_len);
		if (r == 0)
			r = lcm_unpack_link(p->u, e->link, dirfd, name, e->path);
	}
	return r == -ENOENT ? link_later(p, dirfd, e) : r;
}

static int root_put(struct plain *p, const struct lcm_tar_entry *e)
{
	if (e->type != LCM_TOC_DIR)
		return lcm_err_set(p->u->err, -EUCLEAN,
				   "layer entry '/': the root is not a directory");
	return lcm_dirs_describe(lcm_dirs_find(&p->dirs, "", 0), e);
}

static int entry_put(struct plain *p, const struct lcm_tar_entry *e)
{
	size_t dir_len = e->name_off ? e->name_off - 1 : 0;
	enum lcm_unpack_name is = lcm_unpack_below(e->path, dir_len);
	int dirfd;

	if (!e->path_len)
		return root_put(p, e);
	if (is == LCM_UNPACK_WHITEOUT)
		return lcm_err_set(p->u->err, -EUCLEAN,
				   "layer entry '%.250s': lies below a whiteout", e->path);
	if (is == LCM_UNPACK_ORDINARY)
		is = lcm_unpack_name_of(dir_name(e->path, dir_len), e->path_len - e->name_off);
	if (is == LCM_UNPACK_DROPPED)
		return 0;
	dirfd = parent_get(p, e->path, dir_len);
	if (dirfd < 0)
		return dirfd;
	if (is == LCM_UNPACK_WHITEOUT)
		return whiteout_put(p, dirfd, e);
	if (is == LCM_UNPACK_OPAQUE) {
		lcm_dirs_find(&p->dirs, e->path, dir_len)->opaque = true;
		return 0;
	}
	switch (e->type) {
	case LCM_TOC_DIR:
		return dir_put(p, dirfd, e);
	case LCM_TOC_REG:
		return file_put(p, dirfd, e);
	case LCM_TOC_HARDLINK:
		return link_put(p, dirfd, e);
	default:
		return node_put(p, dirfd, e);
	}
}

/* What a waiting link becomes. Return: 0, -EEXIST (a later entry took its name), -ENOENT (it waits
 * on), -errno. */
typedef int (*link_fn)(struct plain *p, const char *path, const char *target, int dirfd,
		       const char *name);

/* One pass over the links that wait; those still without a target stay. Return: how many do not,
 * -errno. */
static long links_pass(struct plain *p, link_fn fn)
{
	struct lcm_buf left = LCM_BUF(p->links.max);
	size_t pos = 0;
	long made = 0;
	int r = 0;

	while (pos < p->links.len && r == 0) {
		const char *path = p->links.data + pos, *target = path + strlen(path) + 1,
			   *slash = strrchr(path, '/');
		size_t size = (size_t)(target - path) + strlen(target) + 1;
		int dirfd = parent_get(p, path, slash ? (size_t)(slash - path) : 0);

		r = dirfd < 0 ? dirfd : fn(p, path, target, dirfd, slash ? slash + 1 : path);
		made += r == 0 || r == -EEXIST;
		if (r == -EEXIST)
			r = 0;
		if (r == -ENOENT)
			r = lcm_buf_add(&left, path, size);
		pos += size;
	}
	lcm_buf_fini(&p->links);
	p->links = left;
	return r < 0 ? r : made;
}

static int link_here(struct plain *p, const char *path, const char *target, int dirfd,
		     const char *name)
{
	return lcm_unpack_link(p->u, target, dirfd, name, path);
}

static int bad_link(struct plain *p, const char *path, const char *target, const char *what)
{
	return lcm_err_set(p->u->err, -EUCLEAN, "layer entry '%.200s': hardlink to '%.200s', %s",
			   path, target, what);
}

/* Does this layer hide what lower layers have below one of the directories above @path? */
static bool is_opaque(const struct plain *p, const char *path)
{
	for (const char *end = path; end; end = strchr(end + 1, '/')) {
		const struct lcm_dir_record *rec = lcm_dirs_find(&p->dirs, path,
								 (size_t)(end - path));

		if (rec && rec->opaque)
			return true;
	}
	return false;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A link whose target is neither here nor waits itself: lower layers have it. */
static int link_below(struct plain *p, const char *path, const char *target, int dirfd,
		      const char *name)
{
	int r;

	if (bsearch(&target, p->waiting, p->n_waiting, sizeof(*p->waiting), by_name))
		return -ENOENT;
	if (lcm_unpack_below(target, strlen(target)) != LCM_UNPACK_ORDINARY)
		return bad_link(p, path, target, "which no layer can have");
	if (is_opaque(p, target))
		return bad_link(p, path, target,
				"which this layer does not have, and it hides what lower layers "
				"have there");
	r = lcm_layer_link_below(dirfd, name, target, path, p->u->err);
	if (r == 0) {
		lcm_dirs_find(&p->dirs, path, name == path ? 0 : (size_t)(name - path) - 1)
		    ->whiteouts = true;
		lcm_dirs_find(&p->dirs, "", 0)->links = true;
	}
	return r;
}

static long links_below(struct plain *p)
{
	struct lcm_buf links = p->links; /* links_pass() lets go of what p->waiting points to */
	size_t cap = 0;
	long made;

	for (size_t pos = 0; pos < links.len; pos += strlen(links.data + pos) + 1)
		cap++;
	p->waiting = calloc(cap / 2 + 1, sizeof(*p->waiting));
	if (!p->waiting)
		return -ENOMEM;
	p->n_waiting = 0;
	for (size_t pos = 0; pos < links.len;) {
		p->waiting[p->n_waiting++] = links.data + pos;
		pos += strlen(links.data + pos) + 1;
		pos += strlen(links.data + pos) + 1;
	}
	qsort(p->waiting, p->n_waiting, sizeof(*p->waiting), by_name);
	made = links_pass(p, link_below);
	free(p->waiting);
	p->waiting = NULL;
	return made;
}

static int links_make(struct plain *p)
{
	for (int i = 0; i < LCM_LINK_PASSES && p->links.len; i++) {
		long made = links_pass(p, link_here);

		if (made == 0)
			made = links_below(p);
		if (made < 0)
			return (int)made;
		if (made == 0)
			break;
	}
	if (!p->links.len)
		return 0;
	return bad_link(p, p->links.data, p->links.data + strlen(p->links.data) + 1,
			"which leads in a circle, or over too many links");
}

static int plain_run(struct plain *p)
{
	struct lcm_unpack_run *u = p->u;
	struct lcm_tar_entry e;
	int r;

	while ((r = lcm_tar_next(u->tar, &e, u->err)) > 0) {
		if (u->result.entries++ == LCM_TOC_ENTRIES_MAX)
			return lcm_err_set(u->err, -EFBIG, "layer with more than %u entries",
					   LCM_TOC_ENTRIES_MAX);
		if (u->ops->stargz && lcm_unpack_is_stargz(&e))
			continue;
		r = entry_put(p, &e);
		if (r == 0)
			r = lcm_unpack_index(u, &e);
		if (r == 0)
			r = lcm_unpack_checkpoint(u, 0);
		if (r != 0)
			return r;
	}
	if (r == 0)
		r = lcm_tar_finish(u->tar, &u->result.diffid, u->err);
	if (r == 0)
		r = links_make(p);
	return r < 0 ? r : lcm_dirs_apply(&p->dirs, u->d, u->err);
}

int lcm_unpack_plain(struct lcm_unpack_run *u)
{
	struct plain p = { .u = u, .links = LCM_BUF((size_t)256 << 20) };
	int r = lcm_dirs_init(&p.dirs);

	if (r == 0)
		r = plain_run(&p);
	lcm_dirs_fini(&p.dirs);
	lcm_buf_fini(&p.links);
	return r;
}
