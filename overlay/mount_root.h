/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount_root.h - another root file system for a container that its runtime has prepared and not
 * yet entered (createRuntime, OCI runtime spec config.md "POSIX-platform Hooks").
 *
 * By then crun and runc have bound the bundle's rootfs onto itself in the container's mount
 * namespace and mounted /proc, /dev, volumes and the rest on it; after the hook they pivot to
 * whatever that path leads to. So the new tree goes on top of it, and the mounts move over.
 *
 * Layer: overlay. Threads: the calling process must have one; it is in the container's mount
 * namespace afterwards. Source: setns(2), open_tree(2), move_mount(2).
 */
#ifndef LCM_MOUNT_ROOT_H
#define LCM_MOUNT_ROOT_H

#include <sys/types.h>

#include "src/base/err.h"

/**
 * lcm_mount_replace_root - have the container of @pid start on the tree mounted at @source
 * @pid:    the container's process, which waits for the hook
 * @owner:  a process that sees @source: the daemon; the runtime may have a mount namespace of its
 * own
 * @source: an overlay's mount point there; a private clone is used, nothing propagates back
 * @rootfs: the bundle's root, an absolute path without "." and ".." in the container's namespace;
 * links are followed there, but not to "/"
 * @ret_begun: true once something has been changed: a failure then leaves a container that must
 * not start
 *
 * What is missing of mount points in the new tree is made there. Links in the new tree are
 * followed inside it; what one leads to and is missing is made, too, but nothing is mounted in
 * procfs, sysfs or cgroups by way of one. Every mount on the old root moves, or it is an error.
 * Return: 0; -ESRCH; -EINVAL (it is in the owner's mount namespace; the root is "/"); -errno (text
 * names the step).
 */
LCM_MUST_USE int lcm_mount_replace_root(pid_t pid, pid_t owner, const char *source,
					const char *rootfs, bool *ret_begun, struct lcm_err *err);

#endif
