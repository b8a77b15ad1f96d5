/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/bench_options.h"
#include "src/cmd/bench_pull.h"
#include "tests/unit/test.h"

static void medians(void **state)
{
	static const struct {
		double v[5];
		size_t n;
		double want;
	} rows[] = {
		{ { 7 }, 1, 7 },
		{ { 3, 1 }, 2, 2 },
		{ { 9, 1, 5 }, 3, 5 },
		{ { 4, 1, 3, 2 }, 4, 2.5 },
		{ { 5, 5, 1, 5, 9 }, 5, 5 },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		double v[5];

		memcpy(v, rows[i].v, sizeof(v));
		assert_true(bench_median(v, rows[i].n) == rows[i].want);
	}
}

/* The rounds' ratios, not that of the medians: those of the second row are 2 and 8. */
static void ratios(void **state)
{
	static const struct {
		double s[3], base[3];
		size_t n_s, n_base;
		int r;
		double want;
	} rows[] = {
		{ { 2, 4, 6 }, { 1, 2, 3 }, 3, 3, 0, 2 },
		{ { 2, 10, 24 }, { 2, 5, 1 }, 3, 3, 0, 2 },
		{ { 2, 10 }, { 1, 2, 3 }, 2, 3, 0, 3.5 },
		{ { 2, 10 }, { 0, 2 }, 2, 2, 0, 5 },
		{ { 2 }, { 0 }, 1, 1, -ENODATA, -1 },
		{ { 2 }, { 1 }, 1, 0, -ENODATA, -1 },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct bench_series s = { .n = rows[i].n_s }, base = { .n = rows[i].n_base };
		double got = -1;

		memcpy(s.v, rows[i].s, sizeof(rows[i].s));
		memcpy(base.v, rows[i].base, sizeof(rows[i].base));
		assert_int_equal(bench_ratio(&s, &base, &got), rows[i].r);
		assert_true(got == rows[i].want);
	}
}

static void series(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	(void)state;
	assert_non_null(b);
	for (int i = 0; i < BENCH_ROUNDS_MAX * 4 + 1; i++)
		bench_add(b, "p", "a", NULL, BENCH_MS, i);
	bench_add(b, "p", "b", "a", BENCH_MS, 1);
	bench_add(b, "q", "a", NULL, BENCH_MS, 2);
	assert_int_equal(b->n_series, 3);
	assert_int_equal(b->series[0].n, BENCH_ROUNDS_MAX * 4);
	assert_string_equal(b->series[1].base, "a");
	assert_true(b->series[2].v[0] == 2);
	free(b);
}

static void notes(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	(void)state;
	assert_non_null(b);
	bench_note(b, "a", "first %d", 1);
	bench_note(b, "b", "other");
	bench_note(b, "a", "last %d", 2);
	assert_int_equal(b->n_notes, 2);
	assert_string_equal(b->notes[0].text, "last 2");
	assert_string_equal(b->notes[1].text, "other");
	free(b);
}

static void header(unsigned char *h, char type, const char *size)
{
	memset(h, 0, 512);
	h[0] = 'n';
	h[156] = (unsigned char)type;
	memcpy(h + 124, size, strlen(size));
}

