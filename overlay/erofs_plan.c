/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/erofs_plan.h"

#include <string.h>

/* ext4 with 4 KiB blocks, the smallest of the big file systems, ends here: so does REAL. */
#define FILE_BYTES_MAX (16ULL << 40)
/* Longest target of symlink(2): PATH_MAX with its NUL. */
#define SYMLINK_MAX 4095

/* ---- the mtime that most inodes share ---- */

#define TALLY_SLOTS 4096U
#define TALLY_PROBES 8U

struct tally {
	int64_t sec;
	uint32_t nsec;
	uint32_t count;
};

/* Everything a compact inode cannot say, but for the time. */
static bool fits_compact(const struct lcm_merge *m, uint32_t node, const struct lcm_toc_entry *e)
{
	return e->uid <= UINT16_MAX && e->gid <= UINT16_MAX && m->nodes[node].nlink <= UINT16_MAX &&
	       (e->type != LCM_TOC_REG || e->size <= UINT32_MAX);
}

/* Times that find no place in the table are not the most frequent ones of any real tree. */
static void tally_add(struct tally *t, int64_t sec, uint32_t nsec)
{
	uint64_t h = ((uint64_t)sec ^ (uint64_t)nsec << 32) * 0x9E3779B97F4A7C15ULL >> 52;

	for (unsigned int i = 0; i < TALLY_PROBES; i++) {
		struct tally *slot = &t[(h + i) % TALLY_SLOTS];

		if (slot->count > 0 && (slot->sec != sec || slot->nsec != nsec))
			continue;
		slot->sec = sec;
		slot->nsec = nsec;
		slot->count++;
		return;
	}
}

static int choose_build_time(struct lcm_erofs_plan *p)
{
	lcm_autofree struct tally *t = calloc(TALLY_SLOTS, sizeof(*t));
	const struct tally *best = t;

	if (!t)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->m->n_nodes; i++) {
		const struct lcm_toc_entry *e = lcm_merge_entry(p->m, i);

		if (fits_compact(p->m, i, e))
			tally_add(t, e->mtime, e->mtime_nsec);
	}
	for (size_t i = 1; i < TALLY_SLOTS; i++)
		if (t[i].count > best->count)
			best = &t[i];
	p->build_time = best->sec;
	p->build_time_nsec = best->nsec;
	return 0;
}

/* ---- what each node needs ---- */

struct planner {
	struct lcm_erofs_plan *p;
	struct lcm_err *err;
	uint64_t pos;        /* first free byte behind the inodes so far */
	uint64_t own_blocks; /* blocks of directories and symlinks so far */
};

static int refuse(struct planner *pn, uint32_t node, int code, const char *what)
{
	const struct lcm_merge_node *n = &pn->p->m->nodes[node];

	return lcm_merge_err(pn->p->m, n->layer, n->entry, pn->err, code, what);
}

static int plan_symlink(struct planner *pn, uint32_t node, const struct lcm_toc_entry *e,
			uint32_t *ret_bytes)
{
	const struct lcm_toc *toc = pn->p->m->layers[pn->p->m->nodes[node].layer].toc;

	if (e->link_len == 0 || memchr(lcm_toc_link(toc, e), 0, e->link_len))
		return refuse(
		    pn, node, -EUCLEAN,
		    "a symlink that no system call could make (empty target, or a NUL in it)");
	if (e->link_len > SYMLINK_MAX)
		return refuse(pn, node, -ENAMETOOLONG,
			      "the symlink's target is longer than 4095 bytes");
	*ret_bytes = e->link_len;
	return 0;
}

static int plan_dir(struct planner *pn, uint32_t node, uint32_t *ret_bytes)
{
	struct lcm_erofs_dir d = { .m = pn->p->m, .dir = node };
	uint64_t total = 0;
	uint32_t bytes, last = 0;

	while (lcm_erofs_dir_block(&d, NULL, &bytes) > 0) {
		total += last ? EROFS_BLOCK : 0;
		last = bytes;
	}
	total += last;
	if (total > UINT32_MAX)
		return refuse(pn, node, -EFBIG, "the directory is too large for EROFS");
	*ret_bytes = (uint32_t)total;
	return 0;
}

static int plan_regular(struct planner *pn, uint32_t node, const struct lcm_toc_entry *e,
			struct lcm_erofs_place *pl)
{
	pn->p->stats.regular++;
	if (e->size > FILE_BYTES_MAX)
		return refuse(pn, node, -EFBIG, "the file is larger than 16 TiB");
	if (e->size > 0)
		pl->layout = EROFS_CHUNK_BASED;
	pn->p->stats.bytes_regular += e->size;
	return 0;
}

/* The kernel keeps 12 bits of major and 20 of minor. */
static int plan_device(struct planner *pn, uint32_t node, const struct lcm_toc_entry *e)
{
	if (e->rdev_major > 0xfff || e->rdev_minor > 0xfffff)
		return refuse(pn, node, -EUCLEAN, "a device number that Linux does not have");
	return 0;
}

