/* SPDX-License-Identifier: Apache-2.0 */
#include "decode/tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <string.h>

#include "decode/hasher.h"
#include "decode/tar_window.h"
#include "image/toc_format.h"
#include "src/base/buf.h"

struct tar {
	struct lcm_tar base;
	struct lcm_tar_source src;
	struct lcm_stream *stream;   /* borrowed; NULL: @src is something else */
	struct archive *a;           /* owned */
	struct archive_entry *entry; /* owned by a */
	locale_t c_locale;           /* owned */
	struct lcm_hasher *
	    hasher; /* owned; of the tar; NULL: the stream's digest is the tar's, or none is made */
	struct lcm_tar_window window;
	uint64_t bytes; /* read from src */
	int src_status; /* sticky error of src */
	bool src_end, opened;
	struct lcm_buf path, link;
	struct lcm_xattr *xattrs; /* owned; LCM_XATTRS_MAX */
	/* Of the entry that t->path names: */
	uint64_t header_off; /* in the tar */
	uint64_t next_off;   /* where the next header has to be; 0: nothing is known */
	uint64_t map_len;    /* bytes that its pieces should have */
	uint64_t data_len;   /* bytes of pieces so far */
};

static ssize_t tar_read(struct archive *a, void *arg, const void **ret)
{
	struct tar *t = arg;
	const void *p = NULL;
	ssize_t n;

	if (t->hasher)
		lcm_hasher_wait(t->hasher);
	lcm_tar_window_retire(&t->window);
	if (t->src_end)
		return 0;
	n = t->src.read(t->src.arg, &p);
	if (n < 0) {
		t->src_status = (int)n;
		archive_set_error(a, (int)-n, "%s", t->src.err(t->src.arg)->msg);
		return -1;
	}
	t->src_end = n == 0;
	if (n == 0)
		return 0;
	t->bytes += (uint64_t)n;
	if (t->hasher)
		lcm_hasher_add(t->hasher, p, (size_t)n);
	lcm_tar_window_set(&t->window, p, (size_t)n);
	*ret = p;
	return n;
}

static void tar_free(struct tar *t)
{
	if (!t)
		return;
	if (t->a)
		(void)archive_read_free(t->a);
	lcm_hasher_free(t->hasher);
	if (t->c_locale)
		freelocale(t->c_locale);
	lcm_buf_fini(&t->path);
	lcm_buf_fini(&t->link);
	free(t->xattrs);
	free(t);
}
LCM_DEFINE_AUTO(tar)

static void tar_close(struct lcm_tar *base)
{
	tar_free(lcm_container_of(base, struct tar, base));
}

static int tar_fail(struct tar *t, struct lcm_err *err)
{
	const char *text;

	if (t->src_status < 0)
		return lcm_err_set(err, t->src_status, "%s",
				   lcm_err_text(t->src.err(t->src.arg), t->src_status));
	if (archive_errno(t->a) == ENOMEM)
		return lcm_err_set(err, -ENOMEM, "out of memory in a tar header");
	text = archive_error_string(t->a);
	return lcm_err_set(err, -EUCLEAN, "bad tar, after byte %llu: %s",
			   (unsigned long long)t->bytes, text ? text : "unknown reason");
}

const char *lcm_tar_path_normal(char *path, size_t *len)
{
	const char *end = path + *len, *in = path;
	char *out = path;

	while (in < end) {
		const char *slash = memchr(in, '/', (size_t)(end - in));
		size_t n = (size_t)((slash ? slash : end) - in);

		if (n == 2 && in[0] == '.' && in[1] == '.')
			return "'..' in a path";
		if (n > LCM_NAME_LEN_MAX)
			return "name longer than 255 bytes";
		if (n && !(n == 1 && in[0] == '.')) {
			if (out != path)
				*out++ = '/';
			memmove(out, in, n);
			out += n;
		}
		in += n + (slash ? 1 : 0);
	}
	*len = (size_t)(out - path);
	*out = '\0';
	return NULL;
}

static int text_set(struct lcm_buf *b, const char *s)
{
	b->len = 0;
	return lcm_buf_add(b, s, strlen(s));
}

