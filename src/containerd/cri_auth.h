/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cri_auth.h - the auth file of pull secrets, as docker's and podman's are.
 *
 * A pull's secret is in it while it runs, for it may be the right one, and stays if it was. What
 * was there when no pull of that repository ran is there again once all that ran have failed.
 * Layer: containerd. Threads: any.
 */
#ifndef LCM_CONTAINERD_CRI_AUTH_H
#define LCM_CONTAINERD_CRI_AUTH_H

#include <jansson.h>
#include <stdbool.h>

#include "image/reference.h"

/* What a call brings; "": it has no such thing. */
struct lcm_cri_secret {
	const char *user, *password, *auth, *identity_token;
	const char *server; /* the registry that it is for; "": the image's */
};
/** lcm_cri_auth_entry - of an auth file, for @host (as in struct lcm_reference), as containerd
 * reads it: one for another registry is none, and a name goes before a token before an "auth".
 * Return: a new object; NULL: there is nothing that could be used. */
json_t *lcm_cri_auth_entry(const struct lcm_cri_secret *s, const char *host);

/* A pull with a secret. All zero, then key and entry are set, then begin; nothing else is set by
 * anybody but cri_auth.c. */
struct lcm_cri_pull {
	char key[sizeof(struct lcm_reference)]; /* "host/repository" */
	json_t *entry;             /* owned; NULL: none, and both functions do nothing */
	json_t *before;            /* owned; the entry that no running pull has made; NULL: none */
	struct lcm_cri_pull *next; /* of those that run */
	bool running;
};

/** lcm_cri_auth_begin - put the pull's entry into the file @path. What cannot be is logged. @pull
 * stays where it is until lcm_cri_auth_end(). */
void lcm_cri_auth_begin(const char *path, struct lcm_cri_pull *pull);
/** lcm_cri_auth_end - @pulled: the entry was right. @pull owns nothing afterwards. */
void lcm_cri_auth_end(const char *path, struct lcm_cri_pull *pull, bool pulled);

#endif
