/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/snapshot_filter.h"

#include <string.h>

#define TEXT_MAX 4200 /* a label's key and value together have at most 4096 bytes */

/* One word at *p: in quotes, or up to one of @ends. Return: false: it is none that we know. */
static bool word(const char **p, const char *ends, char out[TEXT_MAX])
{
	size_t n = 0;

	if (**p != '"') {
		n = strcspn(*p, ends);
		if (n >= TEXT_MAX)
			return false;
		memcpy(out, *p, n);
		out[n] = '\0';
		*p += n;
		return true;
	}
	for ((*p)++; **p && **p != '"'; (*p)++) {
		if (**p == '\\' && (*p)[1] != '"' && (*p)[1] != '\\')
			return false; /* an escape of Go's that names a byte */
		if (**p == '\\')
			(*p)++;
		if (n == TEXT_MAX - 1)
			return false;
		out[n++] = **p;
	}
	out[n] = '\0';
	if (**p != '"')
		return false;
	(*p)++;
	return true;
}

/* The value of the field at *p, "" when there is none. */
static bool field(const json_t *info, const char **p, const char **ret)
{
	char name[TEXT_MAX], key[TEXT_MAX];
	const json_t *v;

	if (!word(p, ".=!~,", name))
		return false;
	if (strcmp(name, "labels") == 0) {
		if (**p != '.')
			return false;
		(*p)++;
		/* A key without quotes may have dots itself. */
		if (!word(p, "=!~,", key))
			return false;
		v = json_object_get(json_object_get(info, "labels"), key);
	} else {
		v = json_object_get(info, name);
	}
	*ret = json_string_value(v) ? json_string_value(v) : "";
	return true;
}

/* One selector. Return: does it fit; *ret_known false: it was not understood. */
static bool selector(const json_t *info, const char **p, bool *ret_known)
{
	char value[TEXT_MAX];
	const char *have = "";
	char op;

	*ret_known = field(info, p, &have);
	if (!*ret_known || **p == ',' || **p == '\0')
		return *have != '\0';
	op = **p;
	*ret_known = (op == '=' || op == '!' || op == '~') && (*p)[1] == '=';
	if (!*ret_known)
		return true;
	*p += 2;
	*ret_known = word(p, ",", value);
	if (op == '~')
		return true;
	return (strcmp(have, value) == 0) == (op == '=');
}

static bool fits(const json_t *info, const char *p)
{
	bool known, fit;

	for (;;) {
		fit = selector(info, &p, &known);
		if (!known)
			return true;
		if (!fit)
			return false;
		if (*p == '\0')
			return true;
		if (*p++ != ',')
			return true;
	}
}

bool lcm_snapshot_filter(const json_t *info, const json_t *filters)
{
	const json_t *v;
	size_t i;

	if (json_array_size(filters) == 0)
		return true;
	json_array_foreach (filters, i, v)
		if (fits(info, json_string_value(v) ? json_string_value(v) : ""))
			return true;
	return false;
}
