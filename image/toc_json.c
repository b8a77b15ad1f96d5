/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "image/toc_json_impl.h"
#include "src/base/base64.h"

/*
 * A token that crosses a feed is scanned again from its beginning by yajl; without a bound a long
 * one would cost the square of its length. The longest there is: an xattr of 64 KiB in base64, all
 * escaped.
 */
#define TOKEN_MAX (1U << 20)
#define KEY(k, s) [k] = { s, sizeof(s) - 1 }
static const struct {
	const char *s;
	size_t len;
} keys[K_MAX] = {
	KEY(K_TYPE, "type"),
	KEY(K_NAME, "name"),
	KEY(K_LINK, "linkName"),
	KEY(K_MODE, "mode"),
	KEY(K_SIZE, "size"),
	KEY(K_UID, "uid"),
	KEY(K_GID, "gid"),
	KEY(K_MTIME, "modtime"),
	KEY(K_MAJOR, "devMajor"),
	KEY(K_MINOR, "devMinor"),
	KEY(K_XATTRS, "xattrs"),
	KEY(K_DIGEST, "digest"),
	KEY(K_OFFSET, "offset"),
	KEY(K_END, "endOffset"),
	KEY(K_INNER, "innerOffset"),
	KEY(K_CHUNK_SIZE, "chunkSize"),
	KEY(K_CHUNK_OFFSET, "chunkOffset"),
	KEY(K_CHUNK_DIGEST, "chunkDigest"),
	KEY(K_CHUNK_TYPE, "chunkType"),
};

/* Records why the parser stops; returns what tells yajl so. */
static int stop(struct lcm_toc_json *j, int code)
{
	j->r = code;
	return 0;
}

static int bad_top(struct lcm_toc_json *j, const char *rule)
{
	return lcm_err_set(j->err, -EUCLEAN, "table of contents: %s", rule);
}

static void entry_begin(struct lcm_toc_json *j)
{
	struct entry *e = j->e;
	struct lcm_buf keep_text = e->text;
	struct xattr_span *keep = e->xattrs;
	size_t cap = e->cap_xattrs;

	*e = (struct entry){ .text = keep_text, .xattrs = keep, .cap_xattrs = cap };
	e->text.len = 0;
	j->last_key = K_TYPE;
}

/* ---- values ---- */

static int text_add(struct entry *e, const void *p, size_t len, struct span *ret)
{
	int r = lcm_buf_add(&e->text, p, len);

	if (r == 0)
		*ret = (struct span){ e->text.len - len, len };
	return r;
}

static unsigned int type_of(const char *s, size_t len)
{
	static const struct {
		const char *s;
		unsigned int type;
	} types[] = {
		{ "reg", LCM_TOC_REG },           { "dir", LCM_TOC_DIR },
		{ "chunk", TYPE_CHUNK },          { "symlink", LCM_TOC_SYMLINK },
		{ "hardlink", LCM_TOC_HARDLINK }, { "char", LCM_TOC_CHAR },
		{ "block", LCM_TOC_BLOCK },       { "fifo", LCM_TOC_FIFO },
	};

	for (size_t i = 0; i < LCM_ARRAY_SIZE(types); i++)
		if (strlen(types[i].s) == len && memcmp(types[i].s, s, len) == 0)
			return types[i].type;
	return 0;
}

static int value_digest(struct lcm_toc_json *j, const char *s, size_t len, struct lcm_digest *ret)
{
	if (len == 0 || lcm_digest_parse(s, len, ret) == 0)
		return 0;
	return lcm_toc_json_bad(j, j->e, "a digest that is not sha256");
}

