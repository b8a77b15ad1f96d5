/* SPDX-License-Identifier: Apache-2.0 */
/* Layers out of bytes: every choice takes one byte, a drained input answers 0. */
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"
#include "tests/lib/meta_model.h"

struct gen {
	const uint8_t *p;
	size_t left;
	struct lcm_toc_builder *b;
	char paths[64][1200]; /* non-directories of this layer and those below, for hardlinks */
	size_t n_paths;
	char value[5000];
};

static unsigned int pick(struct gen *g, unsigned int n)
{
	if (g->left == 0)
		return 0;
	g->left--;
	return *g->p++ % n;
}

#define PICK(g, table) ((table)[pick(g, LCM_ARRAY_SIZE(table))])

static void pick_name(struct gen *g, char out[256])
{
	static const char *const names[] = {
		"a",        "b",          "c",  "dir",   "..a",          "!",
		".-",       ".x",         "-",  "bin\n", "\x01\xff\x7f", "a\\,:\"'",
		"name8byt", "name8bytes", "aa", "b.d"
	};
	unsigned int i = pick(g, LCM_ARRAY_SIZE(names) + 1);

	if (i < LCM_ARRAY_SIZE(names)) {
		(void)snprintf(out, 256, "%s", names[i]);
		return;
	}
	memset(out, 'L' + (int)pick(g, 3), 255);
	out[255] = '\0';
}

static size_t pick_path(struct gen *g, char *out, size_t cap)
{
	static const uint8_t depths[] = { 1, 1, 1, 2, 2, 2, 3, 4 };
	unsigned int depth = PICK(g, depths);
	size_t len = 0;

	for (unsigned int i = 0; i < depth; i++) {
		char name[256];

		pick_name(g, name);
		len += (size_t)snprintf(out + len, cap - len, "%s%s", i ? "/" : "", name);
	}
	return len;
}

static size_t pick_xattrs(struct gen *g, struct lcm_xattr *x, size_t max, bool acl)
{
	static const char *const names[] = { "user.a",
					     "security.capability",
					     "trusted.x",
					     "user.b",
					     "user.overlay.opaque",
					     "trusted.overlay.redirect",
					     "com.apple.quarantine",
					     "user.",
					     "security.selinux" };
	static const uint8_t acl_value[] = { 2,   0,   0,   0,   1,   0,   7,  0,   255, 255, 255,
					     255, 2,   0,   4,   0,   232, 3,  0,   0,   4,   0,
					     4,   0,   255, 255, 255, 255, 16, 0,   4,   0,   255,
					     255, 255, 255, 32,  0,   0,   0,  255, 255, 255, 255 };
	static const uint8_t cap_value[20] = { 1, 0, 0, 2, 0, 4 };
	static const uint16_t lens[] = { 0, 1, 3, 4, 20, 300, 4000 };
	size_t n = pick(g, 8), used = 0;

	if (n > max)
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (acl && i == 2) {
			x[used++] = (struct lcm_xattr){ .name = "system.posix_acl_access",
							.value = acl_value,
							.value_len = sizeof(acl_value) };
		} else {
			x[used].name =
			    names[(pick(g, LCM_ARRAY_SIZE(names)) + i) % LCM_ARRAY_SIZE(names)];
			x[used].value = (const uint8_t *)g->value;
			x[used++].value_len = PICK(g, lens);
			if (!strcmp(x[used - 1].name,
				    "security.capability")) { /* the kernel shows no others */
				x[used - 1].value = cap_value;
				x[used - 1].value_len = sizeof(cap_value);
			}
		}
		x[used - 1].name_len = (uint16_t)strlen(x[used - 1].name);
		for (size_t j = 0; j + 1 < used; j++)
			if (!strcmp(x[j].name, x[used - 1].name)) {
				used--;
				break;
			}
	}
	return used;
}

