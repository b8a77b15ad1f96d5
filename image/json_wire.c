/* SPDX-License-Identifier: Apache-2.0 */
#include "image/json_wire.h"

#include <math.h>
#include <string.h>

#include "src/base/limits.h"

enum kind {
	WIRE_NULL = 1,
	WIRE_FALSE,
	WIRE_TRUE,
	WIRE_INT,
	WIRE_REAL,
	WIRE_STRING,
	WIRE_ARRAY,
	WIRE_OBJECT
};

/* ---- writing ---- */

static int put_kind(struct lcm_buf *out, enum kind kind)
{
	const uint8_t byte = (uint8_t)kind;

	return lcm_buf_add(out, &byte, sizeof(byte));
}

static int put_number(struct lcm_buf *out, enum kind kind, const void *p, size_t len)
{
	int r = put_kind(out, kind);

	return r < 0 ? r : lcm_buf_add(out, p, len);
}

static int put_bytes(struct lcm_buf *out, const char *s, size_t len)
{
	const uint32_t n = (uint32_t)len;
	int r = len > UINT32_MAX ? -EFBIG : lcm_buf_add(out, &n, sizeof(n));

	return r < 0 ? r : lcm_buf_add(out, s, len);
}

static int put_array(const json_t *v, struct lcm_buf *out)
{
	const uint32_t n = (uint32_t)json_array_size(v);
	int r = put_number(out, WIRE_ARRAY, &n, sizeof(n));

	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = lcm_json_wire_put(json_array_get(v, i), out);
	return r;
}

static int put_object(json_t *v, struct lcm_buf *out)
{
	const uint32_t n = (uint32_t)json_object_size(v);
	int r = put_number(out, WIRE_OBJECT, &n, sizeof(n));

	for (void *i = json_object_iter(v); r == 0 && i; i = json_object_iter_next(v, i)) {
		const char *key = json_object_iter_key(i);

		r = put_bytes(out, key, strlen(key));
		if (r == 0)
			r = lcm_json_wire_put(json_object_iter_value(i), out);
	}
	return r;
}

int lcm_json_wire_put(const json_t *v, struct lcm_buf *out)
{
	json_int_t i;
	double d;
	int r;

	switch (json_typeof(v)) {
	case JSON_INTEGER:
		i = json_integer_value(v);
		return put_number(out, WIRE_INT, &i, sizeof(i));
	case JSON_REAL:
		d = json_real_value(v);
		return put_number(out, WIRE_REAL, &d, sizeof(d));
	case JSON_STRING:
		r = put_kind(out, WIRE_STRING);
		return r < 0 ? r : put_bytes(out, json_string_value(v), json_string_length(v));
	case JSON_ARRAY:
		return put_array(v, out);
	case JSON_OBJECT:
		return put_object((json_t *)(uintptr_t)v, out);
	default:
		return put_kind(out, json_is_null(v)   ? WIRE_NULL
				     : json_is_true(v) ? WIRE_TRUE
						       : WIRE_FALSE);
	}
}

/* ---- reading ---- */

struct reader {
	const uint8_t *p;
	size_t left;
	uint32_t values; /* so far */
	bool bad;        /* what failed was no want of memory */
};

static const void *take(struct reader *r, size_t len)
{
	const uint8_t *at = r->p;

	if (len > r->left) {
		r->bad = true;
		return NULL;
	}
	r->p += len;
	r->left -= len;
	return at;
}

static bool take_into(struct reader *r, void *out, size_t len)
{
	const void *at = take(r, len);

	if (at)
		memcpy(out, at, len);
	return at != NULL;
}

static json_t *no(struct reader *r)
{
	r->bad = true;
	return NULL;
}

static bool text(struct reader *r, const char **ret, uint32_t *ret_len)
{
	if (!take_into(r, ret_len, sizeof(*ret_len)))
		return false;
	*ret = take(r, *ret_len);
	if (*ret && memchr(*ret, '\0', *ret_len))
		return no(r) != NULL;
	return *ret != NULL;
}

static json_t *get_string(struct reader *r)
{
	const char *s;
	uint32_t len;
	json_t *v;

	if (!text(r, &s, &len))
		return NULL;
	v = json_stringn(s, len);
	return v || lcm_json_oom_end() ? v : no(r); /* not UTF-8 */
}

static json_t *get_number(struct reader *r, bool real)
{
	json_int_t i;
	double d;

	if (!real)
		return take_into(r, &i, sizeof(i)) ? json_integer(i) : NULL;
	if (!take_into(r, &d, sizeof(d)))
		return NULL;
	return isfinite(d) ? json_real(d) : no(r);
}

static json_t *get_value(struct reader *r, unsigned int depth);

static int fill_array(struct reader *r, json_t *array, uint32_t n, unsigned int depth)
{
	for (uint32_t i = 0; i < n; i++)
		if (json_array_append_new(array, get_value(r, depth)) < 0)
			return -1;
	return 0;
}

static int fill_object(struct reader *r, json_t *object, uint32_t n, unsigned int depth)
{
	char *key;
	const char *s;
	uint32_t len;

	for (uint32_t i = 0; i < n; i++) {
		json_t *v;
		int st;

		if (!text(r, &s, &len))
			return -1;
		key = strndup(s, len);
		v = key ? get_value(r, depth) : NULL;
		if (v && json_object_get(object, key)) {
			json_decref(v);
			v = no(r);
		}
		st = v ? json_object_set_new(object, key, v) : -1;
		/* Set refuses what is not UTF-8. */
		r->bad |= v && st < 0 && !lcm_json_oom_end();
		free(key);
		if (st < 0)
			return -1;
	}
	return 0;
}

static json_t *get_many(struct reader *r, bool object, unsigned int depth)
{
	lcm_autojson json_t *v = NULL;
	uint32_t n;
	int st;

	if (!take_into(r, &n, sizeof(n)))
		return NULL;
	if (depth == LCM_JSON_DEPTH_MAX)
		return no(r);
	v = object ? json_object() : json_array();
	if (!v)
		return NULL;
	st = object ? fill_object(r, v, n, depth + 1) : fill_array(r, v, n, depth + 1);
	return st < 0 ? NULL : lcm_steal(&v);
}

static json_t *get_value(struct reader *r, unsigned int depth)
{
	uint8_t kind;

	if (!take_into(r, &kind, sizeof(kind)) || ++r->values > LCM_JSON_VALUES_MAX)
		return no(r);
	switch (kind) {
	case WIRE_NULL:
		return json_null();
	case WIRE_FALSE:
		return json_false();
	case WIRE_TRUE:
		return json_true();
	case WIRE_INT:
	case WIRE_REAL:
		return get_number(r, kind == WIRE_REAL);
	case WIRE_STRING:
		return get_string(r);
	case WIRE_ARRAY:
	case WIRE_OBJECT:
		return get_many(r, kind == WIRE_OBJECT, depth);
	default:
		return no(r);
	}
}

int lcm_json_wire_get(const void *p, size_t len, json_t **ret)
{
	struct reader r = { .p = p, .left = len };
	lcm_autojson json_t *v = NULL;

	lcm_json_oom_begin();
	v = get_value(&r, 0);
	if (!v)
		return r.bad ? -EPROTO : -ENOMEM;
	if (r.left || !json_is_object(v))
		return -EPROTO;
	*ret = lcm_steal(&v);
	return 0;
}
