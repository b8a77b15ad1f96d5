/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer_recheck.c - files of a layer in progress that have seen a reboot.
 *
 * They were verified before they got their names, but never synced: after a power cut a file may be
 * short, or full of zeros. Each is read once and compared with the table of contents; what differs,
 * or has no digest of its own, goes. Nobody uses the layer meanwhile.
 */
#include <string.h>

#include "src/base/log.h"
#include "src/daemon/layer.h"

struct recheck {
	struct lcm_task task;
	struct lcm_layer *layer; /* referenced */
	uint32_t whole, gone;
	int status;
	struct lcm_err err;
};

static void on_rechecked(void *arg)
{
	struct recheck *c = arg;
	struct lcm_layer *l = c->layer;

	if (c->status == -ESHUTDOWN) { /* the next daemon begins again */
		free(c);
		lcm_layer_put(l);
		return;
	}
	lcm_log(LCM_LOG_INFO, "layer=%s after a reboot: %u files are whole, %u were not", l->name,
		c->whole, c->gone);
	if (c->status == 0)
		c->status = lcm_store_layer_checked(l->e->store, l->row.id);
	if (c->status == 0)
		l->row.unsynced = false;
	lcm_layer_ready(l, c->status, &c->err);
	free(c);
	lcm_layer_put(l);
}

static int recheck_file(struct recheck *c, struct lcm_layer_dir *d, uint32_t entry)
{
	const struct lcm_toc *toc = c->layer->toc;
	const struct lcm_toc_entry *e = lcm_toc_entry(toc, entry);
	int r;

	if (e->type != LCM_TOC_REG || !e->size)
		return 0;
	r = lcm_layer_verify(d, toc, entry);
	if (r >= 0) {
		c->whole += r > 0;
		return 0;
	}
	if (r == -ENOMEM || r == -EMFILE || r == -ENFILE) /* no fault of the file's */
		return r;
	c->gone++;
	return lcm_layer_unplace(d, toc, entry);
}

static void recheck_job(void *arg)
{
	struct recheck *c = arg;
	struct lcm_layer *l = c->layer;
	struct lcm_store *s = l->e->store;
	struct lcm_layer_dir *d = NULL;

	c->status = lcm_layer_dir_open(lcm_store_real_fd(s), l->name, lcm_store_tmp_fd(s), &d,
				       &c->err);
	for (uint32_t i = 0; c->status == 0 && i < lcm_toc_count(l->toc); i++)
		c->status = atomic_load(&l->e->closing) ? -ESHUTDOWN : recheck_file(c, d, i);
	lcm_layer_dir_close(d);
	c->task.fn = on_rechecked;
	lcm_loop_post_task(l->e->loop, &c->task);
}

int lcm_layer_recheck(struct lcm_layer *l)
{
	struct recheck *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	*c = (struct recheck){ .task = { .fn = recheck_job, .arg = c }, .layer = l };
	l->refs++;
	/* It may read for long: mounts that need none of it go on beside. */
	lcm_pool_submit(l->e->pool, LCM_POOL_SLOW, &c->task);
	return 0;
}
