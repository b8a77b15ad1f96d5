/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/disk.h"

#include <string.h>

struct lcm_disk_map {
	struct lcm_disk_object *objects; /* owned, as the other */
	struct lcm_disk_vdisk *vdisks;
	size_t n_objects, n_vdisks;
};

struct lcm_disk_map *lcm_disk_map_new(void)
{
	return calloc(1, sizeof(struct lcm_disk_map));
}

void lcm_disk_map_free(struct lcm_disk_map *m)
{
	if (!m)
		return;
	free(m->objects);
	free(m->vdisks);
	free(m);
}

static bool name_ok(const char *s, size_t size)
{
	return s[0] && memchr(s, '\0', size);
}

static const struct lcm_disk_object *find_object(const struct lcm_disk_map *m, const char *unit,
						 const char *name)
{
	for (size_t i = 0; i < m->n_objects; i++)
		if (strcmp(m->objects[i].unit, unit) == 0 && strcmp(m->objects[i].name, name) == 0)
			return &m->objects[i];
	return NULL;
}

static const struct lcm_disk_vdisk *find_vdisk(const struct lcm_disk_map *m, const char *owner,
					       const char *name)
{
	for (size_t i = 0; i < m->n_vdisks; i++)
		if (strcmp(m->vdisks[i].owner, owner) == 0 && strcmp(m->vdisks[i].name, name) == 0)
			return &m->vdisks[i];
	return NULL;
}

int lcm_disk_map_object(struct lcm_disk_map *m, const struct lcm_disk_object *o)
{
	struct lcm_disk_object *p;

	if (!name_ok(o->unit, sizeof(o->unit)) || !name_ok(o->owner, sizeof(o->owner)) ||
	    !name_ok(o->name, sizeof(o->name)) || (o->flags & ~LCM_DISK_FLAGS))
		return -EINVAL;
	for (size_t i = 0; i < m->n_objects; i++)
		if (strcmp(m->objects[i].unit, o->unit) == 0 &&
		    (strcmp(m->objects[i].owner, o->owner) != 0 ||
		     strcmp(m->objects[i].name, o->name) == 0))
			return -EEXIST;
	if (m->n_objects == LCM_DISK_ROWS)
		return -E2BIG;
	p = reallocarray(m->objects, m->n_objects + 1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	m->objects = p;
	p[m->n_objects++] = *o;
	return 0;
}

int lcm_disk_map_vdisk(struct lcm_disk_map *m, const struct lcm_disk_vdisk *v)
{
	struct lcm_disk_vdisk *p;

	if (!name_ok(v->owner, sizeof(v->owner)) || !name_ok(v->name, sizeof(v->name)) ||
	    !name_ok(v->unit, sizeof(v->unit)) || !name_ok(v->object, sizeof(v->object)))
		return -EINVAL;
	if (find_vdisk(m, v->owner, v->name))
		return -EEXIST;
	if (m->n_vdisks == LCM_DISK_ROWS)
		return -E2BIG;
	p = reallocarray(m->vdisks, m->n_vdisks + 1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	m->vdisks = p;
	p[m->n_vdisks++] = *v;
	return 0;
}

/* Where @disk is, and that @who may be there at all. */
static int locate(const struct lcm_disk_map *m, const struct lcm_disk_who *who, const char *disk,
		  const struct lcm_disk_vdisk **ret_v, const struct lcm_disk_object **ret_o)
{
	const struct lcm_disk_vdisk *v = find_vdisk(m, who->owner, disk);
	const struct lcm_disk_object *o = v ? find_object(m, v->unit, v->object) : NULL;

	if (!o)
		return -ENOENT;
	if (strcmp(o->owner, who->owner) != 0)
		return -EACCES;
	if (who->side != LCM_DISK_HOST && !(o->flags & LCM_DISK_FOR_GUEST))
		return -EACCES;
	*ret_v = v;
	*ret_o = o;
	return 0;
}

/* What of the object the disk really has: its row may promise more. */
static uint64_t usable(const struct lcm_disk_vdisk *v, const struct lcm_disk_object *o)
{
	return v->start < o->size ? LCM_MIN(v->len, o->size - v->start) : 0;
}

static bool writes(enum lcm_disk_op op)
{
	return op == LCM_DISK_WRITE || op == LCM_DISK_TRIM || op == LCM_DISK_ZERO;
}

int lcm_disk_translate(const struct lcm_disk_map *m, const struct lcm_disk_who *who,
		       const char *disk, enum lcm_disk_op op, uint64_t off, uint64_t len,
		       struct lcm_disk_loc *ret)
{
	bool whole = op == LCM_DISK_OPEN || op == LCM_DISK_FLUSH;
	const struct lcm_disk_vdisk *v;
	const struct lcm_disk_object *o;
	uint64_t end, first;
	int r = locate(m, who, disk, &v, &o);

	if (r < 0)
		return r;
	if ((unsigned int)op >= LCM_DISK_OP_MAX || (whole ? off || len : !len))
		return -EINVAL;
	if (writes(op) && !(v->writable && (o->flags & LCM_DISK_WRITABLE)))
		return -EROFS;
	if (__builtin_add_overflow(off, len, &end) || end > usable(v, o) ||
	    __builtin_add_overflow(v->start, off, &first))
		return op == LCM_DISK_WRITE || op == LCM_DISK_ZERO ? -ENOSPC : -EINVAL;
	*ret = (struct lcm_disk_loc){ .object = o, .off = first, .len = len };
	return 0;
}

int lcm_disk_untranslate(const struct lcm_disk_map *m, const struct lcm_disk_who *who,
			 const char *disk, const struct lcm_disk_loc *loc, uint64_t *ret_off,
			 uint64_t *ret_len)
{
	const struct lcm_disk_vdisk *v;
	const struct lcm_disk_object *o;
	uint64_t first, end, loc_end;
	int r = locate(m, who, disk, &v, &o);

	if (r < 0)
		return r;
	if (loc->object != o)
		return -ERANGE;
	if (__builtin_add_overflow(loc->off, loc->len, &loc_end))
		loc_end = UINT64_MAX;
	first = LCM_MAX(loc->off, v->start);
	end = LCM_MIN(loc_end, v->start + usable(v, o));
	if (first >= end)
		return -ERANGE;
	*ret_off = first - v->start;
	*ret_len = end - first;
	return 0;
}

int lcm_disk_size(const struct lcm_disk_map *m, const struct lcm_disk_who *who, const char *disk,
		  uint64_t *ret, bool *ret_writable)
{
	const struct lcm_disk_vdisk *v;
	const struct lcm_disk_object *o;
	int r = locate(m, who, disk, &v, &o);

	if (r < 0)
		return r;
	*ret = usable(v, o);
	if (ret_writable)
		*ret_writable = v->writable && (o->flags & LCM_DISK_WRITABLE);
	return 0;
}
