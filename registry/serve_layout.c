/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/serve_layout.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "src/base/limits.h"
#include "src/base/sys.h"

#define REF_NAME "org.opencontainers.image.ref.name"
#define OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"

static inline void json_freep(json_t **j)
{
	json_decref(*j);
}

#define auto_json LCM_CLEANUP(json_freep) json_t *

/* One regular file below the layout, whole. */
static int read_below(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	lcm_autoclose int fd = lcm_sys_open_beneath(dirfd, path, O_RDONLY | O_NONBLOCK, 0);
	lcm_autofree char *p = NULL;
	struct stat st;
	int r;

	if (fd < 0)
		return fd;
	r = lcm_sys_fstat(fd, &st);
	if (r < 0)
		return r;
	if (!S_ISREG(st.st_mode))
		return -ENOENT;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	p = malloc((size_t)st.st_size + 1);
	if (!p)
		return -ENOMEM;
	r = lcm_sys_pread_full(fd, p, (size_t)st.st_size, 0);
	if (r < 0)
		return r;
	p[st.st_size] = '\0';
	*ret_len = (size_t)st.st_size;
	*ret = lcm_steal(&p);
	return 0;
}

static int load_json(int dirfd, const char *path, json_t **ret)
{
	lcm_autofree char *text = NULL;
	size_t len = 0;
	json_t *j;
	int r;

	r = read_below(dirfd, path, LCM_MANIFEST_MAX, &text, &len);
	if (r < 0)
		return r;
	j = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(j)) {
		json_decref(j);
		return -EUCLEAN;
	}
	*ret = j;
	return 0;
}

/* index.json's list of descriptors; *ret_index owns it. */
static int load_index(int dirfd, json_t **ret_index, json_t **ret_list)
{
	json_t *list;
	int r;

	r = load_json(dirfd, "index.json", ret_index);
	if (r < 0)
		return r;
	list = json_object_get(*ret_index, "manifests");
	if (!json_is_array(list))
		return -EUCLEAN;
	*ret_list = list;
	return 0;
}

int lcm_serve_layout_open(const char *dir, struct lcm_err *err)
{
	lcm_autoclose int fd = lcm_sys_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
	auto_json mark = NULL;
	auto_json index = NULL;
	const char *version;
	json_t *list;
	int r;

	if (fd < 0)
		return lcm_err_set(err, fd, "%s: %s", dir, strerror(-fd));
	r = load_json(fd, "oci-layout", &mark);
	if (r < 0)
		return lcm_err_set(err, -EINVAL,
				   "%s: not an OCI layout (oci-layout: %s); make one with: skopeo "
				   "copy docker://IMAGE oci:%s:TAG",
				   dir, strerror(-r), dir);
	version = json_string_value(json_object_get(mark, "imageLayoutVersion"));
	/* image-layout.md: "imageLayoutVersion ... 1.0.0"; a later minor version adds, a major one
	 * may break */
	if (!version || strncmp(version, "1.", 2) != 0)
		return lcm_err_set(err, -EINVAL,
				   "%s: oci-layout has imageLayoutVersion %s; 1.0.0 is supported",
				   dir, version ? version : "(none)");
	r = load_index(fd, &index, &list);
	if (r < 0)
		return lcm_err_set(err, -EINVAL, "%s: index.json: %s; write the layout again", dir,
				   strerror(-r));
	return lcm_steal_fd(&fd);
}

int lcm_serve_layout_blob(int dirfd, const struct lcm_digest *d, uint64_t *ret_size)
{
	char hex[LCM_DIGEST_STR], path[LCM_DIGEST_STR + sizeof("blobs/sha256/")];
	lcm_autoclose int fd = -EBADF;
	struct stat st;
	int r;

	(void)snprintf(path, sizeof(path), "blobs/sha256/%s", lcm_digest_hex(d, hex));
	fd = lcm_sys_open_beneath(dirfd, path, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0)
		return fd == -ELOOP || fd == -ENXIO ? -ENOENT : fd;
	r = lcm_sys_fstat(fd, &st);
	if (r < 0)
		return r;
	if (!S_ISREG(st.st_mode))
		return -ENOENT;
	*ret_size = (uint64_t)st.st_size;
	return lcm_steal_fd(&fd);
}

