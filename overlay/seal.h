/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seal.h - what a layer's tree is, file by file, so that rot is found later.
 *
 * Layer: overlay. A seal is written when a layer is proven and whole; the tree is compared with it
 * whenever somebody asks. Sums are CRC-64: they find what a disk does, not what root does.
 *
 * In a seal: directories breadth first, the root first, of each the names in it in the order of
 * memcmp. Of everything its type, mode, owner, device and mtime; those xattrs that layers have (not
 * what a security module writes); of files the data by blocks of 1 MiB, those of zeros left out, so
 * that holes are neither read nor missed; of symlinks the target.
 * Threads: any, one call per tree.
 */
#ifndef LCM_SEAL_H
#define LCM_SEAL_H

#include "src/base/err.h"

struct lcm_seal_ops {
	/** damage - @path (below the tree; "" is the tree itself) is not what it was; @what says
	 * in what. NULL allowed. */
	void (*damage)(void *arg, const char *path, const char *what);
	/** checkpoint - called at every entry and every MiB: 0, or -ECANCELED to end the call with.
	 * NULL allowed. */
	int (*checkpoint)(void *arg);
	void *arg;
};

struct lcm_seal_result {
	uint64_t entries, bytes; /* seen; bytes of files that were read */
	uint64_t damaged;        /* calls of damage() */
};

/**
 * lcm_seal_write - the seal of the tree @dirfd into the empty file @fd; both borrowed
 *
 * Files are read through the page cache. Nothing is synced.
 * Return: 0; -EFBIG (more entries than a layer may have); -ECANCELED; -errno.
 */
LCM_MUST_USE int lcm_seal_write(int dirfd, int fd, const struct lcm_seal_ops *ops,
				struct lcm_seal_result *ret, struct lcm_err *err);
/**
 * lcm_seal_check - compare the tree @dirfd with the seal @fd; both borrowed
 *
 * Files are read from the disk where the file system can (O_DIRECT): what the page cache has proves
 * nothing. What cannot be read is damage. A directory that is missing is one damage, whatever was
 * in it.
 * Return: 0, also with damage; -EUCLEAN (the seal itself is damaged; nothing is known); -ECANCELED;
 * -errno.
 */
LCM_MUST_USE int lcm_seal_check(int dirfd, int fd, const struct lcm_seal_ops *ops,
				struct lcm_seal_result *ret, struct lcm_err *err);

#endif
