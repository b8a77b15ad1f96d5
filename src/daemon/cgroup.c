/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/cgroup.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "overlay/mountinfo.h"
#include "src/base/number.h"
#include "src/base/sys.h"

#define PROCS_MAX (1U << 20) /* of cgroup.procs: some 100,000 processes */
#define STATUS_MAX 16384
#define DEPTH_MAX 16     /* cgroups below each other */
#define ANCESTORS_MAX 64 /* of a process */

/* Is @word one of the comma-separated words in the @len bytes at @p? */
static bool has_word(const char *p, size_t len, const char *word)
{
	size_t n = strlen(word);

	while (len) {
		const char *comma = memchr(p, ',', len);
		size_t k = comma ? (size_t)(comma - p) : len;

		if (k == n && memcmp(p, word, n) == 0)
			return true;
		k += comma != NULL;
		p += k;
		len -= k;
	}
	return false;
}

void lcm_cgroup_mounts(const char *text, size_t len,
		       struct lcm_cgroup_mount ret[LCM_CGROUP_KIND_MAX])
{
	const char *at = text, *end = text + len;
	struct lcm_mountinfo m;
	int r;

	for (int i = 0; i < LCM_CGROUP_KIND_MAX; i++)
		ret[i].at[0] = ret[i].root[0] = '\0';
	while ((r = lcm_mountinfo_next(&at, end, &m)) != 0) {
		struct lcm_cgroup_mount *to = NULL;

		if (r > 0 && lcm_mountinfo_is(&m.type, "cgroup2"))
			to = &ret[LCM_CGROUP_V2];
		else if (r > 0 && lcm_mountinfo_is(&m.type, "cgroup") &&
			 has_word(m.super_options.p, m.super_options.len, "freezer"))
			to = &ret[LCM_CGROUP_FREEZER];
		if (to && !to->at[0] &&
		    (lcm_mountinfo_copy(&m.mount_point, to->at, sizeof(to->at)) < 0 ||
		     lcm_mountinfo_copy(&m.root, to->root, sizeof(to->root)) < 0))
			to->at[0] = '\0';
	}
}

bool lcm_cgroup_next(const char **at, struct lcm_cgroup_line *ret)
{
	while (**at) {
		const char *line = *at, *end = line + strcspn(line, "\n"), *first, *second;

		*at = end + (*end == '\n');
		first = memchr(line, ':', (size_t)(end - line));
		second = first ? memchr(first + 1, ':', (size_t)(end - first) - 1) : NULL;
		if (!second)
			continue;
		*ret = (struct lcm_cgroup_line){ .controllers = first + 1,
						 .controllers_len = (size_t)(second - first) - 1,
						 .path = second + 1,
						 .path_len = (size_t)(end - second) - 1 };
		ret->v2 = strncmp(line, "0::", 3) == 0;
		return true;
	}
	return false;
}

bool lcm_cgroup_line_of(const char *text, const char *controller, struct lcm_cgroup_line *ret)
{
	struct lcm_cgroup_line l;

	while (lcm_cgroup_next(&text, &l)) {
		if (controller ? !has_word(l.controllers, l.controllers_len, controller) : !l.v2)
			continue;
		*ret = l;
		return true;
	}
	return false;
}

/* cgroup_namespaces(7): "/../" */
bool lcm_cgroup_leads_up(const struct lcm_cgroup_line *l)
{
	return l->path_len >= 3 && memcmp(l->path, "/..", 3) == 0 &&
	       (l->path_len == 3 || l->path[3] == '/');
}

int lcm_cgroup_dir(const char *text, enum lcm_cgroup_kind kind, const struct lcm_cgroup_mount *m,
		   char out[LCM_CGROUP_PATH])
{
	size_t skip = strcmp(m->root, "/") == 0 ? 0 : strlen(m->root);
	struct lcm_cgroup_line l;
	int n;

	if (!lcm_cgroup_line_of(text, kind == LCM_CGROUP_V2 ? NULL : "freezer", &l) || !m->at[0] ||
	    l.path_len < skip + 2 || l.path[0] != '/' || lcm_cgroup_leads_up(&l) ||
	    strncmp(l.path, m->root, skip) != 0 || l.path[skip] != '/')
		return -ENOENT;
	n = snprintf(out, LCM_CGROUP_PATH, "%s%.*s", m->at, (int)(l.path_len - skip),
		     l.path + skip);
	return n < 0 || n >= LCM_CGROUP_PATH ? -ENAMETOOLONG : 0;
}