/* A directory, a pax header with a body, a file of 600 bytes, an empty one, the end. */
static void tar_files(void **state)
{
	unsigned char *tar = calloc(16, 512);
	const unsigned char *data = NULL;
	size_t off = 0, len = 0;

	(void)state;
	assert_non_null(tar);
	header(tar, '5', "00000000000");
	header(tar + 512, 'x', "00000000012");
	header(tar + 3 * 512, '0', "00000001130");
	header(tar + 6 * 512, '\0', "00000000000");
	assert_int_equal(floor_tar_next(tar, 16 * 512, &off, &data, &len), 1);
	assert_ptr_equal(data, tar + 4 * 512);
	assert_int_equal(len, 600);
	assert_int_equal(floor_tar_next(tar, 16 * 512, &off, &data, &len), 1);
	assert_int_equal(len, 0);
	assert_int_equal(off, 7 * 512);
	assert_int_equal(floor_tar_next(tar, 16 * 512, &off, &data, &len), 0);
	off = 3 * 512; /* cut off in the file */
	assert_int_equal(floor_tar_next(tar, 4 * 512 + 599, &off, &data, &len), -EUCLEAN);
	header(tar, '0', "0000000x000");
	off = 0;
	assert_int_equal(floor_tar_next(tar, 16 * 512, &off, &data, &len), -EUCLEAN);
	header(tar, '0', "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
	assert_int_equal(floor_tar_next(tar, 16 * 512, &off, &data, &len), -EUCLEAN);
	free(tar);
}

/* All connections share the rate; a round trip's half comes on top, and idle time is no credit. */
static void a_link_is_shared(void **state)
{
	const struct bench_link link = { .bytes_per_s = 1000000, .rtt_ns = 20000000 },
				none = { .rtt_ns = 20000000 };
	struct bench_lane lane = { 0 };

	(void)state;
	assert_int_equal(bench_lane_send(&lane, &link, 1000, 1000), 1000 + 1000000 + 10000000);
	assert_int_equal(bench_lane_send(&lane, &link, 1000, 1000), 1000 + 2000000 + 10000000);
	assert_int_equal(bench_lane_send(&lane, &link, 90000000, 500),
			 90000000 + 500000 + 10000000);
	assert_int_equal(bench_lane_send(&lane, &link, 90000000, 0), 90000000 + 500000 + 10000000);
	lane = (struct bench_lane){ 0 };
	assert_int_equal(bench_lane_send(&lane, &none, 7, 1U << 30), 7 + 10000000);
}

static void files(void **state)
{
	static const struct {
		const char *text;
		int r;
		size_t n;
		const char *last, *word; /* of the last item; NULL: none */
	} rows[] = {
		{ "a\n", 0, 1, "a", NULL },           { "# x\n\n a  b\tc #d\ne", 0, 2, "e", NULL },
		{ "a\nb echo 1", 0, 2, "b", "echo" }, { "", -EINVAL, 0, NULL, NULL },
		{ "#a\n", -EINVAL, 0, NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct bench *b = calloc(1, sizeof(*b));
		char *text = strdup(rows[i].text);

		assert_non_null(b);
		assert_int_equal(bench_file(b, text, NULL), rows[i].r);
		assert_int_equal(b->n_items, rows[i].n);
		if (rows[i].n)
			assert_string_equal(b->items[rows[i].n - 1].image, rows[i].last);
		if (rows[i].word)
			assert_string_equal(b->items[rows[i].n - 1].command[0], rows[i].word);
		else if (rows[i].n)
			assert_null(b->items[rows[i].n - 1].command);
		free(text);
		free(b);
	}
}

static void files_have_bounds(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	char text[4096] = "";
	struct lcm_err err = { 0 };

	(void)state;
	assert_non_null(b);
	for (int i = 0; i < BENCH_IMAGES_MAX + 1; i++)
		strcat(text, "i\n");
	assert_int_equal(bench_file(b, text, &err), -E2BIG);
	assert_string_equal(err.msg, "line 33: more than 32 images");
	memset(b, 0, sizeof(*b));
	(void)snprintf(text, sizeof(text), "i");
	for (int i = 0; i < BENCH_ARGS_MAX + 1; i++)
		strcat(text, " w");
	assert_int_equal(bench_file(b, text, &err), -E2BIG);
	free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(medians),   cmocka_unit_test(ratios),
		cmocka_unit_test(series),    cmocka_unit_test(notes),
		cmocka_unit_test(tar_files), cmocka_unit_test(a_link_is_shared),
		cmocka_unit_test(files),     cmocka_unit_test(files_have_bounds)
	};

	return cmocka_run_group_tests_name("bench", tests, NULL, NULL);
}
