/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_config_parse(). */
#include <string.h>

#include "src/base/base.h"
#include "src/cmd/config_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lcm_config c;
	struct lcm_err err = { 0 };
	char *text = malloc(size + 1);
	unsigned int last = 0;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (lcm_config_parse(text, size, &c, &err) < 0)
		return err.msg[0] ? 0 : (abort(), 1);
	for (size_t i = 0; i < c.n; i++) {
		const struct lcm_config_line *l = &c.lines[i];

		if (l->number <= last || !*l->name || strpbrk(l->name, " \t\r\n#") ||
		    (l->value && (!*l->value || strpbrk(l->value, "\n"))))
			abort();
		last = l->number;
	}
	lcm_config_fini(&c);
	return 0;
}
