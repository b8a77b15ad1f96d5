/* SPDX-License-Identifier: Apache-2.0 */
/* What a function has read is the same tree here, and nothing else passes for one. */
#include "image/json_wire.h"

#include "src/base/limits.h"
#include "tests/unit/test.h"

#define DOC                                                                                        \
	"{\"a\":null,\"b\":[true,false,[],{}],\"c\":-9223372036854775808,\"d\":1.5e300,"           \
	"\"e\":\"\\u00e9\\n\\ud83d\\udc0b\",\"\":\"\",\"f\":{\"a\":{\"a\":9223372036854775807}}}"

static json_t *parsed(const char *text)
{
	struct lcm_err err = { 0 };
	json_t *v = NULL;

	if (lcm_json_parse(text, strlen(text), 1 << 20, "test", &v, &err) < 0)
		fail_msg("%s: %s", text, err.msg);
	return v;
}

static struct lcm_buf wired(const char *text)
{
	struct lcm_buf b = LCM_BUF(LCM_JSON_WIRE_MAX(strlen(text)));
	lcm_autojson json_t *v = parsed(text);

	assert_int_equal(lcm_json_wire_put(v, &b), 0);
	return b;
}

/* The reader gets memory of its exact length: the sanitizer sees one byte too much. */
static int get(const void *p, size_t len, json_t **ret)
{
	lcm_autofree void *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, p, len);
	return lcm_json_wire_get(copy, len, ret);
}

static void same(const char *text)
{
	lcm_autobuf struct lcm_buf b = wired(text);
	lcm_autojson json_t *v = parsed(text), *got = NULL;

	assert_int_equal(get(b.data, b.len, &got), 0);
	assert_true(json_equal(v, got));
}

static char *repeated(const char *head, const char *unit, size_t n, const char *tail)
{
	size_t len = strlen(head), u = strlen(unit);
	char *s = malloc(len + u * n + strlen(tail) + 1);

	assert_non_null(s);
	memcpy(s, head, len);
	for (size_t i = 0; i < n; i++, len += u)
		memcpy(s + len, unit, u);
	memcpy(s + len, tail, strlen(tail) + 1);
	return s;
}

/* Also what lcm_json_parse() just so takes. */
static void round_trip(void **state)
{
	lcm_autofree char *open = repeated("{\"a\":", "[", LCM_JSON_DEPTH_MAX - 1, "");
	lcm_autofree char *deep = repeated(open, "]", LCM_JSON_DEPTH_MAX - 1, "}");
	lcm_autofree char *many = repeated("{\"a\":[0", ",0", LCM_JSON_VALUES_MAX - 3, "]}");

	(void)state;
	same("{}");
	same(DOC);
	same(deep);
	same(many);
}

static void cut_anywhere(void **state)
{
	lcm_autobuf struct lcm_buf b = wired(DOC);
	json_t *got = NULL;

	(void)state;
	for (size_t n = 0; n < b.len; n++)
		assert_int_equal(get(b.data, n, &got), -EPROTO);
	assert_int_equal(lcm_buf_add(&b, "", 1), 0);
	b.max = b.len;
	assert_int_equal(get(b.data, b.len, &got), -EPROTO);
	assert_null(got);
}

/* Whatever is taken after a change is a tree that JSON could have given. */
static void changed_anywhere(void **state)
{
	lcm_autobuf struct lcm_buf b = wired(DOC);
	unsigned int refused = 0;

	(void)state;
	for (size_t i = 0; i < b.len; i++) {
		for (int bit = 0; bit < 8; bit++) {
			lcm_autojson json_t *got = NULL, *again = NULL;
			lcm_autofree char *text = NULL;
			int r;

			b.data[i] ^= (char)(1 << bit);
			r = get(b.data, b.len, &got);
			b.data[i] ^= (char)(1 << bit);
			assert_true(r == 0 || r == -EPROTO);
			refused += r < 0;
			if (r < 0)
				continue;
			assert_int_equal(lcm_json_text_of(got, &text), 0);
			again = parsed(text);
			assert_true(json_equal(got, again));
		}
	}
	assert_true(refused > b.len);
}

static void refused(void **state)
{
	static const struct {
		const char *what;
		const char *bytes;
		size_t len;
	} rows[] = {
#define ROW(what, s) { what, s, sizeof(s) - 1 }
		ROW("nothing", ""),
		ROW("no object", "\1"),
		ROW("an array", "\7\0\0\0\0"),
		ROW("no kind", "\10\1\0\0\0\1\0\0\0a\0"),
		ROW("another kind", "\10\1\0\0\0\1\0\0\0a\11"),
		ROW("a key twice", "\10\2\0\0\0\1\0\0\0a\1\1\0\0\0a\1"),
		ROW("a NUL in a key", "\10\1\0\0\0\1\0\0\0\0\1"),
		ROW("no UTF-8 in a key", "\10\1\0\0\0\1\0\0\0\377\1"),
		ROW("a NUL in a string", "\10\1\0\0\0\1\0\0\0a\6\1\0\0\0\0"),
		ROW("no UTF-8 in a string", "\10\1\0\0\0\1\0\0\0a\6\1\0\0\0\377"),
		ROW("a length of 4 GiB", "\10\1\0\0\0\377\377\377\377a\1"),
		ROW("4 GiB of values", "\10\1\0\0\0\1\0\0\0a\7\377\377\377\377\1"),
		ROW("not a number", "\10\1\0\0\0\1\0\0\0a\5\0\0\0\0\0\0\370\177"),
		ROW("infinity", "\10\1\0\0\0\1\0\0\0a\5\0\0\0\0\0\0\360\177"),
#undef ROW
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		json_t *got = NULL;

		if (get(rows[i].bytes, rows[i].len, &got) != -EPROTO || got)
			fail_msg("%s was taken", rows[i].what);
	}
}

/* One level, one value more than a document may have. */
static void beyond(void **state)
{
	lcm_autobuf struct lcm_buf b = LCM_BUF(1 << 20);
	const uint32_t one = 1, many = LCM_JSON_VALUES_MAX;
	json_t *got = NULL;

	(void)state;
	assert_int_equal(lcm_buf_add(&b, "\10\1\0\0\0\1\0\0\0a", 10), 0);
	for (int i = 0; i < LCM_JSON_DEPTH_MAX; i++) {
		assert_int_equal(lcm_buf_add(&b, "\7", 1), 0);
		assert_int_equal(lcm_buf_add(&b, &one, sizeof(one)), 0);
	}
	assert_int_equal(lcm_buf_add(&b, "\1", 1), 0);
	assert_int_equal(get(b.data, b.len, &got), -EPROTO);
	b.len = 10;
	assert_int_equal(lcm_buf_add(&b, "\7", 1), 0);
	assert_int_equal(lcm_buf_add(&b, &many, sizeof(many)), 0);
	for (uint32_t i = 0; i < many; i++)
		assert_int_equal(lcm_buf_add(&b, "\1", 1), 0);
	assert_int_equal(get(b.data, b.len, &got), -EPROTO);
	assert_null(got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),       cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(changed_anywhere), cmocka_unit_test(refused),
		cmocka_unit_test(beyond),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