static int entry_fail(const struct tar *t, const char *what, struct lcm_err *err)
{
	const char *path = archive_entry_pathname(t->entry);

	return lcm_err_set(err, -EUCLEAN, "layer entry '%.200s': %s", path ? path : "", what);
}

/* @raw: of the tar; @len: of its normal form. A directory's last '/' is no part of its name. */
static enum lcm_tar_prefix prefix_of(const char *raw, size_t len)
{
	static const char *const prefixes[] = { [LCM_TAR_PREFIX_NONE] = "",
						[LCM_TAR_PREFIX_DOT] = "./",
						[LCM_TAR_PREFIX_SLASH] = "/" };
	size_t raw_len = strlen(raw);

	raw_len -= len && raw[raw_len - 1] == '/';
	for (size_t i = 0; i < LCM_ARRAY_SIZE(prefixes); i++)
		if (strlen(prefixes[i]) + len == raw_len &&
		    strncmp(raw, prefixes[i], strlen(prefixes[i])) == 0)
			return (enum lcm_tar_prefix)i;
	return LCM_TAR_PREFIX_OTHER;
}

static int entry_path(struct tar *t, struct lcm_tar_entry *e, struct lcm_err *err)
{
	const char *raw = archive_entry_pathname(t->entry), *why, *slash;
	int r;

	if (!raw)
		return entry_fail(t, "no path", err);
	r = text_set(&t->path, raw);
	if (r < 0)
		return r == -EFBIG ? entry_fail(t, "path longer than 4000 bytes", err) : r;
	why = lcm_tar_path_normal(t->path.data, &t->path.len);
	if (why)
		return entry_fail(t, why, err);
	e->path = t->path.data;
	e->path_len = t->path.len;
	e->prefix = prefix_of(raw, e->path_len);
	e->tar_off = (uint64_t)archive_filter_bytes(t->a, 0);
	slash = strrchr(e->path, '/');
	e->name_off = slash ? (size_t)(slash - e->path) + 1 : 0;
	return 0;
}

/* What libarchive has lost, see tar_window.h. Return: 1 (t->link), 0, -ENOMEM, -EUCLEAN. */
static int lost_link(struct tar *t, char *ret_type)
{
	int r = lcm_tar_window_link(&t->window, (uint64_t)archive_read_header_position(t->a),
				    &t->link, ret_type);

	return r > 0 && !t->link.len ? 0 : r;
}

static int entry_link(struct tar *t, struct lcm_tar_entry *e, const char *raw, struct lcm_err *err)
{
	const char *why = NULL;
	char type;
	int r = raw && raw[0] ? text_set(&t->link, raw) : lost_link(t, &type);

	if (r == -EFBIG)
		return entry_fail(t, "link target longer than 4095 bytes", err);
	if (r == -EUCLEAN || (r == 0 && (!raw || !raw[0])))
		return entry_fail(t, "link without a target", err);
	if (r < 0)
		return r;
	if (e->type == LCM_TOC_HARDLINK)
		why = lcm_tar_path_normal(t->link.data, &t->link.len);
	if (!why && !t->link.len)
		why = "hardlink to a directory";
	if (why)
		return lcm_err_set(err, -EUCLEAN, "layer entry '%.200s': link to '%.200s': %s",
				   e->path, raw ? raw : "", why);
	e->link = t->link.data;
	e->link_len = t->link.len;
	return 0;
}

/* libarchive passes on what the header says: up to 64 bits, and negative ones. */
static int entry_device(struct tar *t, struct lcm_tar_entry *e, struct lcm_err *err)
{
	uint64_t major = archive_entry_rdevmajor(t->entry),
		 minor = archive_entry_rdevminor(t->entry);

	if (major > LCM_TOC_MAJOR_MAX || minor > LCM_TOC_MINOR_MAX)
		return lcm_err_set(err, -EUCLEAN,
				   "layer entry '%.150s': device number %lld:%lld is out of range, "
				   "Linux has 0:0 to %u:%u",
				   e->path, (long long)major, (long long)minor, LCM_TOC_MAJOR_MAX,
				   LCM_TOC_MINOR_MAX);
	e->rdev_major = (uint32_t)major;
	e->rdev_minor = (uint32_t)minor;
	return 0;
}

