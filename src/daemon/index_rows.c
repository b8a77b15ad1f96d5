/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/index_rows.h"

#include <stdio.h>
#include <string.h>

#include "image/json.h"

#define DEFAULT_TYPE "application/vnd.oci.image.manifest.v1+json"

void lcm_index_rows_fini(struct lcm_index_rows *r)
{
	free(r->image);
	lcm_manifest_free(r->manifest);
	free(r->rows);
}

static int rows_fill(struct lcm_store *s, struct lcm_index_rows *ret,
		     const struct lcm_image_config *cfg, struct lcm_err *err)
{
	const struct lcm_manifest *m = ret->manifest;

	if (cfg->n_diffids != m->n_layers)
		return lcm_err_set(err, -EUCLEAN, "%s: config and manifest do not belong together",
				   ret->image);
	ret->rows = calloc(m->n_layers ? m->n_layers : 1, sizeof(*ret->rows));
	if (!ret->rows)
		return -ENOMEM;
	for (size_t i = 0; i < m->n_layers; i++) {
		struct lcm_layer_row *row = &ret->rows[ret->n++];
		int r = lcm_layer_row_of(s, &m->layers[i], &cfg->diffids[i], row, err);

		if (r < 0 && r != -ENOENT)
			return r;
		if (r == -ENOENT)
			*row = (struct lcm_layer_row){ .key = { .diffid = cfg->diffids[i],
								.blob = m->layers[i].digest },
						       .blob_size = m->layers[i].size };
	}
	return 0;
}

static int media_type(const struct lcm_image_row *row, struct lcm_index_rows *ret,
		      struct lcm_err *err)
{
	lcm_autojson json_t *root = NULL;
	const char *s = "";
	int r = lcm_json_parse(row->manifest_text, strlen(row->manifest_text), LCM_MANIFEST_MAX,
			       "manifest", &root, err);

	if (r == 0)
		r = lcm_json_string(root, "mediaType", "manifest", &s, err);
	(void)snprintf(ret->media_type, sizeof(ret->media_type), "%s", *s ? s : DEFAULT_TYPE);
	return r;
}

int lcm_index_rows_get(struct lcm_store *s, const char *image, struct lcm_index_rows *ret,
		       struct lcm_err *err)
{
	lcm_auto(lcm_image_config) cfg = NULL;
	struct lcm_image_row row = { 0 };
	char text[LCM_REFERENCE_STR_MAX];
	int r;

	*ret = (struct lcm_index_rows){ 0 };
	r = lcm_reference_parse(image, &ret->ref, err);
	if (r < 0)
		return r;
	ret->image = strdup(lcm_reference_str(&ret->ref, text, sizeof(text)));
	if (!ret->image)
		return -ENOMEM;
	r = lcm_store_image_get(s, ret->image, &row);
	if (r < 0)
		return lcm_err_set(err, r, "%s is not in the store (locum pull fetches it)",
				   ret->image);
	ret->digest = row.manifest;
	ret->manifest_len = row.manifest_len;
	r = lcm_manifest_parse(row.manifest_text, strlen(row.manifest_text), NULL, &ret->manifest,
			       err);
	if (r == 0)
		r = lcm_image_config_parse(row.config_text, strlen(row.config_text), &cfg, err);
	if (r == 0)
		r = media_type(&row, ret, err);
	lcm_image_row_fini(&row);
	return r < 0 ? r : rows_fill(s, ret, cfg, err);
}

void lcm_index_rows_error(struct lcm_api_call *c, int r, const struct lcm_err *err)
{
	lcm_api_error(c,
		      r == -ENOENT   ? 404
		      : r == -EINVAL ? 400
				     : 500,
		      r, "%s", lcm_err_text(err, r));
}
