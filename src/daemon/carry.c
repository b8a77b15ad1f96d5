/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/carry.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "image/json.h"
#include "src/base/number.h"
#include "src/base/sys.h"
#include "src/daemon/cgroup.h"

#define FILE_MAX (64U << 10)
#define BFQ_WEIGHT_MAX 1000U

static const char *const names[LCM_CARRY_MAX] = { "read_bytes", "reads", "weight" };

/* ---- small files ---- */

static int get(const char *dir, const char *name, char **ret)
{
	char path[600];
	size_t len;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return lcm_read_file_at(AT_FDCWD, path, FILE_MAX, ret, &len);
}

static int put(const char *dir, const char *name, const char *value)
{
	char path[600];
	lcm_autoclose int fd = -EBADF;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = lcm_sys_openat(AT_FDCWD, path, O_WRONLY, 0);
	return fd < 0 ? fd : lcm_sys_write_full(fd, value, strlen(value));
}

static bool has(const char *dir, const char *name)
{
	char path[600];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return lcm_sys_fstatat(AT_FDCWD, path, &st, 0) == 0;
}

/* A number up to the next blank or end. 0: none, as "max" is. */
static uint64_t number_at(const char *s)
{
	char text[24];
	size_t n = strcspn(s, " \n");
	uint64_t v;

	if (n >= sizeof(text))
		return 0;
	memcpy(text, s, n);
	text[n] = '\0';
	return lcm_number_parse(text, false, &v) == 0 ? v : 0;
}

/* Of the line that begins with @key what follows it; NULL: there is none. */
static const char *line_of(const char *text, const char *key)
{
	size_t n = strlen(key);

	while (text && *text && (strncmp(text, key, n) != 0 || text[n] != ' ')) {
		text = strchr(text, '\n');
		text += text != NULL;
	}
	return text && *text ? text + n + 1 : NULL;
}

/* ---- where ---- */

static int find_disk(const char *dir, char out[24], struct lcm_err *err)
{
	char path[80], real[4096];
	struct stat st;
	lcm_autofree char *text = NULL;
	int r = lcm_sys_fstatat(AT_FDCWD, dir, &st, 0);
	ssize_t n;

	if (r < 0)
		return lcm_err_set(err, r, "%s: %s", dir, strerror(-r));
	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(st.st_dev),
		       minor(st.st_dev));
	n = readlink(path, real, sizeof(real) - 1);
	if (n < 0)
		return lcm_err_set(err, -ENOTSUP, "the file system of %s is on no single disk",
				   dir);
	(void)snprintf(out, 24, "%u:%u", major(st.st_dev), minor(st.st_dev));
	if (!has(path, "partition"))
		return 0;
	r = get(path, "../dev", &text); /* limits are the whole disk's */
	if (r < 0)
		return lcm_err_set(err, r, "%s/../dev: %s", path, strerror(-r));
	(void)snprintf(out, 24, "%.*s", (int)LCM_MIN(strcspn(text, "\n"), (size_t)23), text);
	return 0;
}

static int find_root(const char *sys, char out[100], bool *ret_v2, struct lcm_err *err)
{
	lcm_autofree char *controllers = NULL;

	(void)snprintf(out, 100, "%.80s/blkio", sys);
	*ret_v2 = false;
	if (has(out, "cgroup.procs"))
		return 0;
	(void)snprintf(out, 100, "%.80s", sys);
	*ret_v2 = true;
	if (get(out, "cgroup.controllers", &controllers) == 0 && strstr(controllers, "io"))
		return 0;
	return lcm_err_set(err, -ENOTSUP, "no I/O controller of cgroups below %s", sys);
}

int lcm_carry_find(const char *sys, const char *cgroup, const char *own, const char *dir,
		   struct lcm_carry *ret, struct lcm_err *err)
{
	struct lcm_cgroup_line theirs, ours = { .path_len = 0 };
	const char *controller;
	int r = find_root(sys, ret->root, &ret->v2, err);

