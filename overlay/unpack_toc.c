/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer with a TOC: containers may be using the directory. What the tar says must be
 * what the TOC says, and a file gets its name only when it is whole and verified.
 *
 * A name may be in the tar more than once; the TOC knows the last. So a difference counts
 * only when nothing later in the tar agrees with the TOC.
 */
#include <string.h>

#include "overlay/dirs.h"
#include "overlay/unpack_run.h"
#include "src/base/sys.h"

#define COMPARE_BYTES 65536

enum seen {
	SEEN_NOT, /* the tar has not listed it so far */
	SEEN_DIFFERS,
	SEEN_SAME,
};

struct checked {
	struct lcm_unpack_run *u; /* borrowed */
	uint8_t *seen;            /* owned; enum seen of each TOC entry */
	uint8_t *opaque;          /* owned; the tar has marked the directory */
	uint32_t differs;         /* the entry @why is about */
	bool links;               /* some entry is a link below */
	bool proven; /* every byte of the blob is in a span with a digest, checked before
			it was decoded: files need no digest of their own */
	struct lcm_err why;
	struct lcm_hash *hash; /* owned */
};

/* ---- comparing ---- */

static int differ(struct checked *c, uint32_t entry, const struct lcm_tar_entry *e, int code,
		  const char *what)
{
	if (c->seen[entry] != SEEN_SAME) {
		c->seen[entry] = SEEN_DIFFERS;
		c->differs = entry;
		lcm_ignore(lcm_err_set(&c->why, code, "TOC and layer disagree: %.300s: %s",
				       e->path[0] ? e->path : "/", what));
	}
	return 0;
}

/* Some writers of TOCs leave out those without a value, as POSIX has it for records of pax headers:
 * these are not compared when only one side has them. */
static bool xattr_in(const struct lcm_tar_entry *e, const struct lcm_xattr *x)
{
	for (size_t i = 0; i < e->n_xattrs; i++) {
		const struct lcm_xattr *y = &e->xattrs[i];

		if (y->name_len == x->name_len && memcmp(y->name, x->name, x->name_len) == 0)
			return y->value_len == x->value_len &&
			       (x->value_len == 0 || memcmp(y->value, x->value, x->value_len) == 0);
	}
	return !x->value_len;
}

static bool xattrs_same(const struct lcm_toc *toc, const struct lcm_toc_entry *t,
			const struct lcm_tar_entry *e)
{
	struct lcm_xattr x;
	uint32_t pos = 0;
	size_t in_toc = 0, in_tar = 0;

	while (lcm_toc_xattr_next(toc, t, &pos, &x)) {
		in_toc += x.value_len != 0;
		if (!xattr_in(e, &x))
			return false;
	}
	for (size_t i = 0; i < e->n_xattrs; i++)
		in_tar += e->xattrs[i].value_len != 0;
	return in_toc == in_tar;
}

/* stargz' writer rounds to the nearest second, halves up, and its tars need not be so. */
static bool time_same(const struct lcm_toc *toc, const struct lcm_toc_entry *t,
		      const struct lcm_tar_entry *e)
{
	if (t->mtime == e->mtime && t->mtime_nsec == e->mtime_nsec)
		return true;
	return (lcm_toc_id(toc)->flags & LCM_TOC_SECONDS) && !t->mtime_nsec &&
	       t->mtime == e->mtime + (e->mtime_nsec >= 500000000);
}

static bool link_same(const struct lcm_toc *toc, const struct lcm_toc_entry *t,
		      const struct lcm_tar_entry *e)
{
	return t->size == e->link_len && memcmp(lcm_toc_link(toc, t), e->link, e->link_len) == 0;
}

/* A link to another link of the layer has that one's target in the TOC. */
static bool below_same(const struct lcm_toc *toc, const struct lcm_toc_entry *t,
		       const struct lcm_tar_entry *e)
{
	uint32_t i = lcm_toc_walk(toc, e->link, e->link_len);
	const struct lcm_toc_entry *to = i == LCM_TOC_NONE ? NULL : lcm_toc_entry(toc, i);

	if (!to)
		return link_same(toc, t, e);
	return to->type == LCM_TOC_LINK_BELOW && to->size == t->size &&
	       memcmp(lcm_toc_link(toc, to), lcm_toc_link(toc, t), t->size) == 0;
}

