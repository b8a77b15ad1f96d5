/* SPDX-License-Identifier: Apache-2.0 */
#include "src/containerd/cri.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "image/reference.h"
#include "src/base/base64.h"
#include "src/cmd/cmd.h"
#include "src/containerd/cri.pb-c.h"
#include "src/containerd/cri_auth.h"

#define SECRET_MAX (16U << 10)

bool lcm_cri_is(const char *method)
{
	static const char *const services[] = { "/runtime.v1.ImageService/",
						"/runtime.v1alpha2.ImageService/" };

	for (size_t i = 0; i < LCM_ARRAY_SIZE(services); i++)
		if (strncmp(method, services[i], strlen(services[i])) == 0)
			return true;
	return false;
}

static json_t *basic(const char *user, const char *password)
{
	char plain[SECRET_MAX], coded[2 * SECRET_MAX];
	int n = snprintf(plain, sizeof(plain), "%s:%s", user, password);
	json_t *o = NULL;

	if (n > 0 && (size_t)n < sizeof(plain)) {
		lcm_base64_encode(plain, (size_t)n, coded, sizeof(coded));
		o = json_pack("{s:s}", "auth", coded);
		OPENSSL_cleanse(coded, sizeof(coded));
	}
	OPENSSL_cleanse(plain, sizeof(plain));
	return o;
}

/* As docker's and podman's files have it. NULL: there is nothing that the daemon could use. */
static json_t *entry_of(const Cri__AuthConfig *a)
{
	if (!a)
		return NULL;
	if (*a->identity_token)
		return json_pack("{s:s}", "identitytoken", a->identity_token);
	if (*a->auth)
		return json_pack("{s:s}", "auth", a->auth);
	return *a->username ? basic(a->username, a->password) : NULL;
}

/* "host/repository": the most specific key of an auth file. */
static bool key_of(const Cri__PullImageRequest *q, char *out, size_t cap)
{
	struct lcm_reference ref;

	if (!q->image || lcm_reference_parse(q->image->image, &ref, NULL) < 0)
		return false;
	(void)snprintf(out, cap, "%s/%s", ref.host, ref.repo);
	return true;
}

static void pull_begin(const char *path, struct lcm_cri_pull *pull, const uint8_t *p, size_t len)
{
	Cri__PullImageRequest *q = cri__pull_image_request__unpack(NULL, len, p);

	if (q && key_of(q, pull->key, sizeof(pull->key)))
		pull->entry = entry_of(q->auth);
	if (q)
		cri__pull_image_request__free_unpacked(q, NULL);
	lcm_cri_auth_begin(path, pull);
}

void lcm_cri_call(const struct lcm_caller *c, const char *method, const uint8_t *p, size_t len,
		  struct lcm_grpc_reply *ret)
{
	bool is_pull = strcmp(strrchr(method, '/'), "/PullImage") == 0;
	int status = LCM_GRPC_UNAVAILABLE, r;
	struct lcm_cri_pull pull = { 0 };
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s/cri-auth.json", cmd_globals.run_dir);
	if (is_pull)
		pull_begin(path, &pull, p, len);
	r = lcm_caller_forward(c, method, p, len, &ret->body, &status, &ret->err);
	ret->status = (enum lcm_grpc_status)(r < 0 ? LCM_GRPC_UNAVAILABLE : status);
	lcm_cri_auth_end(path, &pull, ret->status == LCM_GRPC_OK);
}
