/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/cstore.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "overlay/mountinfo.h"
#include "src/base/base64.h"
#include "src/base/digest.h"
#include "src/base/limits.h"
#include "src/base/sys.h"

#define NAMESPACES_MAX 16384U /* more are looked at once for each process */
#define LINK_LEN 26U          /* as containers-storage's own */

/* ---- reading and writing ---- */

static int read_list(const char *dir, const char *name, json_t **ret, struct lcm_err *err)
{
	lcm_autofree char *path = NULL, *text = NULL;
	json_t *list;
	size_t len;
	int r = asprintf(&path, "%s/%s", dir, name) < 0 ? -ENOMEM : 0;

	if (r == 0)
		r = lcm_read_file_at(AT_FDCWD, path, LCM_CSTORE_LIST_MAX, &text, &len);
	list = r == 0 ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : json_array();
	if (r == 0 && !json_is_array(list)) {
		json_decref(list);
		return lcm_err_set(err, -EUCLEAN,
				   "%s is not a list of images or layers; remove %s and add the "
				   "images again",
				   path, dir);
	}
	if (r < 0 && r != -ENOENT) {
		json_decref(list);
		return lcm_err_set(err, r, "%s: %s", path ? path : dir, strerror(-r));
	}
	*ret = list;
	return list ? 0 : -ENOMEM;
}

static int write_at(const char *dir, const char *name, const char *text, size_t len,
		    struct lcm_err *err)
{
	lcm_autofree char *path = NULL;
	int r = asprintf(&path, "%s/%s", dir, name) < 0 ? -ENOMEM : 0;

	if (r == 0)
		r = lcm_write_file_at(AT_FDCWD, path, text, len, 0600);
	return r < 0 ? lcm_err_set(err, r, "%s/%s: %s", dir, name, strerror(-r)) : 0;
}

static int write_list(const struct lcm_cstore *c, const char *name, const json_t *list,
		      struct lcm_err *err)
{
	lcm_autofree char *text = json_dumps(list, JSON_COMPACT);

	return text ? write_at(c->dir, name, text, strlen(text), err) : -ENOMEM;
}

static int write_layers(const struct lcm_cstore *c, struct lcm_err *err)
{
	return write_list(c, "overlay-layers/layers.json", c->layers, err);
}

static int write_images(const struct lcm_cstore *c, struct lcm_err *err)
{
	return write_list(c, "overlay-images/images.json", c->images, err);
}

/* What readers want to find: directories and the files they lock. */
static int make_skeleton(const char *dir)
{
	static const char *const dirs[] = { "overlay/l", "overlay-layers", "overlay-images" },
				 *const locks[] = { "overlay-layers/layers.lock",
						    "overlay-images/images.lock" };
	char path[4096];
	int r = 0;

	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(dirs); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, dirs[i]);
		r = lcm_mkdir_p(path, 0700);
	}
	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(locks); i++) {
		int fd;

		(void)snprintf(path, sizeof(path), "%s/%s", dir, locks[i]);
		fd = lcm_sys_openat(AT_FDCWD, path, O_WRONLY | O_CREAT, 0600);
		r = LCM_MIN(fd, 0);
		lcm_closep(&fd);
	}
	return r;
}

