/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/freeze.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>

#include "image/json.h"
#include "overlay/mountinfo.h"
#include "src/base/log.h"
#include "src/base/sys.h"
#include "src/daemon/cgroup.h"

#define RECORD_MAX (1U << 20) /* LCM_FROZEN_MAX paths, each byte of them escaped */
#define STATUS_MAX 16384
#define KILLED_LOOK_MAX 256 /* processes looked at for a pending SIGKILL */
#define CGROUP2_MAGIC 0x63677270
#define CGROUP1_MAGIC 0x27e0eb

static void forget(struct lcm_frozen *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->v[i].dir);
	free(f->record);
	free(f);
}

/* ---- one cgroup ---- */

/* Its directory, if that is the one we mean and a cgroup at all. */
static int open_cgroup(const struct lcm_frozen_cgroup *c)
{
	lcm_autoclose int fd = lcm_sys_openat(AT_FDCWD, c->dir, O_RDONLY | O_DIRECTORY, 0);
	struct lcm_file_id id;
	struct statfs fs;
	int r = fd < 0 ? fd : lcm_sys_file_id(fd, "", &id, AT_EMPTY_PATH);

	if (r == 0)
		r = (int)lcm_errno(fstatfs(fd, &fs));
	if (r < 0)
		return r;
	if (fs.f_type != (c->v1 ? CGROUP1_MAGIC : CGROUP2_MAGIC) || (c->ino && id.ino != c->ino))
		return -ENOENT;
	return lcm_steal_fd(&fd);
}

/* Was it asked to be frozen, itself? Whether it is already is another question. */
static int is_frozen(const struct lcm_frozen_cgroup *c)
{
	lcm_autoclose int fd = open_cgroup(c);
	lcm_autofree char *text = NULL;
	size_t len;
	int r = fd < 0 ? fd
		       : lcm_read_file_at(fd, c->v1 ? "freezer.self_freezing" : "cgroup.freeze", 64,
					  &text, &len);

	return r < 0 ? r : text[0] == '1';
}

static int set_frozen(const struct lcm_frozen_cgroup *c, bool frozen)
{
	const char *word = c->v1 ? (frozen ? "FROZEN" : "THAWED") : (frozen ? "1" : "0");
	lcm_autoclose int dir = open_cgroup(c);
	lcm_autoclose int fd =
	    dir < 0 ? dir
		    : lcm_sys_openat(dir, c->v1 ? "freezer.state" : "cgroup.freeze", O_WRONLY, 0);

	return fd < 0 ? fd : lcm_sys_write_full(fd, word, strlen(word));
}

/* ---- who is on the mount ---- */

struct search {
	struct lcm_frozen *f;
	struct lcm_cgroup_mount mounts[LCM_CGROUP_KIND_MAX];
	dev_t dev;
	bool passed;                   /* somebody is on it whose cgroup another has frozen */
	char refused[LCM_CGROUP_PATH]; /* the last one that is not a container's alone */
	struct lcm_err err;
};

static bool known(const struct lcm_frozen *f, const char *dir)
{
	for (size_t i = 0; i < f->n; i++)
		if (strcmp(f->v[i].dir, dir) == 0)
			return true;
	return false;
}

/* Return: 0 (it is added, was, or need not be); -errno: not this one. */
static int add(struct search *s, const char *dir, bool v1)
{
	struct lcm_frozen_cgroup *c = &s->f->v[s->f->n];
	struct lcm_file_id id;
	int r;

	if (known(s->f, dir))
		return 0;
	if (strcmp(dir, s->refused) == 0)
		return -EPERM;
	if (s->f->n == LCM_FROZEN_MAX)
		return lcm_err_set(&s->err, -E2BIG,
				   "the containers on this mount are in more than %u cgroups",
				   LCM_FROZEN_MAX);
	r = lcm_cgroup_is_of(dir, s->dev, 0, &s->err);
	if (r == -EPERM)
		(void)snprintf(s->refused, sizeof(s->refused), "%s", dir);
	if (r == 0)
		r = lcm_sys_file_id(AT_FDCWD, dir, &id, 0);
	if (r < 0)
		return r;
	*c = (struct lcm_frozen_cgroup){ .dir = (char *)dir, .ino = id.ino, .v1 = v1 };
	r = is_frozen(c);
	s->passed |= r == 1;
	if (r != 0)
		return LCM_MIN(r, 0);
	c->dir = strdup(dir);
	if (!c->dir)
		return -ENOMEM;
	s->f->n++;
	return 0;
}