static int value_string(struct lcm_toc_json *j, const char *s, size_t len)
{
	struct entry *e = j->e;

	switch (j->key) {
	case K_TYPE:
		e->type = type_of(s, len);
		return e->type ? 0 : lcm_toc_json_bad(j, e, "unknown type");
	case K_NAME:
		return text_add(e, s, len, &e->name);
	case K_LINK:
		return text_add(e, s, len, &e->link);
	case K_MTIME:
		return lcm_value_time(s, len, &e->mtime, &e->mtime_nsec)
			   ? 0
			   : lcm_toc_json_bad(j, e, "modtime is not RFC 3339");
	case K_DIGEST:
		return value_digest(j, s, len, &e->digest);
	case K_CHUNK_DIGEST:
		return value_digest(j, s, len, &e->chunk_digest);
	case K_CHUNK_TYPE:
		e->zeros = len == 5 && memcmp(s, "zeros", 5) == 0;
		return e->zeros || len == 0 ? 0 : lcm_toc_json_bad(j, e, "unknown chunkType");
	default:
		return lcm_toc_json_bad(j, e, "a string where another kind of value belongs");
	}
}

static int value_number(struct lcm_toc_json *j, const char *s, size_t len)
{
	switch (j->key) {
	case K_MODE:
	case K_SIZE:
	case K_UID:
	case K_GID:
	case K_MAJOR:
	case K_MINOR:
	case K_OFFSET:
	case K_END:
	case K_INNER:
	case K_CHUNK_SIZE:
	case K_CHUNK_OFFSET:
		return lcm_value_u63(s, len, &j->e->num[j->key])
			   ? 0
			   : lcm_toc_json_bad(j, j->e, "a number out of range");
	default:
		return lcm_toc_json_bad(j, j->e, "a number where another kind of value belongs");
	}
}

/* A value of "xattrs"; its name was stored with the key. */
static int value_xattr(struct lcm_toc_json *j, const char *s, size_t len)
{
	struct entry *e = j->e;
	struct xattr_span *x = &e->xattrs[e->n_xattrs - 1];
	int r = lcm_buf_reserve(&e->text, len);
	long n;

	if (r < 0)
		return r;
	n = lcm_base64(s, len, (uint8_t *)e->text.data + e->text.len);
	if (n < 0 || n > LCM_XATTR_VALUE_MAX)
		return lcm_toc_json_bad(j, e, "an xattr that is not base64, or too long");
	x->value = (struct span){ e->text.len, (size_t)n };
	e->text.len += (size_t)n;
	return 0;
}

static int xattr_key(struct lcm_toc_json *j, const char *s, size_t len)
{
	struct entry *e = j->e;
	int r = lcm_toc_grow(&e->xattrs, &e->cap_xattrs, e->n_xattrs, 1, sizeof(*e->xattrs),
			     ENTRY_XATTRS_MAX);

	if (len > LCM_NAME_LEN_MAX)
		return lcm_toc_json_bad(j, e, "an xattr name over 255 bytes");
	if (r < 0)
		return r;
	e->xattrs[e->n_xattrs] = (struct xattr_span){ 0 };
	return text_add(e, s, len, &e->xattrs[e->n_xattrs++].name);
}

/* ---- keys ---- */

static enum key key_find(enum key from, const char *s, size_t len)
{
	unsigned int k = from;

	for (unsigned int i = 0; i < K_MAX; i++, k = k + 1 < K_MAX ? k + 1 : 0)
		if (keys[k].len == len && memcmp(keys[k].s, s, len) == 0)
			return (enum key)k;
	return K_OTHER;
}

static int entry_key(struct lcm_toc_json *j, const char *s, size_t len)
{
	j->key = key_find(j->last_key, s, len);
	if (j->key == K_OTHER)
		return 0;
	if (j->e->seen & 1U << j->key)
		return lcm_toc_json_bad(j, j->e, "a key is there twice");
	j->e->seen |= 1U << j->key;
	j->last_key = j->key;
	return 0;
}

static int top_key(struct lcm_toc_json *j, const char *s, size_t len)
{
	bool *seen = NULL;

	j->key = K_OTHER;
	if (len == 7 && memcmp(s, "version", 7) == 0) {
		j->key = K_VERSION;
		seen = &j->version_seen;
	} else if (len == 7 && memcmp(s, "entries", 7) == 0) {
		j->key = K_ENTRIES;
		seen = &j->entries_seen;
	}
	if (seen && *seen)
		return bad_top(j, "a key is there twice");
	if (seen)
		*seen = true;
	return 0;
}

