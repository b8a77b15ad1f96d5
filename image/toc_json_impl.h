/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toc_json_impl.h - the state of struct lcm_toc_json; shared by toc_json.c (the grammar)
 * and toc_json_entry.c (what the entries mean).
 *
 * Layer: image.
 */
#ifndef LCM_TOC_JSON_IMPL_H
#define LCM_TOC_JSON_IMPL_H

#include <yajl/yajl_parse.h>

#include "image/toc_format.h"
#include "image/toc_json.h"
#include "src/base/buf.h"

/* Strings of one entry: its path, link and xattrs. */
#define ENTRY_TEXT_MAX (4U << 20)
#define ENTRY_XATTRS_MAX 4096

enum place {
	AT_START,   /* before the document's '{' */
	AT_TOP,     /* keys of the document */
	AT_ENTRIES, /* elements of "entries" */
	AT_ENTRY,   /* keys of an entry */
	AT_XATTRS,  /* keys of an entry's "xattrs" */
	AT_END,     /* after the document's '}' */
};

/* Keys of an entry, in the order in which Go writes them. */
enum key {
	K_TYPE,
	K_NAME,
	K_LINK,
	K_MODE,
	K_SIZE,
	K_UID,
	K_GID,
	K_MTIME,
	K_MAJOR,
	K_MINOR,
	K_XATTRS,
	K_DIGEST,
	K_OFFSET,
	K_END,
	K_INNER,
	K_CHUNK_SIZE,
	K_CHUNK_OFFSET,
	K_CHUNK_DIGEST,
	K_CHUNK_TYPE,
	K_MAX,
	/* keys of the document */
	K_VERSION,
	K_ENTRIES,
	K_OTHER, /* not ours: whatever it holds is skipped */
};

#define TYPE_CHUNK LCM_TOC_TYPE_MAX /* an entry that continues the file before it */

/* A string in the entry's text. */
struct span {
	size_t off, len;
};

struct xattr_span {
	struct span name, value;
};

struct entry {
	uint32_t seen;     /* bit per enum key */
	unsigned int type; /* enum lcm_toc_type or TYPE_CHUNK; 0: not yet */
	struct span name, link;
	uint64_t num[K_MAX]; /* of the keys that are numbers */
	int64_t mtime;
	uint32_t mtime_nsec;
	bool zeros; /* chunkType */
	struct lcm_digest digest, chunk_digest;
	struct lcm_buf text;
	struct xattr_span *xattrs; /* owned */
	size_t n_xattrs, cap_xattrs;
};

/* A chunk as listed: where it begins; where it ends is known only from the next one. */
struct chunk {
	uint64_t off, file_off, file_len, inner;
	bool zeros;
	struct lcm_digest digest;
};

struct lcm_toc_json {
	struct lcm_toc_json_opt opt;
	yajl_handle yajl; /* owned */
	enum place place;
	enum key key, last_key; /* the current key; where to begin to look for the next */
	unsigned int depth;     /* of everything */
	unsigned int skip;      /* depth inside a value that is not ours */
	bool version_seen, entries_seen;
	struct entry *e;      /* the one being read */
	struct entry *file;   /* the regular file that chunks may still follow, when held */
	struct entry both[2]; /* what e and file point to, in either order */
	bool held;
	struct chunk *chunks; /* owned; of the held file */
	size_t n_chunks, cap_chunks;
	struct lcm_toc_item_chunk *item_chunks; /* owned; scratch, cap_chunks */
	struct lcm_xattr *item_xattrs;          /* owned; scratch */
	size_t cap_item_xattrs;
	uint64_t fed;        /* bytes before the current feed */
	uint64_t quiet;      /* bytes fed since the last value */
	int r;               /* why a callback stopped */
	struct lcm_err *err; /* of the current feed */
};

static inline const char *entry_text(const struct entry *e, struct span s)
{
	return s.len ? e->text.data + s.off : "";
}

/** lcm_toc_json_bad - record that @e breaks @rule. Return: -EUCLEAN. */
int lcm_toc_json_bad(struct lcm_toc_json *j, const struct entry *e, const char *rule);
/** lcm_toc_json_entry_end - the entry j->e is complete. Return: as lcm_toc_json_feed(). */
LCM_MUST_USE int lcm_toc_json_entry_end(struct lcm_toc_json *j);
/** lcm_toc_json_file_flush - no chunk of the held file follows any more. Return: as
 * lcm_toc_json_feed(). */
LCM_MUST_USE int lcm_toc_json_file_flush(struct lcm_toc_json *j);

#endif
