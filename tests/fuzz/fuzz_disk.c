/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers lcm_disk_map_*(), lcm_disk_translate() and lcm_disk_untranslate(). The input is rows of
 * both tables and requests, 20 bytes each. Whatever the tables say: no location outside the owner's
 * objects, no state for the guest, nothing beyond an object's end, no write to what is read-only;
 * and what was translated translates back.
 */
#include <stdio.h>
#include <string.h>

#include "unit/disk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROW 20

struct row {
	unsigned int what, a, b, flags;
	uint64_t off, len;
};

static struct row take(const uint8_t *p)
{
	struct row r = { .what = p[0] % 3, .a = p[1], .b = p[2], .flags = p[3] };

	memcpy(&r.off, p + 4, sizeof(r.off));
	memcpy(&r.len, p + 12, sizeof(r.len));
	return r;
}

/* Few names, so that they meet; now and then one without end. */
static void name(char *out, size_t size, char kind, unsigned int n)
{
	if (n == 0xff)
		memset(out, kind, size);
	else
		(void)snprintf(out, size, "%c%u", kind, n % 4);
}

static void add_object(struct lcm_disk_map *m, const struct row *r)
{
	struct lcm_disk_object o = { .size = r->len,
				     .flags = r->flags % 8,
				     .handle = (int)r->what };

	name(o.unit, sizeof(o.unit), 'u', r->a);
	name(o.owner, sizeof(o.owner), 'w', r->b);
	name(o.name, sizeof(o.name), 'o', (unsigned int)r->off);
	lcm_ignore(lcm_disk_map_object(m, &o));
}

static void add_vdisk(struct lcm_disk_map *m, const struct row *r)
{
	struct lcm_disk_vdisk v = { .start = r->off, .len = r->len, .writable = r->flags & 1 };

	name(v.owner, sizeof(v.owner), 'w', r->a);
	name(v.name, sizeof(v.name), 'd', r->a >> 2);
	name(v.unit, sizeof(v.unit), 'u', r->b);
	name(v.object, sizeof(v.object), 'o', r->b >> 2);
	lcm_ignore(lcm_disk_map_vdisk(m, &v));
}

static void check(const struct lcm_disk_map *m, const struct lcm_disk_who *who, const char *disk,
		  enum lcm_disk_op op, const struct row *r, const struct lcm_disk_loc *l)
{
	const struct lcm_disk_object *o = l->object;
	bool writes = op == LCM_DISK_WRITE || op == LCM_DISK_TRIM || op == LCM_DISK_ZERO, writable;
	uint64_t end, off, len, size;

	if (strcmp(o->owner, who->owner) != 0)
		abort();
	if (who->side == LCM_DISK_GUEST && !(o->flags & LCM_DISK_FOR_GUEST))
		abort();
	if (lcm_disk_size(m, who, disk, &size, &writable) < 0 || size > o->size)
		abort();
	if (writes && !(writable && (o->flags & LCM_DISK_WRITABLE)))
		abort();
	if (!l->len)
		return;
	if (__builtin_add_overflow(l->off, l->len, &end) || end > o->size || l->len != r->len ||
	    r->off >= size)
		abort();
	if (lcm_disk_untranslate(m, who, disk, l, &off, &len) < 0 || off != r->off || len != r->len)
		abort();
}

static void request(const struct lcm_disk_map *m, const struct row *r)
{
	char owner[8], disk[8];
	struct lcm_disk_who who = { owner, r->flags & 1 ? LCM_DISK_HOST : LCM_DISK_GUEST };
	enum lcm_disk_op op = (enum lcm_disk_op)((r->flags >> 1) % (LCM_DISK_OP_MAX + 1));
	struct lcm_disk_loc l = { NULL, 1, 2 }, before = l;
	int ret;

	name(owner, sizeof(owner), 'w', r->a % 4);
	name(disk, sizeof(disk), 'd', r->b % 4);
	ret = lcm_disk_translate(m, &who, disk, op, r->off, r->len, &l);
	if (ret < 0 ? memcmp(&l, &before, sizeof(l)) != 0 : !l.object)
		abort();
	if (ret == 0)
		check(m, &who, disk, op, r, &l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lcm_disk_map *m = lcm_disk_map_new();

	if (!m)
		return 0;
	for (; size >= ROW; data += ROW, size -= ROW) {
		struct row r = take(data);

		if (r.what == 0)
			add_object(m, &r);
		else if (r.what == 1)
			add_vdisk(m, &r);
		else
			request(m, &r);
	}
	lcm_disk_map_free(m);
	return 0;
}
