/* SPDX-License-Identifier: Apache-2.0 */
#include "src/containerd/cri.h"

#include <stdio.h>
#include <string.h>

#include "image/reference.h"
#include "src/cmd/cmd.h"
#include "src/containerd/cri.pb-c.h"
#include "src/containerd/cri_auth.h"

bool lcm_cri_is(const char *method)
{
	static const char *const services[] = { "/runtime.v1.ImageService/",
						"/runtime.v1alpha2.ImageService/" };

	for (size_t i = 0; i < LCM_ARRAY_SIZE(services); i++)
		if (strncmp(method, services[i], strlen(services[i])) == 0)
			return true;
	return false;
}

/* "host/repository" is the most specific key of an auth file. */
static void pull_begin(const char *path, struct lcm_cri_pull *pull, const uint8_t *p, size_t len)
{
	Cri__PullImageRequest *q = cri__pull_image_request__unpack(NULL, len, p);
	struct lcm_reference ref;

	if (q && q->auth && q->image && lcm_reference_parse(q->image->image, &ref, NULL) == 0) {
		const struct lcm_cri_secret secret = { .user = q->auth->username,
						       .password = q->auth->password,
						       .auth = q->auth->auth,
						       .identity_token = q->auth->identity_token,
						       .server = q->auth->server_address };

		(void)snprintf(pull->key, sizeof(pull->key), "%s/%s", ref.host, ref.repo);
		pull->entry = lcm_cri_auth_entry(&secret, ref.host);
	}
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
