/* SPDX-License-Identifier: Apache-2.0 */
#include "overlay/meta.h"

#include "overlay/erofs_plan.h"

static int write_tree(const struct lcm_merge *m, int fd, struct lcm_meta_stats *ret,
		      struct lcm_err *err)
{
	struct lcm_erofs_plan plan = { 0 };
	int r = lcm_erofs_plan_init(m, &plan, err);

	if (r == 0)
		r = lcm_erofs_write(&plan, fd, err);
	if (r == 0)
		*ret = plan.stats;
	lcm_erofs_plan_fini(&plan);
	return r;
}

int lcm_meta_write(const struct lcm_meta_layer *layers, size_t n, int fd,
		   struct lcm_meta_stats *ret, struct lcm_err *err)
{
	struct lcm_merge m = { 0 };
	int r = lcm_merge_init(layers, n, &m, err);

	if (r < 0)
		return r;
	r = write_tree(&m, fd, ret, err);
	lcm_merge_fini(&m);
	return r;
}

int lcm_meta_write_layer(const struct lcm_meta_layer *layer, int fd, struct lcm_meta_stats *ret,
			 struct lcm_err *err)
{
	struct lcm_merge m = { 0 };
	int r = lcm_merge_layer_init(layer, &m, err);

	if (r < 0)
		return r;
	r = write_tree(&m, fd, ret, err);
	lcm_merge_fini(&m);
	return r;
}

int lcm_meta_each_file(const struct lcm_meta_layer *layers, size_t n,
		       int (*fn)(void *arg, uint32_t layer, uint32_t entry), void *arg,
		       struct lcm_err *err)
{
	struct lcm_merge m = { 0 };
	int r;

	r = lcm_merge_init(layers, n, &m, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < m.n_nodes && r == 0; i++)
		if (lcm_merge_needs_data(lcm_merge_entry(&m, i)))
			r = fn(arg, m.nodes[i].layer, m.nodes[i].entry);
	lcm_merge_fini(&m);
	return r;
}
