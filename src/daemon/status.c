/* SPDX-License-Identifier: Apache-2.0 */
/* status.c - a session as JSON, and who holds the files that keep it from native. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "image/json.h"
#include "src/daemon/container.h"
#include "src/daemon/session_priv.h"

#define BOUND_SHOWN_MAX 16
#define HOLDERS_SHOWN_MAX 8

struct bound {
	struct {
		uint32_t layer, entry;
	} files[BOUND_SHOWN_MAX];
	size_t n;
};

static void collect_bound(void *arg, uint32_t layer, uint32_t entry, uint64_t nlookup)
{
	struct bound *b = arg;

	(void)nlookup;
	if (b->n == BOUND_SHOWN_MAX)
		return;
	b->files[b->n].layer = layer;
	b->files[b->n++].entry = entry;
}

/* Does this link of /proc lead to @dir or below it? Reading a link asks no file system. */
static bool leads_below(int at, const char *link, const char *dir)
{
	size_t len = strlen(dir);
	char to[4096];
	ssize_t n = readlinkat(at, link, to, sizeof(to) - 1);

	if (n < (ssize_t)len)
		return false;
	to[n] = '\0';
	return strncmp(to, dir, len) == 0 && (to[len] == '/' || to[len] == '\0');
}

static bool any_leads_below(int proc, const char *links, const char *dir)
{
	int fd = lcm_sys_openat(proc, links, O_RDONLY | O_DIRECTORY, 0);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	bool found = false;

	while (d && !found && (e = readdir(d)))
		found = e->d_name[0] != '.' && leads_below(fd, e->d_name, dir);
	if (d)
		(void)closedir(d);
	else
		lcm_closep(&fd);
	return found;
}

static bool uses(const char *pid, const char *dir)
{
	lcm_autoclose int proc = -EBADF;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%.20s", pid);
	proc = lcm_sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	return proc >= 0 &&
	       (leads_below(proc, "cwd", dir) || leads_below(proc, "root", dir) ||
		any_leads_below(proc, "fd", dir) || any_leads_below(proc, "map_files", dir));
}

size_t session_users(const char *dir, char *out, size_t size)
{
	DIR *d = opendir("/proc");
	size_t n = 0, used = 0;
	struct dirent *e;

	while (d && (e = readdir(d)) && n < HOLDERS_SHOWN_MAX) {
		lcm_autofree char *comm = NULL;
		char path[64];
		size_t len;
		int r;

		if (e->d_name[0] < '1' || e->d_name[0] > '9' || !uses(e->d_name, dir))
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%.20s/comm", e->d_name);
		if (lcm_read_file_at(AT_FDCWD, path, 64, &comm, &len) < 0)
			continue;
		comm[strcspn(comm, "\n")] = '\0';
		r = snprintf(out + used, size - used, "%s%.20s %.64s", n ? ", " : "", e->d_name,
			     comm);
		if (r < 0 || (size_t)r >= size - used)
			break;
		used += (size_t)r;
		n++;
	}
	if (d)
		(void)closedir(d);
	return n;
}

/* Does any link in /proc/PID/@dir lead to this file? */
static bool holds(const char *pid, const char *dir, const struct lcm_file_id *want)
{
	char path[300];
	struct dirent *e;
	bool found = false;
	DIR *d;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/%s", pid, dir);
	d = opendir(path);
	while (d && !found && (e = readdir(d))) {
		struct lcm_file_id id;

		/* Anybody's file, also of a server that hangs: only its identity is asked for. */
		found = e->d_name[0] != '.' && lcm_sys_file_id(dirfd(d), e->d_name, &id, 0) == 0 &&
			id.dev == want->dev && id.ino == want->ino;
	}
	if (d)
		(void)closedir(d);
	return found;
}

static json_t *find_holders(const struct lcm_file_id *want)
{
	json_t *out = json_array();
	struct dirent *e;
	DIR *d = opendir("/proc");

	while (d && (e = readdir(d)) && json_array_size(out) < HOLDERS_SHOWN_MAX) {
		lcm_autofree char *comm = NULL;
		char path[300], text[300];
		size_t len;

		if (e->d_name[0] < '1' || e->d_name[0] > '9' ||
		    !(holds(e->d_name, "map_files", want) || holds(e->d_name, "fd", want)))
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%.20s/comm", e->d_name);
		if (lcm_read_file_at(AT_FDCWD, path, 64, &comm, &len) < 0)
			continue;
		comm[strcspn(comm, "\n")] = '\0';
		(void)snprintf(text, sizeof(text), "%.20s %.64s", e->d_name, comm);
		(void)json_array_append_new(out, json_string(text));
	}
	if (d)
		(void)closedir(d);
	return out;
}

