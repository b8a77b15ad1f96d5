/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta.h - META: the merged tree of all layers as an EROFS image of placeholders.
 *
 * Layer: overlay (uses base, image, store). Regular files of size > 0 are holes of
 * the right size with trusted.overlay.metacopy="" and
 * trusted.overlay.redirect="/<layer name>/<path>"; empty files are just empty
 * (they never reach the gate). Source: Linux erofs_fs.h (EROFS on-disk format),
 * Documentation/filesystems/overlayfs.rst "Data-only lower layers"; OCI Image
 * Spec v1.1 layer.md (whiteouts, opaque whiteouts).
 */
#ifndef LCM_META_H
#define LCM_META_H

#include "image/toc.h"

struct lcm_meta_layer {
	const char *name;          /* directory name in REAL */
	const struct lcm_toc *toc; /* borrowed during the call */
};

struct lcm_meta_stats {
	uint64_t inodes, regular, bytes_regular; /* of the merged tree */
	uint64_t image_bytes;                    /* size of the EROFS image */
};

/**
 * lcm_meta_write - merge @n layers (bottom first) and write the image to @fd (an empty regular
 * file)
 * @ret: untouched on failure
 *
 * The image depends on layers and their TOCs only: the same input gives the same bytes, on any
 * machine, and the same inode numbers. Nothing is synced: META is rebuilt when in doubt. A
 * character device 0:0 hides as a whiteout does. Xattrs that Linux has no handler for (neither
 * user., trusted., security. nor a POSIX ACL) and those of overlayfs itself are left out. A
 * read-write overlay shows the upper's own root directory: give it the owner, mode, times and
 * xattrs of META's root. Return: 0; -EUCLEAN (a tree overlayfs could not show), -ENAMETOOLONG (a
 * redirect of PATH_MAX bytes or more, a symlink of more than 4095), -EFBIG (a file of more than 16
 * TiB, an xattr of 64 KiB, more than LCM_META_ENTRIES_MAX entries): the text names path and layer;
 * -EINVAL (a layer name that is no file name); -ENOSPC, -ENOMEM, -errno of the write. Thread: any.
 * Complexity: O(entries of all layers * log of the layers that share a directory).
 */
LCM_MUST_USE int lcm_meta_write(const struct lcm_meta_layer *layers, size_t n, int fd,
				struct lcm_meta_stats *ret, struct lcm_err *err);

/**
 * lcm_meta_write_layer - one layer alone, for a mount that is to be a lower directory of another
 * overlay
 *
 * What it hides is there as that overlay expects it: whiteouts are empty files and opaque
 * directories are marked, by xattrs that the overlay in between unescapes. Return: as
 * lcm_meta_write(), and -EUCLEAN for what one layer alone cannot show.
 */
LCM_MUST_USE int lcm_meta_write_layer(const struct lcm_meta_layer *layer, int fd,
				      struct lcm_meta_stats *ret, struct lcm_err *err);

/**
 * lcm_meta_each_file - every regular file inode of the merged tree that needs data (size > 0), once
 * per inode
 * @fn: layer index, entry index (never a hardlink entry) of the file in that layer's TOC; non-zero
 * stops and is returned
 */
LCM_MUST_USE int lcm_meta_each_file(const struct lcm_meta_layer *layers, size_t n,
				    int (*fn)(void *arg, uint32_t layer, uint32_t entry), void *arg,
				    struct lcm_err *err);

#endif