/* NULL, or what differs besides the data. */
static const char *difference(const struct lcm_toc *toc, const struct lcm_toc_entry *t,
			      const struct lcm_tar_entry *e)
{
	if (t->type == LCM_TOC_LINK_BELOW && e->type == LCM_TOC_HARDLINK)
		return below_same(toc, t, e) ? NULL : "hardlink target";
	if (t->type != e->type)
		return "type";
	if (e->type == LCM_TOC_HARDLINK)
		return lcm_toc_walk(toc, e->link, e->link_len) == t->link ? NULL
									  : "hardlink target";
	if (t->mode != e->mode && e->type != LCM_TOC_SYMLINK)
		return "mode";
	if (t->uid != e->uid || t->gid != e->gid)
		return "owner";
	if (!time_same(toc, t, e))
		return "mtime";
	if (e->type == LCM_TOC_REG && t->size != e->size)
		return "size";
	if (e->type == LCM_TOC_SYMLINK && !link_same(toc, t, e))
		return "symlink target";
	if ((e->type == LCM_TOC_CHAR || e->type == LCM_TOC_BLOCK) &&
	    (t->rdev_major != e->rdev_major || t->rdev_minor != e->rdev_minor))
		return "device number";
	return xattrs_same(toc, t, e) ? NULL : "xattrs";
}

/* ---- data ---- */

/* Where a file's bytes go while they are hashed: against the file's digest, or its chunks'. */
struct digester {
	struct checked *c;             /* borrowed */
	const struct lcm_toc_entry *t; /* borrowed */
	uint32_t chunk;                /* the one being hashed, when by chunks */
	uint64_t left;                 /* of it, or of the file */
	bool by_chunks, bad;
};

static void digest_done(struct digester *g, const struct lcm_digest *want)
{
	struct lcm_digest is;

	lcm_hash_final(g->c->hash, &is);
	g->bad = g->bad || !lcm_digest_equal(&is, want);
	lcm_hash_reset(g->c->hash);
}

static void digest_bytes(struct digester *g, const uint8_t *p, uint64_t len)
{
	while (len) {
		uint64_t n = LCM_MIN(len, g->left);

		lcm_hash_update(g->c->hash, p, (size_t)n);
		p += n;
		len -= n;
		g->left -= n;
		if (g->left || !g->by_chunks)
			continue;
		/* A hole's digest may be missing; its bytes are checked by nothing but the diffID
		 * then. */
		digest_done(g, &lcm_toc_chunk(g->c->u->toc, g->t->first_chunk + g->chunk)->digest);
		if (++g->chunk < g->t->n_chunks)
			g->left =
			    lcm_toc_chunk(g->c->u->toc, g->t->first_chunk + g->chunk)->file_len;
	}
}

/* @p NULL: a hole. */
static int digest_piece(void *arg, const void *p, uint64_t len)
{
	static const uint8_t zeros[1 << 16];
	struct digester *g = arg;
	int r = 0;

	if (p) {
		digest_bytes(g, p, len);
		return 0;
	}
	while (len && r == 0) {
		uint64_t n = LCM_MIN(len, sizeof(zeros));

		digest_bytes(g, zeros, n);
		len -= n;
		r = lcm_unpack_checkpoint(g->c->u, n);
	}
	return r;
}

/*
 * A file that demand has placed by an index without digests of files: what the index says of where
 * it lies, and of how to begin there, is compared now with what the layer really has.
 */
struct comparer {
	struct checked *c; /* borrowed */
	int fd;            /* owned; of the file as it was placed */
	uint64_t at;
	bool bad;
};

static int compare_piece(void *arg, const void *p, uint64_t len)
{
	static const uint8_t zeros[COMPARE_BYTES];
	struct comparer *k = arg;
	const uint8_t *want = p;
	uint8_t have[COMPARE_BYTES];
	int r = 0;

	while (len && r == 0) {
		size_t n = (size_t)LCM_MIN(len, sizeof(have));

		r = lcm_sys_pread_full(k->fd, have, n, k->at);
		k->bad = k->bad || r < 0 || memcmp(have, want ? want : zeros, n) != 0;
		want = want ? want + n : NULL;
		k->at += n;
		len -= n;
	}
	return r;
}

