/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"
#include "unit/unit_priv.h"

#define JSON_MAX 4096U /* names and ids */

int unit_json_read(int dir, const char *name, json_t **ret)
{
	lcm_autofree char *text = NULL;
	size_t len;
	int r = lcm_read_file_at(dir, name, JSON_MAX, &text, &len);

	return r < 0 ? r : lcm_json_parse(text, len, JSON_MAX, name, ret, NULL);
}

int unit_json_write(int dir, const char *name, json_t *doc)
{
	lcm_autofree char *text = doc ? json_dumps(doc, JSON_INDENT(1)) : NULL;

	json_decref(doc);
	return text ? lcm_write_file_at(dir, name, text, strlen(text), 0600) : -ENOMEM;
}

bool unit_json_is(const json_t *doc, const char *key, const char *value)
{
	const char *s = json_string_value(lcm_json_member(doc, key));

	return s && strcmp(s, value) == 0;
}

int unit_json_text(const json_t *doc, const char *key, char *out, size_t cap)
{
	const char *s = json_string_value(lcm_json_member(doc, key));

	return s && (size_t)snprintf(out, cap, "%s", s) < cap ? 0 : -EUCLEAN;
}
