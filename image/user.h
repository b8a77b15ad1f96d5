/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user.h - an image's "User" resolved against its /etc/passwd and /etc/group.
 *
 * Layer: image. Pure parser of hostile bytes (the image's files). Source: what
 * docker and podman do (moby/sys/user GetExecUser); OCI Image Spec config.md
 * "User": user, uid, user:group, uid:gid, uid:group, user:gid.
 */
#ifndef LCM_USER_H
#define LCM_USER_H

#include "src/base/base.h"
#include "src/base/err.h"

/* Linux NGROUPS_MAX is 65536; an image with more than this many for one user is not one. */
#define LCM_USER_GROUPS_MAX 1024
/* Larger passwd or group files are refused. */
#define LCM_USER_FILE_MAX (1U << 20)
/* uids and gids as the tools bound them: 2^31 - 1. */
#define LCM_USER_ID_MAX 2147483647U

struct lcm_user {
	uint32_t uid, gid;
	uint32_t *gids; /* owned; supplementary groups without duplicates; NULL when none, or when
			   spec names a group */
	size_t n_gids;
	char *home; /* owned; the passwd entry's, "/" when it has none */
};

/**
 * lcm_user_resolve - ids for a "User" string
 * @spec:   "" (root), "uid", "uid:gid", "name", "name:group" and mixtures; ":group" is root's
 * @passwd: bytes of the image's /etc/passwd; NULL when it has none
 * @group:  bytes of the image's /etc/group; NULL when it has none
 *
 * A numeric id needs no entry: group 0 then, unless one is named. Damaged lines are skipped as libc
 * does. Return: 0; -ENOENT (text names the user or group and the file it is not in); -EINVAL (id
 * out of range); -EFBIG; -ENOMEM. Thread: any.
 */
LCM_MUST_USE int lcm_user_resolve(const char *spec, const void *passwd, size_t passwd_len,
				  const void *group, size_t group_len, struct lcm_user **ret,
				  struct lcm_err *err);
void lcm_user_free(struct lcm_user *u);
LCM_DEFINE_AUTO(lcm_user)

#endif