static int file_compare(struct checked *c, int dirfd, uint32_t entry, const struct lcm_tar_entry *e)
{
	struct comparer k = { .c = c };
	int r;

	k.fd = lcm_sys_openat(dirfd, e->path + e->name_off, O_RDONLY | O_NOFOLLOW | O_NOATIME, 0);
	if (k.fd < 0)
		return lcm_layer_fail(c->u->err, k.fd, e->path, "cannot open what is in its place");
	r = lcm_unpack_data(c->u, e, -1, compare_piece, &k);
	lcm_closep(&k.fd);
	if (r == 0 && k.bad)
		return differ(c, entry, e, -EUCLEAN,
			      "what its table of contents gave is not in the layer");
	if (r == 0)
		c->seen[entry] = SEEN_SAME;
	return r;
}

/* Is there a digest for all bytes of the file? */
static bool digester_init(struct digester *g, struct checked *c, const struct lcm_toc_entry *t)
{
	const struct lcm_toc *toc = c->u->toc;

	*g = (struct digester){ .c = c, .t = t, .left = t->size };
	lcm_hash_reset(c->hash);
	if (!lcm_digest_is_zero(&t->digest) || t->size == 0)
		return true;
	if (t->n_chunks == 0)
		return false;
	for (uint32_t i = 0; i < t->n_chunks; i++)
		if (lcm_digest_is_zero(&lcm_toc_chunk(toc, t->first_chunk + i)->digest))
			return false;
	g->by_chunks = true;
	g->left = lcm_toc_chunk(toc, t->first_chunk)->file_len;
	return true;
}

static bool digester_ok(struct digester *g)
{
	if (!g->by_chunks && g->t->size)
		digest_done(g, &g->t->digest);
	return !g->bad;
}

/* ---- entries ---- */

static int parent_get(struct checked *c, const char *path, size_t len)
{
	int fd = lcm_unpack_parent_cached(c->u, path, len);

	if (fd >= 0)
		return fd;
	fd = lcm_layer_parent_make(c->u->d, path, len, c->u->err);
	return fd < 0 ? fd : lcm_unpack_parent_keep(c->u, path, len, fd);
}

/* Verifies the file's data and, when it is not there yet, puts it there. Return: 0, also when it
 * differs. */
static int file_data(struct checked *c, int dirfd, uint32_t entry, const struct lcm_tar_entry *e,
		     bool have)
{
	struct lcm_unpack_run *u = c->u;
	struct lcm_layer_attr a = lcm_unpack_attr(e);
	char tmp[LCM_LAYER_NAME_MAX] = "";
	lcm_autoclose int fd = -EBADF;
	struct digester g;
	bool digest = digester_init(&g, c, lcm_toc_entry(u->toc, entry));
	int r;

	if (!digest && !c->proven)
		return differ(c, entry, e, -EUCLEAN, "the TOC has no digest to check it with");
	if (!digest && have)
		return file_compare(c, dirfd, entry, e);
	if (!have) {
		fd = lcm_layer_tmp_mode(u->d, dirfd, e->mode & 0777, tmp);
		if (fd < 0)
			return lcm_layer_fail(u->err, fd, e->path, "cannot make a temporary file");
	}
	r = lcm_unpack_data(u, e, fd, digest ? digest_piece : NULL, &g);
	if (r == 0 && digest && !digester_ok(&g)) {
		lcm_layer_tmp_drop(u->d, tmp);
		return differ(c, entry, e, -EBADMSG, "content has another digest");
	}
	if (r == 0 && !have)
		r = lcm_layer_attr_set(fd, &a, e->path, u->err);
	if (r != 0) {
		lcm_layer_tmp_drop(u->d, tmp);
		return r;
	}
	if (!have)
		r = lcm_layer_tmp_link(u->d, fd, tmp, dirfd, e->path + e->name_off);
	if (r < 0 && r != -EEXIST) /* somebody who needed it was first */
		return lcm_layer_fail(u->err, r, e->path, "cannot be put in its place");
	c->seen[entry] = SEEN_SAME;
	return 0;
}

static int file_put(struct checked *c, int dirfd, uint32_t entry, const struct lcm_tar_entry *e)
{
	struct lcm_unpack_run *u = c->u;
	int have = lcm_layer_file_check(dirfd, e->path + e->name_off, e->size), r;

	if (have < 0)
		return have == -EUCLEAN
			   ? lcm_layer_fail(u->err, have, e->path, "something else is in its place")
			   : lcm_layer_fail(u->err, have, e->path, "cannot stat");
	r = file_data(c, dirfd, entry, e, have == 1);
	if (r != 0 || c->seen[entry] != SEEN_SAME)
		return r;
	u->result.files++;
	u->result.bytes += e->size;
	if (u->ops->placed)
		u->ops->placed(u->ops->arg, entry);
	return 0;
}

