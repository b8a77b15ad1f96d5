/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - which cgroup a process is in, and whether that is a container's alone.
 *
 * Layer: daemon. Threads: any. Source: cgroups(7), proc_pid_mountinfo(5).
 */
#ifndef LCM_CGROUP_H
#define LCM_CGROUP_H

#include <sys/types.h>

#include "src/base/err.h"

#define LCM_CGROUP_PATH 4096

enum lcm_cgroup_kind {
	LCM_CGROUP_V2,      /* the unified hierarchy */
	LCM_CGROUP_FREEZER, /* that of the v1 controller "freezer" */
	LCM_CGROUP_KIND_MAX,
};

/* Where a hierarchy is seen: @root of it at @at; "": it is not. */
struct lcm_cgroup_mount {
	char at[LCM_CGROUP_PATH], root[LCM_CGROUP_PATH];
};

/* A line of /proc/PID/cgroup: "0::PATH" of the unified hierarchy, else "ID:CONTROLLERS:PATH". */
struct lcm_cgroup_line {
	const char *controllers, *path; /* not terminated */
	size_t controllers_len, path_len;
	bool v2;
};
/** lcm_cgroup_next - the next line from *@at; what is no such line is passed over; pure. Return:
 * false: there is none. */
bool lcm_cgroup_next(const char **at, struct lcm_cgroup_line *ret);
/** lcm_cgroup_line_of - the line of the v1 hierarchy with @controller, or of the unified one
 * (NULL); pure. Return: false: there is none, *@ret is as it was. */
bool lcm_cgroup_line_of(const char *text, const char *controller, struct lcm_cgroup_line *ret);
/** lcm_cgroup_leads_up - is it outside the namespace of whoever has read the line? */
bool lcm_cgroup_leads_up(const struct lcm_cgroup_line *l);

/** lcm_cgroup_mounts - from @len bytes of /proc/self/mountinfo; pure. Of several of one kind the
 * first counts. */
void lcm_cgroup_mounts(const char *text, size_t len,
		       struct lcm_cgroup_mount ret[LCM_CGROUP_KIND_MAX]);
/** lcm_cgroup_dir - the directory of the cgroup that /proc/PID/cgroup (@text) names; pure. Return:
 * 0; -ENOENT (the process is in none of this kind, or in the root, which cannot be frozen, or in
 * one that is not seen here); -ENAMETOOLONG. */
LCM_MUST_USE int lcm_cgroup_dir(const char *text, enum lcm_cgroup_kind kind,
				const struct lcm_cgroup_mount *m, char out[LCM_CGROUP_PATH]);
/** lcm_cgroup_root_is - has the process its root on the file system @dev? Return: 1, 0; -ENOENT
 * (there is no such process any more, or it has ended); -errno. */
LCM_MUST_USE int lcm_cgroup_root_is(pid_t pid, dev_t dev);
/** lcm_cgroup_is_of - has every process in the cgroup @dir and below its root on @dev, or an
 * ancestor that has, or is it @leader or descended of that (0: nobody)? Return: 0; -EPERM (text
 * names one that is not); -ENOENT (nobody is in it); -errno (text). */
LCM_MUST_USE int lcm_cgroup_is_of(const char *dir, dev_t dev, pid_t leader, struct lcm_err *err);

typedef int (*lcm_cgroup_each_fn)(void *arg, pid_t pid);
/** lcm_cgroup_each - @fn for each process in @dir and below, until it returns other than 0; a pid
 * of 0 is one that cannot be named here. Return: 0, what @fn returned, -errno. */
LCM_MUST_USE int lcm_cgroup_each(const char *dir, lcm_cgroup_each_fn fn, void *arg);

#endif