	if (r == 0)
		r = find_disk(dir, ret->disk, err);
	if (r < 0)
		return r;
	controller = ret->v2 ? NULL : "blkio";
	if (!lcm_cgroup_line_of(cgroup, controller, &theirs))
		return lcm_err_set(err, -ENOTSUP, "the container is in no cgroup of %s", ret->root);
	(void)lcm_cgroup_line_of(own, controller, &ours);
	if (theirs.path_len < 2 || lcm_cgroup_leads_up(&theirs) ||
	    (theirs.path_len == ours.path_len &&
	     memcmp(theirs.path, ours.path, ours.path_len) == 0))
		return lcm_err_set(err, -ENOTSUP, "the container has no I/O cgroup of its own");
	if (theirs.path_len > LCM_CARRY_PATH_MAX)
		return lcm_err_set(err, -ENAMETOOLONG,
				   "the container's cgroup: longer than %d bytes",
				   LCM_CARRY_PATH_MAX);
	(void)snprintf(ret->dir, sizeof(ret->dir), "%s%.*s", ret->root, (int)theirs.path_len,
		       theirs.path);
	return 0;
}

/* ---- limits ---- */

struct limit_file {
	const char *name, *key; /* @key: of v2's io.max; NULL: the value stands alone */
};

static struct limit_file limit_file(const struct lcm_carry *c, enum lcm_carry_what what)
{
	static const struct limit_file v1[] = { { "blkio.throttle.read_bps_device", NULL },
						{ "blkio.throttle.read_iops_device", NULL } };
	static const struct limit_file v2[] = { { "io.max", "rbps" }, { "io.max", "riops" } };

	return c->v2 ? v2[what] : v1[what];
}

static int limit_read(const struct lcm_carry *c, const struct limit_file *f, uint64_t *ret)
{
	lcm_autofree char *text = NULL;
	const char *at;
	int r = get(c->dir, f->name, &text);

	if (r < 0)
		return r;
	at = line_of(text, c->disk);
	if (at && f->key) {
		size_t len = strcspn(at, "\n"), n = strlen(f->key);
		const char *end = at + len;

		while (at < end && (strncmp(at, f->key, n) != 0 || at[n] != '='))
			at += LCM_MIN(strcspn(at, " ") + 1, (size_t)(end - at));
		at = at < end ? at + n + 1 : NULL;
	}
	*ret = at ? number_at(at) : 0;
	return 0;
}

static int limit_write(const struct lcm_carry *c, const struct limit_file *f, uint64_t v)
{
	char text[80];

	if (f->key && !v)
		(void)snprintf(text, sizeof(text), "%s %s=max", c->disk, f->key);
	else
		(void)snprintf(text, sizeof(text), "%s %s%s%llu", c->disk, f->key ? f->key : "",
			       f->key ? "=" : "", (unsigned long long)v);
	return put(c->dir, f->name, text);
}

/* ---- weights ---- */

/* io.weight does nothing unless something shares by it: BFQ, or io.cost where that is switched on.
 */
static const char *weight_file(const struct lcm_carry *c, char why[128])
{
	lcm_autofree char *scheduler = NULL, *latency = NULL, *qos = NULL;
	char dir[80];
	const char *at;

	(void)snprintf(dir, sizeof(dir), "/sys/dev/block/%s/queue", c->disk);
	if (get(dir, "scheduler", &scheduler) == 0 && strstr(scheduler, "[bfq]")) {
		if (get(dir, "iosched/low_latency", &latency) == 0 && latency[0] == '0')
			return c->v2 ? "io.bfq.weight" : "blkio.bfq.weight";
		(void)snprintf(why, 128,
			       "BFQ of disk %s has low_latency on: it ignores weights then",
			       c->disk);
		return NULL;
	}
	if (c->v2 && get(c->root, "io.cost.qos", &qos) == 0 && (at = line_of(qos, c->disk)) &&
	    strncmp(at, "enable=1", 8) == 0)
		return "io.weight";
	(void)snprintf(why, 128, "nothing shares disk %s by weight: neither BFQ%s", c->disk,
		       c->v2 ? " nor io.cost (io.cost.qos)" : "; of cgroup v1 nothing else does");
	return NULL;
}

static int weight_read(const struct lcm_carry *c, const char *file, uint64_t *ret)
{
	lcm_autofree char *text = NULL;
	int r = get(c->dir, file, &text);
	const char *at;

	if (r < 0)
		return r;
	at = line_of(text, "default");
	*ret = number_at(at ? at : text);
	return 0;
}

