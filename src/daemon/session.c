/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "src/base/log.h"
#include "src/daemon/container.h"
#include "src/daemon/session_priv.h"

static const struct {
	const char *name;
	unsigned int next; /* bits of phases it may go to */
} phases[LCM_PHASE_MAX] = {
	[LCM_PREPARING] = { "preparing", 1U << LCM_LAZY | 1U << LCM_NATIVE | 1U << LCM_FAILED },
	[LCM_LAZY] = { "lazy", 1U << LCM_DRAINING | 1U << LCM_NATIVE | 1U << LCM_FAILED },
	[LCM_DRAINING] = { "draining", 1U << LCM_NATIVE | 1U << LCM_FAILED },
	[LCM_NATIVE] = { "native", 0 },
	[LCM_FAILED] = { "failed", 0 },
};

const char *lcm_phase_name(enum lcm_phase phase)
{
	return phases[phase].name;
}

static void tell(struct lcm_session_watch *w, struct lcm_session *s, bool gone)
{
	struct lcm_session_watch *next;

	for (; w; w = next) {
		next = w->next;
		w->changed(w->arg, s, gone);
	}
}

void session_changed(struct lcm_session *s)
{
	tell(s->watches, s, false);
	tell(s->host->watches, s, false);
}

void session_set_phase(struct lcm_session *s, enum lcm_phase phase)
{
	if (!(phases[s->phase].next & 1U << phase)) {
		lcm_log(LCM_LOG_ERR, "id=%s phase %s cannot become %s", s->id,
			phases[s->phase].name, phases[phase].name);
		return;
	}
	s->phase = phase;
	if (phase == LCM_NATIVE)
		s->t_native = lcm_now_ns();
	if (phase == LCM_DRAINING || (phase == LCM_NATIVE && !s->t_local))
		s->t_local = lcm_now_ns();
	lcm_log(LCM_LOG_INFO, "id=%s phase=%s", s->id, phases[phase].name);
	if (phase == LCM_NATIVE)
		lcm_container_carry(s);
	session_changed(s);
}

void session_fail(struct lcm_session *s, int status, const struct lcm_err *why)
{
	if (s->phase == LCM_FAILED)
		return;
	s->error = why ? *why : (struct lcm_err){ 0 };
	if (!s->error.code)
		lcm_err_set(&s->error, status, "%s", strerror(-status));
	lcm_log(LCM_LOG_WARNING, "id=%s failed: %s", s->id, s->error.msg);
	/* Nobody would serve the gate that waits to be taken over. */
	if (s->kept_fuse >= 0)
		session_unkeep_gate(s);
	session_set_phase(s, LCM_FAILED);
}

/* ---- the layers ---- */

static bool count_layers(const struct lcm_session *s, uint32_t *ret_local, uint32_t *ret_lazy,
			 uint32_t *ret_plain)
{
	*ret_local = *ret_lazy = *ret_plain = 0;
	for (uint32_t i = 0; i < s->n_slots; i++) {
		const struct lcm_layer *l = s->slots[i].layer;

		if (l->phase == LCM_LAYER_LOCAL)
			(*ret_local)++;
		else if (l->phase != LCM_LAYER_READY)
			return false;
		else if (l->toc)
			(*ret_lazy)++;
		else
			(*ret_plain)++;
	}
	return true;
}

/* META needs the TOC of every layer, also of those that are local already. */
static bool all_tocs(struct lcm_session *s)
{
	for (uint32_t i = 0; i < s->n_slots; i++)
		if (lcm_layer_load_toc(s->slots[i].layer) < 0)
			return false;
	return true;
}

void session_pull_layers(struct lcm_session *s, bool urgent)
{
	if (s->offline)
		return;
	for (uint32_t i = 0; i < s->n_slots; i++)
		if (s->slots[i].layer->phase != LCM_LAYER_LOCAL)
			lcm_layer_pull(s->slots[i].layer, urgent);
}

void lcm_session_hurry(struct lcm_session *s)
{
	for (uint32_t i = 0; i < s->n_slots; i++)
		lcm_layer_hurry(s->slots[i].layer);
}

