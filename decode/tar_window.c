/* SPDX-License-Identifier: Apache-2.0 */
#include "decode/tar_window.h"

#include <string.h>
#include <time.h>

#define BLOCK 512
#define HEADERS_MAX 32 /* headers of one entry, as in libarchive; real ones have up to 4 */

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

/* What the records "LENGTH KEY=VALUE\n" of a pax header may be asked for. */
struct wanted {
	const char *key; /* " KEY=" */
	bool (*parse)(const uint8_t *p, size_t len, void *ret);
	void *ret;
};

static bool time_wanted(const uint8_t *p, size_t len, void *ret)
{
	struct timespec *ts = ret;
	int64_t sec;
	uint32_t nsec;

	if (!time_parse(p, len, &sec, &nsec))
		return false;
	*ts = (struct timespec){ .tv_sec = sec, .tv_nsec = nsec };
	return true;
}

static bool size_wanted(const uint8_t *p, size_t len, void *ret)
{
	return len && digits(p, len, ret) == len;
}

static bool link_wanted(const uint8_t *p, size_t len, void *ret)
{
	struct lcm_buf *b = ret;

	b->len = 0;
	return !memchr(p, '\0', len) && lcm_buf_add(b, p, len) == 0;
}

/* A later record wins. Return: 1, 0, -EUCLEAN. */
static int records_find(const uint8_t *p, size_t len, const struct wanted *want)
{
	size_t klen = strlen(want->key);
	int found = 0;

	while (len) {
		uint64_t size;
		size_t n = digits(p, len, &size);

		if (n == 0 || size <= n + 1 || size > len)
			return -EUCLEAN;
		if (size - n > klen && memcmp(p + n, want->key, klen) == 0) {
			if (!want->parse(p + n + klen, (size_t)size - n - klen - 1, want->ret))
				return -EUCLEAN;
			found = 1;
		}
		p += size;
		len -= (size_t)size;
	}
	return found;
}

/* The size field: octal, as every writer of extension headers makes it. */
static uint64_t octal_size(const uint8_t *h)
{
	uint64_t v = 0;
	size_t i = 124;

	while (i < 136 && h[i] == ' ')
		i++;
	for (; i < 136 && h[i] >= '0' && h[i] <= '7'; i++)
		v = v * 8 + (uint64_t)(h[i] - '0');
	return v;
}

static bool header_size(const uint8_t *h, uint64_t *ret)
{
	*ret = octal_size(h);
	return *ret <= LCM_TAR_TAIL_BYTES;
}

/* Base 256 as GNU tar writes it, or octal. */
static bool entry_size(const uint8_t *h, uint64_t *ret)
{
	uint64_t v = 0;

	if (!(h[124] & 0x80)) {
		*ret = octal_size(h);
		return true;
	}
	for (size_t i = 124; i < 136; i++) {
		if (v >> 55)
			return false;
		v = v << 8 | (uint64_t)(i == 124 ? h[i] & 0x7f : h[i]);
	}
	*ret = v;
	return true;
}

static int pax_find(const struct lcm_tar_window *w, uint64_t off, uint64_t size,
		    const struct wanted *want)
{
	lcm_autofree uint8_t *body = malloc((size_t)size + 1);

	if (!body)
		return -ENOMEM;
	if (!window_copy(w, off, body, (size_t)size))
		return -EUCLEAN;
	return records_find(body, (size_t)size, want);
}

/* One extension header, @h at @off: goes on to the next, and asks the first pax header that has
 * what is wanted (libarchive applies the first one last). */
static int header_pass(const struct lcm_tar_window *w, const uint8_t *h, uint64_t *off,
		       const struct wanted *want, int *found)
{
	uint64_t size;
	int r = 0;

	if (!header_size(h, &size))
		return -EUCLEAN;
	if (h[156] == 'V')
		size = 0; /* libarchive takes a volume's header to have no body */
	if ((h[156] == 'x' || h[156] == 'X') && !*found)
		r = pax_find(w, *off + BLOCK, size, want);
	if (r > 0)
		*found = r;
	*off += BLOCK + ((size + BLOCK - 1) & ~(uint64_t)(BLOCK - 1));
	return LCM_MIN(r, 0);
}

/* The headers from @off on, up to the entry's own, into @h and @ret_off. Return: 1 when a pax
 * header had what is @want-ed, 0, -errno. */
static int headers_pass(const struct lcm_tar_window *w, uint64_t off, const struct wanted *want,
			uint8_t h[BLOCK], uint64_t *ret_off)
{
	int found = 0, r = 0;

	for (int i = 0; r == 0 && i < HEADERS_MAX; i++) {
		if (!window_copy(w, off, h, BLOCK))
			return -EUCLEAN;
		if (h[156] == '\0' || !strchr("AgKLVXx", h[156])) {
			*ret_off = off;
			return found;
		}
		r = header_pass(w, h, &off, want, &found);
	}
	return r < 0 ? r : -EUCLEAN;
}

int lcm_tar_window_mtime(const struct lcm_tar_window *w, uint64_t off, int64_t *ret_sec,
			 uint32_t *ret_nsec)
{
	struct timespec ts = { 0 };
	const struct wanted want = { " mtime=", time_wanted, &ts };
	uint8_t h[BLOCK];
	int r = headers_pass(w, off, &want, h, &off);

	if (r > 0) {
		*ret_sec = ts.tv_sec;
		*ret_nsec = (uint32_t)ts.tv_nsec;
	}
	return r;
}

int lcm_tar_window_link(const struct lcm_tar_window *w, uint64_t off, struct lcm_buf *ret,
			char *ret_type)
{
	const struct wanted want = { " linkpath=", link_wanted, ret };
	uint8_t h[BLOCK];
	int r = headers_pass(w, off, &want, h, &off);

	*ret_type = r < 0 ? '\0' : (char)h[156];
	return r;
}

int lcm_tar_window_stored(const struct lcm_tar_window *w, uint64_t off, struct lcm_tar_stored *ret)
{
	uint64_t size = 0;
	const struct wanted want = { " size=", size_wanted, &size };
	uint8_t h[BLOCK];
	int r = headers_pass(w, off, &want, h, &off);

	if (r < 0)
		return r;
	if (r == 0 && !entry_size(h, &size))
		return -EUCLEAN;
	*ret = (struct lcm_tar_stored){ off + BLOCK, size, (char)h[156] };
	return 0;
}