/* ---- yajl ---- */

static int on_scalar_other(struct lcm_toc_json *j)
{
	switch (j->place) {
	case AT_TOP:
		return j->key == K_OTHER
			   ? 0
			   : bad_top(j, "\"version\" or \"entries\" is of the wrong kind");
	case AT_ENTRY:
		return j->key == K_OTHER ? 0
					 : lcm_toc_json_bad(j, j->e, "a value of the wrong kind");
	case AT_XATTRS:
		return lcm_toc_json_bad(j, j->e, "an xattr that is not a string");
	default:
		return bad_top(j, "not an object with a list of entries");
	}
}

/* null is Go's empty value: the key might as well be absent. */
static int on_null(void *arg)
{
	struct lcm_toc_json *j = arg;
	int r = 0;

	j->quiet = 0;
	if (j->skip || j->place == AT_ENTRY || (j->place == AT_TOP && j->key != K_VERSION))
		return 1;
	r = on_scalar_other(j);
	return r < 0 ? stop(j, r) : 1;
}

static int on_boolean(void *arg, int v)
{
	struct lcm_toc_json *j = arg;
	int r;

	(void)v;
	j->quiet = 0;
	r = j->skip ? 0 : on_scalar_other(j);
	return r < 0 ? stop(j, r) : 1;
}

static int on_number(void *arg, const char *s, size_t len)
{
	struct lcm_toc_json *j = arg;
	int r;

	j->quiet = 0;
	if (j->skip)
		return 1;
	if (j->place == AT_ENTRY && j->key != K_OTHER)
		r = value_number(j, s, len);
	else if (j->place == AT_TOP && j->key == K_VERSION)
		r = len == 1 && s[0] == '1' ? 0 : bad_top(j, "version is not 1");
	else
		r = on_scalar_other(j);
	return r < 0 ? stop(j, r) : 1;
}

static int on_string(void *arg, const unsigned char *s, size_t len)
{
	struct lcm_toc_json *j = arg;
	int r;

	j->quiet = 0;
	if (j->skip)
		return 1;
	if (j->place == AT_ENTRY && j->key != K_OTHER)
		r = value_string(j, (const char *)s, len);
	else if (j->place == AT_XATTRS)
		r = value_xattr(j, (const char *)s, len);
	else
		r = on_scalar_other(j);
	return r < 0 ? stop(j, r) : 1;
}

static int on_key(void *arg, const unsigned char *s, size_t len)
{
	struct lcm_toc_json *j = arg;
	int r;

	j->quiet = 0;
	if (j->skip)
		return 1;
	if (j->place == AT_ENTRY)
		r = entry_key(j, (const char *)s, len);
	else if (j->place == AT_XATTRS)
		r = xattr_key(j, (const char *)s, len);
	else
		r = top_key(j, (const char *)s, len);
	return r < 0 ? stop(j, r) : 1;
}

/* A container opens: one of ours, or one to skip. */
static int on_open(struct lcm_toc_json *j, bool map)
{
	int r = 0;

	j->quiet = 0;
	if (++j->depth > LCM_JSON_DEPTH_MAX)
		return stop(j, bad_top(j, "nested deeper than 64"));
	if (j->skip) {
		j->skip++;
	} else if (j->place == AT_START && map) {
		j->place = AT_TOP;
	} else if (j->place == AT_TOP && j->key == K_ENTRIES && !map) {
		j->place = AT_ENTRIES;
	} else if (j->place == AT_ENTRIES && map) {
		entry_begin(j);
		j->place = AT_ENTRY;
	} else if (j->place == AT_ENTRY && j->key == K_XATTRS && map) {
		j->place = AT_XATTRS;
	} else if ((j->place == AT_TOP || j->place == AT_ENTRY) && j->key == K_OTHER) {
		j->skip = 1;
	} else {
		r = on_scalar_other(j);
	}
	return r < 0 ? stop(j, r) : 1;
}