/* Not seen through META, so it may be replaced; a run that was killed may have left it half made.
 */
static int node_put(struct checked *c, int dirfd, const struct lcm_tar_entry *e)
{
	const char *name = e->path + e->name_off;
	int r = lcm_unpack_node(c->u, dirfd, name, e);

	if (r != -EEXIST)
		return r;
	r = lcm_sys_unlinkat(dirfd, name, 0);
	if (r < 0)
		return lcm_layer_fail(c->u->err, r, e->path, "cannot remove what is in its place");
	return lcm_unpack_node(c->u, dirfd, name, e);
}

static int whiteout_put(struct checked *c, int dirfd, const struct lcm_tar_entry *e)
{
	const char *name = e->path + e->name_off + LCM_UNPACK_WHITEOUT_LEN;
	char path[LCM_PATH_MAX + 1];
	const struct lcm_toc_entry *t;
	uint32_t i;
	int r;

	memcpy(path, e->path, e->name_off);
	memcpy(path + e->name_off, name, strlen(name));
	i = lcm_toc_walk(c->u->toc, path, e->name_off + strlen(name));
	if (!name[0] || i == LCM_TOC_NONE)
		return lcm_err_set(c->u->err, -EUCLEAN,
				   "TOC and layer disagree: %.250s: not in the TOC", e->path);
	t = lcm_toc_entry(c->u->toc, i);
	if (t->type != LCM_TOC_WHITEOUT) { /* the layer has the name itself, which the whiteout does
					      not hide */
		c->opaque[i] = 1;
		return 0;
	}
	r = lcm_sys_mknodat(dirfd, name, S_IFCHR, 0);
	if (r < 0 && r != -EEXIST)
		return lcm_layer_fail(c->u->err, r, e->path, "cannot make the whiteout");
	c->seen[i] = SEEN_SAME;
	return 0;
}

static int listed_put(struct checked *c, int dirfd, uint32_t entry, const struct lcm_tar_entry *e)
{
	const struct lcm_toc_entry *t = lcm_toc_entry(c->u->toc, entry);
	const char *what = difference(c->u->toc, t, e);

	if (what)
		return differ(c, entry, e, -EUCLEAN, what);
	if (e->type == LCM_TOC_REG)
		return file_put(c, dirfd, entry, e);
	c->seen[entry] = SEEN_SAME;
	if (e->type == LCM_TOC_DIR || e->type == LCM_TOC_HARDLINK)
		return 0; /* at the end */
	return node_put(c, dirfd, e);
}

static int entry_put(struct checked *c, const struct lcm_tar_entry *e)
{
	size_t dir_len = e->name_off ? e->name_off - 1 : 0;
	enum lcm_unpack_name is = lcm_unpack_below(e->path, dir_len);
	uint32_t entry;
	int dirfd;

	if (is == LCM_UNPACK_ORDINARY)
		is = lcm_unpack_name_of(e->path + e->name_off, e->path_len - e->name_off);
	if (is == LCM_UNPACK_DROPPED)
		return 0;
	entry = lcm_toc_walk(c->u->toc, e->path, is == LCM_UNPACK_ORDINARY ? e->path_len : dir_len);
	if (entry == LCM_TOC_NONE && lcm_unpack_is_stargz(e))
		return 0;
	if (entry == LCM_TOC_NONE)
		return lcm_err_set(c->u->err, -EUCLEAN,
				   "TOC and layer disagree: %.250s: not in the TOC", e->path);
	if (is == LCM_UNPACK_OPAQUE) {
		c->opaque[entry] = 1;
		return 0;
	}
	/* Directories are made by what is in them, or at the end. */
	if (is == LCM_UNPACK_ORDINARY && (e->type == LCM_TOC_DIR || e->type == LCM_TOC_HARDLINK))
		return listed_put(c, -EBADF, entry, e);
	dirfd = parent_get(c, e->path, dir_len);
	if (dirfd < 0)
		return dirfd;
	return is == LCM_UNPACK_WHITEOUT ? whiteout_put(c, dirfd, e)
					 : listed_put(c, dirfd, entry, e);
}

/* ---- the end ---- */

