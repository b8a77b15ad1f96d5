/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies in a directory of a registry: hosts.toml, or certificates alone.
 *
 * Everything that was looked at is remembered with its stat(2), also what was not there: that is
 * how a change is seen, whichever way it is made.
 */
#include "registry/hosts.h"

#include <string.h>

#include <openssl/crypto.h>

#include "registry/toml.h"
#include "src/base/buf.h"
#include "src/base/sys.h"

#define SEEN_MAX 256
#define PATH_BYTES_MAX 8192

const char *const lcm_hosts_dirs[] = { "/etc/containerd/certs.d", "/etc/docker/certs.d",
				       "/etc/containers/certs.d", NULL };

struct lcm_hosts_file {
	char *path; /* owned */
	bool there;
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

static void look(const char *path, struct lcm_hosts_file *ret)
{
	struct stat st;

	*ret = (struct lcm_hosts_file){ .path = ret->path };
	if (lcm_sys_fstatat(AT_FDCWD, path, &st, 0) < 0)
		return;
	ret->there = true;
	ret->dev = st.st_dev;
	ret->ino = st.st_ino;
	ret->size = st.st_size;
	ret->mtime = st.st_mtim;
	ret->ctime = st.st_ctim;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_file(const struct lcm_hosts_file *a, const struct lcm_hosts_file *b)
{
	return a->there == b->there && a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       same_time(&a->mtime, &b->mtime) && same_time(&a->ctime, &b->ctime);
}

/* Before it is read: what changes meanwhile is seen later. */
static int note(struct lcm_hosts_seen *s, const char *path)
{
	struct lcm_hosts_file *v;

	if (s->n == SEEN_MAX)
		return 0;
	v = reallocarray(s->files, s->n + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	s->files = v;
	v += s->n;
	v->path = strdup(path);
	if (!v->path)
		return -ENOMEM;
	s->n++;
	look(path, v);
	return 0;
}

void lcm_hosts_seen_fini(struct lcm_hosts_seen *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->files[i].path);
	free(s->files);
	*s = (struct lcm_hosts_seen){ 0 };
}

bool lcm_hosts_changed(const struct lcm_hosts *h)
{
	for (size_t i = 0; i < h->seen.n; i++) {
		struct lcm_hosts_file now = { .path = h->seen.files[i].path };

		look(now.path, &now);
		if (!same_file(&now, &h->seen.files[i]))
			return true;
	}
	return false;
}

/* ---- where it is ---- */

struct search {
	struct lcm_hosts_seen seen; /* owned */
	char *dir;                  /* owned; NULL: there is none */
};

static int try_dir(struct search *s, const char *root, const char *name)
{
	struct lcm_buf b = LCM_BUF(PATH_BYTES_MAX);
	int r = lcm_buf_printf(&b, "%s/%s", root, name);

	if (r == 0)
		r = note(&s->seen, lcm_buf_str(&b));
	if (r == 0 && access(lcm_buf_str(&b), F_OK) == 0) {
		s->dir = lcm_buf_steal(&b);
		r = s->dir ? 0 : -ENOMEM;
	}
	lcm_buf_fini(&b);
	return r == -EFBIG ? 0 : r;
}

/* containerd's other name for "host:port" is "host_port_". */
static int find_dir(struct search *s, const char *const *dirs, const char *name)
{
	const char *colon = strrchr(name, ':');
	struct lcm_buf other = LCM_BUF(512);
	int r = 0;

	if (colon)
		r = lcm_buf_printf(&other, "%.*s_%s_", (int)(colon - name), name, colon + 1);
	for (const char *const *d = dirs; d && *d && r == 0 && !s->dir; d++) {
		if (colon)
			r = try_dir(s, *d, lcm_buf_str(&other));
		if (r == 0 && !s->dir)
			r = try_dir(s, *d, name);
	}
	for (const char *const *d = dirs; d && *d && r == 0 && !s->dir; d++)
		r = try_dir(s, *d, "_default");
	lcm_buf_fini(&other);
	return r;
}

/* ---- certificates ---- */

static int read_error(struct lcm_err *err, const char *path, int r)
{
	if (r == -ENOMEM)
		return lcm_err_set(err, r, "out of memory");
	return lcm_err_set(err, -EINVAL, "%s: %s", path, lcm_err_text(NULL, r));
}

static int read_ca(struct lcm_hosts_seen *seen, struct lcm_hosts_entry *e, struct lcm_err *err)
{
	struct lcm_buf all = LCM_BUF(LCM_HOSTS_CA_MAX);
	int r = 0;

	for (char **p = e->ca; p && *p && r == 0; p++) {
		lcm_autofree char *text = NULL;
		size_t len = 0;

		r = note(seen, *p);
		if (r == 0)
			r = lcm_read_file_at(AT_FDCWD, *p, LCM_HOSTS_CA_MAX, &text, &len);
		if (r == 0 && !strstr(text, "-----BEGIN"))
			r = lcm_err_set(err, -EINVAL, "%s: there is no PEM certificate in it", *p);
		else if (r < 0)
			r = read_error(err, *p, r);
		if (r == 0)
			r = lcm_buf_add(&all, text, len);
		if (r == 0)
			r = lcm_buf_add(&all, "\n", 1);
	}
	e->tls.ca_len = all.len;
	if (r == 0 && all.len) {
		e->tls.ca = lcm_buf_steal(&all);
		r = e->tls.ca ? 0 : -ENOMEM;
	}
	lcm_buf_fini(&all);
	return r;
}

/* libcurl reads them when it connects; that they can be read is known now. One pair can be
 * offered. */
static int take_client(struct lcm_hosts_seen *seen, struct lcm_hosts_entry *e, struct lcm_err *err)
{
	if (!e->clients)
		return 0;
	for (size_t i = 0; i < 2; i++) {
		int r = note(seen, e->clients[i]);

		if (r < 0)
			return read_error(err, e->clients[i], r);
		r = (int)lcm_errno(access(e->clients[i], R_OK));
		if (r < 0)
			return read_error(err, e->clients[i], r);
	}
	e->tls.cert = strdup(e->clients[0]);
	e->tls.key = strdup(e->clients[1]);
	return e->tls.cert && e->tls.key ? 0 : -ENOMEM;
}

static int read_certificates(struct lcm_hosts_seen *seen, struct lcm_hosts *h, struct lcm_err *err)
{
	int r = 0;

	for (size_t i = 0; i < h->n && r == 0; i++) {
		r = read_ca(seen, &h->e[i], err);
		if (r == 0)
			r = take_client(seen, &h->e[i], err);
	}
	return r;
}

/* Docker's and podman's way: NAME.crt are CAs, NAME.cert and NAME.key are for the client. */
struct scan {
	struct lcm_hosts_entry *e;
	const char *dir;
	char **keys; /* owned; the certificates that go with its keys */
};

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && strcmp(name + n - m, end) == 0;
}

static int add_joined(char ***list, const char *dir, const char *name, size_t len, const char *end)
{
	struct lcm_buf b = LCM_BUF(PATH_BYTES_MAX);
	int r = lcm_buf_printf(&b, "%s/%.*s%s", dir, (int)len, name, end);

	if (r == 0)
		r = lcm_strings_add(list, lcm_buf_str(&b), b.len);
	lcm_buf_fini(&b);
	return r;
}

static int scan_name(void *arg, int dirfd, const char *name)
{
	struct scan *s = arg;
	size_t len = strlen(name);
	int r;

	(void)dirfd;
	if (ends_with(name, ".crt"))
		return add_joined(&s->e->ca, s->dir, name, len, "");
	if (ends_with(name, ".key"))
		return add_joined(&s->keys, s->dir, name, len - 4, ".cert");
	if (!ends_with(name, ".cert"))
		return 0;
	r = add_joined(&s->e->clients, s->dir, name, len, "");
	return r < 0 ? r : add_joined(&s->e->clients, s->dir, name, len - 5, ".key");
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The first is offered: which that is must not be the file system's choice. */
static void sort_pairs(char **clients)
{
	size_t n = 0;

	while (clients && clients[n])
		n++;
	if (n)
		qsort(clients, n / 2, 2 * sizeof(*clients), by_name);
}

/* As docker has it: half a pair is a mistake that is told. */
static int scan_certificates(const char *dir, struct lcm_hosts_entry *e, struct lcm_err *err)
{
	struct scan s = { .e = e, .dir = dir };
	lcm_autoclose int fd = lcm_sys_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
	int r = fd < 0 ? fd : lcm_dir_each(fd, scan_name, &s);

	if (r < 0)
		r = read_error(err, dir, r);
	else
		sort_pairs(e->clients);
	for (char **k = s.keys; k && *k && r == 0; k++)
		if (access(*k, R_OK) < 0)
			r = lcm_err_set(err, -EINVAL, "%s is not there, but its .key is", *k);
	for (char **k = s.keys; k && *k; k++)
		free(*k);
	free(s.keys);
	return r;
}

/* ---- all of it ---- */

/* Return: 0; -ENOENT (there is no such file). */
static int load_toml(const char *path, const char *dir, struct lcm_hosts **ret, struct lcm_err *err)
{
	lcm_autofree char *text = NULL;
	size_t len = 0;
	int r = lcm_read_file_at(AT_FDCWD, path, LCM_TOML_MAX, &text, &len);

	if (r == -ENOENT || r == -ENOTDIR)
		return -ENOENT;
	if (r < 0)
		return read_error(err, path, r);
	r = lcm_hosts_parse(text, len, dir, ret, err);
	OPENSSL_cleanse(text, len);
	return r < 0 && r != -ENOMEM ? lcm_err_prefix(err, -EINVAL, "%s", path) : r;
}

static int load_from(struct search *s, struct lcm_hosts **ret, struct lcm_err *err)
{
	struct lcm_buf path = LCM_BUF(PATH_BYTES_MAX);
	lcm_auto(lcm_hosts) h = NULL;
	int r = lcm_buf_printf(&path, "%s/hosts.toml", s->dir);

	if (r == 0)
		r = note(&s->seen, lcm_buf_str(&path));
	if (r == 0)
		r = load_toml(lcm_buf_str(&path), s->dir, &h, err);
	lcm_buf_fini(&path);
	if (r == -ENOENT) {
		h = lcm_hosts_new();
		r = h ? scan_certificates(s->dir, &h->e[0], err) : -ENOMEM;
	}
	if (r == 0)
		r = read_certificates(&s->seen, h, err);
	if (r < 0)
		return r;
	h->dir = lcm_steal(&s->dir);
	*ret = lcm_steal(&h);
	return 0;
}

int lcm_hosts_load(const char *const *dirs, const char *name, struct lcm_hosts **ret,
		   struct lcm_err *err)
{
	struct search s = { .dir = NULL };
	struct lcm_hosts *h = NULL;
	int r = find_dir(&s, dirs, name);

	if (r == 0 && s.dir)
		r = load_from(&s, &h, err);
	else if (r == 0)
		r = (h = lcm_hosts_new()) ? 0 : -ENOMEM;
	if (r == 0) {
		h->seen = s.seen;
		*ret = h;
		return 0;
	}
	lcm_hosts_seen_fini(&s.seen);
	free(s.dir);
	return r == -ENOMEM ? lcm_err_set(err, r, "out of memory") : r;
}
