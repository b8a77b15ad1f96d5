/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar.h - read a layer's tar: every dialect libarchive knows, nothing lost on the way.
 *
 * Layer: decode (uses base, image). libarchive parses; this adds what a layer needs:
 * names byte for byte (libarchive's conversion to the locale's charset is kept from
 * happening), times before 1970 to the nanosecond, paths in one normal form, and the
 * digest over every byte of the tar. Threads: one.
 * Source: POSIX.1-2017 pax "ustar/pax Interchange Format"; GNU tar manual "Tar Internals";
 * OCI Image Spec v1.1 layer.md.
 */
#ifndef LCM_TAR_H
#define LCM_TAR_H

#include "decode/stream.h"

/* One piece of a regular file; borrowed until the next call. */
struct lcm_tar_piece {
	const void *p;
	size_t len;
	uint64_t off;     /* in the file; gaps between pieces are holes */
	uint64_t tar_off; /* in the tar */
};

/* What normal form has taken off a path. */
enum lcm_tar_prefix {
	LCM_TAR_PREFIX_NONE,
	LCM_TAR_PREFIX_DOT,   /* "./" */
	LCM_TAR_PREFIX_SLASH, /* "/" */
	LCM_TAR_PREFIX_OTHER, /* what is not at its begin, or not one of these */
	LCM_TAR_PREFIX_MAX,
};

/* One entry; everything is borrowed until the next call of lcm_tar_next(). */
struct lcm_tar_entry {
	const char
	    *path; /* relative, no empty, "." or ".." component; "" is the root; NUL-terminated */
	size_t path_len;
	size_t name_off;        /* where in @path the last component begins */
	enum lcm_toc_type type; /* as tar says: never LCM_TOC_WHITEOUT */
	uint32_t mode;          /* 07777 bits */
	uint32_t uid, gid;
	uint32_t mtime_nsec;
	int64_t mtime;
	uint64_t size;    /* regular files: holes included */
	uint64_t tar_off; /* where the headers of the entry end in the tar, and its data begin */
	enum lcm_tar_prefix prefix;
	const char *link; /* symlink: target; hardlink: path in normal form; NUL-terminated */
	size_t link_len;
	uint32_t rdev_major, rdev_minor;
	const struct lcm_xattr *xattrs; /* without overlayfs' own; no name twice */
	size_t n_xattrs;
};

/** lcm_tar_item - @e for a TOC builder, without chunks; borrowed from @e. */
static inline struct lcm_toc_item lcm_tar_item(const struct lcm_tar_entry *e)
{
	return (struct lcm_toc_item){
		.path = e->path,
		.path_len = e->path_len,
		.type = e->type,
		.mode = e->mode,
		.uid = e->uid,
		.gid = e->gid,
		.mtime = e->mtime,
		.mtime_nsec = e->mtime_nsec,
		.size = e->size,
		.link = e->link,
		.link_len = e->link_len,
		.rdev_major = e->rdev_major,
		.rdev_minor = e->rdev_minor,
		.xattrs = e->xattrs,
		.n_xattrs = e->n_xattrs,
	};
}

struct lcm_tar; /* an archive being read, here or in an isolated function (decode/fn.h) */

/* Who reads it: the functions below, without their checks of arguments. */
struct lcm_tar_ops {
	int (*next)(struct lcm_tar *t, struct lcm_tar_entry *ret, struct lcm_err *err);
	int (*data)(struct lcm_tar *t, struct lcm_tar_piece *ret, struct lcm_err *err);
	int (*finish)(struct lcm_tar *t, struct lcm_digest *ret_diffid, struct lcm_err *err);
	void (*close)(struct lcm_tar *t);
};
struct lcm_tar {
	const struct lcm_tar_ops *ops;
};

/** lcm_tar_open - read it in this thread; @src is borrowed until lcm_tar_close(). Return: 0,
 * -ENOMEM. */
LCM_MUST_USE int lcm_tar_open(struct lcm_stream *src, struct lcm_tar **ret);

/* Bytes of a tar that do not come from a stream. */
struct lcm_tar_source {
	ssize_t (*read)(void *arg, const void **ret); /* as lcm_stream_read() */
	const struct lcm_err *(*err)(void *arg);      /* why it failed */
	void *arg;                                    /* borrowed */
};
/** lcm_tar_open_source - the same over any bytes; no digest is made of them (lcm_tar_finish() gives
 * zero). */
LCM_MUST_USE int lcm_tar_open_source(const struct lcm_tar_source *src, struct lcm_tar **ret);

static inline void lcm_tar_close(struct lcm_tar *t)
{
	if (t)
		t->ops->close(t);
}
static inline void lcm_tar_free(struct lcm_tar *t)
{
	lcm_tar_close(t);
}
LCM_DEFINE_AUTO(lcm_tar)
/** lcm_tar_next - the next entry; data not read is skipped. Return: 1, 0 at the end of the archive,
 * -EUCLEAN (text names entry and reason), -errno of the stream. */
LCM_MUST_USE static inline int lcm_tar_next(struct lcm_tar *t, struct lcm_tar_entry *ret,
					    struct lcm_err *err)
{
	return t->ops->next(t, ret, err);
}
/** lcm_tar_data - next piece of a regular file; offsets ascend. Return: 1, 0 at the end, -errno. */
LCM_MUST_USE static inline int lcm_tar_data(struct lcm_tar *t, struct lcm_tar_piece *ret,
					    struct lcm_err *err)
{
	return t->ops->data(t, ret, err);
}
/** lcm_tar_finish - read what follows the end of the archive and hash it too. Return: 0 or -errno.
 */
LCM_MUST_USE static inline int lcm_tar_finish(struct lcm_tar *t, struct lcm_digest *ret_diffid,
					      struct lcm_err *err)
{
	return t->ops->finish(t, ret_diffid, err);
}

/**
 * lcm_tar_path_normal - bring a path of a tar into normal form, in place
 *
 * Leading '/' goes as in tar, "." and empty components go. NULL, or what is wrong ("..", a name
 * over 255 bytes).
 */
const char *lcm_tar_path_normal(char *path, size_t *len);
/** lcm_tar_is_overlay_xattr - would it steer overlayfs? No image may bring such a one. */
bool lcm_tar_is_overlay_xattr(const char *name);

#endif