int lcm_cstore_open(const char *dir, struct lcm_cstore *ret, struct lcm_err *err)
{
	struct lcm_cstore c = { .dir = dir, .lock = -EBADF };
	char path[4096];
	int r = make_skeleton(dir);

	(void)snprintf(path, sizeof(path), "%s/locum.lock", dir);
	if (r == 0)
		r = c.lock = lcm_sys_openat(AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
	if (r >= 0)
		r = (int)lcm_errno(flock(c.lock, LOCK_EX));
	if (r < 0)
		lcm_err_set(err, r, "image store %s: %s", dir, strerror(-r));
	if (r == 0)
		r = read_list(dir, "overlay-layers/layers.json", &c.layers, err);
	if (r == 0)
		r = read_list(dir, "overlay-images/images.json", &c.images, err);
	if (r < 0) {
		lcm_cstore_close(&c);
		return r;
	}
	*ret = c;
	return 0;
}

void lcm_cstore_close(struct lcm_cstore *c)
{
	json_decref(c->images);
	json_decref(c->layers);
	lcm_closep(&c->lock);
	*c = (struct lcm_cstore){ .lock = -EBADF };
}

/* ---- layers ---- */

/* From the layer's id, so that it need not be looked up. */
static void link_of(const char *layer, char out[LINK_LEN + 1])
{
	for (unsigned int i = 0; i < LINK_LEN; i++)
		out[i] = (char)toupper((unsigned char)layer[i]);
	out[LINK_LEN] = '\0';
}

static int fill_layer(const struct lcm_cstore *c, const char *layer, const char *diff)
{
	lcm_autofree char *base = NULL, *link = NULL, *target = NULL;
	char name[LINK_LEN + 1];
	int r = asprintf(&base, "%s/overlay/%s/link", c->dir, layer) < 0 ||
			asprintf(&target, "../%s/diff", layer) < 0
		    ? -ENOMEM
		    : lcm_mkdir_p(diff, 0755);

	link_of(layer, name);
	if (r == 0)
		r = lcm_write_file_at(AT_FDCWD, base, name, LINK_LEN, 0600);
	if (r == 0 && asprintf(&link, "%s/overlay/l/%s", c->dir, name) < 0)
		r = -ENOMEM;
	return r < 0 ? r : lcm_sys_symlinkat(target, AT_FDCWD, link);
}

int lcm_cstore_new_layer(struct lcm_cstore *c, char layer[LCM_CSTORE_LAYER], char **ret_diff,
			 struct lcm_err *err)
{
	int r = lcm_random_hex(layer, LCM_CSTORE_LAYER - 1);

	if (r == 0 && asprintf(ret_diff, "%s/overlay/%s/diff", c->dir, layer) < 0)
		r = -ENOMEM;
	if (r == 0)
		r = fill_layer(c, layer, *ret_diff);
	return r < 0 ? lcm_err_set(err, r, "image store %s: %s", c->dir, strerror(-r)) : 0;
}

void lcm_cstore_drop_layer(const char *dir, const char *layer)
{
	char path[4096], name[LINK_LEN + 1];

	link_of(layer, name);
	(void)snprintf(path, sizeof(path), "%s/overlay/l/%s", dir, name);
	lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, path, 0));
	(void)snprintf(path, sizeof(path), "%s/overlay/%s", dir, layer);
	lcm_ignore(lcm_rmtree_at(AT_FDCWD, path));
}

/* Who looks for overlays on a layer, and what he has looked at. */
struct search {
	const char *layer;
	char link[LINK_LEN + 1];
	ino_t *seen; /* owned; mount namespaces that do not have it, n */
	size_t n;
};

/* Does the mount table of this process have an overlay on the layer? A line that cannot be parsed
 * counts with all that stands in it. Return: 1, 0, -errno. */
static int mounts_it(const struct search *s, const char *pid)
{
	lcm_autofree char *text = NULL;
	const char *at, *line, *end;
	struct lcm_mountinfo m;
	char path[64];
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/mountinfo", pid);
	r = lcm_read_file_at(AT_FDCWD, path, LCM_MOUNTINFO_MAX, &text, &len);
	if (r < 0)
		return r;
	end = text + len;
	for (at = line = text; (r = lcm_mountinfo_next(&at, end, &m)) != 0; line = at) {
		struct lcm_mountinfo_field in = { line, (size_t)(at - line) };

		if (r > 0 && !lcm_mountinfo_is(&m.type, "overlay"))
			continue;
		if (r > 0)
			in = m.super_options;
		if (memmem(in.p, in.len, s->link, strlen(s->link)) ||
		    memmem(in.p, in.len, s->layer, strlen(s->layer)))
			return 1;
	}
	return 0;
}

static bool has_seen(const struct search *s, ino_t ns)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->seen[i] == ns)
			return true;
	return false;
}

/* A namespace is seen only once it was read: its first process may end under our eyes (a zombie's
 * table is EINVAL), and the next one shows it. Of a process with more capabilities than ours the
 * namespace cannot be told, but the table can be read. Return: as mounts_it(), with a text. */
