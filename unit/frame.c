/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/frame.h"

#include <endian.h>
#include <string.h>

#define VERSION 1

static const char magic[8] = { 'L', 'C', 'M', 'U', 'N', 'I', 'T', '\n' };

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

void lcm_frame_put_head(uint8_t out[LCM_FRAME_HEAD], uint32_t json_len,
			const struct lcm_digest *json)
{
	memcpy(out, magic, sizeof(magic));
	put32(out + 8, VERSION);
	put32(out + 12, json_len);
	memcpy(out + 16, json->b, sizeof(json->b));
}

int lcm_frame_get_head(const uint8_t in[LCM_FRAME_HEAD], uint32_t *ret_json_len,
		       struct lcm_digest *ret_json)
{
	if (memcmp(in, magic, sizeof(magic)) != 0)
		return -EPROTO;
	if (get32(in + 8) != VERSION)
		return -EPROTONOSUPPORT;
	if (get32(in + 12) > LCM_FRAME_JSON_MAX)
		return -EFBIG;
	*ret_json_len = get32(in + 12);
	memcpy(ret_json->b, in + 16, sizeof(ret_json->b));
	return 0;
}

void lcm_frame_put(uint8_t out[LCM_FRAME_BYTES], const struct lcm_frame *f)
{
	uint64_t offset = htole64(f->offset);

	put32(out, f->type);
	put32(out + 4, f->plain);
	put32(out + 8, f->stored);
	put32(out + 12, 0);
	memcpy(out + 16, &offset, sizeof(offset));
	memcpy(out + 24, f->digest.b, sizeof(f->digest.b));
}

int lcm_frame_get(const uint8_t in[LCM_FRAME_BYTES], uint64_t at, uint64_t end,
		  struct lcm_frame *ret)
{
	struct lcm_frame f = { .plain = get32(in + 4), .stored = get32(in + 8) };
	uint32_t type = get32(in);

	memcpy(&f.offset, in + 16, sizeof(f.offset));
	f.offset = le64toh(f.offset);
	memcpy(f.digest.b, in + 24, sizeof(f.digest.b));
	if (get32(in + 12) != 0)
		return -EUCLEAN;
	if (type == LCM_FRAME_END) {
		f.type = LCM_FRAME_END;
		if (f.plain || f.stored)
			return -EUCLEAN;
	} else if (type == LCM_FRAME_DATA) {
		f.type = LCM_FRAME_DATA;
		if (f.plain == 0 || f.plain > LCM_FRAME_PLAIN_MAX || f.stored == 0 ||
		    f.stored > LCM_FRAME_STORED_MAX || f.offset < at || f.offset >= end ||
		    end - f.offset < f.plain)
			return -EUCLEAN;
	} else {
		return -EUCLEAN;
	}
	*ret = f;
	return 0;
}

void lcm_frame_count(struct lcm_hash *all, const struct lcm_frame *f)
{
	uint8_t head[LCM_FRAME_BYTES];

	lcm_frame_put(head, f);
	lcm_hash_update(all, head + 16, 40); /* offset and digest */
}
