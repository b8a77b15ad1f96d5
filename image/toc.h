/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toc.h - a layer's table of contents: a flat, versioned file that is mmap'ed.
 *
 * Layer: image. The one internal form of every index (zstd:chunked, later
 * eStargz, SOCI, our own). All integers little endian, native alignment.
 * Entries are in tree order: entry 0 is the root directory, the children of a
 * directory are contiguous and sorted by name bytes (memcmp, shorter first), so
 * lookup is a binary search and merging layers is a sorted merge. Parents that
 * the layer does not list are inserted (LCM_TOC_IMPLICIT, 0755 root, mtime 0).
 *
 * Invariants checked by lcm_toc_open() (a kept TOC is hostile input too): every
 * index and offset is in range, every name is 1..255 bytes without '/' or NUL
 * and not "." or "..", parents are directories with a smaller index than their
 * children, siblings are strictly ascending, directories are numbered breadth first, chunks of a
 * file are contiguous in file offsets and cover exactly its size, chunk ranges lie within the blob,
 * hardlinks point to a non-directory, non-hardlink entry, links below to a path of one or more
 * names, spans follow one another without a gap in the tar, a chunk in spans lies inside of them,
 * the checksum over the body matches.
 *
 * Threads: an opened TOC is immutable and may be read by any thread.
 */
#ifndef LCM_TOC_H
#define LCM_TOC_H

#include "src/base/digest.h"
#include "src/base/limits.h"

#define LCM_TOC_VERSION 2
#define LCM_TOC_NONE UINT32_MAX /* "no entry", "no xattrs" */

enum lcm_toc_type {
	LCM_TOC_DIR = 1,
	LCM_TOC_REG,
	LCM_TOC_SYMLINK,
	LCM_TOC_HARDLINK, /* another name for entry `link` */
	LCM_TOC_CHAR,
	LCM_TOC_BLOCK,
	LCM_TOC_FIFO,
	LCM_TOC_WHITEOUT,   /* name without ".wh."; hides the name in lower layers */
	LCM_TOC_LINK_BELOW, /* another name for the file that lower layers have at path `link` */
	LCM_TOC_TYPE_MAX,
};

#define LCM_TOC_OPAQUE (1U << 0) /* directory: hides all of lower layers below it */
#define LCM_TOC_IMPLICIT                                                                           \
	(1U << 1) /* directory not listed by the layer: lower layers' metadata wins */
#define LCM_TOC_FLAGS_ALL 3U

struct lcm_toc_entry {
	uint32_t parent; /* entry index; the root's is 0 */
	uint32_t name;   /* offset in the string section; NUL-terminated there */
	uint16_t name_len;
	uint8_t type; /* enum lcm_toc_type */
	uint8_t flags;
	uint32_t mode; /* 07777 bits only */
	uint32_t uid, gid;
	uint32_t mtime_nsec; /* 0..999999999 */
	uint32_t xattrs;     /* offset in the xattr section, LCM_TOC_NONE: none */
	int64_t mtime;       /* seconds since 1970, may be negative */
	uint64_t size;       /* regular files: bytes; symlinks, links below: length of the target */
	union {
		struct {
			uint32_t first_child, n_children; /* directories */
		};
		struct {
			uint32_t first_chunk,
			    n_chunks; /* regular files; 0 chunks: no ranges known */
		};
		struct {
			uint32_t link, link_len; /* symlink, link below: target in strings;
						    hardlink: entry index, 0 */
		};
		struct {
			uint32_t rdev_major, rdev_minor; /* devices */
		};
	};
	struct lcm_digest digest; /* regular files: SHA-256 of the content; zero: not known */
};
_Static_assert(sizeof(struct lcm_toc_entry) == 88, "on-disk layout");

#define LCM_TOC_CHUNK_ZEROS (1U << 0) /* a hole: no bytes in the blob */
/* Only in struct lcm_toc_item_chunk: the range is one of the tar; the builder finds its spans. */
#define LCM_TOC_CHUNK_TAR (1U << 1)

/*
 * To read a chunk, decode its range of the blob from the start, drop `skip` plain bytes and take
 * file_len. The range may hold more than that. Without spans it begins a gzip member, a zstd
 * frame, or is plain; with spans it covers whole ones, and how to begin is in the first.
 */
