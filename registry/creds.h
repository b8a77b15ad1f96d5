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

/**
 * lcm_creds_files - the auth files to look at, first wins
 * @given: NULL-terminated, or NULL for the default places
 * @ret:   NULL-terminated copy; free with lcm_creds_files_free()
 * Return: 0, -ENOMEM.
 */
LCM_MUST_USE int lcm_creds_files(const char *const *given, char ***ret);
void lcm_creds_files_free(char **files);

/**
 * lcm_creds_lookup - first credentials for @host and @repo
 * @where: what was looked at and found, for an error text: "A (not there), B (no entry)"
 * Return: 0; -ENOENT (none; @ret untouched); -EACCES (unreadable or damaged file or entry, text
 * names it); -ENOMEM.
 */
LCM_MUST_USE int lcm_creds_lookup(char *const *files, const char *host, const char *repo,
				  struct lcm_credentials **ret, struct lcm_buf *where,
				  struct lcm_err *err);

#endif