static int weight_write(const struct lcm_carry *c, const char *file, uint64_t v)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	return put(c->dir, file, text);
}

/* ---- setting and putting back ---- */

struct knob {
	struct limit_file limit;
	const char *weight; /* file; NULL: it is a limit */
};

static int knob_read(const struct lcm_carry *c, const struct knob *k, uint64_t *ret)
{
	return k->weight ? weight_read(c, k->weight, ret) : limit_read(c, &k->limit, ret);
}

static int knob_write(const struct lcm_carry *c, const struct knob *k, uint64_t v)
{
	return k->weight ? weight_write(c, k->weight, v) : limit_write(c, &k->limit, v);
}

/* A weight that somebody has given is his; 100 is everybody's. */
static bool tighter(const struct knob *k, uint64_t is, uint64_t want)
{
	return k->weight ? is != 100 : is && is <= want;
}

static void put_back(struct lcm_carry *c, struct lcm_carry_item *it, const struct knob *k)
{
	uint64_t is;

	if (it->ours && knob_read(c, k, &is) == 0 && is == it->ours)
		lcm_ignore(knob_write(c, k, it->before));
	it->ours = it->before = it->pending = 0;
}

static const char *knob_name(const struct knob *k)
{
	return k->weight ? k->weight : k->limit.name;
}

static void failed(struct lcm_carry_item *it, const struct knob *k, int r)
{
	it->ours = it->pending = 0;
	(void)snprintf(it->why, sizeof(it->why), "%s: %s", knob_name(k),
		       r == -ENOENT ? "the controller is not in cgroup.subtree_control above it"
				    : strerror(-r));
}

static void plan(const struct lcm_carry *c, struct lcm_carry_item *it, const struct knob *k,
		 uint64_t want)
{
	uint64_t is = 0;
	int r = knob_read(c, k, &is);

	it->why[0] = '\0';
	/* The daemon before may have ended between its plan and here. */
	if (r == 0 && it->pending && is == it->pending)
		it->ours = is;
	it->pending = 0;
	if (!want)
		return;
	if (r < 0) {
		failed(it, k, r);
		return;
	}
	if (!it->ours || is != it->ours) {
		it->before = is;
		it->ours = 0;
	}
	if (!tighter(k, it->before, want)) {
		it->pending = want;
		return;
	}
	(void)snprintf(it->why, sizeof(it->why), "%s has %llu already, set by somebody else",
		       knob_name(k), (unsigned long long)it->before);
}

static void set(struct lcm_carry *c, struct lcm_carry_item *it, const struct knob *k)
{
	int r = it->pending == it->ours ? 0 : knob_write(c, k, it->pending);

	if (r < 0) {
		failed(it, k, r);
		return;
	}
	it->ours = it->pending;
	it->pending = 0;
}

/* Return: of each what is wanted, as far as it can be; k[i] is what sets it. */
static void knobs(const struct lcm_carry *c, struct knob k[LCM_CARRY_MAX],
		  uint64_t want[LCM_CARRY_MAX], char why[128])
{
	k[LCM_CARRY_READ_BYTES] = (struct knob){ .limit = limit_file(c, LCM_CARRY_READ_BYTES) };
	k[LCM_CARRY_READS] = (struct knob){ .limit = limit_file(c, LCM_CARRY_READS) };
	k[LCM_CARRY_WEIGHT] = (struct knob){ .weight = weight_file(c, why) };
	if (k[LCM_CARRY_WEIGHT].weight && strstr(k[LCM_CARRY_WEIGHT].weight, "bfq"))
		want[LCM_CARRY_WEIGHT] = LCM_MIN(want[LCM_CARRY_WEIGHT], (uint64_t)BFQ_WEIGHT_MAX);
}

