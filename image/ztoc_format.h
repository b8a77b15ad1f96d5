/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ztoc_format.h - what ztoc.c reads and ztoc_write.c writes; private to them.
 *
 * Layer: image. Source: awslabs/soci-snapshotter ztoc/fbs/ztoc.fbs, ztoc/compression/fbs/zinfo.fbs,
 * ztoc/compression/gzip_zinfo.c. Slots are in the order of their declaration.
 */
#ifndef LCM_ZTOC_FORMAT_H
#define LCM_ZTOC_FORMAT_H

#include "image/toc.h"

#define ZTOC_VERSION "0.9"
#define ZTOC_XATTR "SCHILY.xattr."
/* Checkpoints: i32 their number, i64 nominal span; then i64 in, i64 out, u8 bits, window each. */
#define ZINFO_HEAD 12U
#define ZINFO_RECORD (8U + 8U + 1U + LCM_TOC_WINDOW)

enum { Z_VERSION, Z_TOOL, Z_COMPRESSED, Z_UNCOMPRESSED, Z_TOC, Z_INFO, Z_SLOTS };
enum { I_ALGORITHM, I_MAX_SPAN, I_DIGESTS, I_CHECKPOINTS, I_SLOTS };
enum { T_METADATA, T_SLOTS };
enum {
	F_NAME,
	F_TYPE,
	F_OFFSET,
	F_SIZE,
	F_LINK,
	F_MODE,
	F_UID,
	F_GID,
	F_UNAME,
	F_GNAME,
	F_MTIME,
	F_MAJOR,
	F_MINOR,
	F_PAX,
	F_SLOTS,
};
enum { X_KEY, X_VALUE, X_SLOTS };
enum { TZ_VERSION, TZ_SPAN_SIZE, TZ_SIZE };
enum { ZTOC_GZIP = 1, ZTOC_PLAIN = 2 };

/* Entry types by enum lcm_toc_type; NULL: SOCI has none. */
static const char *const ztoc_types[LCM_TOC_TYPE_MAX] = {
	[LCM_TOC_REG] = "reg",           [LCM_TOC_DIR] = "dir",   [LCM_TOC_SYMLINK] = "symlink",
	[LCM_TOC_HARDLINK] = "hardlink", [LCM_TOC_CHAR] = "char", [LCM_TOC_BLOCK] = "block",
	[LCM_TOC_FIFO] = "fifo",
};

#endif