static int entry_type(struct tar *t, struct lcm_tar_entry *e, struct lcm_err *err)
{
	struct archive_entry *ae = t->entry;
	const char *hard = archive_entry_hardlink(ae);
	char type;

	if (hard) {
		e->type = LCM_TOC_HARDLINK;
		return entry_link(t, e, hard, err);
	}
	switch (archive_entry_filetype(ae)) {
	case AE_IFREG:
		e->type = LCM_TOC_REG;
		if (archive_entry_size(ae) < 0)
			return entry_fail(t, "negative size", err);
		e->size = (uint64_t)archive_entry_size(ae);
		return 0;
	case AE_IFDIR:
		e->type = LCM_TOC_DIR;
		return 0;
	case AE_IFLNK:
		e->type = LCM_TOC_SYMLINK;
		return entry_link(t, e, archive_entry_symlink(ae), err);
	case AE_IFIFO:
		e->type = LCM_TOC_FIFO;
		return 0;
	case AE_IFCHR:
	case AE_IFBLK:
		e->type = archive_entry_filetype(ae) == AE_IFCHR ? LCM_TOC_CHAR : LCM_TOC_BLOCK;
		return entry_device(t, e, err);
	default:
		if (lost_link(t, &type) > 0 && type == '1') {
			e->type = LCM_TOC_HARDLINK;
			return entry_link(t, e, NULL, err);
		}
		return entry_fail(t, "type that no layer may have", err);
	}
}

static int entry_numbers(struct tar *t, struct lcm_tar_entry *e, struct lcm_err *err)
{
	struct archive_entry *ae = t->entry;
	int64_t uid = archive_entry_uid(ae), gid = archive_entry_gid(ae);
	long nsec = archive_entry_mtime_nsec(ae);
	int r;

	/* (uid_t)-1 means "leave it" to chown(2). */
	if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
		return entry_fail(t, "owner out of range", err);
	e->uid = (uint32_t)uid;
	e->gid = (uint32_t)gid;
	e->mode = (uint32_t)archive_entry_perm(ae) & 07777;
	e->mtime = archive_entry_mtime(ae);
	e->mtime_nsec = nsec >= 0 && nsec <= 999999999 ? (uint32_t)nsec : 0;
	/* libarchive's word for a time that 64 bits do not hold. */
	if (e->mtime == INT64_MAX || e->mtime <= -INT64_MAX)
		return entry_fail(t, "time out of range", err);
	if (e->mtime > 0 || e->mtime_nsec == 0)
		return 0;
	r = lcm_tar_window_mtime(&t->window, (uint64_t)archive_read_header_position(t->a),
				 &e->mtime, &e->mtime_nsec);
	if (r < 0)
		return r == -EUCLEAN ? entry_fail(t, "extended header too large or malformed", err)
				     : r;
	return 0;
}

bool lcm_tar_is_overlay_xattr(const char *name)
{
	return strncmp(name, "trusted.overlay.", 16) == 0 ||
	       strncmp(name, "user.overlay.", 13) == 0;
}

static bool xattr_known(const struct lcm_tar_entry *e, const struct lcm_xattr *xattrs,
			const char *name)
{
	for (size_t i = 0; i < e->n_xattrs; i++)
		if (strcmp(xattrs[i].name, name) == 0)
			return true;
	return false;
}

/* bsdtar writes each xattr twice (LIBARCHIVE.xattr, SCHILY.xattr); libarchive lists the last first,
 * and the last wins.
 */
