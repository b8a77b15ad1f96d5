/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/creds.h"

#include <string.h>

#include <openssl/crypto.h>

#include "src/base/sys.h"

#define FILES_MAX 64
#define PATH_BYTES_MAX 4096

struct file_list {
	char *path[FILES_MAX + 1];
	size_t n;
};

static int list_add(struct file_list *l, const char *dir, const char *rest)
{
	struct lcm_buf b = LCM_BUF(PATH_BYTES_MAX);
	int r;

	if (!dir || !dir[0] || l->n == FILES_MAX)
		return 0;
	r = lcm_buf_printf(&b, "%s%s", dir, rest);
	if (r == 0)
		l->path[l->n] = lcm_buf_steal(&b);
	lcm_buf_fini(&b);
	if (r < 0 || !l->path[l->n])
		return r == -EFBIG ? 0 : -ENOMEM;
	l->n++;
	return 0;
}

static int list_defaults(struct file_list *l)
{
	const char *own = getenv("REGISTRY_AUTH_FILE"), *run = getenv("XDG_RUNTIME_DIR");
	const char *conf = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME"),
		   *docker = getenv("DOCKER_CONFIG");
	struct lcm_buf uid = LCM_BUF(64);
	int r;

	if (own && own[0])
		return list_add(l, own, "");
	r = lcm_buf_printf(&uid, "/run/containers/%u", (unsigned int)geteuid());
	if (r == 0)
		r = run && run[0] ? list_add(l, run, "/containers/auth.json")
				  : list_add(l, lcm_buf_str(&uid), "/auth.json");
	lcm_buf_fini(&uid);
	if (r == 0)
		r = conf && conf[0] ? list_add(l, conf, "/containers/auth.json")
				    : list_add(l, home, "/.config/containers/auth.json");
	if (r == 0)
		r = docker && docker[0] ? list_add(l, docker, "/config.json")
					: list_add(l, home, "/.docker/config.json");
	return r;
}

int lcm_creds_files(const char *first, const char *const *given, char ***ret)
{
	struct file_list l = { 0 };
	char **copy = NULL;
	int r = first ? list_add(&l, "-", first) : 0;

	if (r == 0 && !given)
		r = list_defaults(&l);
	for (; given && *given && r == 0; given++)
		r = list_add(&l, *given, "");
	if (r == 0)
		copy = calloc(l.n + 1, sizeof(*copy));
	if (!copy) {
		for (size_t i = 0; i < l.n; i++)
			free(l.path[i]);
		return -ENOMEM;
	}
	memcpy(copy, l.path, l.n * sizeof(*copy));
	*ret = copy;
	return 0;
}

void lcm_creds_files_free(char **files)
{
	for (char **f = files; f && *f; f++)
		free(*f);
	free(files);
}

static int file_load(const char *path, struct lcm_authfile **ret, struct lcm_err *err)
{
	char *data = NULL;
	size_t len = 0;
	int r = lcm_read_file_at(AT_FDCWD, path, LCM_AUTH_FILE_MAX, &data, &len);

	if (r == -ENOENT || r == -ENOTDIR)
		return -ENOENT;
	if (r < 0)
		return lcm_err_set(err, -EACCES, "auth file %s: %s", path, lcm_err_text(NULL, r));
	r = lcm_authfile_parse(data, len, ret, err);
	OPENSSL_cleanse(data, len);
	free(data);
	if (r == -ENOMEM)
		return r;
	return r < 0 ? lcm_err_prefix(err, -EACCES, "auth file %s", path) : 0;
}

static void note(struct lcm_buf *where, const char *path, const char *what, const char *name)
{
	if (where)
		lcm_ignore(
		    lcm_buf_printf(where, "%s%s (%s%s)", where->len ? ", " : "", path, what, name));
}

/* It becomes a program's name. */
static bool helper_name(const char *name, char out[LCM_HELPER_NAME_MAX + 1])
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "._-";

	if (!name || strlen(name) > LCM_HELPER_NAME_MAX || name[strspn(name, plain)])
		return false;
	memcpy(out, name, strlen(name) + 1);
	return true;
}

enum step {
	STEP_HELPER,
	STEP_ENTRY,
	STEP_STORE,
	STEP_MAX,
};

static int entry_lookup(const struct lcm_authfile *af, const char *path, const char *host,
			const char *repo, struct lcm_credentials **ret, struct lcm_buf *where,
			struct lcm_err *err)
{
	int r = lcm_authfile_lookup(af, host, repo, ret, err);

	if (r == -EUCLEAN)
		return lcm_err_prefix(err, -EACCES, "auth file %s", path);
	if (r == 0 || (r == -ENOENT && !lcm_authfile_store(af) && !lcm_authfile_helper(af, host)))
		note(where, path, r == 0 ? "used" : "no entry", "");
	return r;
}

static int step_lookup(const char *path, const char *host, const char *repo, enum step step,
		       struct lcm_credentials **ret, char helper[LCM_HELPER_NAME_MAX + 1],
		       struct lcm_buf *where, struct lcm_err *err)
{
	lcm_auto(lcm_authfile) af = NULL;
	bool quiet = *path == '-';
	const char *name;
	int r = file_load(quiet ? ++path : path, &af, err);

	if (r == -ENOENT && step == STEP_HELPER && !quiet)
		note(where, path, "not there", "");
	if (r < 0)
		return r;
	if (step == STEP_ENTRY)
		return entry_lookup(af, path, host, repo, ret, where, err);
	name = step == STEP_HELPER ? lcm_authfile_helper(af, host) : lcm_authfile_store(af);
	if (!name)
		return -ENOENT;
	if (!helper_name(name, helper)) {
		note(where, path, "names a credential helper that is no program's name", "");
		return -ENOENT;
	}
	note(where, path, "asks docker-credential-", helper);
	return 1;
}

int lcm_creds_next(char *const *files, const char *host, const char *repo, lcm_creds_place *at,
		   struct lcm_credentials **ret, char helper[LCM_HELPER_NAME_MAX + 1],
		   struct lcm_buf *where, struct lcm_err *err)
{
	size_t n = 0;

	while (files[n])
		n++;
	while (*at / STEP_MAX < n) {
		const char *path = files[*at / STEP_MAX];
		enum step step = (enum step)(*at % STEP_MAX);
		int r = step_lookup(path, host, repo, step, ret, helper, where, err);

		(*at)++;
		if (r != -ENOENT)
			return r;
	}
	return -ENOENT;
}
