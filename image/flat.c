/* SPDX-License-Identifier: Apache-2.0 */
#include "image/flat.h"

#include <endian.h>
#include <string.h>

#define OFFSET 4 /* bytes of a uoffset_t */

/* A little-endian number of @width bytes; they have been checked to be there. */
static uint64_t number(const struct lcm_flat *f, size_t at, size_t width)
{
	uint64_t v = 0;

	memcpy(&v, f->p + at, width);
	return le64toh(v);
}

static bool has(struct lcm_flat *f, size_t at, size_t n)
{
	if (at <= f->len && n <= f->len - at)
		return true;
	f->bad = true;
	return false;
}

/* What the offset at @at points to. Return: false when it is not at least @n bytes in the buffer.
 */
static bool follow(struct lcm_flat *f, size_t at, size_t n, size_t *ret)
{
	size_t to;

	if (!has(f, at, OFFSET))
		return false;
	to = at + (size_t)number(f, at, OFFSET);
	if (to == at) {
		f->bad = true;
		return false;
	}
	*ret = to;
	return has(f, to, n);
}

static struct lcm_flat_table table_behind(struct lcm_flat *f, size_t at)
{
	struct lcm_flat_table none = { 0 }, t = { .f = f };
	int64_t vtable;

	if (!follow(f, at, 4, &t.at))
		return none;
	vtable = (int64_t)t.at - (int32_t)(uint32_t)number(f, t.at, 4);
	if (vtable < 0 || !has(f, (size_t)vtable, 4)) {
		f->bad = true;
		return none;
	}
	t.vtable = (size_t)vtable;
	t.vtable_len = (size_t)number(f, t.vtable, 2);
	t.len = (size_t)number(f, t.vtable + 2, 2);
	if (t.vtable_len < 4 || t.len < 4 || !has(f, t.vtable, t.vtable_len) ||
	    !has(f, t.at, t.len)) {
		f->bad = true;
		return none;
	}
	return t;
}

struct lcm_flat_table lcm_flat_open(struct lcm_flat *f, const void *p, size_t len)
{
	*f = (struct lcm_flat){ .p = p, .len = len, .left = len };
	return table_behind(f, 0);
}

/* Where the field is. Return: false when it is absent or damaged. */
static bool field(const struct lcm_flat_table *t, unsigned int slot, size_t width, size_t *ret)
{
	size_t in_vtable = 4 + 2 * (size_t)slot, off;

	if (!t->f || in_vtable + 2 > t->vtable_len)
		return false;
	off = (size_t)number(t->f, t->vtable + in_vtable, 2);
	if (off == 0)
		return false;
	if (off < 4 || off > t->len || width > t->len - off) {
		t->f->bad = true;
		return false;
	}
	*ret = t->at + off;
	return true;
}

int64_t lcm_flat_int(const struct lcm_flat_table *t, unsigned int slot, size_t width,
		     int64_t otherwise)
{
	unsigned int unused = 64 - 8 * (unsigned int)width;
	size_t at;

	if (!field(t, slot, width, &at))
		return otherwise;
	return (int64_t)(number(t->f, at, width) << unused) >> unused;
}

struct lcm_flat_table lcm_flat_table(const struct lcm_flat_table *t, unsigned int slot)
{
	size_t at;

	if (!field(t, slot, OFFSET, &at))
		return (struct lcm_flat_table){ 0 };
	return table_behind(t->f, at);
}

static const char *string_behind(struct lcm_flat *f, size_t at, size_t *ret_len)
{
	size_t to, n;

	*ret_len = 0;
	if (!follow(f, at, 4, &to))
		return "";
	n = (size_t)number(f, to, 4);
	if (!has(f, to + 4, n + 1))
		return "";
	if (f->p[to + 4 + n] != '\0') {
		f->bad = true;
		return "";
	}
	*ret_len = n;
	return (const char *)f->p + to + 4;
}

const char *lcm_flat_string(const struct lcm_flat_table *t, unsigned int slot, size_t *ret_len)
{
	size_t at;

	*ret_len = 0;
	return field(t, slot, OFFSET, &at) ? string_behind(t->f, at, ret_len) : "";
}

struct lcm_flat_vector lcm_flat_vector(const struct lcm_flat_table *t, unsigned int slot,
				       size_t width)
{
	struct lcm_flat_vector v = { .f = t->f };
	size_t at, to, bytes;

	if (!field(t, slot, OFFSET, &at) || !follow(t->f, at, 4, &to))
		return v;
	bytes = (size_t)number(t->f, to, 4) * width;
	if (!has(t->f, to + 4, bytes))
		return v;
	if (bytes > t->f->left) {
		t->f->bad = true;
		return v;
	}
	t->f->left -= bytes;
	v.at = to + 4;
	v.n = bytes / width;
	return v;
}

const uint8_t *lcm_flat_bytes(const struct lcm_flat_vector *v)
{
	return v->n ? v->f->p + v->at : NULL;
}

struct lcm_flat_table lcm_flat_table_at(const struct lcm_flat_vector *v, size_t i)
{
	return table_behind(v->f, v->at + i * OFFSET);
}

const char *lcm_flat_string_at(const struct lcm_flat_vector *v, size_t i, size_t *ret_len)
{
	return string_behind(v->f, v->at + i * OFFSET, ret_len);
}
