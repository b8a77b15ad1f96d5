/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers what the daemon takes from an isolated function: positions, records and the answer
 * (decode/tar_remote.c, fn_turn.c, fn_spans.c, fn_call.c). The function is played by the input: 32
 * bytes of positions, 1 of status, then the ring of records; its plain bytes are zeros. Whatever
 * it says, the reader gets entries that keep the promises of tar.h, or an error with a text.
 */
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "decode/fn_remote.h"
#include "src/base/sys.h"

#define HEAD 33
#define BLOB 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int fill(void *arg, uint64_t done, uint64_t *ret_until)
{
	(void)arg;
	(void)done;
	*ret_until = BLOB;
	return 0;
}

static void check_entry(const struct lcm_tar_entry *e)
{
	char path[LCM_PATH_MAX + 1];
	size_t len = e->path_len;

	if (e->path_len > LCM_PATH_MAX || strlen(e->path) != e->path_len)
		abort();
	memcpy(path, e->path, e->path_len + 1);
	if (lcm_tar_path_normal(path, &len) || len != e->path_len)
		abort();
	if (e->type < LCM_TOC_DIR || e->type >= LCM_TOC_WHITEOUT || e->mode & ~07777U ||
	    e->mtime_nsec > 999999999 || (e->link_len && strlen(e->link) != e->link_len))
		abort();
	for (size_t i = 0; i < e->n_xattrs; i++)
		if (strlen(e->xattrs[i].name) != e->xattrs[i].name_len)
			abort();
}

static int read_all(struct lcm_tar *t, struct lcm_err *err)
{
	struct lcm_tar_entry e;
	struct lcm_tar_piece d;
	struct lcm_digest digest;
	uint64_t sum = 0;
	int r;

	while ((r = lcm_tar_next(t, &e, err)) > 0) {
		check_entry(&e);
		while (e.type == LCM_TOC_REG && e.size % 2 && (r = lcm_tar_data(t, &d, err)) > 0)
			for (size_t i = 0; i < d.len; i++)
				sum += ((const uint8_t *)d.p)[i];
		if (r < 0)
			return r;
	}
	if (sum) /* nobody has written anything but zeros */
		abort();
	return r < 0 ? r : lcm_tar_finish(t, &digest, err);
}

static void play(struct lcm_fn_mem *m, int sock, const uint8_t *data, size_t size)
{
	struct fn_out *o = m->out;
	struct fn_reply r = { .op = FN_STREAM };
	uint64_t v[4];

	memcpy(v, data, sizeof(v));
	atomic_store(&o->in_tail, v[0] % (BLOB + 2));
	atomic_store(&o->plain_head, v[1] % (FN_PLAIN_RING + 2));
	atomic_store(&o->parsed, v[2] % (FN_PLAIN_RING + 2));
	atomic_store(&o->rec_head, v[3] % (2 * FN_REC_RING));
	memcpy((uint8_t *)o + FN_PAGE, data + HEAD, LCM_MIN(size - HEAD, (size_t)FN_REC_RING));
	r.status = -(int32_t)(data[32] & 0x7f);
	r.total = v[1] % (FN_PLAIN_RING + 2);
	if (!(data[32] & 0x80) && send(sock, &r, sizeof(r), MSG_DONTWAIT) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct fn_reply bound = { .op = FN_BIND };
	struct lcm_fn fn = { .hang_ns = 1 };
	lcm_auto(lcm_toc_builder) index = NULL;
	lcm_auto(lcm_fn_mem) m = NULL;
	lcm_autoclose int peer = -EBADF, wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct lcm_tar *t = NULL;
	struct lcm_err err = { 0 };
	struct lcm_fn_stream_opt opt = {
		.comp = LCM_COMP_GZIP, .blob_size = BLOB, .fill = fill, .wake_fd = wake
	};
	const uint64_t one = 1;
	int sv[2], r;

	if (size < HEAD || wake < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return 0;
	fn.sock = sv[0];
	peer = sv[1];
	opt.copy = data[0] & 1;
	if (data[0] & 2 && lcm_toc_builder_new(&index) < 0)
		abort();
	opt.index = index;
	if (lcm_fn_stream_mem(NULL, &m) < 0 || send(peer, &bound, sizeof(bound), 0) < 0 ||
	    lcm_fn_stream(&fn, m, &opt, &t, &err) < 0)
		abort();
	play(m, peer, data, size);
	lcm_closep(&peer); /* it says nothing more: nobody waits for it */
	lcm_ignore(lcm_sys_write_full(wake, &one, sizeof(one)));
	r = read_all(t, &err);
	if (r > 0 || (r < 0 && r != -ENOMEM && !err.msg[0] && err.code != r && err.code))
		abort();
	lcm_tar_close(t);
	lcm_closep(&fn.sock);
	return 0;
}
