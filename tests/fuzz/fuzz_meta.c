/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers lcm_meta_write(), lcm_meta_each_file() and all below them: layers made of the input
 * become an image, whose bytes are compared with a model that merges in another way.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "src/base/sys.h"
#include "tests/lib/meta_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char scratch[] = "/dev/shm/locum-fuzz.XXXXXX";
static int scratch_fd = -1;

static void scratch_remove(void)
{
	lcm_ignore(lcm_rmtree_at(AT_FDCWD, scratch));
}

static void scratch_make(void)
{
	if (scratch_fd >= 0)
		return;
	if (!mkdtemp(scratch))
		abort();
	scratch_fd = lcm_sys_openat(AT_FDCWD, scratch, O_RDONLY | O_DIRECTORY, 0);
	if (scratch_fd < 0 || atexit(scratch_remove))
		abort();
}

static void fail(const char *what)
{
	fprintf(stderr, "fuzz_meta: %s\n", what);
	abort();
}

struct files {
	const struct mm_layers *l;
	uint64_t n;
};

static int count_file(void *arg, uint32_t layer, uint32_t entry)
{
	struct files *f = arg;
	const struct lcm_toc_entry *e = lcm_toc_entry(f->l->l[layer].toc, entry);

	if (e->type != LCM_TOC_REG || e->size == 0)
		fail("each_file gave something that needs no data");
	f->n++;
	return 0;
}

static uint64_t files_with_data(const struct mm_model *m, const struct mm_node *n)
{
	const struct lcm_toc_entry *e = mm_entry(m, n);
	uint64_t sum = n->first == n && e->type == LCM_TOC_REG && e->size > 0;

	for (size_t i = 0; i < n->n_kids; i++)
		sum += files_with_data(m, n->kids[i]);
	return sum;
}

static void compare(const struct mm_layers *l, int fd, const struct lcm_meta_stats *st)
{
	struct files f = { .l = l };
	struct mm_model m;
	const char *bad;
	uint8_t *p = mmap(NULL, st->image_bytes, PROT_READ, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		abort();
	mm_build(&m, l->l, l->n);
	bad = mm_check_image(&m, p, st->image_bytes);
	if (bad)
		fail(bad);
	if (st->inodes != m.inodes || st->regular != m.regular ||
	    st->bytes_regular != m.bytes_regular)
		fail("statistics");
	if (lcm_meta_each_file(l->l, l->n, count_file, &f, NULL) < 0 ||
	    f.n != files_with_data(&m, m.root))
		fail("each_file");
	mm_fini(&m);
	(void)munmap(p, st->image_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lcm_autoclose int fd = memfd_create("meta", MFD_CLOEXEC);
	struct lcm_meta_stats st;
	struct mm_layers l;
	struct stat sb;

	if (fd < 0)
		abort();
	scratch_make();
	mm_generate(data, size, scratch_fd, &l);
	if (lcm_meta_write(l.l, l.n, fd, &st, NULL) < 0)
		fail("a tree was refused");
	if (lcm_sys_fstat(fd, &sb) < 0 || (uint64_t)sb.st_size != st.image_bytes)
		fail("image size");
	compare(&l, fd, &st);
	if (l.refused) {
		struct lcm_meta_layer on[MM_LAYERS_MAX];

		memcpy(on, l.l, l.refused_on * sizeof(*on));
		on[l.refused_on] = (struct lcm_meta_layer){ .name = "r", .toc = l.refused };
		if (lcm_meta_write(on, l.refused_on + 1, fd, &st, NULL) != -EUCLEAN)
			fail("a link to nothing was taken");
	}
	mm_layers_fini(&l);
	return 0;
}