/* "/usr/bin/x"; "/" when nothing knows its name any more. */
static void path_of(const struct lcm_session *s, uint32_t layer, uint32_t entry,
		    char out[LCM_PATH_MAX + 2])
{
	const struct lcm_toc *toc = s->slots[layer].layer->toc;

	out[0] = '/';
	if (!toc || lcm_toc_path(toc, entry, out + 1, LCM_PATH_MAX + 1) < 0)
		out[1] = '\0';
}

static json_t *bound_files(struct lcm_session *s, bool holders)
{
	struct bound b = { .n = 0 };
	json_t *out = json_array();

	lcm_gate_bound_each(s->gate, collect_bound, &b);
	for (size_t i = 0; i < b.n; i++) {
		char path[LCM_PATH_MAX + 2], full[2 * LCM_PATH_MAX];
		json_t *o = json_object();
		struct lcm_file_id id;

		path_of(s, b.files[i].layer, b.files[i].entry, path);
		(void)json_object_set_new(o, "path", lcm_json_text(path));
		(void)snprintf(full, sizeof(full), "%.*s%s", LCM_PATH_MAX - 2, s->target, path);
		if (holders && lcm_sys_file_id(AT_FDCWD, full, &id, AT_SYMLINK_NOFOLLOW) == 0)
			(void)json_object_set_new(o, "holders", find_holders(&id));
		(void)json_array_append_new(out, o);
	}
	return out;
}

struct totals {
	uint64_t files, files_local, bytes, bytes_local, demand_files, demand_bytes, pulled_bytes,
	    blob_bytes;
};

static void sum_layers(const struct lcm_session *s, struct totals *t)
{
	*t = (struct totals){ 0 };
	for (uint32_t i = 0; i < s->n_slots; i++) {
		const struct lcm_layer *l = s->slots[i].layer;

		t->blob_bytes += l->row.blob_size;
		t->demand_files += l->demand_files;
		t->demand_bytes += l->demand_bytes;
		t->pulled_bytes += l->phase == LCM_LAYER_LOCAL ? l->row.blob_size : l->pulled_bytes;
		t->files += l->files_total;
		t->bytes += l->toc ? l->bytes_total : l->row.real_bytes;
		t->files_local += atomic_load(&l->files_local);
		t->bytes_local += l->toc                        ? atomic_load(&l->bytes_local)
				  : l->phase == LCM_LAYER_LOCAL ? l->row.real_bytes
								: 0;
	}
	t->demand_files -= s->demand_files0;
	t->demand_bytes -= s->demand_bytes0;
}

json_t *lcm_session_ms(const struct lcm_session *s, uint64_t at)
{
	return json_real(((double)at - (double)s->t_request) / 1e6);
}

static json_t *ms_since(const struct lcm_session *s, uint64_t at)
{
	return at ? lcm_session_ms(s, at) : json_null();
}

static json_t *gate_json(const struct lcm_gate_stats *g)
{
	return json_pack(
	    "{s:I s:I s:I s:I s:I s:I s:I s:I s:I}", "requests", (json_int_t)g->requests,
	    "lookups_files", (json_int_t)g->lookups_files, "reads", (json_int_t)g->reads,
	    "read_bytes", (json_int_t)g->read_bytes, "interrupts", (json_int_t)g->interrupts,
	    "answered", (json_int_t)g->answered_stale, "errors", (json_int_t)g->answered_error,
	    "rejected", (json_int_t)g->rejected, "waiters_peak", (json_int_t)g->waiters_peak);
}

static const struct lcm_err *current_error(const struct lcm_session *s)
{
	if (s->error.code)
		return &s->error;
	for (uint32_t i = 0; i < s->n_slots; i++)
		if (s->slots[i].layer->error.code)
			return &s->slots[i].layer->error;
	return NULL;
}

static const char *layer_phase(const struct lcm_layer *l)
{
	static const char *const names[] = { [LCM_LAYER_NEW] = "preparing",
					     [LCM_LAYER_PREPARING] = "preparing",
					     [LCM_LAYER_READY] = "partial",
					     [LCM_LAYER_LOCAL] = "local",
					     [LCM_LAYER_FAILED] = "failed" };

	return names[l->phase];
}

static const char *const compressions[] = {
	[LCM_COMP_NONE] = "none", [LCM_COMP_GZIP] = "gzip", [LCM_COMP_ZSTD] = "zstd"
};

static json_t *each_layer(const struct lcm_session *s)
{
	json_t *out = json_array();

	for (uint32_t i = 0; i < s->n_slots; i++) {
		const struct lcm_layer *l = s->slots[i].layer;
		bool local = l->phase == LCM_LAYER_LOCAL;
		char digest[LCM_DIGEST_STR], diffid[LCM_DIGEST_STR], toc[LCM_DIGEST_STR];
		bool source = !lcm_digest_is_zero(&l->row.key.source);

		(void)json_array_append_new(
		    out, json_pack("{s:s s:s s:s? s:s s:s s:b s:I s:I s:I s:I}", "digest",
				   lcm_digest_str(&l->row.key.blob, digest), "diffid",
				   lcm_digest_str(&l->row.key.diffid, diffid), "toc",
				   source ? lcm_digest_str(&l->row.key.source, toc) : NULL,
				   "compression", compressions[l->comp], "phase", layer_phase(l),
				   "lazy", l->toc != NULL, "blob_bytes",
				   (json_int_t)l->row.blob_size, "blob_bytes_local",
				   (json_int_t)(local ? l->row.blob_size : l->pulled_bytes),
				   "files_total", (json_int_t)l->files_total, "files_local",
				   (json_int_t)atomic_load(&l->files_local)));
	}
	return out;
}

