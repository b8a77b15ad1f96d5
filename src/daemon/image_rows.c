/* SPDX-License-Identifier: Apache-2.0 */
/* image_rows.c - images that the store has from before it kept what functions read of them. */
#include <string.h>

#include "src/base/limits.h"
#include "src/base/log.h"
#include "src/daemon/image.h"

static int read_row(void *arg, const struct lcm_image_row *row)
{
	struct lcm_engine *e = arg;
	const struct lcm_docs docs = lcm_engine_docs(e);
	lcm_autofree char *manifest = NULL, *config = NULL;
	struct lcm_err err = { 0 };
	int r;

	r = lcm_doc_read(&docs, 0, row->manifest_json, row->manifest_len, LCM_MANIFEST_MAX,
			 "manifest", &manifest, &err);
	if (r == 0)
		r = lcm_doc_read(&docs, 0, row->config_json, row->config_len, LCM_CONFIG_MAX,
				 "config", &config, &err);
	if (r == 0)
		r = lcm_store_image_read(e->store, row->ref, manifest, config);
	if (r < 0)
		lcm_log(LCM_LOG_WARNING, "image=%.200s of the store is not read: %s", row->ref,
			lcm_err_text(&err, r));
	return 0;
}

void lcm_image_read_rows(struct lcm_engine *e)
{
	int r = lcm_store_image_unread_each(e->store, read_row, e);

	if (r < 0)
		lcm_log(LCM_LOG_WARNING, "images of the store are not read: %s", strerror(-r));
}
