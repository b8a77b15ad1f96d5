/* SPDX-License-Identifier: Apache-2.0 */
/*
 * freeze.h - the cgroups of the containers on a mount, frozen and thawed.
 *
 * Whose they are is asked of the kernel at that moment, not of a runtime: a container on a mount is
 * the processes that have it as their root. A cgroup is frozen only when every process in and below
 * it is of a container on that mount: it has its root there, or an ancestor that has. So nobody's
 * session, no runtime's monitor and not the daemon itself ever freezes along.
 *
 * What is about to be frozen is written to RUN/frozen/ID first, with what tells the cgroup from a
 * later one of the same name: the next daemon thaws what this one could not.
 *
 * Layer: daemon. Threads: as each function says. Source: Linux admin-guide/cgroup-v2.rst
 * "cgroup.freeze", admin-guide/cgroup-v1/freezer-subsystem.rst.
 */
#ifndef LCM_FREEZE_H
#define LCM_FREEZE_H

#include <sys/types.h>

#include "src/base/err.h"

/* Cgroups of one mount: of a container there is one, or a tree that has processes in some. */
#define LCM_FROZEN_MAX 64U

struct lcm_frozen_cgroup {
	char *dir; /* owned; absolute */
	ino_t ino; /* of dir; never used again in one boot */
	bool v1;   /* of the freezer controller, else of the unified hierarchy */
};

struct lcm_frozen {
	char *record; /* owned; the file that names these */
	struct lcm_frozen_cgroup v[LCM_FROZEN_MAX];
	size_t n;
};

/**
 * lcm_freeze - freeze the containers on a mount
 * @run_dir: where the record goes
 * @id: of the mount; names the record
 * @target: where it is mounted
 * @ret: owned by the caller, lcm_thaw()
 *
 * A thread that waits in the kernel for a file of the mount freezes when it is answered. What was
 * frozen before, by somebody else, is left to them; so is a cgroup that has others in it too, if
 * there is another that has not. Return: 0; -ENOENT (no container is on it); -EPERM (text says in
 * which cgroup who else is); -EALREADY (all are frozen by somebody else); -E2BIG; -errno (text);
 * nothing is frozen then. Thread: pool; reads /proc/PID of every process.
 */
LCM_MUST_USE int lcm_freeze(const char *run_dir, const char *id, const char *target,
			    struct lcm_frozen **ret, struct lcm_err *err);

/** lcm_thaw - thaw, forget the record and free @f; one that is gone or replaced is passed over.
 * Each write is short and waits for nobody. NULL is allowed. Thread: any. */
void lcm_thaw(struct lcm_frozen *f);

/** lcm_frozen_let_go - must they be thawed now: did somebody thaw one, or is a process of the v1
 * hierarchy killed, which there takes effect only after a thaw? Thread: any. */
bool lcm_frozen_let_go(const struct lcm_frozen *f);

/** lcm_freeze_recover - thaw all that an earlier daemon has frozen. Thread: any. */
void lcm_freeze_recover(const char *run_dir);

#endif
