/* SPDX-License-Identifier: Apache-2.0 */
#include "store/ranges.h"

#include <endian.h>
#include <string.h>

#include "src/base/digest.h"

static const char ranges_magic[8] = { 'L', 'C', 'M', 'R', 'A', 'N', 'G', 'E' };

struct file_head {
	char magic[8];
	uint32_t version;
	uint32_t zero;
	uint64_t id, size, count;
};
_Static_assert(sizeof(struct file_head) == 40, "on-disk format");

struct file_range {
	uint64_t off, len;
};
_Static_assert(sizeof(struct file_range) == 16, "on-disk format");

void lcm_ranges_fini(struct lcm_ranges *rs)
{
	free(rs->v);
	*rs = (struct lcm_ranges){ 0 };
}

/* Index of the first range that ends at or after @off. */
static size_t first_reaching(const struct lcm_ranges *rs, uint64_t off)
{
	size_t lo = 0, hi = rs->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (rs->v[mid].end < off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Index of the first range that begins after @off. */
static size_t first_beyond(const struct lcm_ranges *rs, uint64_t off)
{
	size_t lo = 0, hi = rs->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (rs->v[mid].off <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int make_room(struct lcm_ranges *rs)
{
	size_t cap = rs->cap ? rs->cap * 2 : 16;
	struct lcm_range *v;

	if (rs->n < rs->cap)
		return 0;
	if (rs->n >= LCM_RANGES_MAX)
		return -EFBIG;
	v = realloc(rs->v, cap * sizeof(*v));
	if (!v)
		return -ENOMEM;
	rs->v = v;
	rs->cap = cap;
	return 0;
}

/* Puts @with in the place of the @old ranges from @at on; there must be room. */
static void replace(struct lcm_ranges *rs, size_t at, size_t old, const struct lcm_range *with,
		    size_t n)
{
	for (size_t i = 0; i < old; i++)
		rs->total -= rs->v[at + i].end - rs->v[at + i].off;
	memmove(rs->v + at + n, rs->v + at + old, (rs->n - at - old) * sizeof(*rs->v));
	for (size_t i = 0; i < n; i++) {
		rs->v[at + i] = with[i];
		rs->total += with[i].end - with[i].off;
	}
	rs->n = rs->n - old + n;
}

int lcm_ranges_add(struct lcm_ranges *rs, uint64_t off, uint64_t len)
{
	struct lcm_range r = { .off = off };
	size_t from, to;
	int e;

	if (__builtin_add_overflow(off, len, &r.end))
		return -EINVAL;
	if (len == 0)
		return 0;
	from = first_reaching(rs, off);
	to = first_beyond(rs, r.end);
	if (from == to) {
		e = make_room(rs);
		if (e < 0)
			return e;
	} else {
		r.off = LCM_MIN(off, rs->v[from].off);
		r.end = LCM_MAX(r.end, rs->v[to - 1].end);
	}
	replace(rs, from, to - from, &r, 1);
	return 0;
}

void lcm_ranges_remove(struct lcm_ranges *rs, uint64_t off, uint64_t len)
{
	struct lcm_range left[2];
	size_t from, to, n = 0;
	uint64_t end;

	if (__builtin_add_overflow(off, len, &end))
		end = UINT64_MAX;
	if (off >= end)
		return;
	from = first_reaching(rs, off + 1); /* ends after @off */
	to = first_beyond(rs, end - 1);     /* begins at or after @end */
	if (from >= to)
		return;
	if (rs->v[from].off < off)
		left[n++] = (struct lcm_range){ .off = rs->v[from].off, .end = off };
	if (rs->v[to - 1].end > end)
		left[n++] = (struct lcm_range){ .off = end, .end = rs->v[to - 1].end };
	if (n > to - from && make_room(rs) < 0)
		n--; /* a split that does not fit: claim less, never more */
	replace(rs, from, to - from, left, n);
}

bool lcm_ranges_has(const struct lcm_ranges *rs, uint64_t off, uint64_t len)
{
	uint64_t end;
	size_t i;

	if (__builtin_add_overflow(off, len, &end))
		return false;
	if (len == 0)
		return true;
	i = first_reaching(rs, end);
	return i < rs->n && rs->v[i].off <= off;
}

bool lcm_ranges_next(const struct lcm_ranges *rs, uint64_t off, uint64_t size, uint64_t *ret_len)
{
	size_t i = first_reaching(rs, off + 1);
	bool in = i < rs->n && rs->v[i].off <= off;
	uint64_t end = size;

	if (i < rs->n)
		end = LCM_MIN(size, in ? rs->v[i].end : rs->v[i].off);
	*ret_len = end - off;
	return in;
}

int lcm_ranges_encode(const struct lcm_ranges *rs, uint64_t id, uint64_t size, struct lcm_buf *ret)
{
	struct file_head h = {
		.version = htole32(1),
		.id = htole64(id),
		.size = htole64(size),
		.count = htole64(rs->n),
	};
	size_t start = ret->len;
	struct lcm_digest sum;
	int r;

	memcpy(h.magic, ranges_magic, sizeof(h.magic));
	r = lcm_buf_add(ret, &h, sizeof(h));
	for (size_t i = 0; r == 0 && i < rs->n; i++) {
		struct file_range f = { .off = htole64(rs->v[i].off),
					.len = htole64(rs->v[i].end - rs->v[i].off) };

		r = lcm_buf_add(ret, &f, sizeof(f));
	}
	if (r == 0)
		r = lcm_digest_of(ret->data + start, ret->len - start, &sum);
	return r < 0 ? r : lcm_buf_add(ret, sum.b, sizeof(sum.b));
}

/* Is this whole, of our version, and about just that blob? Return: 0, -EUCLEAN, -ENOMEM; *ret_count
 * fits @len. */
static int head_check(const uint8_t *p, size_t len, uint64_t id, uint64_t size, size_t *ret_count)
{
	struct lcm_digest sum;
	struct file_head h;
	uint64_t count;
	int r;

	if (len < sizeof(h) + sizeof(sum.b))
		return -EUCLEAN;
	memcpy(&h, p, sizeof(h));
	if (memcmp(h.magic, ranges_magic, sizeof(h.magic)) != 0 || h.version != htole32(1) ||
	    h.zero != 0)
		return -EUCLEAN;
	count = le64toh(h.count);
	if (le64toh(h.id) != id || le64toh(h.size) != size || count > LCM_RANGES_MAX)
		return -EUCLEAN;
	if (len != sizeof(h) + count * sizeof(struct file_range) + sizeof(sum.b))
		return -EUCLEAN;
	r = lcm_digest_of(p, len - sizeof(sum.b), &sum);
	if (r < 0)
		return r;
	*ret_count = (size_t)count;
	return memcmp(sum.b, p + len - sizeof(sum.b), sizeof(sum.b)) == 0 ? 0 : -EUCLEAN;
}

int lcm_ranges_decode(const void *p, size_t len, uint64_t id, uint64_t size, struct lcm_ranges *ret)
{
	const uint8_t *at = (const uint8_t *)p + sizeof(struct file_head);
	struct lcm_ranges rs = { 0 };
	uint64_t last = 0;
	size_t count = 0;
	int r = head_check(p, len, id, size, &count);

	for (size_t i = 0; r == 0 && i < count; i++, at += sizeof(struct file_range)) {
		struct file_range f;
		uint64_t off, end;

		memcpy(&f, at, sizeof(f));
		off = le64toh(f.off);
		if (__builtin_add_overflow(off, le64toh(f.len), &end) || end == off || end > size ||
		    (i > 0 && off <= last))
			r = -EUCLEAN;
		else
			r = lcm_ranges_add(&rs, off, end - off);
		last = end;
	}
	if (r < 0) {
		lcm_ranges_fini(&rs);
		return r;
	}
	*ret = rs;
	return 0;
}