static int all_seen(struct checked *c)
{
	const struct lcm_toc *toc = c->u->toc;
	char path[LCM_PATH_MAX + 1];

	for (uint32_t i = 0; i < lcm_toc_count(toc); i++) {
		const struct lcm_toc_entry *t = lcm_toc_entry(toc, i);
		bool unlisted = t->type == LCM_TOC_DIR && c->seen[i] == SEEN_NOT;

		if (c->seen[i] == SEEN_DIFFERS && c->differs == i)
			return lcm_err_set(c->u->err, c->why.code, "%s", c->why.msg);
		if (lcm_toc_path(toc, i, path, sizeof(path)) < 0)
			return -ENAMETOOLONG;
		if (t->type == LCM_TOC_DIR && !(t->flags & LCM_TOC_OPAQUE) != !c->opaque[i])
			return lcm_err_set(
			    c->u->err, -EUCLEAN,
			    "TOC and layer disagree: %.250s: opaque in only one of them", path);
		if (unlisted && ((t->flags & LCM_TOC_IMPLICIT) || c->opaque[i]))
			continue;
		if (c->seen[i] != SEEN_SAME)
			return lcm_err_set(c->u->err, -EUCLEAN,
					   "TOC and layer disagree: %.250s: %s", path,
					   c->seen[i] == SEEN_NOT ? "not in the layer" : "differs");
	}
	return 0;
}

static int link_replace(struct checked *c, const char *target, int dirfd, const char *name,
			const char *path)
{
	struct stat a, b;
	int r = lcm_sys_fstatat(dirfd, name, &a, AT_SYMLINK_NOFOLLOW), from;
	const char *slash = strrchr(target, '/');

	from = lcm_layer_parent(c->u->d, target, slash ? (size_t)(slash - target) : 0, c->u->err);
	if (r == 0)
		r = from < 0 ? from
			     : lcm_sys_fstatat(from, slash ? slash + 1 : target, &b,
					       AT_SYMLINK_NOFOLLOW);
	lcm_closep(&from);
	if (r == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev)
		return 0;
	if (r == 0)
		r = lcm_sys_unlinkat(dirfd, name, 0);
	if (r < 0)
		return lcm_layer_fail(c->u->err, r, path, "cannot replace what is in its place");
	return lcm_unpack_link(c->u, target, dirfd, name, path);
}

static int link_make(struct checked *c, uint32_t entry, char *path, char *target)
{
	const struct lcm_toc *toc = c->u->toc;
	const char *slash;
	int dirfd, r;

	if (lcm_toc_path(toc, entry, path, LCM_PATH_MAX + 1) < 0 ||
	    lcm_toc_path(toc, lcm_toc_entry(toc, entry)->link, target, LCM_PATH_MAX + 1) < 0)
		return -ENAMETOOLONG;
	slash = strrchr(path, '/');
	dirfd = parent_get(c, path, slash ? (size_t)(slash - path) : 0);
	if (dirfd < 0)
		return dirfd;
	r = lcm_unpack_link(c->u, target, dirfd, slash ? slash + 1 : path, path);
	if (r == -EEXIST)
		r = link_replace(c, target, dirfd, slash ? slash + 1 : path, path);
	return r == -ENOENT ? lcm_layer_fail(c->u->err, r, path, "target of the hardlink has gone")
			    : r;
}

/* Seen through META only as another name of the lower layer's file, so it may be replaced. */
static int link_below(struct checked *c, uint32_t entry, char *path)
{
	const struct lcm_toc *toc = c->u->toc;
	const char *target = lcm_toc_link(toc, lcm_toc_entry(toc, entry)), *slash, *name;
	int dirfd, r;

	if (lcm_toc_path(toc, entry, path, LCM_PATH_MAX + 1) < 0)
		return -ENAMETOOLONG;
	slash = strrchr(path, '/');
	name = slash ? slash + 1 : path;
	dirfd = parent_get(c, path, slash ? (size_t)(slash - path) : 0);
	if (dirfd < 0)
		return dirfd;
	r = lcm_layer_link_below(dirfd, name, target, path, c->u->err);
	if (r != -EEXIST)
		return r;
	r = lcm_sys_unlinkat(dirfd, name, 0);
	if (r < 0)
		return lcm_layer_fail(c->u->err, r, path, "cannot replace what is in its place");
	return lcm_layer_link_below(dirfd, name, target, path, c->u->err);
}