/* The unified hierarchy where the container has its own cgroup there, else the freezer's. */
static int add_process(struct search *s, const char *pid)
{
	char path[64], dir[LCM_CGROUP_PATH];
	lcm_autofree char *text = NULL;
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/cgroup", pid);
	r = lcm_read_file_at(AT_FDCWD, path, 1U << 16, &text, &len);
	if (r < 0)
		return 0; /* it has ended */
	r = -ENOENT;
	for (int k = 0; r < 0 && r != -E2BIG && r != -ENOMEM && k < LCM_CGROUP_KIND_MAX; k++)
		if (lcm_cgroup_dir(text, (enum lcm_cgroup_kind)k, &s->mounts[k], dir) == 0)
			r = add(s, dir, k == LCM_CGROUP_FREEZER);
	if (r == -ENOENT && !s->err.code)
		lcm_err_set(&s->err, r,
			    "process %.20s is in no cgroup that can be frozen from here", pid);
	/* One that cannot be is no reason to leave the others. */
	return r == -E2BIG || r == -ENOMEM ? r : 0;
}

static int search(struct search *s)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int r = d ? 0 : -ENOMEM;

	while (r == 0 && (e = readdir(d))) {
		int pid;

		if (e->d_name[0] < '1' || e->d_name[0] > '9' || sscanf(e->d_name, "%9d", &pid) != 1)
			continue;
		if (lcm_cgroup_root_is(pid, s->dev) == 1)
			r = add_process(s, e->d_name);
	}
	if (d)
		(void)closedir(d);
	if (r < 0 || s->f->n)
		return r;
	if (s->passed)
		return lcm_err_set(&s->err, -EALREADY, "somebody else has frozen it");
	return s->err.code ? s->err.code
			   : lcm_err_set(&s->err, -ENOENT, "no container is on this mount");
}

static int look_around(struct search *s, const char *target)
{
	lcm_autofree char *text = NULL;
	struct lcm_file_id id;
	size_t len;
	int r = lcm_sys_file_id(AT_FDCWD, target, &id, 0);

	if (r == 0)
		r = lcm_read_file_at(AT_FDCWD, "/proc/self/mountinfo", LCM_MOUNTINFO_MAX, &text,
				     &len);
	if (r < 0)
		return r;
	lcm_cgroup_mounts(text, len, s->mounts);
	s->dev = id.dev;
	return search(s);
}

/* ---- the record ---- */

static int write_record(const struct lcm_frozen *f)
{
	json_t *list = json_array();
	lcm_autojson json_t *doc = json_pack("{s:o}", "cgroups", list);
	lcm_autofree char *text = NULL;

	for (size_t i = 0; i < f->n; i++)
		(void)json_array_append_new(list,
					    json_pack("{s:s s:I s:b}", "dir", f->v[i].dir, "ino",
						      (json_int_t)f->v[i].ino, "v1", f->v[i].v1));
	if (json_array_size(list) != f->n) /* also what is not UTF-8 */
		return -EILSEQ;
	text = json_dumps(doc, JSON_COMPACT);
	return text ? lcm_write_file_at(AT_FDCWD, f->record, text, strlen(text), 0600) : -ENOMEM;
}

static int make_record(struct lcm_frozen *f, const char *run_dir, const char *id)
{
	char dir[4096];
	int r;

	(void)snprintf(dir, sizeof(dir), "%s/frozen", run_dir);
	r = lcm_mkdir_p(dir, 0700);
	if (r < 0)
		return r;
	if (asprintf(&f->record, "%s/%s", dir, id) < 0) {
		f->record = NULL;
		return -ENOMEM;
	}
	return write_record(f);
}

/* Somebody may have come into it since it was looked at. */
static int freeze_all(const struct lcm_frozen *f, dev_t dev, struct lcm_err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < f->n; i++) {
		r = set_frozen(&f->v[i], true);
		if (r < 0)
			lcm_err_set(err, r, "%.200s: %s", f->v[i].dir, strerror(-r));
		else
			r = lcm_cgroup_is_of(f->v[i].dir, dev, 0, err);
	}
	return r;
}