/*
 * It can be no lazy mount yet: from here on trouble with a layer is trouble with the session. Where
 * some layers have a table of contents only the others are pulled: that makes theirs.
 */
static void pull_missing(struct lcm_session *s, bool partly)
{
	bool begun = s->whole;

	s->whole = true;
	for (uint32_t i = 0; partly && !begun && i < s->n_slots; i++) {
		struct lcm_layer *l = s->slots[i].layer;

		if (l->phase == LCM_LAYER_READY && !l->toc)
			lcm_layer_pull(l, true);
	}
	if (partly || s->all_pulled)
		return;
	s->all_pulled = true;
	session_pull_layers(s, !s->patient);
}

static void advance_preparing(struct lcm_session *s)
{
	uint32_t local, lazy, plain;
	bool may_be_lazy = !s->pull && !s->full && s->host->lazy;

	if (s->job || !count_layers(s, &local, &lazy, &plain))
		return;
	if (session_is_layer(s))
		session_advance_layer(s);
	else if (local == s->n_slots && s->pull)
		session_set_phase(s, LCM_NATIVE);
	else if (local == s->n_slots)
		session_mount_start(s, false);
	else if (may_be_lazy && all_tocs(s) && lazy)
		session_mount_start(s, true);
	else if (s->offline)
		session_fail_offline(s);
	else
		pull_missing(s, may_be_lazy && lazy && plain);
}

/* A gate of an earlier daemon waits to be taken over. */
static void advance_kept(struct lcm_session *s)
{
	uint32_t local, lazy, plain;

	if (s->job || !count_layers(s, &local, &lazy, &plain))
		return;
	if (all_tocs(s)) {
		session_take_gate(s);
		return;
	}
	lcm_log(LCM_LOG_WARNING,
		"id=%s a table of contents is gone: missing files cannot be read before they are "
		"pulled",
		s->id);
	session_unkeep_gate(s);
	session_advance(s);
}

void session_advance(struct lcm_session *s)
{
	uint32_t local, lazy, plain;

	for (uint32_t i = 0; i < s->n_slots; i++) {
		struct lcm_layer *l = s->slots[i].layer;

		if (l->phase == LCM_LAYER_FAILED && s->phase != LCM_NATIVE) {
			session_fail(s, l->error.code, &l->error);
			return;
		}
		if (s->phase == LCM_PREPARING && s->whole && l->error.code &&
		    l->phase == LCM_LAYER_READY) {
			session_fail(s, l->error.code, &l->error);
			return;
		}
	}
	if (s->phase == LCM_PREPARING)
		advance_preparing(s);
	else if (s->kept_fuse >= 0)
		advance_kept(s);
	else if (s->job)
		return; /* it looks again when it is back */
	else if (s->phase == LCM_LAZY && count_layers(s, &local, &lazy, &plain) &&
		 local == s->n_slots)
		session_begin_drain(s);
}

static void on_layer_changed(void *arg, struct lcm_layer *l)
{
	struct slot *slot = arg;

	(void)l;
	session_advance(slot->s);
	session_changed(slot->s);
}

static void on_file_done(void *arg, struct lcm_layer *l, uint32_t entry, int status)
{
	struct slot *slot = arg;

	(void)l;
	if (!slot->s->gate)
		return;
	lcm_gate_file_done(slot->s->gate, (uint32_t)(slot - slot->s->slots), entry, status);
	session_came(slot->s, status);
}

static void on_read_done(void *arg, uint64_t token, int fd, uint64_t off, uint32_t len, int status)
{
	struct slot *slot = arg;

	if (!slot->s->gate)
		return;
	lcm_gate_read_done(slot->s->gate, token, fd, off, len, status);
	session_came(slot->s, status);
}

int session_make_slots(struct lcm_session *s, uint32_t n)
{
	s->slots = calloc(n ? n : 1, sizeof(*s->slots));
	if (!s->slots)
		return -ENOMEM;
	s->n_slots = n;
	return 0;
}

