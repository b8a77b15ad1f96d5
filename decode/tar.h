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
	const char *link; /* symlink: target; hardlink: path in normal form; NUL-terminated */
	size_t link_len;
	uint32_t rdev_major, rdev_minor;
	const struct lcm_xattr *xattrs; /* without overlayfs' own; no name twice */
	size_t n_xattrs;
};

struct lcm_tar;
/** lcm_tar_open - @src is borrowed until lcm_tar_close(). Return: 0, -ENOMEM. */
LCM_MUST_USE int lcm_tar_open(struct lcm_stream *src, struct lcm_tar **ret);
void lcm_tar_close(struct lcm_tar *t);
static inline void lcm_tar_free(struct lcm_tar *t)
{
	lcm_tar_close(t);
}
LCM_DEFINE_AUTO(lcm_tar)
/** lcm_tar_next - the next entry; data not read is skipped. Return: 1, 0 at the end of the archive,
 * -EUCLEAN (text names entry and reason), -errno of the stream. */
LCM_MUST_USE int lcm_tar_next(struct lcm_tar *t, struct lcm_tar_entry *ret, struct lcm_err *err);
/** lcm_tar_data - next piece of a regular file; offsets ascend, gaps are holes; borrowed until the
 * next call. Return: 1, 0 at the end, -errno. */
LCM_MUST_USE int lcm_tar_data(struct lcm_tar *t, const void **ret, size_t *ret_len,
			      uint64_t *ret_off, struct lcm_err *err);
/** lcm_tar_finish - read what follows the end of the archive and hash it too. Return: 0 or -errno.
 */
LCM_MUST_USE int lcm_tar_finish(struct lcm_tar *t, struct lcm_digest *ret_diffid,
				struct lcm_err *err);

/**
 * lcm_tar_path_normal - bring a path of a tar into normal form, in place
 *
 * Leading '/' goes as in tar, "." and empty components go. NULL, or what is wrong ("..", a name
 * over 255 bytes).
 */
const char *lcm_tar_path_normal(char *path, size_t *len);

#endif