static int entry_xattrs(struct tar *t, struct lcm_tar_entry *e, struct lcm_err *err)
{
	const char *name;
	const void *value;
	size_t len, bytes = 0;

	e->xattrs = t->xattrs;
	if (archive_entry_xattr_reset(t->entry) == 0)
		return 0;
	while (archive_entry_xattr_next(t->entry, &name, &value, &len) == ARCHIVE_OK) {
		size_t name_len = strlen(name);

		if (lcm_tar_is_overlay_xattr(name) || xattr_known(e, t->xattrs, name))
			continue;
		if (name_len < 1 || name_len > LCM_NAME_LEN_MAX || len > LCM_XATTR_VALUE_MAX)
			return entry_fail(t, "xattr with a bad name or too large", err);
		bytes += name_len + 1 + len;
		if (e->n_xattrs == LCM_XATTRS_MAX ||
		    bytes > LCM_XATTRS_BYTES_MAX + LCM_NAME_LEN_MAX + 1)
			return entry_fail(t, "too many xattrs", err);
		t->xattrs[e->n_xattrs++] = (struct lcm_xattr){
			.name = name,
			.name_len = (uint16_t)name_len,
			.value_len = (uint32_t)len,
			.value = value,
		};
	}
	return 0;
}

/*
 * Bytes that the sparse map promises. Without a map it is the file, and so it is with one that
 * covers all of it, which libarchive does not list.
 */
static uint64_t map_bytes(struct archive_entry *ae, uint64_t stored)
{
	uint64_t sum = 0;
	la_int64_t off, len;

	if (archive_entry_sparse_reset(ae) == 0)
		return stored ? (uint64_t)archive_entry_size(ae) : 0;
	while (archive_entry_sparse_next(ae, &off, &len) == ARCHIVE_OK)
		sum += (uint64_t)len;
	return sum;
}

/*
 * Of a sparse file libarchive (3.6) skips what its map says, not what the header says, and takes
 * the rest of its data for headers: other readers see another tree then.
 */
static int stored_note(struct tar *t, const struct lcm_tar_entry *e, struct lcm_err *err)
{
	struct lcm_tar_stored s;
	uint64_t end;
	int r;

	t->header_off = (uint64_t)archive_read_header_position(t->a);
	t->next_off = t->data_len = 0;
	if (e->type != LCM_TOC_REG)
		return 0;
	r = lcm_tar_window_stored(&t->window, t->header_off, &s);
	if (r < 0)
		return r == -EUCLEAN ? entry_fail(t, "extended header too large or malformed", err)
				     : r;
	t->map_len = map_bytes(t->entry, s.size);
	/* The blocks of an old map are not counted. */
	if (s.type == 'S')
		s.header_end = (uint64_t)archive_filter_bytes(t->a, 0);
	if (__builtin_add_overflow(s.header_end, s.size, &end) || end > INT64_MAX)
		return entry_fail(t, "size over 2^63-1", err);
	t->next_off = (end + 511) & ~(uint64_t)511;
	return 0;
}

/* A header was read, or should have been: is it where the entry before ends? */
static int stored_check(struct tar *t, struct lcm_err *err)
{
	uint64_t at = (uint64_t)archive_read_header_position(t->a);

	if (!t->next_off || at == t->header_off || at == t->next_off)
		return 0;
	return lcm_err_set(err, -EUCLEAN,
			   "layer entry '%.200s': its sparse map has fewer bytes than its header",
			   t->path.data);
}

/* In the C locale nothing beyond ASCII can be converted, and what cannot be converted libarchive
 * passes on as it is. */
static int next_header(struct tar *t)
{
	locale_t old = uselocale(t->c_locale);
	int r = ARCHIVE_OK;

	if (!t->opened)
		r = archive_read_open(t->a, t, NULL, tar_read, NULL);
	t->opened = true;
	if (r == ARCHIVE_OK)
		r = archive_read_next_header(t->a, &t->entry);
	(void)uselocale(old);
	return r;
}

static bool only_charset_warning(struct archive *a)
{
	const char *text = archive_error_string(a);

	return text && strstr(text, "can't be converted from");
}

