/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/erofs_plan.h"

#include <endian.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/sys.h"

/* Written at once; larger than the largest inode (64 + 256 KiB of xattrs + a block), small enough
 * for the cache. */
#define WINDOW (1U << 20)

struct writer {
	const struct lcm_erofs_plan *p;
	int fd;
	uint8_t *buf; /* image bytes [off, off + len); zeros behind them up to WINDOW */
	uint64_t off; /* a multiple of the block size */
	size_t len;
	struct lcm_erofs_dirent *dirents; /* scratch, EROFS_DIRENTS_MAX */
};

/* CRC-32C as the kernel's crc32c(): all ones to begin with, not inverted at the end. 3 KiB once: no
 * table. */
static uint32_t crc32c(const uint8_t *p, size_t len)
{
	uint32_t crc = ~0U;

	for (size_t i = 0; i < len; i++) {
		crc ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0x82F63B78U & -(crc & 1));
	}
	return crc;
}

static void set_checksum(uint8_t *block)
{
	uint32_t crc =
	    htole32(crc32c(block + EROFS_SUPER_OFFSET, EROFS_BLOCK - EROFS_SUPER_OFFSET));

	memcpy(block + EROFS_SUPER_OFFSET + offsetof(struct erofs_super, checksum), &crc,
	       sizeof(crc));
}

/* Write the first @n bytes (whole blocks) of the window. */
static int flush(struct writer *w, size_t n)
{
	int r;

	if (w->off == 0)
		set_checksum(w->buf);
	r = lcm_sys_pwrite_full(w->fd, w->buf, n, w->off);
	if (r < 0)
		return r;
	memmove(w->buf, w->buf + n, w->len - n);
	memset(w->buf + w->len - n, 0, n);
	w->off += n;
	w->len -= n;
	return 0;
}

/* Make image bytes [pos, pos + n) part of the window; pos never goes back. *ret: where they are,
 * zeroed. */
static int reserve(struct writer *w, uint64_t pos, size_t n, uint8_t **ret)
{
	int r = 0;

	if (pos - w->off + n > WINDOW)
		r = flush(w, w->len / EROFS_BLOCK * EROFS_BLOCK);
	if (r < 0)
		return r;
	*ret = w->buf + (pos - w->off);
	w->len = (size_t)(pos - w->off) + n;
	return 0;
}

/* Linux new_encode_dev(). */
static uint32_t encode_dev(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | major << 8 | (minor & ~0xffU) << 12;
}

static uint16_t mode_of(const struct lcm_toc_entry *e)
{
	static const uint16_t types[LCM_TOC_TYPE_MAX] = {
		[LCM_TOC_DIR] = S_IFDIR,  [LCM_TOC_REG] = S_IFREG,   [LCM_TOC_SYMLINK] = S_IFLNK,
		[LCM_TOC_CHAR] = S_IFCHR, [LCM_TOC_BLOCK] = S_IFBLK, [LCM_TOC_FIFO] = S_IFIFO,
	};

	return (uint16_t)(types[e->type] | (e->mode & 07777));
}

static uint8_t file_type_of(const struct lcm_toc_entry *e)
{
	static const uint8_t types[LCM_TOC_TYPE_MAX] = {
		[LCM_TOC_DIR] = EROFS_FT_DIR,         [LCM_TOC_REG] = EROFS_FT_REG,
		[LCM_TOC_SYMLINK] = EROFS_FT_SYMLINK, [LCM_TOC_CHAR] = EROFS_FT_CHAR,
		[LCM_TOC_BLOCK] = EROFS_FT_BLOCK,     [LCM_TOC_FIFO] = EROFS_FT_FIFO,
	};

	return types[e->type];
}

/* The union of the inode: what it means depends on type and layout. */
static uint32_t inode_u(const struct lcm_erofs_plan *p, const struct lcm_erofs_place *pl,
			const struct lcm_toc_entry *e)
{
	switch (e->type) {
	case LCM_TOC_CHAR:
	case LCM_TOC_BLOCK:
		return encode_dev(e->rdev_major, e->rdev_minor);
	case LCM_TOC_REG:
		return pl->layout == EROFS_CHUNK_BASED ? EROFS_CHUNK_BLKBITS_MAX : 0;
	default:
		return pl->data_bytes > 0 ? (uint32_t)(p->meta_blocks + pl->block) : 0;
	}
}

static void put_compact(struct writer *w, uint32_t node, const struct lcm_toc_entry *e,
			uint64_t size, uint8_t *p)
{
	const struct lcm_erofs_place *pl = &w->p->places[node];
	const struct erofs_inode_compact i = {
		.format = htole16(EROFS_FORMAT(0, pl->layout)),
		.xattr_icount = htole16(pl->icount),
		.mode = htole16(mode_of(e)),
		.nlink = htole16((uint16_t)w->p->m->nodes[node].nlink),
		.size = htole32((uint32_t)size),
		.u = htole32(inode_u(w->p, pl, e)),
		.ino = htole32(node + 1),
		.uid = htole16((uint16_t)e->uid),
		.gid = htole16((uint16_t)e->gid),
	};

	memcpy(p, &i, sizeof(i));
}