int lcm_freeze(const char *run_dir, const char *id, const char *target, struct lcm_frozen **ret,
	       struct lcm_err *err)
{
	struct search *s = calloc(1, sizeof(*s));
	struct lcm_frozen *f = calloc(1, sizeof(*f));
	int r = -ENOMEM;

	if (s && f) {
		s->f = f;
		r = look_around(s, target);
		if (r == 0)
			r = make_record(f, run_dir, id);
		if (r == 0)
			r = freeze_all(f, s->dev, &s->err);
		if (r < 0 && err)
			*err = s->err.code == r ? s->err : (struct lcm_err){ 0 };
	}
	free(s);
	if (r == 0)
		*ret = f;
	else if (f)
		lcm_thaw(f);
	return r;
}

void lcm_thaw(struct lcm_frozen *f)
{
	bool all = true;

	if (!f)
		return;
	for (size_t i = 0; i < f->n; i++) {
		int r = set_frozen(&f->v[i], false);

		if (r == 0 || r == -ENOENT || r == -ENODEV)
			continue;
		all = false;
		lcm_log(LCM_LOG_ERR, "%s cannot be thawed: %s", f->v[i].dir, strerror(-r));
	}
	if (all && f->record)
		lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, f->record, 0));
	forget(f);
}

/* ---- while it is frozen ---- */

static int look_killed(void *arg, pid_t pid)
{
	uint32_t *left = arg;
	lcm_autofree char *text = NULL;
	char path[32];
	size_t len;

	if (!*left)
		return -E2BIG;
	(*left)--;
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (lcm_read_file_at(AT_FDCWD, path, STATUS_MAX, &text, &len) < 0)
		return 0;
	for (int i = 0; i < 2; i++) {
		const char *key = i ? "\nShdPnd:" : "\nSigPnd:", *p = strstr(text, key);
		unsigned long long mask = 0;

		if (p && sscanf(p + strlen(key), "%llx", &mask) == 1 && mask >> (SIGKILL - 1) & 1)
			return 1;
	}
	return 0;
}

bool lcm_frozen_let_go(const struct lcm_frozen *f)
{
	uint32_t left = KILLED_LOOK_MAX;

	for (size_t i = 0; i < f->n; i++)
		if (is_frozen(&f->v[i]) != 1 ||
		    (f->v[i].v1 && lcm_cgroup_each(f->v[i].dir, look_killed, &left) == 1))
			return true;
	return false;
}

/* ---- what an earlier daemon left ---- */

static void take_cgroup(struct lcm_frozen *f, const json_t *o)
{
	const char *dir = json_string_value(json_object_get(o, "dir"));
	struct lcm_frozen_cgroup *c = &f->v[f->n];

	if (!dir || dir[0] != '/' || f->n == LCM_FROZEN_MAX)
		return;
	*c = (struct lcm_frozen_cgroup){
		.dir = strdup(dir),
		.ino = (ino_t)json_integer_value(json_object_get(o, "ino")),
		.v1 = json_is_true(json_object_get(o, "v1")),
	};
	if (c->dir && c->ino)
		f->n++;
	else
		free(c->dir);
}

static int recover_one(void *arg, int dirfd, const char *name)
{
	lcm_autofree char *text = NULL;
	lcm_autojson json_t *doc = NULL;
	struct lcm_frozen *f = calloc(1, sizeof(*f));
	const json_t *o;
	size_t len, i;

	if (!f || asprintf(&f->record, "%s/%s", (const char *)arg, name) < 0) {
		free(f);
		return -ENOMEM;
	}
	if (lcm_read_file_at(dirfd, name, RECORD_MAX, &text, &len) == 0 &&
	    lcm_json_parse(text, len, RECORD_MAX, "record", &doc, NULL) == 0)
		json_array_foreach (json_object_get(doc, "cgroups"), i, o)
			take_cgroup(f, o);
	lcm_log(LCM_LOG_NOTICE, "id=%s thawed: an earlier daemon had frozen %zu cgroups", name,
		f->n);
	lcm_thaw(f);
	return 0;
}

void lcm_freeze_recover(const char *run_dir)
{
	lcm_autoclose int fd = -EBADF;
	char dir[4096];

	(void)snprintf(dir, sizeof(dir), "%s/frozen", run_dir);
	fd = lcm_sys_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0)
		lcm_ignore(lcm_dir_each(fd, recover_one, dir));
}
