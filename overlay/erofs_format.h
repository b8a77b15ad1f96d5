/* SPDX-License-Identifier: Apache-2.0 */
/*
 * erofs_format.h - the part of the EROFS on-disk format that META uses.
 *
 * Layer: overlay. All integers are little endian; the helpers of <endian.h> are
 * applied where a struct is filled. Block size is 4096 throughout. Only what
 * Linux 5.15 and later reads: no compression, no devices, no long xattr prefixes.
 * Source: Linux Documentation/filesystems/erofs.rst, fs/erofs/erofs_fs.h and
 * https://erofs.docs.kernel.org ("Core on-disk format").
 */
#ifndef LCM_EROFS_FORMAT_H
#define LCM_EROFS_FORMAT_H

#include "src/base/base.h"

#define EROFS_MAGIC 0xE0F5E1E2U
#define EROFS_SUPER_OFFSET 1024U
#define EROFS_BLOCK_BITS 12U
#define EROFS_BLOCK (1U << EROFS_BLOCK_BITS)
#define EROFS_SLOT 32U /* an inode's nid counts these from the metadata area */

#define EROFS_COMPAT_SB_CHKSUM 0x1U
#define EROFS_COMPAT_MTIME 0x2U
#define EROFS_INCOMPAT_CHUNKED_FILE 0x4U

struct erofs_super {
	uint32_t magic;
	uint32_t
	    checksum; /* CRC-32C of the rest of block 0 from the superblock on, this field as 0 */
	uint32_t feature_compat;
	uint8_t block_bits;
	uint8_t ext_slots; /* 0: 128 bytes */
	uint16_t root_nid;
	uint64_t inos;       /* inodes, for statfs */
	uint64_t build_time; /* seconds: mtime of compact inodes */
	uint32_t build_time_nsec;
	uint32_t blocks;      /* of the image, for statfs */
	uint32_t meta_block;  /* where nids count from */
	uint32_t xattr_block; /* where shared xattr ids count from */
	uint8_t uuid[16];
	uint8_t volume_name[16]; /* NUL-terminated */
	uint32_t feature_incompat;
	uint16_t compr_algs;
	uint16_t extra_devices;
	uint16_t devt_slot;
	uint8_t dir_block_bits;
	uint8_t xattr_prefix_count;
	uint32_t xattr_prefix_start;
	uint64_t packed_nid;
	uint8_t xattr_filter_reserved;
	uint8_t reserved[23];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_super) == 128, "on-disk layout");

/* i_format: bit 0 is the version, bits 1..3 the data layout. */
#define EROFS_FORMAT(extended, layout) ((uint16_t)((extended) | (unsigned int)(layout) << 1))
enum erofs_layout {
	EROFS_FLAT_PLAIN = 0,  /* data in blocks */
	EROFS_FLAT_INLINE = 2, /* full blocks, then the tail right after the xattrs */
	EROFS_CHUNK_BASED = 4, /* an array of block addresses after the xattrs */
};

struct erofs_inode_compact {
	uint16_t format;
	uint16_t xattr_icount; /* 0: none; n: 12 + (n - 1) * 4 bytes of xattrs follow */
	uint16_t mode;
	uint16_t nlink;
	uint32_t size;
	uint32_t reserved;
	uint32_t u; /* block address, device number (new_encode_dev), or chunk format */
	uint32_t ino;
	uint16_t uid, gid;
	uint32_t reserved2;
};
_Static_assert(sizeof(struct erofs_inode_compact) == 32, "on-disk layout");

struct erofs_inode_extended {
	uint16_t format;
	uint16_t xattr_icount;
	uint16_t mode;
	uint16_t reserved;
	uint64_t size;
	uint32_t u;
	uint32_t ino;
	uint32_t uid, gid;
	uint64_t mtime;
	uint32_t mtime_nsec;
	uint32_t nlink;
	uint8_t reserved2[16];
};
_Static_assert(sizeof(struct erofs_inode_extended) == 64, "on-disk layout");

/* Chunk format: chunk size is block size << these bits; 31 is the most. */
#define EROFS_CHUNK_BLKBITS_MAX 31U
#define EROFS_CHUNK_BITS_MAX (EROFS_BLOCK_BITS + EROFS_CHUNK_BLKBITS_MAX) /* 8 TiB */
#define EROFS_NULL_ADDR UINT32_MAX /* a chunk that is a hole */

struct erofs_xattr_head {
	uint32_t name_filter; /* 0: not used */
	uint8_t shared_count;
	uint8_t reserved[7];
	/* shared_count ids (byte offset / 4 from the xattr block), then entries */
};
_Static_assert(sizeof(struct erofs_xattr_head) == 12, "on-disk layout");

struct erofs_xattr_entry {
	uint8_t name_len; /* without the prefix that the index stands for */
	uint8_t name_index;
	uint16_t value_len;
	/* name, value, padding to 4 bytes */
};
_Static_assert(sizeof(struct erofs_xattr_entry) == 4, "on-disk layout");

enum erofs_xattr_index {
	EROFS_XATTR_USER = 1,
	EROFS_XATTR_ACL_ACCESS = 2,  /* the whole name, nothing follows */
	EROFS_XATTR_ACL_DEFAULT = 3, /* likewise */
	EROFS_XATTR_TRUSTED = 4,
	EROFS_XATTR_SECURITY = 6,
};

/* A directory block: the entries, then the names; the first name offset tells how many. */
struct erofs_dirent {
	uint64_t nid;
	uint16_t name_off;
	uint8_t file_type;
	uint8_t reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_dirent) == 12, "on-disk layout");

enum erofs_file_type {
	EROFS_FT_REG = 1,
	EROFS_FT_DIR,
	EROFS_FT_CHAR,
	EROFS_FT_BLOCK,
	EROFS_FT_FIFO,
	EROFS_FT_SOCK,
	EROFS_FT_SYMLINK,
};

#endif