void session_fill_slot(struct lcm_session *s, uint32_t i, struct lcm_layer *l)
{
	struct slot *slot = &s->slots[i];

	*slot = (struct slot){ .s = s, .layer = l };
	slot->watch = (struct lcm_layer_watch){ .lif = s->lif,
						.changed = on_layer_changed,
						.file_done = on_file_done,
						.read_done = on_read_done,
						.arg = slot };
	s->demand_files0 += l->demand_files;
	s->demand_bytes0 += l->demand_bytes;
}

void session_watch_and_prepare(struct lcm_session *s)
{
	for (uint32_t i = 0; i < s->n_slots; i++)
		lcm_layer_watch(s->slots[i].layer, &s->slots[i].watch);
	for (uint32_t i = 0; i < s->n_slots; i++) {
		struct lcm_layer *l = s->slots[i].layer;

		/* An earlier trouble of another mount's is no reason to end before the first try.
		 */
		if ((s->pull || s->full) && l->phase == LCM_LAYER_READY)
			l->error = (struct lcm_err){ 0 };
		lcm_layer_prepare(l);
	}
	session_advance(s);
}

static void on_resolved(void *arg, struct lcm_image *img, int status, const struct lcm_err *err)
{
	struct lcm_session *s = arg;
	struct lcm_err why = { 0 };
	int r = status;

	if (r == 0)
		r = session_fill_slots(s, img, &why);
	if (r < 0) {
		session_fail(s, r, why.code ? &why : err);
		return;
	}
	r = s->offline ? session_all_known(s, &why) : 0;
	if (r < 0)
		session_fail(s, r, &why);
	else
		session_watch_and_prepare(s);
}

/* ---- life ---- */

/* Nobody finds it any more. */
static void session_unlist(struct lcm_session *s)
{
	for (struct lcm_session **p = &s->host->sessions; *p; p = &(*p)->next) {
		if (*p != s)
			continue;
		*p = s->next;
		break;
	}
	tell(s->watches, s, true);
	s->watches = NULL;
	tell(s->host->watches, s, true);
}

void session_destroy(struct lcm_session *s)
{
	session_thaw(s);
	session_end_late(s);
	lcm_container_forget(s, s->host->e->closing);
	if (!s->leaving)
		session_unlist(s);
	if (s->host->e->closing) {
		lcm_gate_leave(s->gate);
	} else {
		session_unkeep_gate(s);
		lcm_gate_close(s->gate);
	}
	s->gate = NULL;
	lcm_closep(&s->kept_fuse);
	lcm_closep(&s->kept_record);
	for (uint32_t i = 0; i < s->n_slots; i++) {
		if (!s->slots[i].layer)
			continue;
		lcm_layer_unwatch(s->slots[i].layer, &s->slots[i].watch);
		if (s->adopted)
			lcm_layer_put(s->slots[i].layer);
	}
	lcm_image_free(s->image);
	lcm_timer_free(s->expire);
	lcm_timer_free(s->shrink);
	session_meter_fini(s);
	free(s->slots);
	free(s->target);
	free(s->image_ref);
	free(s->home);
	free(s->above);
	free(s->unit_key);
	free(s->unit_pool);
	free(s);
}

static int check_id(const char *id, struct lcm_err *err)
{
	size_t n = strlen(id);

	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)id[i]) && !(i && strchr("_.-", id[i])))
			return lcm_err_set(err, -EINVAL,
					   "id \"%s\": only letters, digits and, after the first, "
					   "'_', '.', '-' are allowed",
					   id);
	if (n > LCM_ID_MAX)
		return lcm_err_set(err, -EINVAL, "id is longer than %d characters", LCM_ID_MAX);
	return 0;
}

#define ID_RANDOM 16 /* hex digits */

static int set_id(struct lcm_session *s, const char *id, struct lcm_err *err)
{
	int r;

	if (!id || !*id)
		return lcm_random_hex(s->id, ID_RANDOM);
	r = check_id(id, err);
	if (r == 0)
		(void)snprintf(s->id, sizeof(s->id), "%s", id);
	return r;
}

int session_check_target(struct lcm_host *h, const char *target, struct lcm_err *err)
{
	for (struct lcm_session *s = h->sessions; s; s = s->next)
		if (s->target && strcmp(s->target, target) == 0)
			return lcm_err_set(err, -EBUSY,
					   "%s is in use by mount %s (locum umount %s)", target,
					   s->id, s->id);
	return lcm_mount_check_target(target, err);
}

