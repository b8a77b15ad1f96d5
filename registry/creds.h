/* SPDX-License-Identifier: Apache-2.0 */
/*
 * creds.h - find the credentials for a repository in the auth files.
 *
 * Layer: registry. Reads files; the bytes are wiped. Threads: any.
 * Source: containers-auth.json(5): $REGISTRY_AUTH_FILE; $XDG_RUNTIME_DIR/containers/auth.json
 * (/run/containers/<uid>/auth.json); $XDG_CONFIG_HOME/containers/auth.json;
 * $DOCKER_CONFIG/config.json.
 */
#ifndef LCM_CREDS_H
#define LCM_CREDS_H

#include "image/authfile.h"
#include "src/base/buf.h"

#define LCM_HELPER_NAME_MAX 64

/**
 * lcm_creds_files - the auth files to look at, first wins
 * @first: one before these, of which nothing is said when it is not there; NULL: none
 * @given: NULL-terminated, or NULL for the default places
 * @ret:   NULL-terminated copy, the first marked by '-'; free with lcm_creds_files_free()
 * Return: 0, -ENOMEM.
 */
LCM_MUST_USE int lcm_creds_files(const char *first, const char *const *given, char ***ret);
void lcm_creds_files_free(char **files);

/* A place to look in: each auth file has three, its helper for the host, its entries, its helper
 * for all hosts; 0 is the first. */
typedef unsigned int lcm_creds_place;

/**
 * lcm_creds_next - credentials for @host and @repo from @at on
 * @at:     then the place after the one that was told of
 * @helper: with 1, the helper to be asked; if that has none, ask for the next
 * @where:  what was looked at and found, for an error text: "A (not there), B (no entry)"; NULL:
 * not wanted Return: 0 (@ret is set); 1 (@helper is); -ENOENT (no more); -EACCES (unreadable or
 * damaged file or entry, text names it); -ENOMEM.
 */
LCM_MUST_USE int lcm_creds_next(char *const *files, const char *host, const char *repo,
				lcm_creds_place *at, struct lcm_credentials **ret,
				char helper[LCM_HELPER_NAME_MAX + 1], struct lcm_buf *where,
				struct lcm_err *err);

#endif
