/* SPDX-License-Identifier: Apache-2.0 */
#include "image/json.h"

#include <string.h>

#include "src/base/limits.h"
#include "src/base/sys.h"

static _Thread_local bool allocation_failed;

static void *json_malloc(size_t n)
{
	void *p = lcm_fault_check() == 0 ? malloc(n) : NULL;

	if (!p)
		allocation_failed = true;
	return p;
}

/* jansson wants this before its first use; blocks stay free(3)'s. */
__attribute__((constructor)) static void watch_allocations(void)
{
	json_set_alloc_funcs(json_malloc, free);
}

void lcm_json_oom_begin(void)
{
	allocation_failed = false;
}

bool lcm_json_oom_end(void)
{
	return allocation_failed;
}

/* Skip a string whose opening quote is at @i; returns the index of the closing one, or @len. */
static size_t skip_string(const char *s, size_t len, size_t i)
{
	for (i++; i < len && s[i] != '"'; i++)
		if (s[i] == '\\')
			i++;
	return i;
}

/* An upper bound of depth and values; text that is not JSON is left to jansson. */
static int check_bounds(const char *s, size_t len, const char *what, struct lcm_err *err)
{
	size_t depth = 0, values = 1;

	for (size_t i = 0; i < len; i++) {
		switch (s[i]) {
		case '"':
			i = skip_string(s, len, i);
			break;
		case '{':
		case '[':
			depth++;
			values++;
			break;
		case '}':
		case ']':
			depth -= depth > 0;
			break;
		case ',':
			values++;
			break;
		default:
			break;
		}
		if (depth > LCM_JSON_DEPTH_MAX)
			return lcm_err_set(err, -EFBIG,
					   "%s: JSON nested deeper than %d levels at byte %zu",
					   what, LCM_JSON_DEPTH_MAX, i);
		if (values > LCM_JSON_VALUES_MAX)
			return lcm_err_set(err, -EFBIG, "%s: JSON with more than %u values", what,
					   LCM_JSON_VALUES_MAX);
	}
	return 0;
}

/* jansson's own text quotes the input, so it is not used. */
static int report(const json_error_t *e, const char *what, struct lcm_err *err)
{
	const char *why = "not valid JSON";

	switch (json_error_code(e)) {
	case json_error_duplicate_key:
		why = "a key is given twice";
		break;
	case json_error_invalid_utf8:
		why = "not valid UTF-8";
		break;
	case json_error_null_character:
	case json_error_null_byte_in_key:
		why = "a NUL character in a string";
		break;
	case json_error_numeric_overflow:
		why = "a number beyond 64 bits";
		break;
	case json_error_premature_end_of_input:
		why = "the JSON text ends too early";
		break;
	case json_error_end_of_input_expected:
		why = "something follows the JSON text";
		break;
	default:
		break;
	}
	return lcm_err_set(err, -EUCLEAN, "%s: %s, line %d column %d", what, why, e->line,
			   e->column);
}

int lcm_json_parse(const void *p, size_t len, size_t max, const char *what, json_t **ret,
		   struct lcm_err *err)
{
	lcm_autojson json_t *root = NULL;
	json_error_t e;
	int r;

	if (len > max)
		return lcm_err_set(err, -EFBIG, "%s: %zu bytes, the limit is %zu", what, len, max);
	if (len == 0)
		return lcm_err_set(err, -EUCLEAN, "%s: empty", what);
	r = check_bounds(p, len, what, err);
	if (r < 0)
		return r;
	lcm_json_oom_begin();
	root = json_loadb(p, len, JSON_REJECT_DUPLICATES, &e);
	if (lcm_json_oom_end())
		return lcm_err_set(err, -ENOMEM, "%s: out of memory", what);
	if (!root)
		return report(&e, what, err);
	if (!json_is_object(root))
		return lcm_err_set(err, -EUCLEAN, "%s: the JSON text is not an object", what);
	*ret = lcm_steal(&root);
	return 0;
}

json_t *lcm_json_member(const json_t *obj, const char *key)
{
	json_t *v = json_object_get(obj, key);

	return json_is_null(v) ? NULL : v;
}

int lcm_json_string(const json_t *obj, const char *key, const char *what, const char **ret,
		    struct lcm_err *err)
{
	const json_t *v = lcm_json_member(obj, key);

	if (v && !json_is_string(v))
		return lcm_err_set(err, -EUCLEAN, "%s: %s is not a string", what, key);
	*ret = v ? json_string_value(v) : "";
	return 0;
}

int lcm_json_text_of(const json_t *root, char **ret)
{
	char *text;

	lcm_json_oom_begin();
	text = json_dumps(root, JSON_COMPACT);
	if (!text || lcm_json_oom_end()) {
		free(text);
		return -ENOMEM;
	}
	*ret = text;
	return 0;
}

bool lcm_json_is_plain(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

/* Bytes of the character at @p, which ends with NUL at the latest; 0: it is none. */
static size_t utf8_len(const uint8_t *p)
{
	static const struct {
		uint8_t first, last, low, high; /* of the first byte, of the second */
		size_t len;
	} forms[] = { { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		      { 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 },
		      { 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
		      { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 } };

	if (*p < 0x80)
		return 1;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(forms); i++) {
		size_t n = 2;

		if (*p < forms[i].first || *p > forms[i].last)
			continue;
		if (p[1] < forms[i].low || p[1] > forms[i].high)
			return 0;
		while (n < forms[i].len && (p[n] & 0xc0) == 0x80)
			n++;
		return n == forms[i].len ? n : 0;
	}
	return 0;
}

json_t *lcm_json_text(const char *s)
{
	json_t *good = json_string(s);
	lcm_autofree char *out = good ? NULL : malloc(strlen(s) * 3 + 1);
	char *to = out;

	if (good || !out)
		return good;
	while (*s) {
		size_t n = utf8_len((const uint8_t *)s);

		memcpy(to, n ? s : "\xef\xbf\xbd", n ? n : 3);
		to += n ? n : 3;
		s += n ? n : 1;
	}
	*to = '\0';
	return json_string(out);
}