static int set_names(struct lcm_session *s, const struct lcm_session_options *o,
		     struct lcm_err *err)
{
	char ref[LCM_REFERENCE_STR_MAX], path[4096];
	int r = lcm_reference_parse(o->image, &s->ref, err);

	if (r == 0)
		r = set_id(s, o->id, err);
	if (r < 0)
		return r;
	if (lcm_session_find(s->host, s->id))
		return lcm_err_set(err, -EEXIST, "id %s is in use (locum status %s)", s->id, s->id);
	s->image_ref = strdup(lcm_reference_str(&s->ref, ref, sizeof(ref)));
	if (!s->image_ref)
		return -ENOMEM;
	if (o->pull)
		return 0;
	s->own_target = !o->target || !*o->target;
	if (s->own_target) {
		(void)snprintf(path, sizeof(path), "%s/m/%s", s->host->run_dir, s->id);
		r = lcm_mkdir_p(path, 0700);
		if (r < 0)
			return lcm_err_set(err, r, "%s: %s", path, strerror(-r));
	}
	r = session_check_target(s->host, s->own_target ? path : o->target, err);
	if (r < 0)
		return r;
	s->target = strdup(s->own_target ? path : o->target);
	return s->target ? 0 : -ENOMEM;
}

static void on_expire(void *arg)
{
	struct lcm_session *s = arg;
	uint64_t now = lcm_now_ns(), next, look;

	if (!s->gate)
		return;
	next = lcm_gate_expire(s->gate, now);
	look = session_stall_look(s, now);
	lcm_timer_set(s->expire, next > now ? LCM_MIN(next - now, look) : look);
}

static void on_shrink(void *arg)
{
	struct lcm_session *s = arg;

	if (s->phase == LCM_DRAINING)
		session_drain(s);
	else
		session_end_late(s);
}

int session_alloc(struct lcm_host *h, struct lcm_session **ret)
{
	struct lcm_session *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->host = h;
	s->kept_fuse = s->kept_record = -EBADF;
	s->serial = ++h->last_serial;
	s->t_request = lcm_now_ns();
	r = session_meter_init(s);
	if (r == 0)
		r = lcm_timer_new(h->e->loop, on_expire, s, &s->expire);
	if (r == 0)
		r = lcm_timer_new(h->e->loop, on_shrink, s, &s->shrink);
	if (r < 0) {
		session_destroy(s);
		return r;
	}
	*ret = s;
	return 0;
}

static int set_places(struct lcm_session *s, const struct lcm_session_options *o)
{
	size_t len = 0;

	if (o->home) {
		s->home = strdup(o->home);
		if (!s->home)
			return -ENOMEM;
	}
	while (o->above && o->above[len]) {
		len += strlen(o->above + len) + 1;
		s->n_above++;
	}
	if (len == 0)
		return 0;
	s->above = malloc(len);
	if (!s->above)
		return -ENOMEM;
	memcpy(s->above, o->above, len);
	return 0;
}

static int resolve(struct lcm_session *s, const struct lcm_session_options *o,
		   const struct lcm_platform *platform, struct lcm_err *err)
{
	static const struct lcm_index_where nowhere = { .from = LCM_INDEX_FROM_NOWHERE };
	enum lcm_image_policy policy = s->offline ? LCM_IMAGE_NEVER
				       : platform ? LCM_IMAGE_ALWAYS
						  : o->policy;

	return lcm_image_resolve(s->host->e, &s->ref, platform, policy,
				 s->offline ? &nowhere : &o->index, on_resolved, s, &s->image, err);
}

int lcm_session_new(struct lcm_host *h, const struct lcm_session_options *o,
		    struct lcm_session **ret, struct lcm_err *err)
{
	struct lcm_platform platform;
	bool other = o->platform && *o->platform;
	struct lcm_session *s;
	int r;

