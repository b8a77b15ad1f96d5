/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.h - the stream that a unit is exported as.
 *
 * Numbers are little-endian. First "LCMUNIT\n", u32 version (1), u32 length of a JSON object, its
 * SHA-256, the object: {"backend", "size", "unit", "owner", "name", "snapshot"}. Then frames, each
 * u32 type ("DATA" or "END "), u32 plain length, u32 stored length, u32 0, u64 offset, SHA-256 of
 * the plain bytes; then the stored bytes, which are one zstd frame. DATA: offsets rise, plain
 * length is 1 to LCM_FRAME_PLAIN_MAX. END: no bytes; its offset is the number of DATA frames of the
 * whole stream, its digest is that of all their offsets and digests (8 + 32 bytes each), so that
 * also one that was resumed is proven as a whole.
 *
 * Layer: unit. Pure. Everything that is read is hostile. Threads: any.
 */
#ifndef LCM_UNIT_FRAME_H
#define LCM_UNIT_FRAME_H

#include "src/base/digest.h"

#define LCM_FRAME_HEAD 48        /* bytes of the stream's head */
#define LCM_FRAME_BYTES 56       /* bytes of a frame's head */
#define LCM_FRAME_JSON_MAX 4096U /* names and ids */
#define LCM_FRAME_PLAIN_MAX (1U << 20)
#define LCM_FRAME_STORED_MAX                                                                       \
	(LCM_FRAME_PLAIN_MAX + 8192U) /* ZSTD_compressBound() of it and some                       \
				       */

enum lcm_frame_type {
	LCM_FRAME_DATA = 0x41544144, /* "DATA" */
	LCM_FRAME_END = 0x20444e45,  /* "END " */
};

struct lcm_frame {
	enum lcm_frame_type type;
	uint32_t plain, stored; /* bytes */
	uint64_t offset;
	struct lcm_digest digest;
};

void lcm_frame_put_head(uint8_t out[LCM_FRAME_HEAD], uint32_t json_len,
			const struct lcm_digest *json);
/** lcm_frame_get_head - Return: 0; -EPROTO (no such stream); -EPROTONOSUPPORT (another version);
 * -EFBIG. */
LCM_MUST_USE int lcm_frame_get_head(const uint8_t in[LCM_FRAME_HEAD], uint32_t *ret_json_len,
				    struct lcm_digest *ret_json);
void lcm_frame_put(uint8_t out[LCM_FRAME_BYTES], const struct lcm_frame *f);
/**
 * lcm_frame_get - one frame's head
 * @at: where the frame before it ended: offsets do not go back
 * @end: no byte of DATA lies at or after this
 * Return: 0; -EUCLEAN.
 */
LCM_MUST_USE int lcm_frame_get(const uint8_t in[LCM_FRAME_BYTES], uint64_t at, uint64_t end,
			       struct lcm_frame *ret);
/** lcm_frame_count - what a DATA frame adds to the digest of the whole stream. */
void lcm_frame_count(struct lcm_hash *all, const struct lcm_frame *f);

#endif
