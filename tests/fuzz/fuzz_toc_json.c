/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers lcm_chunked_parse_json(), and through it the TOC builder and lcm_toc_open(): what was
 * accepted and written must open again. The first byte picks the dialect and the size of the
 * pieces.
 */
#include <stdio.h>
#include <sys/mman.h>

#include "image/toc_chunked.h"
#include "src/base/sys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void build(struct lcm_toc_builder *b, const char *dir)
{
	struct lcm_toc_id id = { .blob_size = 1U << 20, .compression = LCM_COMP_ZSTD };
	lcm_auto(lcm_toc) t = NULL;
	struct lcm_err err = { 0 };
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/locum-fuzz-toc.%d", dir, (int)getpid());
	if (lcm_toc_builder_finish(b, &id, AT_FDCWD, path, false, &err) < 0)
		return;
	if (lcm_toc_open(AT_FDCWD, path, &t, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		abort();
	}
	lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, path, 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t steps[] = { 1, 7, 64, 4096 };
	lcm_auto(lcm_toc_builder) b = NULL;
	struct lcm_chunked_ref ref = { .off = 1U << 19 };
	struct lcm_err err = { 0 };

	if (size < 1 || lcm_toc_builder_new(&b) < 0)
		return 0;
	ref.digest_of_plain = data[0] & 1;
	if (lcm_chunked_parse_json(&ref, data + 1, size - 1, steps[data[0] >> 1 & 3], 1U << 20, b,
				   &err) == 0)
		build(b, "/dev/shm");
	return 0;
}
