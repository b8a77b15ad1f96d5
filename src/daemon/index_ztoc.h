/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index_ztoc.h - a zTOC for a gzip layer.
 *
 * Layer: daemon. Threads: any, it waits.
 */
#ifndef LCM_INDEX_ZTOC_H
#define LCM_INDEX_ZTOC_H

#include "src/base/buf.h"
#include "src/daemon/engine.h"
#include "store/store.h"

/**
 * lcm_index_ztoc - read the whole layer, in an isolated function, and write what SOCI wants to know
 * @row: the layer; both of its digests are proven on the way
 * @fd: its blob
 * @out: gets the zTOC
 * Return: 0; -ENOTSUP (the layer has what zTOCs have no words for; text says what); -EBADMSG
 * (digests); as lcm_fn_stream(); -errno.
 */
LCM_MUST_USE int lcm_index_ztoc(struct lcm_engine *e, const struct lcm_layer_row *row, int fd,
				struct lcm_buf *out, struct lcm_err *err);

#endif
