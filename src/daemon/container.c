/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/container_priv.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "image/bundle.h"
#include "image/json.h"
#include "src/base/limits.h"
#include "src/base/log.h"
#include "src/base/sys.h"
#include "src/daemon/cgroup.h"

#define PROC_FILE_MAX (64U << 10)
#define TIE_FILE_MAX (32U << 10) /* a bundle's path, each byte of it escaped */

struct lcm_container *container_find(const struct lcm_host *h, const char *id)
{
	struct lcm_container *c = h->containers;

	while (c && strcmp(c->id, id) != 0)
		c = c->next;
	return c;
}

static void drop(struct lcm_host *h, struct lcm_container *c)
{
	struct lcm_container **p = &h->containers;

	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	if (!h->e->closing)
		container_uncarry(h, c);
	lcm_loop_del_fd(c->ends);
	lcm_closep(&c->pidfd);
	free(c->no_carry);
	free(c->cgroup);
	free(c->bundle);
	free(c);
}

/* ---- files ---- */

static void file_name(const struct lcm_host *h, const char *id, char out[4096])
{
	(void)snprintf(out, 4096, "%s/c/%s.json", h->run_dir, id);
}

int container_write(const struct lcm_host *h, const struct lcm_container *c, struct lcm_err *err)
{
	lcm_autojson json_t *doc =
	    json_pack("{s:s s:s s:s? s:i s:I s:I s:b s:o?}", "id", c->id, "mount",
		      lcm_session_id(c->s), "bundle", c->bundle, "pid", (int)c->pid, "birth",
		      (json_int_t)c->birth, "started_ns", (json_int_t)c->started_ns, "owns",
		      c->owns, "io", c->carry.dir[0] ? lcm_carry_json(&c->carry) : NULL);
	lcm_autofree char *text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	char path[4096];
	int r;

	if (!text)
		return -ENOMEM;
	(void)snprintf(path, sizeof(path), "%s/c", h->run_dir);
	r = lcm_mkdir_p(path, 0700);
	file_name(h, c->id, path);
	if (r == 0)
		r = lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0600);
	return r < 0 ? lcm_err_set(err, r, "%s: %s", path, strerror(-r)) : 0;
}

static void remove_file(const struct lcm_host *h, const char *id)
{
	char path[4096];

	file_name(h, id, path);
	lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, path, 0));
}

/* ---- cgroup ---- */

/* Of the unified hierarchy, unless it is only in the root of that. */
void lcm_container_cgroup(const char *text, char *out, size_t cap)
{
	struct lcm_cgroup_line l;
	bool unified = false;

	out[0] = '\0';
	while (!unified && lcm_cgroup_next(&text, &l)) {
		if (l.path_len < 2 || l.path_len >= cap || l.path[0] != '/')
			continue;
		unified = l.v2;
		if (unified || !out[0])
			(void)snprintf(out, cap, "%.*s", (int)l.path_len, l.path);
	}
}

/* ---- the process ---- */

static int read_proc(pid_t pid, const char *what, char **ret)
{
	char path[64];
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	return lcm_read_file_at(AT_FDCWD, path, PROC_FILE_MAX, ret, &len);
}

/* proc(5): field 22 of stat; the name before it may have any characters but ends at the last ')'.
 */
uint64_t container_birth(pid_t pid)
{
	lcm_autofree char *text = NULL;
	unsigned long long birth = 0;
	const char *at;

	if (read_proc(pid, "stat", &text) < 0)
		return 0;
	at = strrchr(text, ')');
	if (!at ||
	    sscanf(at + 1,
		   " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
		   "%*d %llu",
		   &birth) != 1)
		return 0;
	return birth;
}

static void on_end(void *arg, uint32_t events)
{
	struct lcm_container *c = arg;
	struct lcm_err err = { 0 };
	struct lcm_host *h = lcm_session_host(c->s);
	char id[LCM_CONTAINER_ID_MAX + 1];
	int r;

	(void)events;
	(void)snprintf(id, sizeof(id), "%s", c->id);
	r = lcm_container_release(h, id, "", NULL, &err);
	if (r < 0)
		lcm_log(LCM_LOG_WARNING, "container=%s has ended: %s", id, lcm_err_text(&err, r));
}

