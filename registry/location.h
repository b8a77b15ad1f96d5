/* SPDX-License-Identifier: Apache-2.0 */
/*
 * location.h - where a registry redirected a blob to, kept for a while.
 *
 * Layer: registry. Pure. A demand range costs one round trip instead of two
 * with it. Signed URLs live 5 to 60 minutes; one that expired earlier is
 * answered with 401 or 403 and forgotten.
 */
#ifndef LCM_LOCATION_H
#define LCM_LOCATION_H

#include "src/base/digest.h"

#define LCM_LOCATION_TTL_NS (240ULL * 1000000000)
#define LCM_LOCATIONS_MAX 64 /* layers pulled at a time from one registry, with room */

struct lcm_location {
	struct lcm_digest blob;
	char repo[256];
	char *url; /* owned; NULL: free slot */
	uint64_t expires_ns, used_ns;
};

/* Zeroed at first. */
struct lcm_locations {
	struct lcm_location e[LCM_LOCATIONS_MAX];
};

/** lcm_location_get - the URL, borrowed until the next put or drop; NULL: none. */
const char *lcm_location_get(struct lcm_locations *l, const char *repo,
			     const struct lcm_digest *blob, uint64_t now_ns);
/** lcm_location_put - remember; the one unused for longest makes room. Out of memory: nothing is
 * remembered. */
void lcm_location_put(struct lcm_locations *l, const char *repo, const struct lcm_digest *blob,
		      const char *url, uint64_t now_ns);
void lcm_location_drop(struct lcm_locations *l, const char *repo, const struct lcm_digest *blob);
void lcm_locations_fini(struct lcm_locations *l);

#endif
