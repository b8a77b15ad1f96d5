/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack.h - put a layer into REAL/<layer>: one file at a time, or the whole tar stream.
 *
 * Layer: overlay (uses base, image, store). The result is an ordinary overlayfs lower
 * directory: whiteouts are character devices 0:0, opaque directories carry
 * trusted.overlay.opaque="y", xattrs of the image that begin with trusted.overlay. or
 * user.overlay. are dropped. Nothing outside the layer's directory is ever touched:
 * every path is resolved with openat2 RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS.
 * Threads: one lcm_layer_dir may be used by many threads at once.
 */
#ifndef LCM_UNPACK_H
#define LCM_UNPACK_H

#include "image/toc.h"
#include "decode/tar.h"

struct lcm_layer_dir; /* REAL/<layer> and the tmp directory beside it */

/** lcm_layer_dir_open - @real_fd/@name must exist; @tmp_fd on the same file system; both borrowed
 * until close. */
LCM_MUST_USE int lcm_layer_dir_open(int real_fd, const char *name, int tmp_fd,
				    struct lcm_layer_dir **ret, struct lcm_err *err);
void lcm_layer_dir_close(struct lcm_layer_dir *d);

/**
 * lcm_layer_tmp - a file for the content of the regular file @entry to come; makes its parents
 * @ret_name: "" for an unnamed file in its own directory (the rule), else its name below tmp_fd;
 * pass it on as it is Return: fd or -errno. Thread: any.
 */
LCM_MUST_USE int lcm_layer_tmp(struct lcm_layer_dir *d, const struct lcm_toc *toc, uint32_t entry,
			       char ret_name[64]);
/**
 * lcm_layer_place - give a finished tmp file its owner, mode, xattrs and times from @e, make
 * missing parents, rename it to its path
 *
 * Content must already be verified. An existing file at the path is left alone (-EEXIST: somebody
 * placed it first, which is fine) and the tmp file removed.
 * @tmp_name is gone when this returns, whatever it returns; @fd stays the caller's. Not a regular
 * file: -EINVAL. Thread: any.
 */
LCM_MUST_USE int lcm_layer_place(struct lcm_layer_dir *d, const struct lcm_toc *toc, uint32_t entry,
				 int fd, const char *tmp_name, struct lcm_err *err);
/** lcm_layer_has - is the regular file of this entry there? Return: 1, 0, -errno. Thread: any. */
LCM_MUST_USE int lcm_layer_has(struct lcm_layer_dir *d, const struct lcm_toc *toc, uint32_t entry);
/** lcm_layer_verify - read a placed regular file and compare it with its digests, then put its
 * attributes right: for what was never synced before a reboot. Return: 1 (it is whole), 0 (it is
 * not there), -EBADMSG, -ENODATA (no digest tells), -errno. Thread: any. */
LCM_MUST_USE int lcm_layer_verify(struct lcm_layer_dir *d, const struct lcm_toc *toc,
				  uint32_t entry);
/** lcm_layer_unplace - remove what is in the place of a regular file; nobody may be using the
 * layer. Return: 0, -errno. Thread: any. */
LCM_MUST_USE int lcm_layer_unplace(struct lcm_layer_dir *d, const struct lcm_toc *toc,
				   uint32_t entry);
/** lcm_layer_open_file - open a placed regular file read-only. Return: fd or -errno. Thread: any.
 */
LCM_MUST_USE int lcm_layer_open_file(struct lcm_layer_dir *d, const struct lcm_toc *toc,
				     uint32_t entry);

struct lcm_unpack_ops {
	/**
	 * placed - a regular file of the TOC is now in REAL (or was found there); NULL allowed.
	 * Called on the unpacking thread.
	 */
	void (*placed)(void *arg, uint32_t entry);
	/** checkpoint - called between entries and every few MiB: non-zero ends the unpack with
	 * that status (cancel). NULL allowed. */
	int (*checkpoint)(void *arg);
	/** index - gets every entry of a plain layer, its files' data as chunks of the tar;
	 * borrowed; NULL: none is wanted. */
	struct lcm_toc_builder *index;
	bool stargz; /* leave out what eStargz has in the tar for its own use */
	void *arg;
};

struct lcm_unpack_result {
	uint64_t entries, files, bytes; /* in the tar */
	struct lcm_digest diffid;       /* SHA-256 of the whole tar, trailing zeros included */
	bool indexed;                   /* ops->index took all of them */
};

/**
 * lcm_unpack - stream a tar into REAL/<layer>
 * @tar:  borrowed; read to its very end, so that digests are over everything
 * @toc:  NULL: a plain layer, nobody looks at the directory yet, files are written in place.
 *        Otherwise every regular file's digest is checked against its entry before it gets its
 * name, files that are already there are not rewritten, and any difference between tar and TOC
 * (missing, extra, type, mode, owner, size, mtime, link, device, xattrs) is -EUCLEAN "TOC and layer
 * disagree: <path>: <what>".
 *
 * At the end hardlinks are made, and owner, mode, times of directories are set. Nothing is synced.
 * A name that is in the tar twice: the later wins, and only it is compared. As in every tar reader
 * a NUL ends a name, and a type flag nobody knows is a regular file (POSIX).
 *
 * Return: 0; -EUCLEAN (bad tar: text names entry and reason: "..", through a symlink); -EBADMSG
 * (file digest); -EFBIG; -ENOSPC; -ENOTSUP (xattr the file system cannot hold); -errno of @tar.
 * Thread: any (blocks on @tar).
 */
LCM_MUST_USE int lcm_unpack(struct lcm_layer_dir *d, struct lcm_tar *tar, const struct lcm_toc *toc,
			    const struct lcm_unpack_ops *ops, struct lcm_unpack_result *ret,
			    struct lcm_err *err);
/** lcm_unpack_stream - the same, with the tar parsed in this process: for bytes that are trusted.
 */
LCM_MUST_USE int lcm_unpack_stream(struct lcm_layer_dir *d, struct lcm_stream *src,
				   const struct lcm_toc *toc, const struct lcm_unpack_ops *ops,
				   struct lcm_unpack_result *ret, struct lcm_err *err);

#endif
