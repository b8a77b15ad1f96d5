/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_toml_parse() and lcm_hosts_parse(). */
#include <string.h>
#include <strings.h>

#include "registry/hosts.h"
#include "registry/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_order(const struct lcm_toml *t)
{
	unsigned int line = 0;

	for (size_t i = 0; i < t->n; i++) {
		if ((t->type == LCM_TOML_TABLE) != (t->items[i].key != NULL))
			abort();
		if (t->type == LCM_TOML_TABLE && t->items[i].line < line)
			abort();
		line = t->items[i].line;
		check_order(&t->items[i]);
	}
}

static void check_entry(const struct lcm_hosts_entry *e)
{
	if (!e->caps || (e->caps & ~LCM_CAP_ALL))
		abort();
	if (e->base && (strncasecmp(e->base, "http", 4) != 0 || strpbrk(e->base, " \t\r\n?#")))
		abort();
	for (char **f = e->fields; f && *f; f++)
		if (strpbrk(*f, "\r\n"))
			abort();
	for (char **p = e->ca; p && *p; p++)
		if (**p != '/')
			abort();
	for (char **p = e->clients; p && *p; p += 2)
		if (**p != '/' || !p[1] || *p[1] != '/')
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lcm_toml *t = NULL;
	struct lcm_hosts *h = NULL;
	struct lcm_err err = { 0 };
	char *text = malloc(size + 1);
	int r;

	if (!text)
		return 0;
	memcpy(text, data, size);
	if (lcm_toml_parse(text, size, &t, &err) == 0)
		check_order(t);
	r = lcm_hosts_parse(text, size, "/d", &h, &err);
	if (r < 0 && (!err.msg[0] || h))
		abort();
	if (r == 0 && (!t || h->n < 1 || h->n > LCM_HOSTS_MAX || !h->e[h->n - 1].upstream))
		abort();
	for (size_t i = 0; r == 0 && i < h->n; i++)
		check_entry(&h->e[i]);
	lcm_hosts_free(h);
	lcm_toml_free(t);
	free(text);
	return 0;
}