static void put_extended(struct writer *w, uint32_t node, const struct lcm_toc_entry *e,
			 uint64_t size, uint8_t *p)
{
	const struct lcm_erofs_place *pl = &w->p->places[node];
	const struct erofs_inode_extended i = {
		.format = htole16(EROFS_FORMAT(1, pl->layout)),
		.xattr_icount = htole16(pl->icount),
		.mode = htole16(mode_of(e)),
		.size = htole64(size),
		.u = htole32(inode_u(w->p, pl, e)),
		.ino = htole32(node + 1),
		.uid = htole32(e->uid),
		.gid = htole32(e->gid),
		.mtime = htole64((uint64_t)e->mtime),
		.mtime_nsec = htole32(e->mtime_nsec),
		.nlink = htole32(w->p->m->nodes[node].nlink),
	};

	memcpy(p, &i, sizeof(i));
}

static void put_dir_block(const struct writer *w, size_t n, uint8_t *p)
{
	size_t name_off = n * sizeof(struct erofs_dirent);

	for (size_t i = 0; i < n; i++) {
		const struct lcm_erofs_dirent *d = &w->dirents[i];
		const struct erofs_dirent out = {
			.nid = htole64(w->p->places[d->node].slot),
			.name_off = htole16((uint16_t)name_off),
			.file_type = file_type_of(lcm_merge_entry(w->p->m, d->node)),
		};

		memcpy(p + i * sizeof(out), &out, sizeof(out));
		memcpy(p + name_off, d->name, d->name_len);
		name_off += d->name_len;
	}
}

/* The entries behind the last whole block. */
static void put_dir_tail(struct writer *w, uint32_t node, uint8_t *p)
{
	struct lcm_erofs_dir d = { .m = w->p->m, .dir = node };
	uint32_t whole = w->p->places[node].data_bytes / EROFS_BLOCK, bytes;

	for (uint32_t i = 0; i < whole; i++)
		(void)lcm_erofs_dir_block(&d, NULL, &bytes);
	put_dir_block(w, lcm_erofs_dir_block(&d, w->dirents, &bytes), p);
}

static void put_tail(struct writer *w, uint32_t node, const struct lcm_toc_entry *e, uint8_t *p)
{
	const struct lcm_erofs_place *pl = &w->p->places[node];

	if (pl->layout == EROFS_CHUNK_BASED)
		memset(p, 0xff, 4 * lcm_erofs_chunks(e->size)); /* EROFS_NULL_ADDR */
	else if (pl->layout == EROFS_FLAT_INLINE && e->type == LCM_TOC_DIR)
		put_dir_tail(w, node, p);
	else if (pl->layout == EROFS_FLAT_INLINE)
		memcpy(p, lcm_toc_link(w->p->m->layers[w->p->m->nodes[node].layer].toc, e),
		       pl->data_bytes);
}

static size_t tail_bytes(const struct lcm_erofs_place *pl, const struct lcm_toc_entry *e)
{
	if (pl->layout == EROFS_CHUNK_BASED)
		return 4 * lcm_erofs_chunks(e->size);
	return pl->layout == EROFS_FLAT_INLINE ? pl->data_bytes % EROFS_BLOCK : 0;
}

static int write_node(void *arg, uint32_t node, const char *redirect, size_t len)
{
	struct writer *w = arg;
	const struct lcm_merge *m = w->p->m;
	const struct lcm_erofs_place *pl = &w->p->places[node];
	const struct lcm_toc_entry *e = lcm_merge_entry(m, node);
	size_t head = lcm_erofs_inode_bytes(pl), xattrs = lcm_erofs_xattr_bytes(pl->icount);
	uint64_t size = e->type == LCM_TOC_REG ? e->size : pl->data_bytes;
	uint8_t *p;
	int r;

	r = reserve(w, (uint64_t)pl->slot * EROFS_SLOT, head + xattrs + tail_bytes(pl, e), &p);
	if (r < 0)
		return r;
	if (pl->extended)
		put_extended(w, node, e, size, p);
	else
		put_compact(w, node, e, size, p);
	if (xattrs > 0)
		lcm_erofs_xattr_put(m, node, redirect, len, p + head);
	put_tail(w, node, e, p + head + xattrs);
	return 0;
}

static int write_dir_blocks(struct writer *w, uint32_t node, uint64_t pos, uint32_t blocks)
{
	struct lcm_erofs_dir d = { .m = w->p->m, .dir = node };
	int r = 0;

	for (uint32_t i = 0; i < blocks && r == 0; i++) {
		uint32_t bytes;
		size_t n = lcm_erofs_dir_block(&d, w->dirents, &bytes);
		uint8_t *p;

		r = reserve(w, pos + (uint64_t)i * EROFS_BLOCK, EROFS_BLOCK, &p);
		if (r == 0)
			put_dir_block(w, n, p);
	}
	return r;
}