static const char *ref_name(const json_t *desc)
{
	return json_string_value(json_object_get(json_object_get(desc, "annotations"), REF_NAME));
}

static int desc_digest(const json_t *desc, struct lcm_digest *ret)
{
	const char *s = json_string_value(json_object_get(desc, "digest"));

	return s && lcm_digest_parse(s, strlen(s), ret) == 0 ? 0 : -EUCLEAN;
}

/* The only manifest of a layout that was written without a tag. */
static bool is_latest(const json_t *list, const json_t *desc)
{
	return json_array_size(list) == 1 && !ref_name(desc);
}

int lcm_serve_layout_tag(int dirfd, const char *tag, struct lcm_digest *ret)
{
	auto_json index = NULL;
	json_t *list, *desc;
	size_t i;
	int r;

	r = load_index(dirfd, &index, &list);
	if (r < 0)
		return r;
	json_array_foreach (list, i, desc) {
		const char *name = is_latest(list, desc) ? "latest" : ref_name(desc);

		if (name && strcmp(name, tag) == 0)
			return desc_digest(desc, ret);
	}
	return -ENOENT;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int lcm_serve_layout_tags(int dirfd, json_t **ret)
{
	lcm_autofree const char **names = NULL;
	auto_json index = NULL;
	auto_json tags = json_array();
	json_t *list, *desc;
	size_t i, n = 0;
	int r;

	if (!tags)
		return -ENOMEM;
	r = load_index(dirfd, &index, &list);
	if (r < 0)
		return r;
	names = calloc(json_array_size(list) + 1, sizeof(*names));
	if (!names)
		return -ENOMEM;
	json_array_foreach (list, i, desc) {
		const char *name = is_latest(list, desc) ? "latest" : ref_name(desc);

		if (name && lcm_serve_tag_valid(name, strlen(name)))
			names[n++] = name;
	}
	qsort(names, n, sizeof(*names), compare);
	for (i = 0; i < n; i++)
		if ((i == 0 || strcmp(names[i - 1], names[i]) != 0) &&
		    json_array_append_new(tags, json_string(names[i])) < 0)
			return -ENOMEM;
	*ret = lcm_steal(&tags);
	return 0;
}

/* What index.json says about a manifest; NULL when it says nothing. Borrowed from @list. */
static const char *listed_type(const json_t *list, const struct lcm_digest *d)
{
	struct lcm_digest e;
	json_t *desc;
	size_t i;

	json_array_foreach (list, i, desc)
		if (desc_digest(desc, &e) == 0 && lcm_digest_equal(d, &e))
			return json_string_value(json_object_get(desc, "mediaType"));
	return NULL;
}

/* A header value made of a file's text must not carry control characters. */
static bool type_valid(const char *s)
{
	size_t len = s ? strlen(s) : 0;

	for (size_t i = 0; i < len; i++)
		if (s[i] <= ' ' || s[i] > '~')
			return false;
	return len > 0 && len <= LCM_SERVE_TYPE_MAX;
}

int lcm_serve_layout_type(int dirfd, const struct lcm_digest *d, const char *text, size_t len,
			  char ret[LCM_SERVE_TYPE_MAX + 1])
{
	auto_json j = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	auto_json index = NULL;
	const char *type;
	json_t *list;

	if (!json_is_object(j))
		return -EUCLEAN;
	type = json_string_value(json_object_get(j, "mediaType"));
	if (!type_valid(type) && load_index(dirfd, &index, &list) == 0)
		type = listed_type(list, d);
	if (!type_valid(type) && json_is_array(json_object_get(j, "manifests")))
		type = OCI_INDEX;
	if (!type_valid(type) && json_is_object(json_object_get(j, "config")))
		type = OCI_MANIFEST;
	if (!type_valid(type))
		return -EUCLEAN;
	(void)snprintf(ret, LCM_SERVE_TYPE_MAX + 1, "%s", type);
	return 0;
}
