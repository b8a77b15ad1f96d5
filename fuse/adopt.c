/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gate outlives its daemon: somebody else keeps the /dev/fuse descriptor, so the connection
 * stays, and a record (a memfd) with what the next daemon cannot ask the kernel for: the
 * FUSE_INIT request, and which files are big.
 *
 *   lost daemon                          next daemon
 *   -----------                          -----------
 *   read, not answered  --RESEND------>  comes again (FUSE_UNIQUE_RESEND in its id)
 *   not read yet        -------------->  comes
 *   INIT answered       --record------>  replayed into libfuse, the answer goes nowhere
 *   lookup counts       -------------->  not needed: of each big file the kernel says whether it
 *                                        holds it (recount())
 *
 * Source: Linux fs/fuse/dev.c, fuse_resend(); fs/fuse/inode.c, fuse_reverse_inval_inode().
 */
#include <string.h>
#include <sys/mman.h>

#include "fuse/session.h"
#include "src/base/sys.h"

#define RECORD_MAGIC 0x31657461676d636cULL /* "lcmgate1" */
#define NOTIFY_RESEND 7                    /* FUSE_NOTIFY_RESEND; not in old headers */

int lcm_gate_record_new(struct lcm_gate *g)
{
	struct gate_record rec = { .magic = RECORD_MAGIC,
				   .data_bytes = g->big.data_bytes,
				   .exec_bytes = g->big.exec_bytes };
	lcm_autoclose int fd = (int)lcm_errno(memfd_create("locum-gate", MFD_CLOEXEC));
	int r = fd < 0 ? fd : lcm_sys_pwrite_full(fd, &rec, sizeof(rec), 0);

	if (r < 0)
		return r;
	g->record = lcm_steal_fd(&fd);
	return 0;
}

/* Before it is answered: a daemon that dies in between has it come again, or replays it. */
void lcm_gate_record_init(struct lcm_gate *g, const void *init, size_t len)
{
	uint32_t n = (uint32_t)len;

	if (g->record < 0 || len > GATE_INIT_MAX ||
	    lcm_sys_pwrite_full(g->record, init, len, offsetof(struct gate_record, init)) < 0)
		return;
	lcm_ignore(
	    lcm_sys_pwrite_full(g->record, &n, sizeof(n), offsetof(struct gate_record, init_len)));
}

static int resend(struct lcm_gate *g)
{
	const struct fuse_out_header out = { .len = sizeof(out), .error = NOTIFY_RESEND };

	return lcm_sys_write_full(g->fd, &out, sizeof(out));
}

/* libfuse learns what was agreed with the kernel; what it answers is for nobody. */
static void replay_init(struct lcm_gate *g, struct gate_record *rec)
{
	struct fuse_buf buf = { .mem = rec->init, .size = rec->init_len };

	g->replaying = true;
	lcm_gate_serve(g, &buf);
	g->replaying = false;
}

/*
 * What the dead daemon has read comes first now. If that is INIT, it never was answered and is
 * served like any; else libfuse has to know it before it serves anything.
 */
static int take_up(struct lcm_gate *g, struct gate_record *rec)
{
	const struct fuse_in_header *in;
	int r = resend(g);

	if (r < 0)
		return r;
	r = fuse_session_receive_buf(g->se, &g->first);
	if (fuse_session_exited(g->se))
		return -ENODEV;
	if (r < 0 && r != -EAGAIN && r != -EINTR)
		return r;
	in = g->first.mem;
	if (r > 0 && in->opcode == FUSE_INIT)
		return 0;
	if (rec->init_len < sizeof(*in) + 8)
		return -ENODATA;
	replay_init(g, rec);
	return 0;
}

/* Does the kernel hold the file by its node id? It is told that the attributes may have changed,
 * which they have not, and says whether there was anything to tell. */
static bool is_held(struct lcm_gate *g, uint32_t layer, uint32_t entry)
{
	return fuse_lowlevel_notify_inval_inode(g->se, lcm_gate_ino(layer, entry), -1, 0) == 0;
}

static int set_held(struct lcm_gate *g, uint32_t layer, uint32_t entry, bool held)
{
	bool none = false;
	int r = 0;

	(void)pthread_mutex_lock(&g->mu);
	if (held)
		r = lcm_bound_hold(&g->bound, layer, entry);
	else
		none = lcm_bound_unhold(&g->bound, layer, entry);
	(void)pthread_mutex_unlock(&g->mu);
	if (none && g->ops->unbound)
		g->ops->unbound(g->arg);
	return r;
}

/* @ask: the kernel; else each counts as held. */
static int each_big(struct lcm_gate *g, bool ask)
{
	int r = 0;

	for (uint32_t layer = 0; layer < g->n_layers; layer++) {
		const struct lcm_toc *toc = g->layers[layer].toc;

		for (uint32_t i = 0; r == 0 && i < lcm_toc_count(toc); i++)
			if (lcm_gate_is_big(&g->big, toc, lcm_toc_entry(toc, i)))
				r = set_held(g, layer, i, !ask || is_held(g, layer, i));
	}
	return r;
}

int lcm_gate_recount(struct lcm_gate *g)
{
	return g->adopted ? each_big(g, true) : 0;
}

static int read_record(int fd, struct gate_record *ret)
{
	int r = lcm_sys_pread_full(fd, ret, sizeof(*ret), 0);

	/* Without INIT it is shorter. */
	if (r == -EIO) {
		*ret = (struct gate_record){ 0 };
		r = lcm_sys_pread_full(fd, ret, offsetof(struct gate_record, init), 0);
	}
	if (r < 0)
		return r;
	return ret->magic == RECORD_MAGIC && ret->init_len <= GATE_INIT_MAX ? 0 : -EUCLEAN;
}

int lcm_gate_adopt(const struct lcm_gate_config *cfg, int fuse_fd, int record_fd,
		   struct lcm_gate **ret, struct lcm_err *err)
{
	lcm_autoclose int fuse = fuse_fd, record = record_fd;
	struct gate_record *rec = calloc(1, sizeof(*rec));
	struct lcm_gate_config c = *cfg;
	struct lcm_gate *g = NULL;
	int r = rec ? read_record(record_fd, rec) : -ENOMEM;

	if (r == 0) {
		c.big = (struct lcm_gate_big){ rec->data_bytes, rec->exec_bytes };
		r = lcm_gate_new(&c, lcm_steal_fd(&fuse), &g, err);
	}
	if (r == 0) {
		g->adopted = true;
		g->record = lcm_steal_fd(&record);
		r = each_big(g, false);
	}
	if (r == 0)
		r = take_up(g, rec);
	free(rec);
	if (r < 0) {
		lcm_gate_free(g);
		return lcm_err_set(err, r, "the gate of an earlier daemon cannot be taken over: %s",
				   strerror(-r));
	}
	*ret = g;
	return 0;
}

void lcm_gate_take_first(struct lcm_gate *g)
{
	if (g->first.size && g->first.mem)
		lcm_gate_serve(g, &g->first);
	free(g->first.mem);
	g->first = (struct fuse_buf){ 0 };
}
