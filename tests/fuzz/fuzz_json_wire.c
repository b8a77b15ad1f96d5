/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_json_wire_get() and _put(): what is taken is a tree that JSON could have given, and
 * comes back as it was; so does any JSON document that the input is. */
#include <stdlib.h>
#include <string.h>

#include "image/json_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void back_and_forth(const json_t *v, size_t size)
{
	lcm_autobuf struct lcm_buf b = LCM_BUF(LCM_JSON_WIRE_MAX(size));
	lcm_autojson json_t *got = NULL;

	if (lcm_json_wire_put(v, &b) < 0 || lcm_json_wire_get(b.data, b.len, &got) < 0 ||
	    !json_equal(v, got))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lcm_autojson json_t *v = NULL, *doc = NULL, *again = NULL;
	lcm_autofree char *text = NULL;

	if (lcm_json_parse(data, size, SIZE_MAX, "input", &doc, NULL) == 0)
		back_and_forth(doc, size);
	if (lcm_json_wire_get(data, size, &v) < 0)
		return 0;
	back_and_forth(v, size);
	if (lcm_json_text_of(v, &text) < 0 ||
	    lcm_json_parse(text, strlen(text), SIZE_MAX, "text", &again, NULL) < 0 ||
	    !json_equal(v, again))
		abort();
	return 0;
}