struct lcm_toc_chunk {
	uint64_t blob_off, blob_len; /* bytes of the blob; 0, 0 for holes */
	uint64_t file_off;           /* where its plain bytes begin in the file */
	uint64_t file_len;           /* plain bytes, >= 1 */
	uint64_t skip;               /* plain bytes before it in the range */
	uint32_t flags;
	uint32_t span;            /* index of the first span; LCM_TOC_NONE: none */
	struct lcm_digest digest; /* SHA-256 of the plain bytes; zero only when the entry has one
				     chunk and its digest is known, when all of its spans have
				     digests, or for holes */
};
_Static_assert(sizeof(struct lcm_toc_chunk) == 80, "on-disk layout");

#define LCM_TOC_WINDOW 32768U /* bytes that deflate may refer back to */

/* How to begin to decode at the first byte of a span. */
enum lcm_toc_start {
	LCM_TOC_START_PLAIN = 1, /* a range of a plain tar */
	LCM_TOC_START_MEMBER,    /* a gzip member's header */
	LCM_TOC_START_DEFLATE,   /* inside a gzip member, at a deflate block: bits, window */
	LCM_TOC_START_FRAME,     /* a zstd frame */
	LCM_TOC_START_CONTINUES, /* not here: with the nearest earlier span that begins otherwise */
	LCM_TOC_START_MAX,
};

/*
 * A piece of the blob with the piece of the tar that comes out of it. The spans of a TOC follow
 * one another in the tar without a gap from its first byte; in the blob a span of deflate may
 * share one byte with the one before it.
 */
struct lcm_toc_span {
	uint64_t blob_off, blob_len;   /* bytes; len 1 .. LCM_TOC_SPAN_BLOB_MAX */
	uint64_t plain_off, plain_len; /* bytes of the tar; len >= 1 */
	uint32_t window;               /* DEFLATE: index of its window, LCM_TOC_NONE: empty */
	uint8_t start;                 /* enum lcm_toc_start */
	uint8_t bits;                  /* DEFLATE: high bits of its first byte that belong to it,
					  1 .. 7; 0: it begins with the byte */
	uint16_t reserved;             /* 0 */
	struct lcm_digest digest;      /* SHA-256 of its bytes of the blob; zero: not known */
};
_Static_assert(sizeof(struct lcm_toc_span) == 72, "on-disk layout");

/* What a TOC belongs to; stored in its header. */
struct lcm_toc_id {
	struct lcm_digest blob;   /* digest of the compressed layer */
	struct lcm_digest diffid; /* digest of the uncompressed tar; zero: not known */
	struct lcm_digest source; /* digest that bound the source TOC to the manifest; zero: none */
	uint64_t blob_size;       /* bytes */
	uint32_t compression;     /* enum lcm_compression */
	uint32_t flags;           /* LCM_TOC_SECONDS */
};
#define LCM_TOC_SECONDS (1U << 0) /* its source rounds times to seconds */

enum lcm_compression {
	LCM_COMP_NONE = 0,
	LCM_COMP_GZIP = 1,
	LCM_COMP_ZSTD = 2,
};

struct lcm_xattr {
	const char *name; /* full name, e.g. "security.capability"; NUL-terminated */
	uint16_t name_len;
	uint32_t value_len;
	const uint8_t *value;
};

struct lcm_toc; /* an opened, mmap'ed TOC */

/**
 * lcm_toc_open - map and validate a TOC file
 * Return: 0; -ENOENT; -EUCLEAN (damaged or foreign file, text names the rule broken);
 * -EPROTONOSUPPORT (other version); -errno. Thread: any. Complexity: one pass over the file.
 */
LCM_MUST_USE int lcm_toc_open(int dirfd, const char *path, struct lcm_toc **ret,
			      struct lcm_err *err);
void lcm_toc_close(struct lcm_toc *toc);
static inline void lcm_toc_free(struct lcm_toc *toc)
{
	lcm_toc_close(toc);
}
LCM_DEFINE_AUTO(lcm_toc)

const struct lcm_toc_id *lcm_toc_id(const struct lcm_toc *toc);
uint32_t lcm_toc_count(const struct lcm_toc *toc); /* entries, root included */
uint32_t lcm_toc_chunk_count(const struct lcm_toc *toc);
uint64_t lcm_toc_file_bytes(const struct lcm_toc *toc); /* sum of regular files' sizes */
const struct lcm_toc_entry *lcm_toc_entry(const struct lcm_toc *toc, uint32_t i); /* i < count */
const struct lcm_toc_chunk *lcm_toc_chunk(const struct lcm_toc *toc,
					  uint32_t i);  /* i < chunk_count */
