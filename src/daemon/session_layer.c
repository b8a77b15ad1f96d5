/* SPDX-License-Identifier: Apache-2.0 */
/* session_layer.c - which layers of an image a mount is of: all, the first so many, or one alone.
 */
#include <sys/xattr.h>

#include "src/daemon/session_priv.h"

static int fill_first(struct lcm_session *s, struct lcm_image *img)
{
	uint32_t n = lcm_image_n_layers(img);
	int r = session_make_slots(s, s->depth ? LCM_MIN(s->depth, n) : n);

	for (uint32_t i = 0; r == 0 && i < s->n_slots; i++)
		session_fill_slot(s, i, lcm_image_layer(img, i));
	return r;
}

static bool is_called(const struct lcm_layer *l, const struct lcm_digest *d)
{
	return lcm_digest_equal(&l->row.key.blob, d) || lcm_digest_equal(&l->row.key.source, d) ||
	       lcm_digest_equal(&l->chunked.digest, d) || lcm_digest_equal(&l->estargz.digest, d);
}

int session_fill_slots(struct lcm_session *s, struct lcm_image *img, struct lcm_err *err)
{
	char digest[LCM_DIGEST_STR];

	if (!session_is_layer(s))
		return fill_first(s, img);
	for (uint32_t i = 0; i < lcm_image_n_layers(img); i++) {
		struct lcm_layer *l = lcm_image_layer(img, i);
		int r;

		if (!is_called(l, &s->layer))
			continue;
		r = session_make_slots(s, 1);
		if (r == 0)
			session_fill_slot(s, 0, l);
		return r;
	}
	return lcm_err_set(err, -ENOENT, "%s has no layer %s", s->image_ref,
			   lcm_digest_str(&s->layer, digest));
}

/* META's root has the mark escaped; our overlay is to show it without. */
int session_check_layer(const struct lcm_session *s, struct lcm_err *err)
{
	char mark = 0;

	if (lcm_errno(lgetxattr(s->target, "trusted.overlay.opaque", &mark, 1)) == 1 && mark == 'x')
		return 0;
	lcm_ignore(lcm_umount(s->target, true, NULL));
	return lcm_err_set(err, -EOPNOTSUPP,
			   "this kernel's overlayfs does not show another one on top of it what a "
			   "layer hides (Linux 6.7 does)");
}

/* META shows a layer also when it is whole: what it hides must be seen from outside. */
void session_advance_layer(struct lcm_session *s)
{
	struct lcm_err err = { 0 };

	if (s->host->lazy && lcm_layer_load_toc(s->slots[0].layer) == 0) {
		session_mount_start(s, true);
		return;
	}
	lcm_err_set(&err, -ENODATA,
		    "the layer has no table of contents, or this kernel has no lazy mounts "
		    "(locum doctor)");
	session_fail(s, -ENODATA, &err);
}
