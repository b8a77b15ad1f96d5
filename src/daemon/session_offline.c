/* SPDX-License-Identifier: Apache-2.0 */
/* session_offline.c - what can be had without a registry. */
#include "src/daemon/session_priv.h"

/* A layer that is not here in the way the mount needs it. */
static int not_here(const struct lcm_session *s, const struct lcm_layer *l, const char *what,
		    struct lcm_err *err)
{
	char digest[LCM_DIGEST_STR];

	return lcm_err_set(err, -ENODATA, "layer %s %s (locum pull %s fetches it)",
			   lcm_digest_str(&l->row.key.blob, digest), what, s->image_ref);
}

int session_all_known(struct lcm_session *s, struct lcm_err *err)
{
	for (uint32_t i = 0; i < s->n_slots; i++)
		if (!lcm_layer_is_known(s->slots[i].layer))
			return not_here(s, s->slots[i].layer,
					"is not whole, and has no usable table of contents here",
					err);
	return 0;
}