/* ---- processes ---- */

int lcm_cgroup_root_is(pid_t pid, dev_t dev)
{
	struct lcm_file_id id;
	char path[32];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	r = lcm_sys_file_id(AT_FDCWD, path, &id, 0);
	if (r == -ESRCH)
		return -ENOENT;
	return r < 0 ? r : id.dev == dev;
}

static pid_t parent_of(pid_t pid)
{
	lcm_autofree char *status = NULL;
	const char *line;
	char path[32];
	size_t len;
	int parent = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (lcm_read_file_at(AT_FDCWD, path, STATUS_MAX, &status, &len) < 0)
		return 0;
	line = strstr(status, "\nPPid:");
	return line && sscanf(line, "\nPPid: %9d", &parent) == 1 ? parent : 0;
}

/* A process that is gone, or a zombie, is no reason against it. */
static int is_of(pid_t pid, dev_t dev, pid_t leader)
{
	int r = pid > 0 ? lcm_cgroup_root_is(pid, dev) : 0;

	if (r == -ENOENT)
		return 1;
	for (int i = 0; r == 0 && pid > 1 && i < ANCESTORS_MAX; i++) {
		if (pid == leader)
			return 1;
		pid = parent_of(pid);
		r = pid > 1 ? lcm_cgroup_root_is(pid, dev) : 0;
	}
	return r == -ENOENT ? 0 : r;
}

struct check {
	dev_t dev;
	uint64_t n;
	pid_t leader, other;
};

static int check_one(void *arg, pid_t pid)
{
	struct check *c = arg;
	int r = is_of(pid, c->dev, c->leader);

	c->n++;
	if (r > 0)
		return 0;
	c->other = pid;
	return -EPERM;
}

int lcm_cgroup_is_of(const char *dir, dev_t dev, pid_t leader, struct lcm_err *err)
{
	struct check c = { .dev = dev, .leader = leader };
	int r = lcm_cgroup_each(dir, check_one, &c);

	if (r == -EPERM)
		return lcm_err_set(err, r,
				   "%.200s is not the container's alone: process %d in it is not "
				   "of a container on this mount; give the container a cgroup of "
				   "its own",
				   dir, (int)c.other);
	if (r == 0 && !c.n)
		r = -ENOENT;
	return r < 0 ? lcm_err_set(err, r, "%.200s: %s", dir, strerror(-r)) : 0;
}

/* ---- the tree ---- */

static int each_pid(int fd, lcm_cgroup_each_fn fn, void *arg)
{
	lcm_autofree char *text = NULL;
	size_t len;
	int r = lcm_read_file_at(fd, "cgroup.procs", PROCS_MAX, &text, &len);

	for (char *p = text; r == 0 && *p; p += strcspn(p, "\n"), p += *p == '\n') {
		int pid = 0;

		if (sscanf(p, "%9d", &pid) != 1)
			return -EUCLEAN;
		r = fn(arg, pid);
	}
	return r == -ENODEV ? 0 : r; /* it is being removed: nobody is in it */
}

static int walk(int at, const char *name, int depth, lcm_cgroup_each_fn fn, void *arg)
{
	int fd = lcm_sys_openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0), r;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (fd < 0)
		return depth && fd == -ENOENT ? 0 : fd;
	if (!d) {
		lcm_closep(&fd);
		return -ENOMEM;
	}
	r = each_pid(fd, fn, arg);
	while (r == 0 && (e = readdir(d)))
		if (e->d_type == DT_DIR && e->d_name[0] != '.')
			r = depth < DEPTH_MAX ? walk(fd, e->d_name, depth + 1, fn, arg) : -ELOOP;
	(void)closedir(d);
	return r;
}

int lcm_cgroup_each(const char *dir, lcm_cgroup_each_fn fn, void *arg)
{
	return walk(AT_FDCWD, dir, 0, fn, arg);
}