static int tar_next(struct lcm_tar *base, struct lcm_tar_entry *ret, struct lcm_err *err)
{
	struct tar *t = lcm_container_of(base, struct tar, base);
	struct lcm_tar_entry e = { 0 };
	int r = next_header(t);

	if (r != ARCHIVE_FATAL && stored_check(t, err) < 0)
		return -EUCLEAN;
	/* No byte at all: a layer without changes, as some builders write it. */
	if (r == ARCHIVE_EOF || (t->src_end && !t->bytes))
		return 0;
	if (r != ARCHIVE_OK && !(r == ARCHIVE_WARN && only_charset_warning(t->a)))
		return tar_fail(t, err);
	r = entry_path(t, &e, err);
	if (r == 0)
		r = entry_type(t, &e, err);
	if (r == 0)
		r = entry_numbers(t, &e, err);
	if (r == 0)
		r = stored_note(t, &e, err);
	if (r == 0)
		r = entry_xattrs(t, &e, err);
	if (r < 0)
		return r;
	*ret = e;
	return 1;
}

/* libarchive takes a block off its source only when it is asked for the next: until then the
 * source stands at the block's first byte. */
static int tar_data(struct lcm_tar *base, struct lcm_tar_piece *ret, struct lcm_err *err)
{
	struct tar *t = lcm_container_of(base, struct tar, base);
	struct lcm_tar_piece piece = { 0 };
	la_int64_t off;
	int r;

	do
		r = archive_read_data_block(t->a, &piece.p, &piece.len, &off);
	while (r == ARCHIVE_OK && piece.len == 0);
	if (r == ARCHIVE_EOF && t->data_len != t->map_len)
		return lcm_err_set(
		    err, -EUCLEAN,
		    "layer entry '%.200s': its sparse map has more bytes than the tar",
		    t->path.data);
	if (r == ARCHIVE_EOF)
		return 0;
	if (r != ARCHIVE_OK)
		return tar_fail(t, err);
	t->data_len += piece.len;
	piece.off = (uint64_t)off;
	piece.tar_off = (uint64_t)archive_filter_bytes(t->a, 0);
	*ret = piece;
	return 1;
}

static int tar_finish(struct lcm_tar *base, struct lcm_digest *ret_diffid, struct lcm_err *err)
{
	struct tar *t = lcm_container_of(base, struct tar, base);
	const void *p;
	uint64_t len;
	ssize_t n;

	do
		n = tar_read(t->a, t, &p);
	while (n > 0);
	if (n < 0)
		return tar_fail(t, err);
	*ret_diffid = (struct lcm_digest){ 0 };
	if (t->hasher)
		lcm_hasher_final(t->hasher, ret_diffid);
	else if (t->stream)
		lcm_stream_blob_digest(t->stream, ret_diffid, &len);
	return 0;
}

static const struct lcm_tar_ops ops = {
	.next = tar_next,
	.data = tar_data,
	.finish = tar_finish,
	.close = tar_close,
};

static int tar_new(struct tar **ret)
{
	lcm_auto(tar) t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->base.ops = &ops;
	t->path = LCM_BUF(LCM_PATH_MAX);
	t->link = LCM_BUF(LCM_PATH_MAX + 95); /* a symlink may hold 4095 bytes */
	t->xattrs = calloc(LCM_XATTRS_MAX, sizeof(*t->xattrs));
	t->c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	t->a = archive_read_new();
	if (!t->xattrs || !t->c_locale || !t->a ||
	    archive_read_support_format_tar(t->a) != ARCHIVE_OK)
		return -ENOMEM;
	*ret = lcm_steal(&t);
	return 0;
}

int lcm_tar_open_source(const struct lcm_tar_source *src, struct lcm_tar **ret)
{
	struct tar *t;
	int r = tar_new(&t);

	if (r < 0)
		return r;
	t->src = *src;
	*ret = &t->base;
	return 0;
}

static ssize_t stream_read(void *arg, const void **ret)
{
	return lcm_stream_read(arg, ret);
}

static const struct lcm_err *stream_err(void *arg)
{
	return lcm_stream_err(arg);
}

int lcm_tar_open(struct lcm_stream *src, struct lcm_tar **ret)
{
	lcm_auto(tar) t = NULL;
	int r = tar_new(&t);

	if (r < 0)
		return r;
	t->src = (struct lcm_tar_source){ stream_read, stream_err, src };
	t->stream = src;
	if (!lcm_stream_is_plain(src)) {
		t->hasher = lcm_hasher_new();
		if (!t->hasher)
			return -ENOMEM;
	}
	*ret = &lcm_steal(&t)->base;
	return 0;
}
