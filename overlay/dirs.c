/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/dirs.h"

#include <string.h>

#include "src/base/sys.h"

#define SLOTS_MIN 256

static const char *rec_path(const struct lcm_dirs *t, const struct lcm_dir_record *r)
{
	return t->paths.data + r->path;
}

static uint64_t path_hash(const struct lcm_dirs *t, const char *s, size_t len)
{
	uint64_t h = t->seed;

	for (size_t i = 0; i < len; i++) {
		h = (h ^ (uint8_t)s[i]) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 29;
	}
	return h;
}

static size_t slot_of(const struct lcm_dirs *t, const char *path, size_t len)
{
	size_t i = path_hash(t, path, len) & (t->n_slots - 1);

	for (; t->slots[i]; i = (i + 1) & (t->n_slots - 1)) {
		const struct lcm_dir_record *r = &t->recs[t->slots[i] - 1];

		if (r->path_len == len && memcmp(rec_path(t, r), path, len) == 0)
			break;
	}
	return i;
}

static int slots_grow(struct lcm_dirs *t)
{
	size_t n = t->n_slots ? t->n_slots * 2 : SLOTS_MIN;
	uint32_t *slots;

	if (t->n_slots && (t->n + 1) * 2 <= t->n_slots)
		return 0;
	slots = calloc(n, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	free(t->slots);
	t->slots = slots;
	t->n_slots = n;
	for (size_t i = 0; i < t->n; i++)
		t->slots[slot_of(t, rec_path(t, &t->recs[i]), t->recs[i].path_len)] = (uint32_t)i +
										      1;
	return 0;
}

static int recs_grow(struct lcm_dirs *t)
{
	size_t cap = t->cap ? t->cap * 2 : 64;
	struct lcm_dir_record *recs;

	if (t->n == LCM_TOC_ENTRIES_MAX)
		return -EFBIG;
	if (t->n < t->cap)
		return 0;
	recs = realloc(t->recs, cap * sizeof(*recs));
	if (!recs)
		return -ENOMEM;
	t->recs = recs;
	t->cap = cap;
	return 0;
}

int lcm_dirs_init(struct lcm_dirs *t)
{
	struct lcm_dir_record *root;

	*t = (struct lcm_dirs){ .paths = LCM_BUF((size_t)1 << 30),
				.seed = (uint64_t)(uintptr_t)t ^ lcm_now_ns() };
	return lcm_dirs_add(t, "", 0, &root);
}

void lcm_dirs_fini(struct lcm_dirs *t)
{
	for (size_t i = 0; i < t->n; i++)
		free((void *)(uintptr_t)t->recs[i].attr.xattrs);
	free(t->recs);
	free(t->slots);
	lcm_buf_fini(&t->paths);
	*t = (struct lcm_dirs){ 0 };
}

struct lcm_dir_record *lcm_dirs_find(const struct lcm_dirs *t, const char *path, size_t len)
{
	uint32_t slot = t->slots[slot_of(t, path, len)];

	return slot && !t->recs[slot - 1].gone ? &t->recs[slot - 1] : NULL;
}

static void rec_reset(struct lcm_dir_record *r)
{
	r->attr = (struct lcm_layer_attr){ .mode = 0755 };
	r->opaque = r->whiteouts = r->listed = r->links = false;
	r->gone = false;
}

int lcm_dirs_add(struct lcm_dirs *t, const char *path, size_t len, struct lcm_dir_record **ret)
{
	struct lcm_dir_record *rec;
	size_t at = t->paths.len, i;
	int r = slots_grow(t);

	if (r == 0)
		r = recs_grow(t);
	if (r < 0)
		return r;
	i = slot_of(t, path, len);
	if (t->slots[i]) {
		rec = &t->recs[t->slots[i] - 1];
		if (rec->gone)
			rec_reset(rec);
		*ret = rec;
		return 0;
	}
	r = lcm_buf_add(&t->paths, path, len);
	if (r == 0)
		r = lcm_buf_add(&t->paths, "", 1);
	if (r < 0)
		return r;
	rec = &t->recs[t->n++];
	*rec = (struct lcm_dir_record){ .path = at, .path_len = (uint32_t)len };
	rec_reset(rec);
	t->slots[i] = (uint32_t)t->n;
	*ret = rec;
	return 0;
}

/* One allocation: the array, then names and values. */
static struct lcm_xattr *xattrs_copy(const struct lcm_xattr *x, size_t n)
{
	size_t bytes = n * sizeof(*x);
	struct lcm_xattr *list;
	char *p;

	for (size_t i = 0; i < n; i++)
		bytes += (size_t)x[i].name_len + 1 + x[i].value_len;
	list = malloc(bytes);
	if (!list)
		return NULL;
	p = (char *)(list + n);
	for (size_t i = 0; i < n; i++) {
		list[i] = x[i];
		list[i].name = memcpy(p, x[i].name, (size_t)x[i].name_len + 1);
		p += (size_t)x[i].name_len + 1;
		list[i].value = (uint8_t *)p;
		if (x[i].value_len)
			memcpy(p, x[i].value, x[i].value_len);
		p += x[i].value_len;
	}
	return list;
}

int lcm_dirs_describe(struct lcm_dir_record *rec, const struct lcm_tar_entry *e)
{
	struct lcm_xattr *xattrs = NULL;

	if (e->n_xattrs) {
		xattrs = xattrs_copy(e->xattrs, e->n_xattrs);
		if (!xattrs)
			return -ENOMEM;
	}
	free((void *)(uintptr_t)rec->attr.xattrs);
	rec->attr = (struct lcm_layer_attr){
		.mode = e->mode,
		.uid = e->uid,
		.gid = e->gid,
		.mtime = e->mtime,
		.mtime_nsec = e->mtime_nsec,
		.xattrs = xattrs,
		.n_xattrs = e->n_xattrs,
	};
	rec->listed = true;
	return 0;
}

void lcm_dirs_gone(struct lcm_dirs *t, const char *path, size_t len)
{
	for (size_t i = 0; i < t->n; i++) {
		struct lcm_dir_record *r = &t->recs[i];

		if (r->path_len < len || memcmp(rec_path(t, r), path, len) != 0 ||
		    (r->path_len > len && rec_path(t, r)[len] != '/'))
			continue;
		free((void *)(uintptr_t)r->attr.xattrs);
		rec_reset(r);
		r->gone = true;
	}
}

int lcm_dir_apply(struct lcm_layer_dir *d, const char *path, const struct lcm_layer_attr *a,
		  unsigned int marks, struct lcm_err *err)
{
	static const struct {
		const char *name, *value;
	} xattrs[] = { { LCM_XATTR_OPAQUE, "y" },
		       { LCM_XATTR_WHITEOUTS, "" },
		       { LCM_XATTR_IMPLIED, "" },
		       { LCM_XATTR_LINKS, "" } };
	lcm_autoclose int fd = lcm_sys_open_beneath(d->root, path[0] ? path : ".",
						    O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	int r;

	if (fd < 0)
		return lcm_layer_fail(err, fd, path, "cannot open the directory");
	for (unsigned int i = 0; i < LCM_ARRAY_SIZE(xattrs); i++) {
		if (!(marks & 1U << i))
			continue;
		r = lcm_sys_fsetxattr(fd, xattrs[i].name, xattrs[i].value, strlen(xattrs[i].value));
		if (r < 0)
			return lcm_layer_fail(err, r, path,
					      "cannot mark the directory with an overlay xattr");
	}
	return lcm_layer_attr_set(fd, a, path, err);
}

static unsigned int marks_of(const struct lcm_dir_record *rec)
{
	return (rec->opaque ? LCM_DIR_OPAQUE : 0U) | (rec->whiteouts ? LCM_DIR_WHITEOUTS : 0U) |
	       (rec->listed ? 0U : LCM_DIR_IMPLIED) | (rec->links ? LCM_DIR_LINKS : 0U);
}

int lcm_dirs_apply(const struct lcm_dirs *t, struct lcm_layer_dir *d, struct lcm_err *err)
{
	int r = 0;

	for (size_t i = 0; i < t->n && r == 0; i++)
		if (!t->recs[i].gone)
			r = lcm_dir_apply(d, rec_path(t, &t->recs[i]), &t->recs[i].attr,
					  marks_of(&t->recs[i]), err);
	return r;
}