/* What is known of a process, and word of its end. One that is gone is told of as well. */
static int watch_process(struct lcm_container *c, pid_t pid, struct lcm_err *err)
{
	lcm_autofree char *text = NULL;
	char cgroup[4096] = "";
	lcm_autoclose int fd = (int)lcm_errno(syscall(SYS_pidfd_open, pid, 0));
	struct lcm_loop_fd *ends;
	int r = fd < 0 ? fd
		       : lcm_loop_add_fd(lcm_session_host(c->s)->e->loop, fd, EPOLLIN, on_end, c,
					 &ends);

	if (r < 0)
		return lcm_err_set(err, r, "container %s: process %d: %s", c->id, (int)pid,
				   strerror(-r));
	lcm_loop_del_fd(c->ends);
	lcm_closep(&c->pidfd);
	c->ends = ends;
	c->pidfd = lcm_steal_fd(&fd);
	c->pid = pid;
	c->birth = container_birth(pid);
	if (read_proc(pid, "cgroup", &text) == 0)
		lcm_container_cgroup(text, cgroup, sizeof(cgroup));
	free(c->cgroup);
	c->cgroup = cgroup[0] ? strdup(cgroup) : NULL;
	return 0;
}

/* ---- ties ---- */

static int make(struct lcm_session *s, const char *id, struct lcm_container **ret,
		struct lcm_err *err)
{
	struct lcm_host *h = lcm_session_host(s);
	struct lcm_container *c = container_find(h, id);

	if (!lcm_container_id_ok(id))
		return lcm_err_set(err, -EINVAL,
				   "container id: 1 to %d letters, digits and _+-. are expected",
				   LCM_CONTAINER_ID_MAX);
	if (c && c->s != s && lcm_session_closing(c->s)) {
		drop(h, c); /* it has ended */
		c = NULL;
	}
	if (c && c->s != s)
		return lcm_err_set(err, -EEXIST, "container %s is on mount %s", id,
				   lcm_session_id(c->s));
	if (!c) {
		c = calloc(1, sizeof(*c));
		if (!c)
			return -ENOMEM;
		(void)snprintf(c->id, sizeof(c->id), "%s", id);
		c->pidfd = -EBADF;
		c->s = s;
		c->next = h->containers;
		h->containers = c;
	}
	*ret = c;
	return 0;
}

static int set_bundle(struct lcm_container *c, const char *bundle, struct lcm_err *err)
{
	if (c->bundle || !bundle || !*bundle)
		return 0;
	if (strlen(bundle) > LCM_PATH_MAX)
		return lcm_err_set(err, -EINVAL, "bundle: longer than %d bytes", LCM_PATH_MAX);
	c->bundle = strdup(bundle);
	return c->bundle ? 0 : -ENOMEM;
}

int lcm_container_tie(struct lcm_session *s, const struct lcm_container_tie *t, struct lcm_err *err)
{
	struct lcm_host *h = lcm_session_host(s);
	bool known = container_find(h, t->id) != NULL;
	struct lcm_container *c;
	int r = make(s, t->id, &c, err);

	if (r < 0)
		return r;
	c->owns |= t->owns;
	if (t->started && !c->started_ns)
		c->started_ns = lcm_now_ns();
	r = set_bundle(c, t->bundle, err);
	if (r == 0 && t->pid && t->pid != c->pid)
		r = watch_process(c, t->pid, err);
	if (r == 0)
		r = container_write(h, c, err);
	if (r < 0 && !known)
		drop(h, c);
	else if (r == 0)
		lcm_container_carry(s);
	return r;
}

/* The process may have ended before its runtime says so: who asks second waits for the same end. */
int lcm_container_release(struct lcm_host *h, const char *id, const char *bundle,
			  struct lcm_session **ret_ends, struct lcm_err *err)
{
	struct lcm_container *c = container_find(h, id);
	struct lcm_session *s = c ? c->s : NULL;
	char mount[LCM_ID_MAX + 1];
	int r = 0;