static void pick_metadata(struct gen *g, struct lcm_toc_item *it, struct lcm_xattr *x, size_t max)
{
	static const uint32_t modes[] = { 0755, 0644, 0, 07777, 04755, 02711, 01777 };
	static const uint32_t ids[] = { 0, 0, 0, 1000, 65535, 65536, 4294967294U };
	static const int64_t times[] = { 0, 0, 0, 1700000000, -1, -5000000000, 100000000000 };
	static const uint32_t nsecs[] = { 0, 0, 0, 1, 999999999 };

	it->mode = PICK(g, modes);
	it->uid = PICK(g, ids);
	it->gid = PICK(g, ids);
	it->mtime = PICK(g, times);
	it->mtime_nsec = PICK(g, nsecs);
	it->xattrs = x;
	it->n_xattrs = pick_xattrs(g, x, max, it->type == LCM_TOC_DIR || it->type == LCM_TOC_REG);
}

static void remember(struct gen *g, const char *path)
{
	size_t at = g->n_paths++ % LCM_ARRAY_SIZE(g->paths);

	(void)snprintf(g->paths[at], sizeof(g->paths[0]), "%s", path);
}

static void pick_content(struct gen *g, struct lcm_toc_item *it, char *target)
{
	static const uint64_t sizes[] = { 0,          1,           4096,       5000,
					  0xffffffff, 0x100000000, 5ULL << 30, (8ULL << 40) - 1,
					  8ULL << 40, 16ULL << 40 };
	static const uint16_t links[] = { 1, 10, 100, 1000, 4000, 4032, 4095 };

	if (it->type == LCM_TOC_REG)
		it->size = PICK(g, sizes);
	if (it->type == LCM_TOC_SYMLINK) {
		it->link_len = PICK(g, links);
		memset(target, 't', it->link_len);
		it->link = target;
		it->size = it->link_len;
	}
	if (it->type == LCM_TOC_CHAR || it->type == LCM_TOC_BLOCK) {
		it->rdev_major = pick(g, 4) * 1365;
		it->rdev_minor = pick(g, 5) * 262143;
	}
}

/* Failure of one item (a name below a file...) is part of the game: it is left out. */
static void add_item(struct gen *g)
{
	static const uint8_t types[] = { LCM_TOC_REG,      LCM_TOC_REG,      LCM_TOC_REG,
					 LCM_TOC_DIR,      LCM_TOC_DIR,      LCM_TOC_SYMLINK,
					 LCM_TOC_CHAR,     LCM_TOC_BLOCK,    LCM_TOC_FIFO,
					 LCM_TOC_WHITEOUT, LCM_TOC_WHITEOUT, LCM_TOC_HARDLINK };
	struct lcm_toc_item it = { .type = PICK(g, types) };
	struct lcm_xattr x[8];
	char path[1200], target[4096];
	bool whiteout = it.type == LCM_TOC_WHITEOUT, opaque = whiteout && pick(g, 3) == 0;
	char *slash;

	it.path_len = pick_path(g, path, sizeof(path) - 32);
	it.path = path;
	if (opaque) {
		it.path_len += (size_t)snprintf(path + it.path_len, 32, "/.wh..wh..opq");
	} else if (whiteout) {
		slash = strrchr(path, '/');
		slash = slash ? slash + 1 : path;
		if (strlen(slash) > 250)
			return;
		memmove(slash + 4, slash, strlen(slash) + 1);
		memcpy(slash, ".wh.", 4);
		it.path_len += 4;
	}
	if (whiteout)
		it.type = LCM_TOC_REG;
	if (it.type == LCM_TOC_HARDLINK) {
		if (g->n_paths == 0)
			return;
		it.link =
		    g->paths[pick(g, (unsigned int)LCM_MIN(g->n_paths, LCM_ARRAY_SIZE(g->paths)))];
		it.link_len = strlen(it.link);
	}
	if (!whiteout)
		pick_metadata(g, &it, x, LCM_ARRAY_SIZE(x));
	pick_content(g, &it, target);
	if (whiteout)
		it.size = 0;
	if (lcm_toc_builder_add(g->b, &it, NULL) == 0 && !whiteout && it.type != LCM_TOC_DIR &&
	    it.type != LCM_TOC_HARDLINK)
		remember(g, path);
}

