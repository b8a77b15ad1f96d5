/* SPDX-License-Identifier: Apache-2.0 */
/* container_carry.c - the policy of a native mount on its containers' cgroups. */
#include <stdio.h>
#include <string.h>

#include "src/base/log.h"
#include "src/base/sys.h"
#include "src/daemon/cgroup.h"
#include "src/daemon/container_priv.h"

#define CGROUPS "/sys/fs/cgroup"
#define CGROUP_FILE_MAX (64U << 10)

/* A controller may wait for the disk's requests before it changes. */
struct job {
	struct lcm_task task;
	struct lcm_host *h;                /* borrowed */
	char id[LCM_CONTAINER_ID_MAX + 1]; /* "": the container has gone */
	pid_t pid;
	uint64_t birth;
	struct lcm_carry carry;
	uint64_t want[LCM_CARRY_MAX];
	char *target; /* owned; of the mount; NULL: its cgroup is known */
	bool planned; /* and the plan is kept */
	int status;
	struct lcm_err err;
};

static void job_free(struct job *j)
{
	free(j->target);
	free(j);
}

static bool any(const uint64_t want[LCM_CARRY_MAX])
{
	uint64_t all = 0;

	for (size_t i = 0; i < LCM_CARRY_MAX; i++)
		all |= want[i];
	return all;
}

static bool any_set(const struct lcm_carry *c)
{
	uint64_t all = 0;

	for (size_t i = 0; i < LCM_CARRY_MAX; i++)
		all |= c->items[i].ours;
	return all;
}

static bool any_said(const struct lcm_container *c)
{
	bool all = c->no_carry;

	for (size_t i = 0; i < LCM_CARRY_MAX; i++)
		all |= c->carry.items[i].why[0];
	return all;
}

/* ---- the pool ---- */

/* A session of somebody's with more in it than the container, say, is not ours to slow down. */
static int is_its_own(struct job *j)
{
	struct lcm_file_id id;
	int r = j->target ? lcm_sys_file_id(AT_FDCWD, j->target, &id, 0) : -ENOENT;

	return r < 0 ? lcm_err_set(&j->err, r, "%s: %s", j->target ? j->target : "its mount",
				   strerror(-r))
		     : lcm_cgroup_is_of(j->carry.dir, id.dev, j->pid, &j->err);
}

static int locate(struct job *j)
{
	lcm_autofree char *theirs = NULL, *own = NULL;
	char path[64];
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)j->pid);
	r = lcm_read_file_at(AT_FDCWD, path, CGROUP_FILE_MAX, &theirs, &len);
	if (r == 0)
		r = lcm_read_file_at(AT_FDCWD, "/proc/self/cgroup", CGROUP_FILE_MAX, &own, &len);
	if (r == 0 && container_birth(j->pid) != j->birth)
		r = -ESRCH; /* what was read may be another's */
	if (r < 0)
		return lcm_err_set(&j->err, r, "process %d: %s", (int)j->pid, strerror(-r));
	r = lcm_carry_find(CGROUPS, theirs, own, lcm_store_root(j->h->e->store), &j->carry,
			   &j->err);
	if (r == 0)
		r = is_its_own(j);
	if (r < 0)
		j->carry.dir[0] = '\0';
	return r;
}

static void on_planned(void *arg);
static void on_carried(void *arg);

static void carry_job(void *arg)
{
	struct job *j = arg;
	bool keep = false;

	if (!j->planned && !j->carry.dir[0])
		j->status = locate(j);
	if (j->status == 0 && !j->planned)
		keep = lcm_carry_plan(&j->carry, j->want);
	if (j->status == 0 && !keep)
		lcm_carry_apply(&j->carry);
	j->task.fn = keep ? on_planned : on_carried;
	lcm_loop_post_task(j->h->e->loop, &j->task);
}

/* ---- the loop ---- */

static void submit(struct lcm_host *h, const struct lcm_container *c, const char *id,
		   const uint64_t want[LCM_CARRY_MAX])
{
	struct job *j = calloc(1, sizeof(*j));

	if (!j)
		return; /* it is looked at again at the next change */
	j->task = (struct lcm_task){ .fn = carry_job, .arg = j };
	j->h = h;
	(void)snprintf(j->id, sizeof(j->id), "%s", id);
	j->pid = c->pid;
	j->birth = c->birth;
	j->carry = c->carry;
	memcpy(j->want, want, sizeof(j->want));
	if (c->s)
		j->target = strdup(lcm_session_target(c->s));
	lcm_pool_submit(h->e->pool, LCM_POOL_SLOW, &j->task);
}

static struct lcm_container *container_of(const struct job *j)
{
	struct lcm_container *c = j->id[0] ? container_find(j->h, j->id) : NULL;

	return c && c->pid == j->pid && c->birth == j->birth ? c : NULL;
}

static void keep(const struct job *j, struct lcm_container *c)
{
	struct lcm_err err = { 0 };
	int r;

	c->carry = j->carry;
	r = container_write(j->h, c, &err);
	if (r < 0)
		lcm_log(LCM_LOG_WARNING, "container=%s: %s", c->id, lcm_err_text(&err, r));
}

static void on_planned(void *arg)
{
	struct job *j = arg;
	struct lcm_container *c = container_of(j);

	if (!c || j->h->e->closing) {
		on_carried(j); /* nothing has been done yet */
		return;
	}
	keep(j, c);
	j->planned = true;
	j->task.fn = carry_job;
	lcm_pool_submit(j->h->e->pool, LCM_POOL_SLOW, &j->task);
}

static void on_carried(void *arg)
{
	struct job *j = arg;
	struct lcm_container *c = container_of(j);
	static const uint64_t nothing[LCM_CARRY_MAX];

	if (!c) {
		/* It went meanwhile; the cgroup may be there still. */
		if (any_set(&j->carry) && !j->h->e->closing)
			submit(j->h, &(struct lcm_container){ .carry = j->carry }, "", nothing);
		job_free(j);
		return;
	}
	c->carrying = false;
	free(c->no_carry);
	c->no_carry = j->status < 0 ? strdup(lcm_err_text(&j->err, j->status)) : NULL;
	if (j->status < 0)
		lcm_log(LCM_LOG_INFO, "container=%s keeps no limits once native: %s", c->id,
			lcm_err_text(&j->err, j->status));
	keep(j, c);
	if (c->carry_again)
		lcm_container_carry(c->s);
	job_free(j);
}

void lcm_container_carry(struct lcm_session *s)
{
	struct lcm_host *h = lcm_session_host(s);
	uint64_t want[LCM_CARRY_MAX];

	lcm_session_carried(s, want);
	for (struct lcm_container *c = h->containers; c; c = c->next) {
		if (c->s != s || c->pid <= 0 ||
		    (!any(want) && !any_set(&c->carry) && !any_said(c) && !c->carrying))
			continue;
		c->carry_again = c->carrying;
		if (c->carrying)
			continue;
		c->carrying = true;
		submit(h, c, c->id, want);
	}
}

void container_uncarry(struct lcm_host *h, struct lcm_container *c)
{
	static const uint64_t nothing[LCM_CARRY_MAX];

	if (any_set(&c->carry) && !c->carrying)
		submit(h, c, "", nothing);
}