static int plan_content(struct planner *pn, uint32_t node, const struct lcm_toc_entry *e,
			struct lcm_erofs_place *pl)
{
	switch (e->type) {
	case LCM_TOC_DIR:
		return plan_dir(pn, node, &pl->data_bytes);
	case LCM_TOC_REG:
		return plan_regular(pn, node, e, pl);
	case LCM_TOC_SYMLINK:
		return plan_symlink(pn, node, e, &pl->data_bytes);
	case LCM_TOC_CHAR:
	case LCM_TOC_BLOCK:
		return plan_device(pn, node, e);
	case LCM_TOC_FIFO:
		return 0;
	default:
		return refuse(pn, node, -EUCLEAN, "unknown file type");
	}
}

/*
 * Place an inode whose data does not live in blocks of its own only. Inline data must
 * not cross a block; older kernels want a symlink's inode in the same block too,
 * so the whole of it goes into one block or the data goes into its own.
 */
static void place_inline(struct planner *pn, struct lcm_erofs_place *pl, size_t head)
{
	uint32_t tail = pl->data_bytes % EROFS_BLOCK, whole = pl->data_bytes / EROFS_BLOCK;

	if (tail > 0 && head + tail <= EROFS_BLOCK) {
		pl->layout = EROFS_FLAT_INLINE;
		if (pn->pos % EROFS_BLOCK + head + tail > EROFS_BLOCK)
			pn->pos = (pn->pos + EROFS_BLOCK - 1) / EROFS_BLOCK * EROFS_BLOCK;
		head += tail;
	} else if (tail > 0) {
		whole++;
	}
	pl->block = (uint32_t)pn->own_blocks;
	pn->own_blocks += whole;
	pl->slot = (uint32_t)(pn->pos / EROFS_SLOT);
	pn->pos += head;
}

static int plan_node(void *arg, uint32_t node, const char *redirect, size_t len)
{
	struct planner *pn = arg;
	const struct lcm_merge *m = pn->p->m;
	const struct lcm_toc_entry *e = lcm_merge_entry(m, node);
	struct lcm_erofs_place *pl = &pn->p->places[node];
	size_t head;
	int r;

	(void)redirect;
	r = plan_content(pn, node, e, pl);
	if (r < 0)
		return r;
	if (e->xattrs != LCM_TOC_NONE || len > 0 || m->raw) {
		r = lcm_erofs_xattr_plan(m, node, len, &pl->icount);
		if (r < 0)
			return refuse(pn, node, r,
				      "an extended attribute of 64 KiB or more, or 256 KiB of "
				      "them, do not fit in EROFS");
	}
	pl->extended = !fits_compact(m, node, e) || e->mtime != pn->p->build_time ||
		       e->mtime_nsec != pn->p->build_time_nsec;
	head = lcm_erofs_inode_bytes(pl) + lcm_erofs_xattr_bytes(pl->icount);
	if (pl->layout == EROFS_CHUNK_BASED)
		head += 4 * lcm_erofs_chunks(e->size);
	pn->pos = (pn->pos + EROFS_SLOT - 1) / EROFS_SLOT * EROFS_SLOT;
	place_inline(pn, pl, head);
	/* Slots are kept in 32 bits: 128 GiB of inodes, far above any tree within limits.h. */
	if (pn->pos / EROFS_SLOT >= UINT32_MAX || pn->own_blocks >= UINT32_MAX / 2)
		return lcm_err_set(pn->err, -EFBIG,
				   "the merged tree is too large for one EROFS image");
	return 0;
}

int lcm_erofs_plan_init(const struct lcm_merge *m, struct lcm_erofs_plan *p, struct lcm_err *err)
{
	struct lcm_erofs_plan out = { .m = m };
	struct planner pn = { .p = &out,
			      .err = err,
			      .pos = (uint64_t)EROFS_FIRST_SLOT * EROFS_SLOT };
	int r;

	out.places = calloc(m->n_nodes, sizeof(*out.places));
	if (!out.places)
		return -ENOMEM;
	r = choose_build_time(&out);
	if (r == 0)
		r = lcm_merge_walk(m, plan_node, &pn, err);
	if (r < 0) {
		lcm_erofs_plan_fini(&out);
		return r;
	}
	out.end = pn.pos;
	out.meta_blocks = (pn.pos + EROFS_BLOCK - 1) / EROFS_BLOCK;
	out.blocks = out.meta_blocks + pn.own_blocks;
	out.stats.inodes = m->n_nodes;
	out.stats.image_bytes = out.blocks * EROFS_BLOCK;
	*p = out;
	return 0;
}

void lcm_erofs_plan_fini(struct lcm_erofs_plan *p)
{
	free(p->places);
	p->places = NULL;
}
