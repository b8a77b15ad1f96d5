/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authfile.h - credentials from docker's config.json and podman's auth.json.
 *
 * Layer: image. Pure: bytes in, credentials out. Decoded credentials are wiped when freed.
 * Sources: containers-auth.json(5); containers/image pkg/docker/config
 * (lookup order); docker cli "config.json"; docker-credential-helpers "Development of credential
 * helpers". Helpers are named here, and what they say is parsed; registry/helper.h runs them.
 * Threads: an lcm_authfile is immutable, any thread may read it.
 */
#ifndef LCM_AUTHFILE_H
#define LCM_AUTHFILE_H

#include "src/base/base.h"
#include "src/base/err.h"
#include "src/base/limits.h"

struct lcm_authfile;

/**
 * lcm_authfile_parse - parse config.json or auth.json
 * @p: at most LCM_AUTH_FILE_MAX bytes
 *
 * Entries are decoded when they are looked up: a damaged one does not hide the others.
 * Return: 0; -EUCLEAN (not JSON, not such a file; text names the member, never a secret); -EFBIG;
 * -ENOMEM.
 */
LCM_MUST_USE int lcm_authfile_parse(const void *p, size_t len, struct lcm_authfile **ret,
				    struct lcm_err *err);
void lcm_authfile_free(struct lcm_authfile *af);
LCM_DEFINE_AUTO(lcm_authfile)

/* Either user name and password, or an identity token; the other is "". No control characters in
 * any. */
struct lcm_credentials {
	char *username, *password; /* owned */
	char *identity_token;      /* owned; OAuth2 refresh token for the token service */
};

/** lcm_authfile_key_is_host - does @key, of an auth file, mean the registry @host?
 * "https://host/v1/" does; "host/ns" without a scheme is a namespace and never does. */
bool lcm_authfile_key_is_host(const char *key, const char *host);

/**
 * lcm_authfile_lookup - credentials for one repository
 * @host: as in struct lcm_reference: "docker.io", "localhost:5000"
 * @repo: "library/busybox"; "" for the registry alone
 *
 * The most specific key wins, exactly spelled: host/ns/repo, host/ns, host; then URLs and aliases
 * of the host ("https://host/v1/", "https://index.docker.io/v1/", "registry-1.docker.io" for
 * docker.io). Return: 0; -ENOENT (no entry, or an empty one as a credential helper leaves behind);
 * -EUCLEAN (the entry is damaged; text names its key); -ENOMEM.
 */
LCM_MUST_USE int lcm_authfile_lookup(const struct lcm_authfile *af, const char *host,
				     const char *repo, struct lcm_credentials **ret,
				     struct lcm_err *err);
/** lcm_credentials_free - wipes the secrets. */
void lcm_credentials_free(struct lcm_credentials *c);
LCM_DEFINE_AUTO(lcm_credentials)

/**
 * lcm_authfile_helper - the credential helper that the file's "credHelpers" has for @host
 *
 * "pass" stands for docker-credential-pass. Borrowed from @af. Return: the name, or NULL when there
 * is none.
 */
const char *lcm_authfile_helper(const struct lcm_authfile *af, const char *host);
/** lcm_authfile_store - the same, of all hosts: "credsStore". */
const char *lcm_authfile_store(const struct lcm_authfile *af);

/**
 * lcm_credentials_of_helper - what a credential helper has printed
 * @p: at most LCM_AUTH_FILE_MAX bytes: {"ServerURL", "Username", "Secret"}; the user "<token>" says
 *     that the secret is an identity token
 * Return: 0; -ENOENT (an empty secret); -EUCLEAN (text never has a secret); -EFBIG; -ENOMEM.
 */
LCM_MUST_USE int lcm_credentials_of_helper(const void *p, size_t len, struct lcm_credentials **ret,
					   struct lcm_err *err);

#endif
