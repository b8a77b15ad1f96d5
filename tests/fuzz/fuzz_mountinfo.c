/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_mountinfo_next(), lcm_mountinfo_is(): fields stay inside the text and every call moves
 * on. */
#include <string.h>

#include "overlay/mountinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(const struct lcm_mountinfo_field *f, const char *text, const char *end)
{
	char copy[4096];

	if (f->p < text || f->p > end || f->len > (size_t)(end - f->p) ||
	    memchr(f->p, '\n', f->len))
		abort();
	(void)lcm_mountinfo_is(f, "/var/lib/locum a\\b");
	if (lcm_mountinfo_copy(f, copy, sizeof(copy)) == 0 && strlen(copy) > f->len)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data, *end = text + size, *at = text;
	struct lcm_mountinfo m;

	for (;;) {
		const char *before = at;
		int r = lcm_mountinfo_next(&at, end, &m);

		if (r == 0)
			break;
		if (at <= before || at > end)
			abort();
		if (r < 0)
			continue;
		inside(&m.root, text, end);
		inside(&m.mount_point, text, end);
		inside(&m.type, text, end);
		inside(&m.source, text, end);
		inside(&m.super_options, text, end);
	}
	return at == end ? 0 : (abort(), 1);
}