static int on_close(struct lcm_toc_json *j)
{
	int r = 0;

	j->quiet = 0;
	j->depth--;
	if (j->skip) {
		j->skip--;
		return 1;
	}
	switch (j->place) {
	case AT_XATTRS:
		j->place = AT_ENTRY;
		break;
	case AT_ENTRY:
		j->place = AT_ENTRIES;
		r = lcm_toc_json_entry_end(j);
		break;
	case AT_ENTRIES:
		j->place = AT_TOP;
		r = lcm_toc_json_file_flush(j);
		break;
	default:
		j->place = AT_END;
		break;
	}
	return r < 0 ? stop(j, r) : 1;
}

static int on_map_open(void *arg)
{
	return on_open(arg, true);
}

static int on_array_open(void *arg)
{
	return on_open(arg, false);
}

static int on_container_close(void *arg)
{
	return on_close(arg);
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_map_open,
	.yajl_map_key = on_key,
	.yajl_end_map = on_container_close,
	.yajl_start_array = on_array_open,
	.yajl_end_array = on_container_close,
};

int lcm_toc_json_new(const struct lcm_toc_json_opt *opt, struct lcm_toc_json **ret)
{
	lcm_auto(lcm_toc_json) j = calloc(1, sizeof(*j));

	if (!j)
		return -ENOMEM;
	j->opt = *opt;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(j->both); i++)
		j->both[i].text = LCM_BUF(ENTRY_TEXT_MAX);
	j->e = &j->both[0];
	j->file = &j->both[1];
	j->yajl = yajl_alloc(&callbacks, NULL, j);
	if (!j->yajl)
		return -ENOMEM;
	/* Names may be any bytes; the builder and the kernel do not care. */
	(void)yajl_config(j->yajl, yajl_dont_validate_strings, 1);
	*ret = lcm_steal(&j);
	return 0;
}

void lcm_toc_json_free(struct lcm_toc_json *j)
{
	if (!j)
		return;
	if (j->yajl)
		yajl_free(j->yajl);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(j->both); i++) {
		lcm_buf_fini(&j->both[i].text);
		free(j->both[i].xattrs);
	}
	free(j->chunks);
	free(j->item_chunks);
	free(j->item_xattrs);
	free(j);
}

static int json_failed(struct lcm_toc_json *j, yajl_status st)
{
	unsigned char *what;
	uint64_t at = j->fed + yajl_get_bytes_consumed(j->yajl);

	if (st == yajl_status_client_canceled && j->r < 0)
		return j->r;
	what = yajl_get_error(j->yajl, 0, NULL, 0);
	if (!what)
		return -ENOMEM;
	(void)lcm_err_set(j->err, -EUCLEAN, "table of contents: at byte %llu: %.*s",
			  (unsigned long long)at, (int)strcspn((char *)what, "\n"), (char *)what);
	yajl_free_error(j->yajl, what);
	return -EUCLEAN;
}

int lcm_toc_json_feed(struct lcm_toc_json *j, const void *p, size_t len, struct lcm_err *err)
{
	yajl_status st;

	j->err = err;
	j->quiet += len;
	st = yajl_parse(j->yajl, p, len);
	if (st != yajl_status_ok)
		return json_failed(j, st);
	j->fed += len;
	if (j->quiet > TOKEN_MAX + len)
		return bad_top(j, "a string longer than 1 MiB");
	return 0;
}

int lcm_toc_json_finish(struct lcm_toc_json *j, struct lcm_err *err)
{
	yajl_status st;

	j->err = err;
	st = yajl_complete_parse(j->yajl);
	if (st != yajl_status_ok)
		return json_failed(j, st);
	if (j->place != AT_END || !j->version_seen || !j->entries_seen)
		return bad_top(j, "no \"version\" or no \"entries\"");
	return 0;
}
