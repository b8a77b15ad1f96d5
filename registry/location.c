/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/location.h"

#include <stdio.h>
#include <string.h>

static struct lcm_location *find(struct lcm_locations *l, const char *repo,
				 const struct lcm_digest *blob)
{
	for (size_t i = 0; i < LCM_LOCATIONS_MAX; i++) {
		struct lcm_location *e = &l->e[i];

		if (e->url && lcm_digest_equal(&e->blob, blob) && strcmp(e->repo, repo) == 0)
			return e;
	}
	return NULL;
}

static void forget(struct lcm_location *e)
{
	free(e->url);
	*e = (struct lcm_location){ 0 };
}

const char *lcm_location_get(struct lcm_locations *l, const char *repo,
			     const struct lcm_digest *blob, uint64_t now_ns)
{
	struct lcm_location *e = find(l, repo, blob);

	if (!e)
		return NULL;
	if (now_ns >= e->expires_ns) {
		forget(e);
		return NULL;
	}
	e->used_ns = now_ns;
	return e->url;
}

void lcm_location_put(struct lcm_locations *l, const char *repo, const struct lcm_digest *blob,
		      const char *url, uint64_t now_ns)
{
	struct lcm_location *e = find(l, repo, blob);
	char *copy = strdup(url);

	if (!copy)
		return;
	for (size_t i = 0; !e && i < LCM_LOCATIONS_MAX; i++)
		if (!l->e[i].url)
			e = &l->e[i];
	if (!e) {
		e = &l->e[0];
		for (size_t i = 1; i < LCM_LOCATIONS_MAX; i++)
			if (l->e[i].used_ns < e->used_ns)
				e = &l->e[i];
	}
	forget(e);
	*e = (struct lcm_location){ .blob = *blob,
				    .url = copy,
				    .expires_ns = now_ns + LCM_LOCATION_TTL_NS };
	e->used_ns = now_ns;
	(void)snprintf(e->repo, sizeof(e->repo), "%s", repo);
}

void lcm_location_drop(struct lcm_locations *l, const char *repo, const struct lcm_digest *blob)
{
	struct lcm_location *e = find(l, repo, blob);

	if (e)
		forget(e);
}

void lcm_locations_fini(struct lcm_locations *l)
{
	for (size_t i = 0; i < LCM_LOCATIONS_MAX; i++)
		forget(&l->e[i]);
}
