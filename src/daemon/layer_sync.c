/* SPDX-License-Identifier: Apache-2.0 */
/* layer_sync.c - a proven layer becomes a complete one: synced, and sealed. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "overlay/seal.h"
#include "src/base/log.h"
#include "src/daemon/layer.h"

/* Has no layer: nobody's mount, and no drop, waits for a slow disk. */
struct sync_job {
	struct lcm_task task;
	struct lcm_engine *e; /* borrowed */
	int64_t id;
	char name[24]; /* of its directory, and of the seal */
	uint64_t bytes;
	int status;
	struct lcm_background_task background;
};

static int checkpoint(void *arg)
{
	struct sync_job *j = arg;

	(void)lcm_background_point(&j->background);
	return j->e->closing ? -ECANCELED : 0;
}

static int seal_put(const struct sync_job *j, int tree, int fd, const char *tmp)
{
	const struct lcm_seal_ops ops = { .checkpoint = checkpoint, .arg = (void *)(uintptr_t)j };
	struct lcm_store *s = j->e->store;
	struct lcm_seal_result res;
	int r = lcm_seal_write(tree, fd, &ops, &res, NULL);

	if (r == 0)
		r = lcm_sys_fsync(fd);
	return r < 0 ? r
		     : lcm_sys_renameat(lcm_store_tmp_fd(s), tmp, lcm_store_seals_fd(s), j->name);
}

/* Without a seal the layer is as good; only nobody can say so later. */
static int seal(const struct sync_job *j)
{
	lcm_autoclose int tree = -EBADF, fd = -EBADF;
	int tmp_dir = lcm_store_tmp_fd(j->e->store), r;
	static _Atomic unsigned int serial; /* a layer may be synced twice at once */
	char tmp[48];

	(void)snprintf(tmp, sizeof(tmp), "seal-%s-%u", j->name, atomic_fetch_add(&serial, 1));
	tree = lcm_sys_openat(lcm_store_real_fd(j->e->store), j->name, O_RDONLY | O_DIRECTORY, 0);
	if (tree < 0)
		return tree;
	fd = lcm_sys_openat(tmp_dir, tmp, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	r = seal_put(j, tree, fd, tmp);
	if (r < 0)
		lcm_ignore(lcm_sys_unlinkat(tmp_dir, tmp, 0));
	return r;
}

static void on_synced(void *arg)
{
	struct sync_job *j = arg;
	struct lcm_store *s = j->e->store;
	struct lcm_layer *l = lcm_layer_find(j->e, j->id);
	int r = j->status;

	if (r == 0)
		r = lcm_store_layer_complete(s, j->id, j->bytes);
	if (r == 0 && l)
		l->row.state = LCM_LAYER_COMPLETE;
	if (r == 0)
		lcm_engine_sweep(j->e); /* its blob file is of no use any more */
	if (r == -ENOENT)               /* dropped meanwhile */
		lcm_ignore(lcm_sys_unlinkat(lcm_store_seals_fd(s), j->name, 0));
	lcm_background_fini(&j->background);
	free(j);
}

/* What the seal reads is in memory still: it was just unpacked. */
static void sync_job(void *arg)
{
	struct sync_job *j = arg;
	int r;

	lcm_background_begin(&j->background, NULL);
	j->status = lcm_sys_syncfs(lcm_store_real_fd(j->e->store));
	r = j->status < 0 ? 0 : seal(j);
	if (r == -ECANCELED)
		j->status = r; /* the next daemon does both */
	else if (r < 0 && r != -ENOENT)
		lcm_log(LCM_LOG_WARNING, "layer=%s is whole, but not sealed: %s", j->name,
			strerror(-r));
	lcm_background_end(&j->background);
	j->task.fn = on_synced;
	lcm_loop_post_task(j->e->loop, &j->task);
}

/* At the daemon's end the pool is gone: the next daemon syncs. */
void lcm_layer_sync(const struct lcm_layer *l)
{
	struct sync_job *j = l->e->closing ? NULL : calloc(1, sizeof(*j));

	if (!j)
		return;
	*j = (struct sync_job){ .task = { .fn = sync_job, .arg = j },
				.e = l->e,
				.id = l->row.id,
				.bytes = l->row.real_bytes };
	memcpy(j->name, l->name, sizeof(j->name));
	if (lcm_background_init(&j->background, l->e->background) < 0) {
		free(j);
		return;
	}
	lcm_pool_submit(l->e->idle, LCM_POOL_BACKGROUND, &j->task);
}