static json_t *worst_files(const struct lcm_session *s, const struct lcm_gate_stats *g)
{
	json_t *out = json_array();

	for (uint32_t i = 0; i < g->n_blocked; i++) {
		char path[LCM_PATH_MAX + 2];

		path_of(s, g->blocked[i].layer, g->blocked[i].entry, path);
		(void)json_array_append_new(out,
					    json_pack("{s:o s:f s:I}", "path", lcm_json_text(path),
						      "ms", (double)g->blocked[i].wait_ns / 1e6,
						      "waits", (json_int_t)g->blocked[i].waits));
	}
	return out;
}

/* How the rest of the image comes here, and what it gets at least. */
static json_t *background(const struct lcm_session *s)
{
	const struct lcm_background *b = s->host->e->background;
	struct lcm_background_config cfg;

	lcm_background_config(b, &cfg);
	return json_pack("{s:s s:I s:f}", "state", lcm_background_state(b), "share_percent",
			 (json_int_t)cfg.share_percent, "wait_s", (double)cfg.wait_ns / 1e9);
}

json_t *lcm_session_status(struct lcm_session *s, unsigned int with)
{
	const struct lcm_err *error = current_error(s);
	struct lcm_gate *gate = s->t_mounted ? s->gate : NULL;
	struct lcm_gate_stats g = s->last;
	struct totals t;
	json_t *o, *containers;

	if (gate)
		lcm_gate_stats(gate, &g);
	sum_layers(s, &t);
	o = json_pack("{s:s s:s s:s s:s s:b s:I s:I s:I s:I s:I s:I s:I s:I s:I s:b s:I s:I}", "id",
		      s->id, "image", s->image_ref, "phase", lcm_phase_name(s->phase), "kind",
		      s->pull ? "pull" : "mount", "read_only", s->read_only, "files_total",
		      (json_int_t)t.files, "files_local", (json_int_t)t.files_local, "bytes_total",
		      (json_int_t)t.bytes, "bytes_local", (json_int_t)t.bytes_local,
		      "blob_bytes_total", (json_int_t)t.blob_bytes, "blob_bytes_local",
		      (json_int_t)t.pulled_bytes, "demand_fetches", (json_int_t)t.demand_files,
		      "demand_bytes", (json_int_t)t.demand_bytes, "waiters", (json_int_t)g.waiters,
		      "gate_mounted", gate != NULL, "bound_inodes",
		      (json_int_t)(gate ? g.bound_inodes : 0), "layers", (json_int_t)s->n_slots);
	if (!o)
		return NULL;
	(void)json_object_set_new(o, "target", s->target ? lcm_json_text(s->target) : json_null());
	(void)json_object_set_new(o, "offline", json_boolean(s->offline));
	(void)json_object_set_new(o, "unit", s->unit[0] ? json_string(s->unit) : json_null());
	if (s->unit[0])
		(void)json_object_set_new(o, "unit_name", json_string(s->unit_name));
	(void)json_object_set_new(o, "mounted_ms", ms_since(s, s->t_mounted));
	(void)json_object_set_new(o, "local_ms", ms_since(s, s->t_local));
	(void)json_object_set_new(o, "native_ms", ms_since(s, s->t_native));
	(void)json_object_set_new(o, "blocked_ms", json_real((double)g.blocked_ns / 1e6));
	(void)json_object_set_new(o, "gate", gate_json(&g));
	(void)json_object_set_new(o, "meter", lcm_session_meter(s));
	if (s->target)
		session_stall_json(s, o);
	if (s->phase <= LCM_LAZY)
		(void)json_object_set_new(o, "background", background(s));
	if (error) {
		(void)json_object_set_new(o, "error", lcm_json_text(error->msg));
		(void)json_object_set_new(o, "error_code", json_integer(error->code));
	}
	containers = lcm_container_list(s);
	if (containers)
		(void)json_object_set_new(o, "containers", containers);
	if (gate && g.bound_inodes)
		(void)json_object_set_new(o, "bound", bound_files(s, with & LCM_STATUS_HOLDERS));
	if (with & LCM_STATUS_DETAIL) {
		(void)json_object_set_new(o, "each_layer", each_layer(s));
		(void)json_object_set_new(o, "blocked", worst_files(s, &g));
		(void)json_object_set_new(o, "slowest", session_slowest(s));
	}
	return o;
}