	if (other && lcm_platform_parse(o->platform, &platform) < 0)
		return lcm_err_set(
		    err, -EINVAL,
		    "platform \"%s\": os/arch[/variant] is expected, e.g. linux/arm64",
		    o->platform);
	r = session_alloc(h, &s);
	if (r < 0)
		return r;
	s->pull = o->pull;
	s->patient = o->patient;
	s->depth = o->depth;
	s->layer = o->layer;
	s->read_only = o->read_only;
	s->full = o->full;
	s->keep = o->keep;
	s->lower = o->lower;
	s->offline = o->offline;
	s->remount = o->remount;
	s->big = o->big;
	s->deadline_ns = o->deadline_ns;
	s->freeze = o->freeze;
	r = set_names(s, o, err);
	if (r == 0)
		r = set_places(s, o);
	if (r == 0)
		r = session_set_unit(s, o, err);
	if (r == 0)
		r = session_meter_begin(s, o, err);
	if (r == 0)
		r = resolve(s, o, other ? &platform : NULL, err);
	if (r < 0) {
		if (s->own_target && s->target)
			lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, s->target, AT_REMOVEDIR));
		session_destroy(s);
		return r;
	}
	s->next = h->sessions;
	h->sessions = s;
	if (o->weight || o->meter)
		session_meter_save(s);
	session_changed(s);
	*ret = s;
	return 0;
}

/* Its layers were used until now. */
static void touch_layers(struct lcm_session *s)
{
	if (lcm_store_begin(s->host->e->store) < 0)
		return;
	for (uint32_t i = 0; i < s->n_slots; i++)
		if (s->slots[i].layer)
			lcm_ignore(
			    lcm_store_layer_touch(s->host->e->store, s->slots[i].layer->row.id));
	lcm_ignore(lcm_store_end(s->host->e->store, 0));
}

void session_remove_container(struct lcm_session *s, bool upper)
{
	if (s->pull)
		return;
	touch_layers(s);
	session_meter_forget(s);
	if (s->keep == upper) {
		s->keep = !upper;
		lcm_ignore(session_put_row(s, NULL));
	}
	lcm_ignore(lcm_store_mount_remove(s->host->e->store, s->id));
	if (s->own_target)
		lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, s->target, AT_REMOVEDIR));
	lcm_engine_sweep(s->host->e);
}

/* Unmounted, and no job has it. */
static void finish(struct lcm_session *s)
{
	if (session_leave_unit(s, s->close_remove))
		return;
	session_remove_container(s, s->close_remove);
	session_destroy(s);
}

void session_unmounted(struct lcm_session *s)
{
	s->close_remove = !s->keep;
	finish(s);
}

int lcm_session_close(struct lcm_session *s, bool lazy, int remove, struct lcm_err *err)
{
	char source[80], users[512];
	int r = 0;

	if (s->closing)
		return lcm_err_set(err, -EBUSY, "mount %s is being closed already", s->id);
	if (s->target && s->t_mounted &&
	    lcm_mounted_source(s->target, session_source(s, source)) > 0)
		r = lcm_umount(s->target, lazy, err);
	if (r == -EBUSY && session_users(s->target, users, sizeof(users)))
		return lcm_err_set(err, r, "%s is in use by %s; end that or unmount with --lazy",
				   s->target, users);
	if (r < 0)
		return r;
	session_thaw(s);
	s->close_remove = remove < 0 ? !s->keep : remove > 0;
	if (s->job) {
		s->closing = true;
		return 0;
	}
	finish(s);
	return 0;
}

bool session_job_back(struct lcm_session *s)
{
	char source[80];

	s->job = NULL;
	if (s->leaving) {
		session_destroy(s);
		return true;
	}
	if (!s->closing) {
		session_keep_again(s);
		return false;
	}
	if (s->target && lcm_mounted_source(s->target, session_source(s, source)) > 0)
		lcm_ignore(lcm_umount(s->target, true, NULL));
	finish(s);
	return true;
}

struct lcm_session *session_by_serial(struct lcm_host *h, uint64_t serial)
{
	struct lcm_session *s = h->sessions;

	while (s && s->serial != serial)
		s = s->next;
	return s;
}

/* A job in the pool still uses the session: it goes when that is back, while the loop is drained.
 */
void lcm_session_free(struct lcm_session *s)
{
	if (!s->job) {
		session_destroy(s);
		return;
	}
	s->leaving = true;
	session_unlist(s);
}
