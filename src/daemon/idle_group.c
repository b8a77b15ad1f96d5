/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/idle_group.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"
#include "src/daemon/cgroup.h"

#define PREFIX "locum-background."
#define FILE_MAX (64U << 10)
#define PATH_SIZE 512

struct lcm_idle_group {
	char path[PATH_SIZE], home[PATH_SIZE]; /* directories */
	bool v1;
	atomic_int lifts;
};

static int put(const char *dir, const char *name, const char *value)
{
	char path[PATH_SIZE + 32];
	lcm_autoclose int fd = -EBADF;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = lcm_sys_openat(AT_FDCWD, path, O_WRONLY, 0);
	return fd < 0 ? fd : lcm_sys_write_full(fd, value, strlen(value));
}

static bool has(const char *dir, const char *name)
{
	char path[PATH_SIZE + 32];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return lcm_sys_fstatat(AT_FDCWD, path, &st, 0) == 0;
}

/* Where the controller is: v1's hierarchy of its own, or the one of v2. */
static bool find_root(const char *sys, char out[PATH_SIZE], bool *ret_v1)
{
	static const char *const v1[] = { "cpu", "cpu,cpuacct", "cpuacct,cpu" };

	for (size_t i = 0; i < LCM_ARRAY_SIZE(v1); i++) {
		(void)snprintf(out, PATH_SIZE, "%.200s/%s", sys, v1[i]);
		*ret_v1 = true;
		if (has(out, "tasks"))
			return true;
	}
	(void)snprintf(out, PATH_SIZE, "%.200s", sys);
	*ret_v1 = false;
	return has(out, "cgroup.controllers");
}

static int remove_left(void *arg, int dirfd, const char *name)
{
	(void)arg;
	/* One that has somebody in it stays by itself; one that a daemon needs again it makes. */
	if (strncmp(name, PREFIX, strlen(PREFIX)) == 0)
		lcm_ignore(lcm_sys_unlinkat(dirfd, name, AT_REMOVEDIR));
	return 0;
}

static int make(struct lcm_idle_group *g)
{
	int r = lcm_sys_mkdirat(AT_FDCWD, g->path, 0755);

	if (r == -EEXIST)
		r = 0;
	return r < 0 ? r : put(g->path, "cpu.idle", atomic_load(&g->lifts) ? "0" : "1");
}

static int open_in(struct lcm_idle_group *g, const char *root, struct lcm_err *err)
{
	lcm_autoclose int fd = lcm_sys_openat(AT_FDCWD, root, O_RDONLY | O_DIRECTORY, 0);
	int r;

	if (fd >= 0)
		lcm_ignore(lcm_dir_each(fd, remove_left, NULL));
	(void)snprintf(g->path, sizeof(g->path), "%.300s/" PREFIX "%d", root, (int)getpid());
	r = make(g);
	if (r == 0)
		return 0;
	lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, g->path, AT_REMOVEDIR));
	if (r == -ENOENT)
		return lcm_err_set(err, -ENOTSUP, "%s has no cpu.idle%s", root,
				   g->v1 ? " (Linux 5.15)"
					 : ": the cpu controller is not in cgroup.subtree_control");
	return lcm_err_set(err, r, "%s: %s", g->path, strerror(-r));
}

int lcm_idle_group_open(const char *sys, const char *proc, struct lcm_idle_group **ret,
			struct lcm_err *err)
{
	lcm_autofree struct lcm_idle_group *g = calloc(1, sizeof(*g));
	lcm_autofree char *text = NULL;
	char root[PATH_SIZE];
	struct lcm_cgroup_line own = { .path = "/", .path_len = 1 };
	size_t len;
	int r;

	if (!g)
		return -ENOMEM;
	if (!find_root(sys, root, &g->v1))
		return lcm_err_set(err, -ENOTSUP, "no cpu controller of cgroups below %s", sys);
	r = lcm_read_file_at(AT_FDCWD, proc, FILE_MAX, &text, &len);
	if (r < 0)
		return lcm_err_set(err, r, "%s: %s", proc, strerror(-r));
	(void)lcm_cgroup_line_of(text, g->v1 ? "cpu" : NULL, &own);
	(void)snprintf(g->home, sizeof(g->home), "%.200s%.*s", root,
		       (int)LCM_MIN(own.path_len, (size_t)300), own.path);
	r = open_in(g, root, err);
	if (r == 0)
		*ret = lcm_steal(&g);
	return r;
}

void lcm_idle_group_close(struct lcm_idle_group *g)
{
	if (!g)
		return;
	lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, g->path, AT_REMOVEDIR));
	free(g);
}

const char *lcm_idle_group_path(const struct lcm_idle_group *g)
{
	return g->path;
}

bool lcm_idle_group_threads(const struct lcm_idle_group *g)
{
	return g->v1;
}

static int move(const struct lcm_idle_group *g, const char *dir, pid_t id)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", (int)id);
	return put(dir, g->v1 ? "tasks" : "cgroup.procs", text);
}

int lcm_idle_group_enter(struct lcm_idle_group *g, pid_t id)
{
	int r = move(g, g->path, id);

	if (r != -ENOENT)
		return r;
	r = make(g); /* somebody has cleared it away */
	return r < 0 ? r : move(g, g->path, id);
}

int lcm_idle_group_leave(struct lcm_idle_group *g, pid_t id)
{
	return move(g, g->home, id);
}

/* Whoever comes last writes what is so then: each looks again after it has written. */
void lcm_idle_group_lift(struct lcm_idle_group *g, bool up)
{
	bool lifted;

	(void)atomic_fetch_add(&g->lifts, up ? 1 : -1);
	do {
		lifted = atomic_load(&g->lifts) > 0;
		lcm_ignore(put(g->path, "cpu.idle", lifted ? "0" : "1"));
	} while (lifted != (atomic_load(&g->lifts) > 0));
}