static int look(struct search *s, const char *pid, struct lcm_err *err)
{
	struct lcm_file_id ns;
	char path[64];
	bool known;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/ns/mnt", pid);
	known = lcm_sys_file_id(AT_FDCWD, path, &ns, 0) == 0;
	if (known && has_seen(s, ns.ino))
		return 0;
	r = mounts_it(s, pid);
	if (r == -ENOENT || r == -ESRCH || r == -EINVAL)
		return 0;
	if (r < 0)
		return lcm_err_set(err, r, "/proc/%.20s/mountinfo: %s; a container may run on it",
				   pid, strerror(-r));
	if (r == 0 && known && s->n < NAMESPACES_MAX)
		s->seen[s->n++] = ns.ino;
	return r;
}

/* Containers are in mount namespaces of their own, and who made them may be, too: each is looked at
 * once. */
int lcm_cstore_in_use(const char *layer, struct lcm_err *err)
{
	struct search s = { .layer = layer, .seen = calloc(NAMESPACES_MAX, sizeof(*s.seen)) };
	DIR *d = opendir("/proc");
	int r = d ? 0 : lcm_err_set(err, (int)lcm_errno(-1), "/proc cannot be read");
	struct dirent *e;

	if (!s.seen)
		r = -ENOMEM;
	link_of(layer, s.link);
	while (r == 0 && (e = readdir(d)))
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
			r = look(&s, e->d_name, err);
	if (d)
		(void)closedir(d);
	free(s.seen);
	return r;
}

/* ---- images ---- */

const char *lcm_cstore_layer(const json_t *image)
{
	const char *s = json_string_value(json_object_get(image, "layer"));

	return s && strlen(s) == LCM_CSTORE_LAYER - 1 && strspn(s, "0123456789abcdef") == strlen(s)
		   ? s
		   : "";
}

static bool has_name(const json_t *image, const char *name, size_t *ret_at)
{
	json_t *names = json_object_get(image, "names");
	size_t i;

	for (i = 0; i < json_array_size(names); i++) {
		const char *s = json_string_value(json_array_get(names, i));

		if (!s || strcmp(s, name) != 0)
			continue;
		*ret_at = i;
		return true;
	}
	return false;
}

json_t *lcm_cstore_find(const struct lcm_cstore *c, const char *name)
{
	json_t *image;
	size_t i, at;

	json_array_foreach (c->images, i, image) {
		const char *id = json_string_value(json_object_get(image, "id"));

		if (has_name(image, name, &at) ||
		    (id && strlen(name) >= 12 && strncmp(id, name, strlen(name)) == 0))
			return image;
	}
	return NULL;
}

/* What has bytes that are not digits, lower case letters or dots is named by its base64. */
static int write_big(const char *dir, const char *name, const char *text, struct lcm_err *err)
{
	char file[256] = "=";

	if (strspn(name, "0123456789abcdefghijklmnopqrstuvwxyz.") == strlen(name))
		(void)snprintf(file, sizeof(file), "%s", name);
	else
		lcm_base64_encode(name, strlen(name), file + 1, sizeof(file) - 1);
	return write_at(dir, file, text, strlen(text), err);
}

struct data {
	const char *name, *text, *digest;
};

static int write_data(const struct lcm_cstore *c, const char *id, const struct data *d, size_t n,
		      json_t *image, struct lcm_err *err)
{
	json_t *names = json_array(), *sizes = json_object(), *digests = json_object();
	lcm_autofree char *dir = NULL;
	int r = asprintf(&dir, "%s/overlay-images/%s", c->dir, id) < 0 ? -ENOMEM
								       : lcm_mkdir_p(dir, 0700);

	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			r = write_big(dir, d[i].name, d[i].text, err);
		(void)json_array_append_new(names, json_string(d[i].name));
		(void)json_object_set_new(sizes, d[i].name,
					  json_integer((json_int_t)strlen(d[i].text)));
		(void)json_object_set_new(digests, d[i].name, json_string(d[i].digest));
	}
	(void)json_object_set_new(image, "big-data-names", names);
	(void)json_object_set_new(image, "big-data-sizes", sizes);
	(void)json_object_set_new(image, "big-data-digests", digests);
	return r;
}

