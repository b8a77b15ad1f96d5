/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/helper.h"

#include <stdio.h>
#include <string.h>

#include "registry/program.h"

#define HUB "https://index.docker.io/v1/"
#define NOT_FOUND "credentials not found"

struct lcm_helper {
	char name[96];
	lcm_helper_fn fn;
	void *arg;
	struct lcm_program *program; /* owned */
};

void lcm_helper_free(struct lcm_helper *h)
{
	if (!h)
		return;
	lcm_program_free(h->program);
	free(h);
}

/* One that fails says why on its output. */
static int take(const struct lcm_helper *h, const struct lcm_program_result *res,
		struct lcm_credentials **ret, struct lcm_err *err)
{
	char line[LCM_PROGRAM_LINE + 1];
	int r;

	if (res->status == 0) {
		r = lcm_credentials_of_helper(res->said, res->len, ret, err);
		return r == -EUCLEAN || r == -EFBIG ? lcm_err_prefix(err, -EACCES, "%s", h->name)
						    : r;
	}
	lcm_program_line(res->said, strnlen(res->said, res->len), line);
	if (strstr(line, NOT_FOUND))
		return lcm_err_set(err, -ENOENT, "%s has none", h->name);
	return lcm_program_failed(h->name, res->status, line, err);
}

static void on_end(void *arg, int r, const struct lcm_program_result *res,
		   const struct lcm_err *err)
{
	struct lcm_helper *h = arg;
	struct lcm_credentials *c = NULL;
	struct lcm_err why = { 0 };

	if (r == 0)
		r = take(h, res, &c, &why);
	else
		why = *err;
	h->fn(h->arg, r, c, &why);
}

int lcm_helper_start(struct lcm_loop *loop, const char *name, const char *host, uint32_t timeout_ms,
		     lcm_helper_fn fn, void *arg, struct lcm_helper **ret, struct lcm_err *err)
{
	struct lcm_helper *h = calloc(1, sizeof(*h));
	char get[] = "get", *argv[] = { NULL, get, NULL };
	struct lcm_program_call call = { .argv = argv, .timeout_ms = timeout_ms };
	int r;

	if (!h)
		return -ENOMEM;
	h->fn = fn;
	h->arg = arg;
	(void)snprintf(h->name, sizeof(h->name), "docker-credential-%s", name);
	argv[0] = h->name;
	call.input = strcmp(host, "docker.io") == 0 ? HUB : host;
	call.len = strlen(call.input);
	r = lcm_program_start(loop, &call, on_end, h, &h->program, err);
	if (r < 0)
		lcm_helper_free(h);
	else
		*ret = h;
	return r;
}
