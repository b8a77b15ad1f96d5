/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider.h - the kubelet's credential providers: their configuration, what they are asked and
 * what they answer.
 *
 * Layer: image. Pure: bytes in, decisions out; registry/provider.h runs them. Secrets are wiped
 * when freed, and are in no text. Source: Kubernetes kubelet.config.k8s.io/v1
 * CredentialProviderConfig, credentialprovider.kubelet.k8s.io/v1; pkg/credentialprovider
 * (keyring.go URLsMatch, Add, Lookup; plugin/config.go, plugin/plugin.go). Threads: any; what is
 * parsed is immutable.
 */
#ifndef LCM_PROVIDER_H
#define LCM_PROVIDER_H

#include "image/authfile.h"
#include "src/base/buf.h"

struct lcm_provider {
	char *name;        /* of its program in the directory of these */
	char **match;      /* NULL-terminated globs, as lcm_provider_match() */
	char **argv;       /* NULL-terminated; argv[0] is the name */
	char **env;        /* NULL-terminated "NAME=VALUE", beside our own environment */
	uint64_t cache_ns; /* of answers that do not say; 0: they are not kept */
};

struct lcm_provider_list {
	struct lcm_provider *v; /* owned, with all that is in it */
	size_t n;
};

/**
 * lcm_provider_list_parse - a CredentialProviderConfig, YAML or JSON, at most LCM_CONFIG_FILE_MAX
 * bytes
 *
 * As strict as the kubelet: no unknown members. Not understood: other versions than v1, and
 * tokenAttributes, which need a pod.
 * Return: 0; -EUCLEAN (text says what is wrong); -EFBIG; -ENOMEM.
 */
LCM_MUST_USE int lcm_provider_list_parse(const char *p, size_t len, struct lcm_provider_list **ret,
					 struct lcm_err *err);
void lcm_provider_list_free(struct lcm_provider_list *l);
LCM_DEFINE_AUTO(lcm_provider_list)

/**
 * lcm_provider_match - is @image ("host[:port]/repository") one of @glob ("host[:port][/path]")?
 *
 * The same number of parts between the host's dots, each matching ('*' is any number of characters
 * of one part); the same port, or neither has one; the path is a prefix of the image's.
 */
bool lcm_provider_match(const char *glob, const char *image);

/** lcm_provider_request - the CredentialProviderRequest for @image into @out. Return: 0, -ENOMEM.
 */
LCM_MUST_USE int lcm_provider_request(const char *image, struct lcm_buf *out);

/* For whom an answer holds. */
enum lcm_provider_key {
	LCM_PROVIDER_IMAGE,
	LCM_PROVIDER_REGISTRY,
	LCM_PROVIDER_GLOBAL,
	LCM_PROVIDER_KEY_MAX,
};

struct lcm_provider_answer; /* secret */

/**
 * lcm_provider_answer_parse - a CredentialProviderResponse
 * @cache_ns: the provider's
 * Return: 0; -EUCLEAN (text never has a secret); -EFBIG; -ENOMEM.
 */
LCM_MUST_USE int lcm_provider_answer_parse(const char *p, size_t len, uint64_t cache_ns,
					   struct lcm_provider_answer **ret, struct lcm_err *err);
void lcm_provider_answer_free(struct lcm_provider_answer *a);
LCM_DEFINE_AUTO(lcm_provider_answer)
enum lcm_provider_key lcm_provider_answer_key(const struct lcm_provider_answer *a);
/** lcm_provider_answer_ns - how long it may be kept; 0: not at all. */
uint64_t lcm_provider_answer_ns(const struct lcm_provider_answer *a);
/** lcm_provider_answer_find - of its entries that match @image the first in the reverse order of
 * their keys, so that longer paths go first. Return: 0; -ENOENT; -ENOMEM. */
LCM_MUST_USE int lcm_provider_answer_find(const struct lcm_provider_answer *a, const char *image,
					  struct lcm_credentials **ret);

#endif
