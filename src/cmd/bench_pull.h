/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_pull.h - what the parts of `locum bench pull` share.
 *
 * Layer: cmd. Threads: one.
 */
#ifndef LCM_BENCH_PULL_H
#define LCM_BENCH_PULL_H

#include "image/manifest.h"
#include "image/reference.h"
#include "registry/registry.h"
#include "src/cmd/bench.h"

#define BENCH_LAYERS_MAX LCM_LAYERS_MAX

struct floor_ctx {
	struct bench *b; /* borrowed */
	struct lcm_loop *loop;
	struct lcm_registry *reg;
	struct lcm_reference ref;
	struct lcm_manifest *m;
	char mem[300]; /* a tmpfs: BLOBS as N, the tars as N.tar */
	size_t left;   /* fetches in flight */
	int status;
	struct lcm_err *err; /* borrowed */
};

/** floor_open - ask for the manifest, keep all blobs and their tars in memory. Not measured.
 * Return: 0; -errno. Call floor_close() either way. */
LCM_MUST_USE int floor_open(struct floor_ctx *f, struct bench *b, struct lcm_err *err);
void floor_close(struct floor_ctx *f);
/** floor_download - fetch all blobs at once with locum's own client, keep nothing. */
LCM_MUST_USE int floor_download(struct floor_ctx *f, uint64_t *ret_ns, struct lcm_err *err);
/** floor_decompress - all blobs to nowhere, as many processes as cores, the biggest first. */
LCM_MUST_USE int floor_decompress(struct floor_ctx *f, uint64_t *ret_ns, struct lcm_err *err);
/** floor_write - all regular files of all layers, as many processes as cores, then syncfs(2). */
LCM_MUST_USE int floor_write(struct floor_ctx *f, uint64_t *ret_ns, struct lcm_err *err);

/**
 * floor_tar_next - the next regular file of a tar
 * @p, @len: the tar; @off: where to go on, moved behind the file; 0 at first
 * @ret, @ret_len: its bytes, in @p
 * Return: 1; 0 at the end; -EUCLEAN when it is cut off. Pure.
 */
LCM_MUST_USE int floor_tar_next(const unsigned char *p, size_t len, size_t *off,
				const unsigned char **ret, size_t *ret_len);

#endif
