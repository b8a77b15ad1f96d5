/* SPDX-License-Identifier: Apache-2.0 */
/* Covers lcm_manifest_parse(), lcm_manifest_select(), lcm_descriptor_annotation(). First line:
 * Content-Type. */
#include <string.h>

#include "image/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nl = size ? memchr(data, '\n', size) : NULL;
	lcm_autofree char *type = nl ? strndup((const char *)data, (size_t)(nl - data)) : NULL;
	const struct lcm_platform want = { "linux", "arm64", "" };
	const struct lcm_descriptor *d;
	lcm_auto(lcm_manifest) m = NULL;
	struct lcm_err err;

	if (nl) {
		size -= (size_t)(nl + 1 - data);
		data = nl + 1;
	}
	if (lcm_manifest_parse(data, size, type && *type ? type : NULL, &m, &err) < 0)
		return 0;
	for (size_t i = 0; i < m->n_layers; i++)
		for (size_t k = 0; k < m->layers[i].n_annotations; k++)
			if (!lcm_descriptor_annotation(&m->layers[i],
						       m->layers[i].annotations[k].key))
				abort();
	if (m->media == LCM_MEDIA_INDEX && lcm_manifest_select(m, &want, &d, &err) == 0 &&
	    d->media != LCM_MEDIA_MANIFEST)
		abort();
	if (m->media == LCM_MEDIA_MANIFEST && (m->n_layers == 0 || m->n_layers > LCM_LAYERS_MAX))
		abort();
	return 0;
}