/* A name belongs to one image: the last that was added. */
static void take_name(const struct lcm_cstore *c, const char *name)
{
	json_t *image;
	size_t i, at;

	json_array_foreach (c->images, i, image)
		while (has_name(image, name, &at))
			(void)json_array_remove(json_object_get(image, "names"), at);
}

/* The layer of which this image is made goes by the digest of its own id: no blob has it, so that
 * nobody takes the flattened tree for a layer of the registry. */
static int append(struct lcm_cstore *c, const char *layer, const struct lcm_cstore_image *img,
		  json_t *image)
{
	char now[32], made_up[LCM_DIGEST_STR];
	time_t t = time(NULL);
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return -EOVERFLOW;
	(void)snprintf(made_up, sizeof(made_up), "sha256:%s", layer);
	(void)json_object_set_new(image, "created", json_string(now));
	(void)json_array_append_new(c->layers,
				    json_pack("{s:s s:s s:s s:I s:i}", "id", layer, "created", now,
					      "diff-digest", made_up, "diff-size",
					      (json_int_t)img->bytes, "compression", 0));
	return json_array_append(c->images, image) < 0 ? -ENOMEM : 0;
}

int lcm_cstore_add(struct lcm_cstore *c, const char *layer, const struct lcm_cstore_image *img,
		   struct lcm_err *err)
{
	char config[LCM_DIGEST_STR], manifest[LCM_DIGEST_STR], by_digest[LCM_DIGEST_STR + 16];
	const struct data all[] = { { config, img->config, config },
				    { by_digest, img->manifest, manifest },
				    { "manifest", img->manifest, manifest } };
	json_t *image, *old;
	struct lcm_digest d;
	size_t at;
	int r = lcm_digest_of(img->config, strlen(img->config), &d);

	(void)lcm_digest_str(&d, config);
	if (r == 0)
		r = lcm_digest_of(img->manifest, strlen(img->manifest), &d);
	if (r < 0)
		return r;
	(void)lcm_digest_str(&d, manifest);
	(void)snprintf(by_digest, sizeof(by_digest), "manifest-%s", manifest);
	old = lcm_cstore_find(c, config + strlen("sha256:"));
	if (old && has_name(old, img->name, &at))
		return lcm_err_set(err, -EEXIST, "%s is in the store", img->name);
	take_name(c, img->name);
	if (old) {
		(void)json_array_append_new(json_object_get(old, "names"), json_string(img->name));
		r = write_images(c, err);
		return r < 0 ? r : -EEXIST;
	}
	image = json_pack("{s:s s:s s:[s] s:s s:s}", "id", config + strlen("sha256:"), "digest",
			  manifest, "names", img->name, "layer", layer, "metadata", "{}");
	r = write_data(c, config + strlen("sha256:"), all, LCM_ARRAY_SIZE(all), image, err);
	if (r == 0)
		r = append(c, layer, img, image);
	json_decref(image);
	if (r == 0)
		r = write_layers(c, err);
	return r < 0 ? r : write_images(c, err);
}

int lcm_cstore_remove(struct lcm_cstore *c, json_t *image, struct lcm_err *err)
{
	const char *id = json_string_value(json_object_get(image, "id")),
		   *layer = lcm_cstore_layer(image);
	char path[4096];
	json_t *v;
	size_t i;
	int r;

	json_incref(image);
	json_array_foreach (c->layers, i, v)
		if (json_is_string(json_object_get(v, "id")) &&
		    strcmp(json_string_value(json_object_get(v, "id")), layer) == 0) {
			(void)json_array_remove(c->layers, i);
			break;
		}
	json_array_foreach (c->images, i, v)
		if (v == image) {
			(void)json_array_remove(c->images, i);
			break;
		}
	r = write_images(c, err);
	if (r == 0)
		r = write_layers(c, err);
	if (r == 0 && id && *id && strspn(id, "0123456789abcdef") == strlen(id)) {
		(void)snprintf(path, sizeof(path), "%s/overlay-images/%s", c->dir, id);
		lcm_ignore(lcm_rmtree_at(AT_FDCWD, path));
	}
	json_decref(image);
	return r;
}