static unsigned int marks_of(const struct lcm_toc *toc, const struct lcm_toc_entry *dir)
{
	unsigned int marks = (dir->flags & LCM_TOC_OPAQUE ? LCM_DIR_OPAQUE : 0U) |
			     (dir->flags & LCM_TOC_IMPLICIT ? LCM_DIR_IMPLIED : 0U);

	for (uint32_t i = 0; i < dir->n_children; i++) {
		const struct lcm_toc_entry *e = lcm_toc_entry(toc, dir->first_child + i);

		if (e->type == LCM_TOC_WHITEOUT || e->type == LCM_TOC_LINK_BELOW)
			return marks | LCM_DIR_WHITEOUTS;
	}
	return marks;
}

/* The root's time too, so directories come when nothing is made in any of them any more. */
static int dir_finish(struct checked *c, uint32_t entry, char *path)
{
	const struct lcm_toc *toc = c->u->toc;
	const struct lcm_toc_entry *t = lcm_toc_entry(toc, entry);
	lcm_autofree struct lcm_xattr *xattrs = NULL;
	struct lcm_layer_attr a;
	int r;

	if (lcm_toc_path(toc, entry, path, LCM_PATH_MAX + 1) < 0)
		return -ENAMETOOLONG;
	r = lcm_layer_attr_of(toc, t, &a, &xattrs);
	if (r < 0)
		return r;
	return lcm_dir_apply(c->u->d, path, &a,
			     marks_of(toc, t) | (entry == 0 && c->links ? LCM_DIR_LINKS : 0U),
			     c->u->err);
}

static int finish(struct checked *c)
{
	const struct lcm_toc *toc = c->u->toc;
	char path[LCM_PATH_MAX + 1], target[LCM_PATH_MAX + 1];
	int r = 0, fd;

	for (uint32_t i = 0; i < lcm_toc_count(toc) && r == 0; i++) {
		const struct lcm_toc_entry *t = lcm_toc_entry(toc, i);

		if (t->type == LCM_TOC_HARDLINK)
			r = link_make(c, i, path, target);
		if (t->type == LCM_TOC_LINK_BELOW) {
			c->links = true;
			r = link_below(c, i, path);
		}
		if (t->type != LCM_TOC_DIR || t->n_children)
			continue;
		if (lcm_toc_path(toc, i, path, sizeof(path)) < 0)
			return -ENAMETOOLONG;
		fd = lcm_layer_parent_make(c->u->d, path, strlen(path), c->u->err);
		r = fd < 0 ? fd : 0;
		lcm_closep(&fd);
	}
	for (uint32_t i = lcm_toc_count(toc); i > 0 && r == 0; i--)
		if (lcm_toc_entry(toc, i - 1)->type == LCM_TOC_DIR)
			r = dir_finish(c, i - 1, path);
	return r;
}

static int checked_run(struct checked *c)
{
	struct lcm_unpack_run *u = c->u;
	struct lcm_tar_entry e;
	int r;

	while ((r = lcm_tar_next(u->tar, &e, u->err)) > 0) {
		u->result.entries++;
		r = entry_put(c, &e);
		if (r == 0)
			r = lcm_unpack_checkpoint(u, 0);
		if (r != 0)
			return r;
	}
	if (r == 0)
		r = lcm_tar_finish(u->tar, &u->result.diffid, u->err);
	if (r == 0)
		r = all_seen(c);
	return r < 0 ? r : finish(c);
}

/* Spans follow one another in the tar from its first byte, so all of them are all of it. */
static bool spans_prove(const struct lcm_toc *toc)
{
	uint32_t n = lcm_toc_span_count(toc);

	for (uint32_t i = 0; i < n; i++)
		if (lcm_digest_is_zero(&lcm_toc_span(toc, i)->digest))
			return false;
	return n > 0;
}

int lcm_unpack_with_toc(struct lcm_unpack_run *u)
{
	lcm_autofree struct checked *c = calloc(1, sizeof(*c));
	int r = -ENOMEM;

	if (!c)
		return -ENOMEM;
	c->u = u;
	c->differs = LCM_TOC_NONE;
	c->proven = spans_prove(u->toc);
	c->seen = calloc(lcm_toc_count(u->toc), 1);
	c->opaque = calloc(lcm_toc_count(u->toc), 1);
	c->hash = lcm_hash_new();
	if (c->seen && c->opaque && c->hash)
		r = checked_run(c);
	free(c->seen);
	free(c->opaque);
	lcm_hash_free(c->hash);
	return r;
}