/* Blocks that belong to one node: whole blocks of directories, symlinks that did not fit inline. */
static int write_blocks(struct writer *w)
{
	const struct lcm_merge *m = w->p->m;
	int r = 0;

	for (uint32_t node = 0; node < m->n_nodes && r == 0; node++) {
		const struct lcm_erofs_place *pl = &w->p->places[node];
		uint64_t pos = (w->p->meta_blocks + pl->block) * EROFS_BLOCK;
		uint32_t blocks =
		    pl->data_bytes / EROFS_BLOCK +
		    (pl->layout == EROFS_FLAT_PLAIN && pl->data_bytes % EROFS_BLOCK ? 1 : 0);
		const struct lcm_toc_entry *e;
		uint8_t *p;

		if (blocks == 0)
			continue;
		e = lcm_merge_entry(m, node);
		if (e->type == LCM_TOC_DIR) {
			r = write_dir_blocks(w, node, pos, blocks);
			continue;
		}
		r = reserve(w, pos, EROFS_BLOCK, &p);
		if (r == 0)
			memcpy(p, lcm_toc_link(m->layers[m->nodes[node].layer].toc, e),
			       pl->data_bytes);
	}
	return r;
}

/*
 * The same stack gives the same UUID, another stack another: overlayfs keeps it in the
 * trusted.overlay.origin of files it copies up, and takes origins of a null UUID for those
 * of any file system without one.
 */
static int make_uuid(const struct lcm_erofs_plan *p, uint8_t uuid[16])
{
	static const char version[] = "locum META 1";
	lcm_auto(lcm_hash) h = lcm_hash_new();
	struct lcm_digest d;

	if (!h)
		return -ENOMEM;
	lcm_hash_update(h, version, sizeof(version));
	for (size_t i = 0; i < p->m->n_layers; i++) {
		const struct lcm_meta_layer *l = &p->m->layers[i];

		lcm_hash_update(h, l->name, strlen(l->name) + 1);
		lcm_hash_update(h, lcm_toc_id(l->toc), sizeof(struct lcm_toc_id));
	}
	lcm_hash_final(h, &d);
	memcpy(uuid, d.b, 16);
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x80); /* RFC 9562 version 8: our own contents */
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
	return 0;
}

static int write_super(struct writer *w)
{
	static const struct erofs_xattr_entry metacopy = {
		.name_len = sizeof(EROFS_METACOPY_NAME) - 1, .name_index = EROFS_XATTR_TRUSTED
	};
	const struct lcm_erofs_plan *p = w->p;
	struct erofs_super s = {
		.magic = htole32(EROFS_MAGIC),
		.feature_compat = htole32(EROFS_COMPAT_SB_CHKSUM | EROFS_COMPAT_MTIME),
		.block_bits = EROFS_BLOCK_BITS,
		.root_nid = htole16((uint16_t)p->places[0].slot),
		.inos = htole64(p->stats.inodes),
		.build_time = htole64((uint64_t)p->build_time),
		.build_time_nsec = htole32(p->build_time_nsec),
		.blocks = htole32((uint32_t)p->blocks),
		.volume_name = "locum-meta",
		.feature_incompat = htole32(EROFS_INCOMPAT_CHUNKED_FILE),
	};
	uint8_t *at;
	int r;

	r = make_uuid(p, s.uuid);
	if (r < 0)
		return r;
	r = reserve(w, 0, EROFS_FIRST_SLOT * EROFS_SLOT, &at);
	if (r < 0)
		return r;
	memcpy(at + EROFS_SUPER_OFFSET, &s, sizeof(s));
	memcpy(at + EROFS_METACOPY_POS, &metacopy, sizeof(metacopy));
	memcpy(at + EROFS_METACOPY_POS + sizeof(metacopy), EROFS_METACOPY_NAME, metacopy.name_len);
	return 0;
}

int lcm_erofs_write(const struct lcm_erofs_plan *p, int fd, struct lcm_err *err)
{
	struct writer w = { .p = p, .fd = fd };
	uint8_t *end;
	int r;

	w.buf = calloc(1, WINDOW);
	w.dirents = malloc(EROFS_DIRENTS_MAX * sizeof(*w.dirents));
	r = w.buf && w.dirents ? write_super(&w) : -ENOMEM;
	if (r == 0)
		r = lcm_merge_walk(p->m, write_node, &w, err);
	if (r == 0)
		r = write_blocks(&w);
	if (r == 0)
		r = reserve(&w, p->blocks * EROFS_BLOCK, 0,
			    &end); /* pads the last block with zeros */
	if (r == 0)
		r = flush(&w, w.len);
	free(w.dirents);
	free(w.buf);
	return r < 0 ? lcm_err_set(err, r, "META: the image cannot be written: %s", strerror(-r))
		     : 0;
}