uint32_t lcm_toc_span_count(const struct lcm_toc *toc); /* 0: no spans */
const struct lcm_toc_span *lcm_toc_span(const struct lcm_toc *toc, uint32_t i); /* i < span_count */
/** lcm_toc_window - the LCM_TOC_WINDOW plain bytes before a span, or NULL when it needs none. */
const uint8_t *lcm_toc_window(const struct lcm_toc *toc, const struct lcm_toc_span *s);
/** lcm_toc_chunk_spans - how many spans the range of @c (c->span not LCM_TOC_NONE) covers, >= 1.
 * Complexity: O(log spans). */
uint32_t lcm_toc_chunk_spans(const struct lcm_toc *toc, const struct lcm_toc_chunk *c);
const char *lcm_toc_name(const struct lcm_toc *toc, const struct lcm_toc_entry *e);
/** lcm_toc_link - target of a symlink or link below. */
const char *lcm_toc_link(const struct lcm_toc *toc, const struct lcm_toc_entry *e);
/** lcm_toc_child - index of @name in directory @dir, or LCM_TOC_NONE. Complexity: O(log children).
 */
uint32_t lcm_toc_child(const struct lcm_toc *toc, uint32_t dir, const char *name, size_t len);
/** lcm_toc_walk - index of a relative path ("" is the root), or LCM_TOC_NONE. No link is followed.
 */
uint32_t lcm_toc_walk(const struct lcm_toc *toc, const char *path, size_t len);
/** lcm_toc_path - path of entry @i without leading '/', NUL-terminated. Return: length,
 * -ENAMETOOLONG. */
LCM_MUST_USE int lcm_toc_path(const struct lcm_toc *toc, uint32_t i, char *out, size_t cap);
/** lcm_toc_xattr_next - iterate an entry's xattrs: start with *pos = 0; false when done. */
bool lcm_toc_xattr_next(const struct lcm_toc *toc, const struct lcm_toc_entry *e, uint32_t *pos,
			struct lcm_xattr *ret);

/* What eStargz adds to a tar for its own use: never in a TOC, and not unpacked beside one. */
#define LCM_STARGZ_LANDMARKS ".prefetch.landmark", ".no.prefetch.landmark"
#define LCM_STARGZ_INDEX "stargz.index.json"

/* ---- building ---- */

/* One chunk as its source lists it: as struct lcm_toc_chunk. */
struct lcm_toc_item_chunk {
	uint64_t blob_off, blob_len; /* with LCM_TOC_CHUNK_TAR: of the tar, blob_len == file_len */
	uint64_t file_off, file_len;
	uint64_t skip; /* 0 with LCM_TOC_CHUNK_TAR */
	uint32_t flags;
	struct lcm_digest digest;
};

/* One span as its source lists it: as struct lcm_toc_span. */
struct lcm_toc_item_span {
	uint64_t blob_off, blob_len, plain_off, plain_len;
	enum lcm_toc_start start;
	unsigned int bits;
	const uint8_t *window; /* LCM_TOC_WINDOW bytes, borrowed during the call; NULL: none */
	struct lcm_digest digest;
};

/* One entry as its source lists it; everything borrowed during the call. */
struct lcm_toc_item {
	const char *path; /* as listed: "./" and leading or trailing '/' are stripped, "//" folded;
			     ".." refused */
	size_t path_len;
	/*
	 * An entry of any type named ".wh.NAME" becomes a whiteout of NAME (aufs made them of
	 * hardlinks),
	 * ".wh..wh..opq" sets OPAQUE on its directory, other ".wh..wh.*" and what lies below them
	 * is dropped.
	 */
	enum lcm_toc_type type;
	uint32_t mode, uid,
	    gid; /* of mode, 07777 is taken; a hardlink's are kept but its target's count */
	int64_t mtime;
	uint32_t mtime_nsec;
	uint64_t size;    /* regular files only */
	const char *link; /* symlink target, or path of a hardlink's target */
	size_t link_len;
	uint32_t rdev_major, rdev_minor;
	const struct lcm_xattr *xattrs;
	size_t n_xattrs;
	struct lcm_digest digest;
	const struct lcm_toc_item_chunk *chunks;
	size_t n_chunks;
};

