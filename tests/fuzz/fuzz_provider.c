/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_provider_list_parse() with lcm_yaml_parse(), lcm_provider_answer_parse(), _find(),
 * lcm_provider_match(). */
#include <string.h>

#include "image/provider.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(const char *text, size_t size)
{
	static const char *const images[] = { "docker.io/library/x", "r.io:80/x/y", "a.b.r.io/x" };
	lcm_auto(lcm_provider_answer) a = NULL;
	struct lcm_err err = { 0 };

	if (lcm_provider_answer_parse(text, size, 7, &a, &err) < 0) {
		if (!err.msg[0])
			abort();
		return;
	}
	for (size_t i = 0; i < LCM_ARRAY_SIZE(images); i++) {
		lcm_auto(lcm_credentials) c = NULL;

		if (lcm_provider_answer_find(a, images[i], &c) == 0 &&
		    (strpbrk(c->username, ":\r\n") || strpbrk(c->password, "\r\n")))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lcm_auto(lcm_provider_list) l = NULL;
	struct lcm_err err = { 0 };
	lcm_autofree char *text = malloc(size + 1);
	char *half;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	answer(text, size);
	/* Any two texts; a glob without a star and a port is for itself. */
	half = strchr(text, '\n');
	(void)lcm_provider_match(text, half ? half + 1 : "");
	if (!strpbrk(text, "*") && !lcm_provider_match(text, text))
		abort();
	if (lcm_provider_list_parse(text, size, &l, &err) < 0)
		return err.msg[0] ? 0 : (abort(), 1);
	for (size_t i = 0; i < l->n; i++) {
		const struct lcm_provider *p = &l->v[i];

		if (!*p->name || strpbrk(p->name, "/ ") || !p->match[0] ||
		    strcmp(p->argv[0], p->name) != 0)
			abort();
		for (char **m = p->match; *m; m++)
			if (!strchr(*m, '*') && !lcm_provider_match(*m, *m))
				abort();
		for (char **e = p->env; *e; e++)
			if (!strchr(*e, '=') || **e == '=')
				abort();
	}
	return 0;
}
