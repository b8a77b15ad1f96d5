/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/provider.h"

#include <stdio.h>
#include <string.h>

#include "registry/program.h"
#include "src/base/sys.h"

#define KEPT_MAX 1024U /* answers; Image is the key of most */

struct kept {
	struct kept *next;
	unsigned int which;            /* the provider */
	char *key;                     /* owned: image, registry, or "" for all */
	uint64_t until_ns;             /* CLOCK_MONOTONIC */
	struct lcm_provider_answer *a; /* owned; secret */
};

struct lcm_providers {
	struct lcm_provider_list *list; /* owned */
	char *bin_dir;                  /* owned */
	struct kept *kept;              /* newest first */
	unsigned int n_kept;
};

/* ---- what is kept ---- */

static void kept_drop(struct lcm_providers *p, struct kept **at)
{
	struct kept *k = *at;

	*at = k->next;
	p->n_kept--;
	lcm_provider_answer_free(k->a);
	free(k->key);
	free(k);
}

/* Does it hold for @image, whose registry has @host_len bytes? */
static bool kept_is_for(const struct kept *k, unsigned int which, const char *image,
			size_t host_len)
{
	if (k->which != which)
		return false;
	switch (lcm_provider_answer_key(k->a)) {
	case LCM_PROVIDER_IMAGE:
		return strcmp(k->key, image) == 0;
	case LCM_PROVIDER_REGISTRY:
		return strlen(k->key) == host_len && strncmp(k->key, image, host_len) == 0;
	default:
		return true;
	}
}

/* That for the image alone goes first, then its registry's. */
static const struct kept *find(struct lcm_providers *p, unsigned int which, const char *image,
			       bool anew)
{
	size_t host_len = strcspn(image, "/");
	const struct kept *best = NULL;
	uint64_t now = lcm_now_ns();

	for (struct kept **at = &p->kept; *at;) {
		struct kept *k = *at;
		bool mine = kept_is_for(k, which, image, host_len);

		if (k->until_ns <= now || (mine && anew)) {
			kept_drop(p, at);
			continue;
		}
		if (mine &&
		    (!best || lcm_provider_answer_key(k->a) < lcm_provider_answer_key(best->a)))
			best = k;
		at = &k->next;
	}
	return best;
}

/* Without memory it is asked again next time. Takes @a; returns until when it is good. */
static uint64_t keep(struct lcm_providers *p, unsigned int which, const char *image,
		     struct lcm_provider_answer *a)
{
	uint64_t ns = lcm_provider_answer_ns(a);
	enum lcm_provider_key key = lcm_provider_answer_key(a);
	struct kept *k = ns ? calloc(1, sizeof(*k)) : NULL;
	struct kept **at = &p->kept;

	if (k)
		k->key = key == LCM_PROVIDER_IMAGE      ? strdup(image)
			 : key == LCM_PROVIDER_REGISTRY ? strndup(image, strcspn(image, "/"))
							: strdup("");
	if (!k || !k->key) {
		free(k);
		lcm_provider_answer_free(a);
		return ns ? lcm_now_ns() + ns : 0;
	}
	if (p->n_kept == KEPT_MAX) {
		while ((*at)->next)
			at = &(*at)->next;
		kept_drop(p, at);
	}
	k->which = which;
	k->a = a;
	k->until_ns = lcm_now_ns() + ns;
	k->next = p->kept;
	p->kept = k;
	p->n_kept++;
	return k->until_ns;
}

int lcm_providers_next(struct lcm_providers *p, const char *image, bool anew, unsigned int *at,
		       struct lcm_credentials **ret, uint64_t *ret_until_ns)
{
	for (; p && *at < p->list->n; (*at)++) {
		const struct lcm_provider *v = &p->list->v[*at];
		const struct kept *k;
		char **glob = v->match;
		int r;

		while (*glob && !lcm_provider_match(*glob, image))
			glob++;
		if (!*glob)
			continue;
		k = find(p, *at, image, anew);
		r = k ? lcm_provider_answer_find(k->a, image, ret) : 1;
		if (r == -ENOENT)
			continue;
		if (r == 0)
			*ret_until_ns = k->until_ns;
		(*at)++;
		return r;
	}
	return -ENOENT;
}

/* ---- asking ---- */

struct lcm_provider_call {
	struct lcm_providers *p;
	unsigned int which;
	char *image; /* owned */
	lcm_provider_fn fn;
	void *arg;
	struct lcm_program *program; /* owned */
};

void lcm_provider_call_free(struct lcm_provider_call *c)
{
	if (!c)
		return;
	lcm_program_free(c->program);
	free(c->image);
	free(c);
}

static const struct lcm_provider *provider_of(const struct lcm_provider_call *c)
{
	return &c->p->list->v[c->which];
}

static int take(const struct lcm_provider_call *c, const struct lcm_program_result *res,
		struct lcm_credentials **ret, uint64_t *ret_until_ns, struct lcm_err *err)
{
	const struct lcm_provider *v = provider_of(c);
	struct lcm_provider_answer *a;
	int r;