struct lcm_toc_builder;
LCM_MUST_USE int lcm_toc_builder_new(struct lcm_toc_builder **ret);
void lcm_toc_builder_free(struct lcm_toc_builder *b);
LCM_DEFINE_AUTO(lcm_toc_builder)
/**
 * lcm_toc_builder_add - add one entry; a later entry of the same path replaces the earlier, as tar
 * does
 *
 * A directory over a directory keeps the children and takes the new metadata. Anything else
 * replaces: a file over a directory drops the directory with all below it (containerd, umoci; GNU
 * tar would stop), and hardlinks made to a replaced file keep its content, the first of them in
 * tree order becoming the file. A whiteout and a new entry of the same name in one layer, in either
 * order: the entry stays and, if it is a directory, becomes OPAQUE and loses IMPLICIT (no lower
 * directory is left to show through; one that is OPAQUE by ".wh..wh..opq" alone keeps IMPLICIT: the
 * lower directory's metadata still wins). xattrs trusted.overlay.* and user.overlay.* are dropped
 * (they would steer overlayfs). Return: 0; -EUCLEAN (bad path, name, range, type, or below
 * something that is no directory; the text names the entry); -EFBIG (limits.h); -ENOMEM. What was
 * added before stays and the builder goes on; directories above a refused entry may have been made.
 */
LCM_MUST_USE int lcm_toc_builder_add(struct lcm_toc_builder *b, const struct lcm_toc_item *item,
				     struct lcm_err *err);
/**
 * lcm_toc_builder_span - add the next span; before or between entries
 * Return: 0; -EUCLEAN (out of order, bad range or start; the text names the span); -EFBIG
 * (limits.h); -ENOMEM.
 */
LCM_MUST_USE int lcm_toc_builder_span(struct lcm_toc_builder *b,
				      const struct lcm_toc_item_span *span, struct lcm_err *err);
/**
 * lcm_toc_builder_finish - resolve hardlinks, sort, check, write the file atomically (tmp, fsync
 * when @durable, rename)
 *
 * Hardlinks may come before their target. One whose target is not in this layer becomes
 * LCM_TOC_LINK_BELOW; when this layer hides what lower layers have there, or the target is a
 * directory, or hardlinks lead in a circle: -EUCLEAN, the text names both. A chunk or span beyond
 * id->blob_size, or one that is not of id->compression: -EUCLEAN. Chunks of the tar are cut at the
 * ends of spans; one that no span has, and that was given no digest where the spans have none
 * either: -EUCLEAN. Return: 0 or -errno (-EFBIG: files of more than 2^63-1 bytes together). The
 * builder may only be freed afterwards.
 */
LCM_MUST_USE int lcm_toc_builder_finish(struct lcm_toc_builder *b, const struct lcm_toc_id *id,
					int dirfd, const char *path, bool durable,
					struct lcm_err *err);

/* Where the bytes of a TOC file go: what follows its header, in order, and at last the header. */
struct lcm_toc_sink {
	int (*add)(void *arg, const void *p, size_t len);
	int (*head)(void *arg, const void *p, size_t len);
	void *arg; /* borrowed */
};
#define LCM_TOC_HEADER_LEN 176U
/** lcm_toc_builder_write - lcm_toc_builder_finish() without a file. */
LCM_MUST_USE int lcm_toc_builder_write(struct lcm_toc_builder *b, const struct lcm_toc_id *id,
				       const struct lcm_toc_sink *sink, struct lcm_err *err);

#define LCM_TOC_TMP_MAX 4096
/** lcm_toc_file_begin - a temporary file beside @path, and the sink that writes it. *fd: owned by
 * the caller, and the sink's; lcm_toc_file_end() closes it. */
LCM_MUST_USE int lcm_toc_file_begin(int dirfd, const char *path, char ret_tmp[LCM_TOC_TMP_MAX],
				    struct lcm_toc_sink *ret, int *fd);
/** lcm_toc_file_end - rename it to @path, or remove it when @status is negative. Return: @status or
 * -errno. */
LCM_MUST_USE int lcm_toc_file_end(int dirfd, const char *path, const char *tmp, int *fd, int status,
				  bool durable);

#endif
