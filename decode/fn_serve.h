/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fn_serve.h - the function's half; shared by fn_serve.c, fn_stream.c, fn_toc.c and fn_json.c.
 *
 * Layer: decode, private to it. One thread. A function that cannot go on ends: the daemon sees it.
 */
#ifndef LCM_FN_SERVE_H
#define LCM_FN_SERVE_H

#include "decode/fn_wire.h"

struct lcm_fn_side {
	const struct fn_in *in; /* mapped read-only; NULL: not bound */
	struct fn_out *out;
	uint64_t in_size, out_size; /* bytes of the mappings */
	uint32_t kicked;            /* the last value of in->waits that was answered */
};

static inline const uint8_t *lcm_fn_side_in(const struct lcm_fn_side *f)
{
	return (const uint8_t *)f->in + FN_PAGE;
}

static inline uint8_t *lcm_fn_side_out(const struct lcm_fn_side *f)
{
	return (uint8_t *)f->out + FN_PAGE;
}

/** lcm_fn_side_kick - wake the daemon if it sleeps. */
void lcm_fn_side_kick(struct lcm_fn_side *f);
/** lcm_fn_side_wait - sleep until @ready(@arg). Does not return when the daemon has gone or says
 * stop. */
void lcm_fn_side_wait(struct lcm_fn_side *f, bool (*ready)(void *arg), void *arg);

/* The jobs: fill @ret but for its op. */
void lcm_fn_side_stream(struct lcm_fn_side *f, const struct fn_stream *q, struct fn_reply *ret);
void lcm_fn_side_json(struct lcm_fn_side *f, const struct fn_json *q, struct fn_reply *ret);
void lcm_fn_side_toc(struct lcm_fn_side *f, const struct fn_toc *q, struct fn_reply *ret);

#endif
