/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container.h - which container runs on which mount, as its runtime's hooks say.
 *
 * A tie is a container's id, process and cgroup at one mount. It is also a file,
 * RUN/c/ID.json, so that the next daemon knows of it; RUN is gone after a reboot, as containers
 * are. A mount that was made for a container goes with it: when poststop says so, or, since
 * runtimes forget that when a start fails and can be killed themselves, when its process has ended.
 *
 * Layer: daemon. Threads: loop.
 */
#ifndef LCM_CONTAINER_H
#define LCM_CONTAINER_H

#include "src/daemon/session.h"

struct lcm_container_tie {
	const char *id;
	const char *bundle; /* where it is; "": not said */
	pid_t pid;          /* 0: not known yet */
	bool started;       /* its own program runs now */
	bool owns;          /* the mount was made for it */
};

/** lcm_container_tie - tie a container to @s, or tell more of one that is tied to it. Return: 0;
 * -EINVAL (id); -EEXIST (it is tied to another mount); -ENOMEM; -errno of the file; text. */
LCM_MUST_USE int lcm_container_tie(struct lcm_session *s, const struct lcm_container_tie *t,
				   struct lcm_err *err);
/** lcm_container_release - it has ended: forget it, and unmount what was made for it. @ret_ends:
 * the mount that is still going (it leaves a unit): the container is known until that has gone;
 * NULL: none. May be NULL. @bundle: "": not said. Runtimes, and the directories of their state, may
 * each have a container of the same id: one of another bundle is not meant. Return: 0; -ENOENT;
 * -errno (text). */
LCM_MUST_USE int lcm_container_release(struct lcm_host *h, const char *id, const char *bundle,
				       struct lcm_session **ret_ends, struct lcm_err *err);
/** lcm_container_forget - the mount ends. @keep: not for the next daemon. */
void lcm_container_forget(struct lcm_session *s, bool keep);
/** lcm_container_recover - ties of an earlier daemon; call when its mounts are back. */
void lcm_container_recover(struct lcm_host *h);
/** lcm_container_carry - once the mount is native its limits and weight are to be on the cgroups of
 * its containers, in a job of the pool; called whenever one of these has changed. */
void lcm_container_carry(struct lcm_session *s);
/** lcm_container_list - a new array for the status of @s; NULL: there is none. */
json_t *lcm_container_list(const struct lcm_session *s);

/** lcm_container_cgroup - of the text of /proc/PID/cgroup the path that limits are set on: the
 * unified hierarchy's, or on hosts where that is not used the first controller's that is not "/".
 * Pure. @out: "" when there is none. Source: cgroups(7). */
void lcm_container_cgroup(const char *text, char *out, size_t cap);

#endif