	if (!c)
		return lcm_err_set(err, -ENOENT, "no container \"%s\" is on a mount", id);
	if (*bundle && c->bundle && strcmp(bundle, c->bundle) != 0)
		return lcm_err_set(err, -ENOENT, "container \"%s\" is the one of %s, not of %s", id,
				   c->bundle, bundle);
	(void)snprintf(mount, sizeof(mount), "%s", lcm_session_id(s));
	if (c->owns && !lcm_session_closing(s))
		r = lcm_session_close(s, true, -1, err);
	s = lcm_session_find(h, mount); /* it forgets its containers when it goes */
	c = s ? container_find(h, id) : NULL;
	if (c && c->owns && r == 0) {
		lcm_loop_del_fd(c->ends);
		c->ends = NULL;
		if (ret_ends)
			*ret_ends = s;
	} else if (c) {
		remove_file(h, c->id);
		drop(h, c);
	}
	return r;
}

void lcm_container_forget(struct lcm_session *s, bool keep)
{
	struct lcm_host *h = lcm_session_host(s);
	struct lcm_container *next;

	for (struct lcm_container *c = h->containers; c; c = next) {
		next = c->next;
		if (c->s != s)
			continue;
		if (!keep)
			remove_file(h, c->id);
		drop(h, c);
	}
}

/* What of the mount's policy its cgroup has; NULL: there is nothing to say. */
static json_t *io_json(const struct lcm_container *c)
{
	if (c->no_carry)
		return json_pack("{s:s}", "why", c->no_carry);
	return c->carry.dir[0] ? lcm_carry_json(&c->carry) : NULL;
}

json_t *lcm_container_list(const struct lcm_session *s)
{
	json_t *out = NULL;

	for (struct lcm_container *c = lcm_session_host(s)->containers; c; c = c->next) {
		if (c->s != s)
			continue;
		if (!out)
			out = json_array();
		(void)json_array_append_new(
		    out, json_pack("{s:s s:i s:s? s:o s:o?}", "id", c->id, "pid", (int)c->pid,
				   "cgroup", c->cgroup, "started_ms",
				   c->started_ns ? lcm_session_ms(s, c->started_ns) : json_null(),
				   "io", io_json(c)));
	}
	return out;
}

/* ---- after a restart ---- */

static bool take_file(struct lcm_host *h, const char *text, size_t len)
{
	lcm_autojson json_t *doc = NULL;
	const char *id = "", *mount = "";
	struct lcm_container *c;
	struct lcm_session *s;
	json_int_t pid;

	if (lcm_json_parse(text, len, TIE_FILE_MAX, "tie", &doc, NULL) < 0 ||
	    lcm_json_string(doc, "id", "tie", &id, NULL) < 0 ||
	    lcm_json_string(doc, "mount", "tie", &mount, NULL) < 0)
		return false;
	pid = json_integer_value(lcm_json_member(doc, "pid"));
	s = *mount && *mount != '/' ? lcm_session_find(h, mount) : NULL;
	if (!s || pid < 0 || pid > INT_MAX || make(s, id, &c, NULL) < 0)
		return false;
	c->owns = json_is_true(lcm_json_member(doc, "owns"));
	c->started_ns = (uint64_t)json_integer_value(lcm_json_member(doc, "started_ns"));
	lcm_carry_take(lcm_json_member(doc, "io"), &c->carry);
	lcm_ignore(set_bundle(c, json_string_value(lcm_json_member(doc, "bundle")), NULL));
	if (pid && (container_birth((pid_t)pid) !=
			(uint64_t)json_integer_value(lcm_json_member(doc, "birth")) ||
		    watch_process(c, (pid_t)pid, NULL) < 0))
		lcm_ignore(lcm_container_release(h, id, "", NULL, NULL));
	else
		lcm_container_carry(s);
	return true;
}

void lcm_container_recover(struct lcm_host *h)
{
	char path[4096];
	struct dirent *e;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s/c", h->run_dir);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		lcm_autofree char *text = NULL;
		size_t len;

		if (e->d_name[0] == '.')
			continue;
		if (lcm_read_file_at(dirfd(d), e->d_name, TIE_FILE_MAX, &text, &len) == 0 &&
		    take_file(h, text, len))
			continue;
		lcm_log(LCM_LOG_NOTICE, "%s/%s: no such mount any more, or damaged: removed", path,
			e->d_name);
		lcm_ignore(lcm_sys_unlinkat(dirfd(d), e->d_name, 0));
	}
	if (d)
		(void)closedir(d);
}
