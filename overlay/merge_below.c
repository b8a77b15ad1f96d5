/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/merge_below.h"

#include <stdio.h>
#include <string.h>

static const struct lcm_toc_entry *entry_of(const struct lcm_merge *m, struct lcm_merge_source at)
{
	return lcm_toc_entry(m->layers[at.layer].toc, at.entry);
}

/* The layers below @layer whose roots are merged, top first. */
static size_t roots(struct lcm_below *b, const struct lcm_merge *m, uint32_t layer)
{
	size_t n = 0;

	while (layer-- > 0) {
		b->dirs[n] = (struct lcm_merge_source){ layer, 0 };
		if (entry_of(m, b->dirs[n++])->flags & LCM_TOC_OPAQUE)
			break;
	}
	return n;
}

/* One name down: @b->dirs become those of directory @name. Returns how many. */
static size_t enter(struct lcm_below *b, const struct lcm_merge *m, size_t n, const char *name,
		    size_t len)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		struct lcm_merge_source at = b->dirs[i];
		const struct lcm_toc_entry *e;

		b->steps++;
		at.entry = lcm_toc_child(m->layers[at.layer].toc, at.entry, name, len);
		if (at.entry == LCM_TOC_NONE)
			continue;
		e = entry_of(m, at);
		if (e->type != LCM_TOC_DIR)
			break;
		b->dirs[k++] = at;
		if (e->flags & LCM_TOC_OPAQUE)
			break;
	}
	return k;
}

/* The topmost entry of that name. */
static bool last(struct lcm_below *b, const struct lcm_merge *m, size_t n, const char *name,
		 size_t len, struct lcm_merge_source *ret)
{
	for (size_t i = 0; i < n; i++) {
		const struct lcm_toc *toc = m->layers[b->dirs[i].layer].toc;
		uint32_t entry = lcm_toc_child(toc, b->dirs[i].entry, name, len);

		b->steps++;
		if (entry == LCM_TOC_NONE)
			continue;
		*ret = (struct lcm_merge_source){ b->dirs[i].layer, entry };
		return true;
	}
	return false;
}

static bool find(struct lcm_below *b, const struct lcm_merge *m, uint32_t layer, const char *path,
		 struct lcm_merge_source *ret)
{
	size_t n = roots(b, m, layer);

	for (const char *slash; n > 0 && (slash = strchr(path, '/')); path = slash + 1)
		n = enter(b, m, n, path, (size_t)(slash - path));
	return n > 0 && last(b, m, n, path, strlen(path), ret);
}

static int to_nothing(const struct lcm_merge *m, struct lcm_merge_source at, struct lcm_err *err)
{
	char what[LCM_ERR_MSG_MAX / 2];

	(void)snprintf(what, sizeof(what),
		       "hardlink to '%.150s', which is no file of this layer or of those below",
		       lcm_toc_link(m->layers[at.layer].toc, entry_of(m, at)));
	return lcm_merge_err(m, at.layer, at.entry, err, -EUCLEAN, what);
}

int lcm_below_follow(struct lcm_below *b, const struct lcm_merge *m, struct lcm_merge_source *at,
		     struct lcm_err *err)
{
	const struct lcm_merge_source from = *at;
	bool below = false;

	for (;;) {
		const struct lcm_toc_entry *e = entry_of(m, *at);
		struct lcm_merge_source next;

		if (e->type == LCM_TOC_HARDLINK) {
			at->entry = e->link;
			continue;
		}
		if (below && (e->type == LCM_TOC_DIR || lcm_merge_hides(e)))
			return to_nothing(m, from, err);
		if (e->type != LCM_TOC_LINK_BELOW)
			return 0;
		if (b->steps > LCM_BELOW_STEPS_MAX)
			return lcm_merge_err(m, from.layer, from.entry, err, -EFBIG,
					     "too many hardlinks to files of lower layers");
		if (!find(b, m, at->layer, lcm_toc_link(m->layers[at->layer].toc, e), &next))
			return to_nothing(m, from, err);
		*at = next;
		below = true;
	}
}
