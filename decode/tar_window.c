/* SPDX-License-Identifier: Apache-2.0 */
#include "decode/tar_window.h"

#include <string.h>

#define BLOCK 512
#define HEADERS_MAX 16 /* extension headers before one entry; real ones have up to 3 */

static void tail_add(struct lcm_tar_window *w, const uint8_t *p, size_t len)
{
	size_t keep = LCM_MIN(w->tail_len, LCM_TAR_TAIL_BYTES);

	if (len >= LCM_TAR_TAIL_BYTES) {
		p += len - LCM_TAR_TAIL_BYTES;
		len = LCM_TAR_TAIL_BYTES;
		w->tail_len = 0;
	} else if (len > sizeof(w->tail) - w->tail_len) {
		memmove(w->tail, w->tail + w->tail_len - keep, keep);
		w->tail_len = keep;
	}
	memcpy(w->tail + w->tail_len, p, len);
	w->tail_len += len;
}

void lcm_tar_window_retire(struct lcm_tar_window *w)
{
	if (!w->block)
		return;
	tail_add(w, w->block, w->block_len);
	w->off += w->block_len;
	w->block = NULL;
	w->block_len = 0;
}

void lcm_tar_window_set(struct lcm_tar_window *w, const void *p, size_t len)
{
	w->block = p;
	w->block_len = len;
}

/* Copies [@off, @off + @len) of the tar. */
static bool window_copy(const struct lcm_tar_window *w, uint64_t off, uint8_t *out, size_t len)
{
	uint64_t begin = w->off - w->tail_len;
	size_t n;

	if (off < begin || off > w->off + w->block_len || len > w->off + w->block_len - off)
		return false;
	if (off < w->off) {
		n = (size_t)LCM_MIN((uint64_t)len, w->off - off);
		memcpy(out, w->tail + (off - begin), n);
		out += n;
		off += n;
		len -= n;
	}
	if (len)
		memcpy(out, w->block + (off - w->off), len);
	return true;
}

/* Decimal digits at @p; at most 18, so that it cannot overflow. Return: how many. */
static size_t digits(const uint8_t *p, size_t len, uint64_t *ret)
{
	uint64_t v = 0;
	size_t n = 0;

	for (; n < len && n < 18 && p[n] >= '0' && p[n] <= '9'; n++)
		v = v * 10 + (uint64_t)(p[n] - '0');
	*ret = v;
	return n;
}

/* "-1.25" is one and a quarter second before 1970: -2 s and 750,000,000 ns. */
static bool time_parse(const uint8_t *p, size_t len, int64_t *ret_sec, uint32_t *ret_nsec)
{
	bool minus = len && p[0] == '-';
	uint64_t sec;
	uint32_t nsec = 0, scale = 100000000;
	size_t n;

	p += minus;
	len -= minus;
	n = digits(p, len, &sec);
	if (n == 0 || (n < len && p[n] != '.'))
		return false;
	for (n++; n < len && p[n] >= '0' && p[n] <= '9'; n++, scale /= 10)
		nsec += scale * (uint32_t)(p[n] - '0');
	if (n < len)
		return false;
	*ret_sec = minus ? -(int64_t)sec - (nsec != 0) : (int64_t)sec;
	*ret_nsec = minus && nsec ? 1000000000 - nsec : nsec;
	return true;
}

/* The records "LENGTH KEY=VALUE\n" of one pax header; a later one wins. Return: 1, 0, -EUCLEAN. */
static int records_mtime(const uint8_t *p, size_t len, int64_t *ret_sec, uint32_t *ret_nsec)
{
	static const char key[] = " mtime=";
	const size_t klen = sizeof(key) - 1;
	int found = 0;

	while (len) {
		uint64_t size;
		size_t n = digits(p, len, &size);

		if (n == 0 || size <= n + 1 || size > len)
			return -EUCLEAN;
		if (size - n > klen && memcmp(p + n, key, klen) == 0) {
			if (!time_parse(p + n + klen, (size_t)size - n - klen - 1, ret_sec,
					ret_nsec))
				return -EUCLEAN;
			found = 1;
		}
		p += size;
		len -= (size_t)size;
	}
	return found;
}

/* The size field: octal, as every writer of extension headers makes it. */
static bool header_size(const uint8_t *h, uint64_t *ret)
{
	uint64_t v = 0;
	size_t i = 124;

	while (i < 136 && h[i] == ' ')
		i++;
	for (; i < 136 && h[i] >= '0' && h[i] <= '7'; i++)
		v = v * 8 + (uint64_t)(h[i] - '0');
	*ret = v;
	return v <= LCM_TAR_TAIL_BYTES;
}

int lcm_tar_window_mtime(const struct lcm_tar_window *w, uint64_t off, int64_t *ret_sec,
			 uint32_t *ret_nsec)
{
	uint8_t h[BLOCK];

	for (int i = 0; i < HEADERS_MAX; i++) {
		lcm_autofree uint8_t *body = NULL;
		uint64_t size;

		if (!window_copy(w, off, h, BLOCK))
			return -EUCLEAN;
		if (!strchr("xgLKXNV", h[156]) || h[156] == '\0')
			return 0;
		if (!header_size(h, &size))
			return -EUCLEAN;
		if (h[156] == 'x' || h[156] == 'X') {
			body = malloc(size + 1);
			if (!body)
				return -ENOMEM;
			if (!window_copy(w, off + BLOCK, body, (size_t)size))
				return -EUCLEAN;
			return records_mtime(body, (size_t)size, ret_sec, ret_nsec);
		}
		off += BLOCK + ((size + BLOCK - 1) & ~(uint64_t)(BLOCK - 1));
	}
	return -EUCLEAN;
}