bool lcm_carry_plan(struct lcm_carry *c, const uint64_t wanted[LCM_CARRY_MAX])
{
	uint64_t want[LCM_CARRY_MAX];
	struct knob k[LCM_CARRY_MAX];
	char why[128] = "";
	bool any = false;

	memcpy(want, wanted, sizeof(want));
	knobs(c, k, want, why);
	for (size_t i = 0; i < LCM_CARRY_MAX; i++) {
		struct lcm_carry_item *it = &c->items[i];

		if (i != LCM_CARRY_WEIGHT || k[i].weight) {
			plan(c, it, &k[i], want[i]);
		} else {
			*it = (struct lcm_carry_item){ .ours = 0 };
			if (want[i])
				memcpy(it->why, why, sizeof(it->why));
		}
		any |= it->pending && it->pending != it->ours;
	}
	return any;
}

void lcm_carry_apply(struct lcm_carry *c)
{
	uint64_t unused[LCM_CARRY_MAX] = { 0 };
	struct knob k[LCM_CARRY_MAX];
	char why[128];

	knobs(c, k, unused, why);
	for (size_t i = 0; i < LCM_CARRY_MAX; i++) {
		if (i == LCM_CARRY_WEIGHT && !k[i].weight)
			c->items[i].ours = c->items[i].before = c->items[i].pending = 0;
		else if (c->items[i].pending)
			set(c, &c->items[i], &k[i]);
		else
			put_back(c, &c->items[i], &k[i]);
	}
}

/* ---- as JSON ---- */

static json_t *item_json(const struct lcm_carry_item *it)
{
	json_t *o = json_object();

	if (it->ours)
		(void)json_object_set_new(o, "set", json_integer((json_int_t)it->ours));
	if (it->pending && it->pending != it->ours)
		(void)json_object_set_new(o, "pending", json_integer((json_int_t)it->pending));
	if (it->ours || it->pending)
		(void)json_object_set_new(o, "before", json_integer((json_int_t)it->before));
	if (it->why[0])
		(void)json_object_set_new(o, "why", json_string(it->why));
	return o;
}

/* Of the record; one below zero is none. */
static uint64_t item_number(const json_t *v, const char *key)
{
	return (uint64_t)LCM_MAX(json_integer_value(json_object_get(v, key)), (json_int_t)0);
}

json_t *lcm_carry_json(const struct lcm_carry *c)
{
	json_t *o = json_pack("{s:s s:s s:b s:s}", "root", c->root, "cgroup", c->dir, "v2", c->v2,
			      "disk", c->disk);

	for (size_t i = 0; o && i < LCM_CARRY_MAX; i++) {
		const struct lcm_carry_item *it = &c->items[i];

		if (it->ours || it->pending || it->why[0])
			(void)json_object_set_new(o, names[i], item_json(it));
	}
	return o;
}

void lcm_carry_take(const json_t *o, struct lcm_carry *ret)
{
	const char *dir = json_string_value(json_object_get(o, "cgroup")),
		   *disk = json_string_value(json_object_get(o, "disk")),
		   *root = json_string_value(json_object_get(o, "root"));
	struct lcm_carry c = { .v2 = json_is_true(json_object_get(o, "v2")) };

	if (!dir || !disk || !root || strlen(root) >= sizeof(c.root) || dir[0] != '/' ||
	    strlen(dir) >= sizeof(c.dir) || strlen(disk) >= sizeof(c.disk))
		return;
	memcpy(c.dir, dir, strlen(dir) + 1);
	memcpy(c.root, root, strlen(root) + 1);
	memcpy(c.disk, disk, strlen(disk) + 1);
	for (size_t i = 0; i < LCM_CARRY_MAX; i++) {
		const json_t *v = json_object_get(o, names[i]);

		c.items[i].ours = item_number(v, "set");
		c.items[i].pending = item_number(v, "pending");
		c.items[i].before = item_number(v, "before");
	}
	*ret = c;
}

int lcm_carry_probe(const char *sys, const char *dir, const char **ret_io, const char **ret_weight,
		    char why[128], struct lcm_err *err)
{
	struct lcm_carry c = { .v2 = false };
	const char *weight;
	int r = find_root(sys, c.root, &c.v2, err);

	if (r == 0)
		r = find_disk(dir, c.disk, err);
	if (r < 0)
		return r;
	weight = weight_file(&c, why);
	*ret_io = c.v2 ? "io.max" : "blkio.throttle (v1: direct and synchronous I/O)";
	*ret_weight = weight ? weight : "";
	return 0;
}
