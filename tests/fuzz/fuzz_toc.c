/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers lcm_toc_open() and everything that reads an opened TOC. The input is a TOC file whose
 * checksum is made good first: the checksum is for accidents, the checks behind it are for
 * attackers.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "image/toc_format.h"
#include "src/base/sys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t sink; /* keeps reads */

static void touch(const void *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sink += ((const uint8_t *)p)[i];
}

static void visit_chunk(const struct lcm_toc *t, const struct lcm_toc_chunk *c)
{
	uint32_t n;

	touch(c, sizeof(*c));
	if (c->span == LCM_TOC_NONE)
		return;
	n = lcm_toc_chunk_spans(t, c);
	if (n > LCM_TOC_UNIT_SPANS_MAX || n > lcm_toc_span_count(t) - c->span)
		abort();
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *w = lcm_toc_window(t, lcm_toc_span(t, c->span + i));

		if (w)
			touch(w, LCM_TOC_WINDOW);
	}
}

static void visit(const struct lcm_toc *t, uint32_t i)
{
	const struct lcm_toc_entry *e = lcm_toc_entry(t, i);
	char path[LCM_PATH_MAX + 1];
	struct lcm_xattr x;
	uint32_t pos = 0;
	int len = lcm_toc_path(t, i, path, sizeof(path));

	if (len >= 0 && lcm_toc_walk(t, path, (size_t)len) != i)
		abort();
	while (lcm_toc_xattr_next(t, e, &pos, &x)) {
		touch(x.name, x.name_len + 1U);
		touch(x.value, x.value_len);
	}
	if (e->type == LCM_TOC_SYMLINK && strlen(lcm_toc_link(t, e)) != e->link_len)
		abort();
	if (e->type == LCM_TOC_HARDLINK && lcm_toc_entry(t, e->link)->type == LCM_TOC_DIR)
		abort();
	for (uint32_t k = 0; e->type == LCM_TOC_REG && k < e->n_chunks; k++)
		visit_chunk(t, lcm_toc_chunk(t, e->first_chunk + k));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lcm_autoclose int fd = memfd_create("toc", MFD_CLOEXEC);
	lcm_autofree char *copy = malloc(size ? size : 1);
	lcm_auto(lcm_toc) t = NULL;
	char path[64];

	if (fd < 0 || !copy)
		return 0;
	memcpy(copy, data, size);
	if (size >= sizeof(struct toc_header)) {
		struct toc_header *h = (struct toc_header *)copy;

		h->checksum = 0;
		h->checksum = toc_checksum(toc_checksum(0, copy + sizeof(*h), size - sizeof(*h)), h,
					   sizeof(*h));
	}
	if (lcm_sys_write_full(fd, copy, size) < 0)
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (lcm_toc_open(AT_FDCWD, path, &t, NULL) < 0)
		return 0;
	touch(lcm_toc_id(t), sizeof(struct lcm_toc_id));
	for (uint32_t i = 0; i < lcm_toc_count(t); i++)
		visit(t, i);
	return 0;
}
