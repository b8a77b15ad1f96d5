/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subvol_impl.h - what the files of the subvolume backend share.
 *
 * A unit is a btrfs subvolume. Its size is the limit of its own qgroup, 0/ID, on what it refers to;
 * that is where it is written down, too. Who writes beyond it gets EDQUOT.
 *
 * Layer: unit, private to this folder. Threads: any. Source: linux/btrfs.h, btrfs-ioctl(2),
 * btrfs-quota(5); /sys/fs/btrfs/UUID/qgroups, Documentation/ABI/testing/sysfs-fs-btrfs.
 */
#ifndef LCM_UNIT_SUBVOL_IMPL_H
#define LCM_UNIT_SUBVOL_IMPL_H

#include <linux/btrfs.h>

#include "src/base/err.h"
#include "src/base/sys.h"
#include "unit/backend.h"

struct lcm_qgroup {
	uint64_t referenced, exclusive; /* bytes, as of the last commit of the file system */
	uint64_t limit;                 /* of referenced; 0: none */
};

/**
 * lcm_quota_ready - have quotas of btrfs count, on the file system of @fd
 * Enables them, and repairs what the kernel says it did not count; waits for that, which on a large
 * file system is minutes. Deletions of subvolumes are counted, too, which they are not by default.
 * Return: 0; -ENOTSUP (simple quotas are in use); -errno; the text is for @what.
 */
LCM_MUST_USE int lcm_quota_ready(int fd, const char *what, struct lcm_err *err);
/** lcm_qgroup_read - of the subvolume @id on the file system of @fd. Return: 0; -ENOENT (no
 * quotas); -errno. */
LCM_MUST_USE int lcm_qgroup_read(int fd, uint64_t id, struct lcm_qgroup *ret);
/** lcm_qgroup_limit - for good when it returns. @root: a descriptor in the subvolume. */
LCM_MUST_USE int lcm_qgroup_limit(int root, uint64_t id, uint64_t bytes);

/** lcm_subvol_make - a snapshot of @from (a descriptor in a subvolume), or, with -EBADF, an empty
 * one; with its limit or not at all, durable. Return: 0, -errno. */
LCM_MUST_USE int lcm_subvol_make(int dir, const char *name, int from, bool read_only,
				 uint64_t size);
/** lcm_subvol_limit - of a snapshot of one that had another limit, or none: the kernel gives it its
 * origin's, whatever was asked for. Return: 0, -errno. */
LCM_MUST_USE int lcm_subvol_limit(int dir, const char *name, uint64_t size);
LCM_MUST_USE int lcm_subvol_destroy(int dir, const char *name);

/* ops (subvol_stream.c) */
int lcm_subvol_send(int dir, const char *name, lcm_unit_send_fn fn, void *arg, struct lcm_err *err);
int lcm_subvol_receive(int dir, const char *name, uint64_t size, bool thin, struct lcm_err *err);
int lcm_subvol_received(int dir, const char *name, int fd, uint64_t size, struct lcm_err *err);
/** lcm_subvol_unreceive - what an import of @name has left beside it. Missing is success. */
LCM_MUST_USE int lcm_subvol_unreceive(int dir, const char *name);

/**
 * lcm_subvol_busy - ops.busy(): is the directory, or one in it, the root of a mount?
 *
 * btrfs cannot be asked. Looks at the mounts of every mount namespace that a process in /proc is
 * in: not found are those of namespaces kept by a descriptor or a bind mount alone, detached ones,
 * and what an overlay keeps of an upper layer whose mount is gone.
 */
int lcm_subvol_busy(int dir, const char *name);

#endif
