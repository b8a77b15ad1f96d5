/* SPDX-License-Identifier: Apache-2.0 */
/* toc_fixture.h - a TOC builder, a directory to write into, and rows of entries to add. */
#ifndef LCM_TOC_FIXTURE_H
#define LCM_TOC_FIXTURE_H

#include "image/toc.h"
#include "src/base/buf.h"
#include "tests/unit/test.h"

#define BLOB_SIZE 1000000

/* One entry to add, and how that ends. */
struct row {
	enum lcm_toc_type type;
	const char *path, *link;
	int r;
	const char *says; /* part of the text of a failure */
};

struct fixture {
	char *dir;
	char path[4096];
	struct lcm_toc_builder *b;
	struct lcm_toc *toc;
	struct lcm_err err;
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->dir = test_mkdir();
	(void)snprintf(f->path, sizeof(f->path), "%s/toc", f->dir);
	assert_int_equal(lcm_toc_builder_new(&f->b), 0);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	lcm_toc_builder_free(f->b);
	lcm_toc_close(f->toc);
	test_rmdir(f->dir);
	free(f);
	return 0;
}

static inline struct lcm_toc_item item_of(enum lcm_toc_type type, const char *path,
					  const char *link)
{
	return (struct lcm_toc_item){
		.path = path,
		.path_len = strlen(path),
		.type = type,
		.mode = 0640,
		.link = link,
		.link_len = link ? strlen(link) : 0,
	};
}

static inline void add_rows(struct fixture *f, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct lcm_toc_item it = item_of(rows[i].type, rows[i].path, rows[i].link);

		f->err = (struct lcm_err){ 0 };
		it.mtime = (int64_t)i;
		if (lcm_toc_builder_add(f->b, &it, &f->err) != rows[i].r)
			fail_msg("row %zu '%s': %s", i, rows[i].path, f->err.msg);
		if (rows[i].says && !strstr(f->err.msg, rows[i].says))
			fail_msg("row %zu: '%s' does not say '%s'", i, f->err.msg, rows[i].says);
	}
}

static inline int try_finish(struct fixture *f)
{
	struct lcm_toc_id id = { .blob_size = BLOB_SIZE, .compression = LCM_COMP_ZSTD };

	return lcm_toc_builder_finish(f->b, &id, AT_FDCWD, f->path, false, &f->err);
}

static inline void finish(struct fixture *f)
{
	if (try_finish(f) < 0 || lcm_toc_open(AT_FDCWD, f->path, &f->toc, &f->err) < 0)
		fail_msg("%s", f->err.msg);
}

static inline const struct lcm_toc_entry *at(const struct fixture *f, const char *path)
{
	uint32_t i = lcm_toc_walk(f->toc, path, strlen(path));

	if (i == LCM_TOC_NONE)
		fail_msg("no '%s'", path);
	return lcm_toc_entry(f->toc, i);
}

/* An xattr, and a digest that is not zero. */
#define X(n, v)                                                                                    \
	{                                                                                          \
		.name = (n), .name_len = sizeof(n) - 1, .value = (const uint8_t *)(v),             \
		.value_len = sizeof(v) - 1                                                         \
	}
#define D                                                                                          \
	{                                                                                          \
		.b = { 1 }                                                                         \
	}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#endif
