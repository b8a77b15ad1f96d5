/* SPDX-License-Identifier: Apache-2.0 */
/* session_offline.c - what can be had without a registry, and what a mount says that asks none. */
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

void session_fail_offline(struct lcm_session *s)
{
	struct lcm_err err = { 0 };

	for (uint32_t i = 0; i < s->n_slots && !err.code; i++)
		if (s->slots[i].layer->phase != LCM_LAYER_LOCAL)
			lcm_ignore(not_here(s, s->slots[i].layer,
					    "is not whole, and the mount is offline", &err));
	session_fail(s, -ENODATA, &err);
}

bool session_refuses(struct lcm_session *s, struct lcm_layer *l, uint32_t entry)
{
	char path[LCM_PATH_MAX + 1];
	bool first = !s->error.code;

	if (!s->offline || lcm_demand_is_here(l, entry))
		return false;
	if (lcm_toc_path(l->toc, entry, path, sizeof(path)) < 0)
		path[0] = '\0';
	lcm_err_set(&s->error, -ENODATA,
		    "/%.150s is not here, and the mount is offline: its readers get EIO (locum "
		    "pull fetches it)",
		    path);
	if (first)
		session_changed(s);
	return true;
}