/* A directory of several blocks. */
static void add_many(struct gen *g)
{
	unsigned int n = pick(g, 256) * 2, width = 1 + pick(g, 200);
	char dir[1200], path[2000];
	struct lcm_toc_item it = { .type = LCM_TOC_REG, .path = path, .mode = 0644 };

	(void)pick_path(g, dir, sizeof(dir));
	for (unsigned int i = 0; i < n; i++) {
		it.path_len = (size_t)snprintf(path, sizeof(path), "%s/%0*u", dir, (int)width, i);
		it.size = i % 3;
		lcm_ignore(lcm_toc_builder_add(g->b, &it, NULL));
	}
}

static void add_root(struct gen *g)
{
	struct lcm_toc_item it = { .type = LCM_TOC_DIR, .path = "./", .path_len = 2 };
	struct lcm_xattr x[8];

	pick_metadata(g, &it, x, LCM_ARRAY_SIZE(x));
	lcm_ignore(lcm_toc_builder_add(g->b, &it, NULL));
}

static bool add_layer(struct gen *g, int dirfd, const char *file, struct lcm_toc **ret)
{
	struct lcm_toc_id id = { .compression = LCM_COMP_GZIP, .blob_size = 1, .blob = { { 1 } } };
	lcm_auto(lcm_toc_builder) b = NULL;
	unsigned int items = pick(g, 28), i;

	if (lcm_toc_builder_new(&b) < 0)
		abort();
	g->b = b;
	if (pick(g, 2))
		add_root(g);
	for (i = 0; i < items && g->left > 0; i++) {
		if (pick(g, 32) == 31)
			add_many(g);
		else
			add_item(g);
	}
	return lcm_toc_builder_finish(b, &id, dirfd, file, false, NULL) == 0 &&
	       lcm_toc_open(dirfd, file, ret, NULL) == 0;
}

/* Can it be on top of those that are there? */
static bool fits(struct mm_layers *l, struct lcm_toc *toc, const char *name)
{
	struct mm_model m;
	bool bad;

	l->l[l->n] = (struct lcm_meta_layer){ .name = name, .toc = toc };
	mm_build(&m, l->l, l->n + 1);
	bad = m.bad;
	mm_fini(&m);
	return !bad;
}

void mm_generate(const uint8_t *data, size_t size, int dirfd, struct mm_layers *ret)
{
	static const char *const names[MM_LAYERS_MAX] = { "l1", "2", "sha256-0123456789abcdef",
							  "l4", "e" };
	lcm_autofree struct gen *g = calloc(1, sizeof(*g));
	unsigned int n;

	if (!g)
		abort();
	*ret = (struct mm_layers){ 0 };
	g->p = data;
	g->left = size;
	for (size_t i = 0; i < sizeof(g->value); i++)
		g->value[i] = (char)(i * 7);
	n = pick(g, MM_LAYERS_MAX + 1);
	for (unsigned int i = 0; i < n; i++) {
		struct lcm_toc *toc = NULL;

		if (!add_layer(g, dirfd, names[ret->n], &toc))
			continue; /* e.g. a hardlink whose target was replaced by a directory */
		if (fits(ret, toc, names[ret->n])) {
			ret->n++;
			continue;
		}
		lcm_toc_close(ret->refused);
		ret->refused = toc;
		ret->refused_on = ret->n;
	}
}

void mm_layers_fini(struct mm_layers *l)
{
	for (size_t i = 0; i < l->n; i++)
		lcm_toc_close((struct lcm_toc *)(uintptr_t)l->l[i].toc);
	l->n = 0;
	lcm_toc_close(l->refused);
	l->refused = NULL;
}