	if (res->status != 0)
		return lcm_program_failed(v->name, res->status, res->why, err);
	r = lcm_provider_answer_parse(res->said, res->len, v->cache_ns, &a, err);
	if (r < 0)
		return r == -ENOMEM ? r : lcm_err_prefix(err, -EACCES, "%s", v->name);
	r = lcm_provider_answer_find(a, c->image, ret);
	*ret_until_ns = keep(c->p, c->which, c->image, a);
	return r == -ENOENT ? lcm_err_set(err, r, "%s has none", v->name) : r;
}

static void on_end(void *arg, int r, const struct lcm_program_result *res,
		   const struct lcm_err *err)
{
	struct lcm_provider_call *c = arg;
	struct lcm_credentials *found = NULL;
	struct lcm_err why = { 0 };
	uint64_t until = 0;

	if (r == 0)
		r = take(c, res, &found, &until, &why);
	else
		why = *err;
	c->fn(c->arg, r, found, until, &why);
}

/* Ours, then the provider's: of two of one name most programs take the first, so ours goes. */
static int make_env(const struct lcm_provider *v, char ***ret)
{
	size_t n = 0, k = 0, at = 0;
	char **out;

	while (environ[n])
		n++;
	while (v->env[k])
		k++;
	out = calloc(n + k + 1, sizeof(*out));
	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		size_t name = strcspn(environ[i], "=") + 1, j = 0;

		while (j < k && strncmp(v->env[j], environ[i], name) != 0)
			j++;
		if (j == k)
			out[at++] = environ[i];
	}
	memcpy(out + at, v->env, k * sizeof(*out));
	*ret = out;
	return 0;
}

static int run(struct lcm_loop *loop, struct lcm_provider_call *c, struct lcm_err *err)
{
	const struct lcm_provider *v = provider_of(c);
	lcm_autobuf struct lcm_buf ask = LCM_BUF(LCM_PROGRAM_INPUT_MAX);
	struct lcm_program_call call = { .argv = v->argv,
					 .dir = c->p->bin_dir,
					 .timeout_ms = LCM_PROGRAM_TIMEOUT_MS };
	lcm_autofree char **env = NULL;
	int r = lcm_provider_request(c->image, &ask);

	if (r == 0)
		r = make_env(v, &env);
	if (r < 0)
		return lcm_err_set(err, r, "%s: %s", v->name, strerror(-r));
	call.envp = env;
	call.input = lcm_buf_str(&ask);
	call.len = ask.len;
	return lcm_program_start(loop, &call, on_end, c, &c->program, err);
}

int lcm_provider_ask(struct lcm_loop *loop, struct lcm_providers *p, unsigned int which,
		     const char *image, lcm_provider_fn fn, void *arg,
		     struct lcm_provider_call **ret, struct lcm_err *err)
{
	struct lcm_provider_call *c = calloc(1, sizeof(*c));
	int r = -ENOMEM;

	if (c) {
		*c = (struct lcm_provider_call){
			.p = p, .which = which, .image = strdup(image), .fn = fn, .arg = arg
		};
		r = c->image ? run(loop, c, err) : -ENOMEM;
	}
	if (r < 0)
		lcm_provider_call_free(c);
	else
		*ret = c;
	return r;
}

/* ---- life ---- */

void lcm_providers_free(struct lcm_providers *p)
{
	if (!p)
		return;
	while (p->kept)
		kept_drop(p, &p->kept);
	lcm_provider_list_free(p->list);
	free(p->bin_dir);
	free(p);
}

static int check_programs(const struct lcm_providers *p, struct lcm_err *err)
{
	for (size_t i = 0; i < p->list->n; i++) {
		lcm_autofree char *path = NULL;

		if (asprintf(&path, "%s/%s", p->bin_dir, p->list->v[i].name) < 0) {
			path = NULL;
			return -ENOMEM;
		}
		if (access(path, X_OK) < 0)
			return lcm_err_set(err, -ENOENT,
					   "credential provider %s: no such program, or it cannot "
					   "be run",
					   path);
	}
	return 0;
}

int lcm_providers_load(const char *config, const char *bin_dir, struct lcm_providers **ret,
		       struct lcm_err *err)
{
	struct lcm_providers *p = calloc(1, sizeof(*p));
	lcm_autofree char *text = NULL;
	size_t len = 0;
	int r = p ? lcm_read_file_at(AT_FDCWD, config, LCM_CONFIG_FILE_MAX, &text, &len) : -ENOMEM;

	if (r < 0)
		lcm_err_set(err, r, "%s: %s", config, strerror(-r));
	if (r == 0) {
		r = lcm_provider_list_parse(text, len, &p->list, err);
		if (r < 0)
			lcm_err_prefix(err, r, "%s", config);
	}
	if (r == 0 && bin_dir[0] != '/')
		r = lcm_err_set(err, -EINVAL,
				"directory of credential providers \"%s\" is not absolute",
				bin_dir);
	if (r == 0) {
		p->bin_dir = strdup(bin_dir);
		r = p->bin_dir ? check_programs(p, err) : -ENOMEM;
	}
	if (r < 0)
		lcm_providers_free(p);
	else
		*ret = p;
	return r;
}
