/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/meter_policy.h"

#include <stdio.h>
#include <string.h>

#include "image/json.h"
#include "src/base/log.h"
#include "src/daemon/session_priv.h"

#define POLICY_MAX (256U << 10)
#define CLASSES_MAX 1000U

/* ---- classes ---- */

static uint64_t others(const struct lcm_meter_class *c)
{
	return c->host->e->lifs.demand.requests - c->requests;
}

enum lcm_admission lcm_meter_admit(struct lcm_limits *l, uint64_t others, struct lcm_timer *readmit)
{
	uint64_t now = lcm_now_ns(), again;
	enum lcm_admission a = lcm_limits_admission(l, now, others, &again);

	if (again)
		lcm_timer_set(readmit, again > now ? again - now : 0);
	else
		lcm_timer_clear(readmit);
	return a;
}

static void regulate(struct lcm_meter_class *c)
{
	enum lcm_admission was = c->admission;

	c->admission = lcm_meter_admit(&c->limits, others(c), c->readmit);
	if (c->admission == was)
		return;
	for (struct lcm_session *s = c->host->sessions; s; s = s->next) {
		if (s->class != c)
			continue;
		session_regulate_gate(s);
		session_changed(s);
	}
}

static void on_readmit(void *arg)
{
	regulate(arg);
}

void lcm_meter_class_charge(struct lcm_meter_class *c, const struct lcm_lif_cost *cost)
{
	c->requests += cost->requests;
	if (!c->limits.n)
		return;
	lcm_limits_charge(&c->limits, cost, lcm_now_ns());
	regulate(c);
}

void lcm_meter_classes_look(struct lcm_host *h, const struct lcm_meter_class *but)
{
	for (struct lcm_meter_class *c = h->classes; c; c = c->next)
		if (c != but && c->admission != LCM_ADMITTED &&
		    c->limits.readmit == LCM_READMIT_OTHERS)
			regulate(c);
}

/* Nobody is in it, and nothing is said of it: a name that came with a mount, and went. */
static bool is_nothing(const struct lcm_meter_class *c)
{
	return !c->users && !c->weight && !c->limits.n && !c->in_file;
}

static void tidy(struct lcm_host *h)
{
	for (struct lcm_meter_class **p = &h->classes; *p;) {
		struct lcm_meter_class *c = *p;

		if (!is_nothing(c)) {
			p = &c->next;
			continue;
		}
		*p = c->next;
		lcm_timer_free(c->readmit);
		free(c);
	}
}

void lcm_meter_class_join(struct lcm_meter_class **at, struct lcm_meter_class *c)
{
	struct lcm_meter_class *was = *at;

	if (c)
		c->users++;
	*at = c;
	if (!was)
		return;
	was->users--;
	if (is_nothing(was))
		tidy(was->host);
}

static struct lcm_meter_class *find(const struct lcm_host *h, const char *name)
{
	struct lcm_meter_class *c = h->classes;

	while (c && strcmp(c->name, name) != 0)
		c = c->next;
	return c;
}

static uint32_t count(const struct lcm_host *h)
{
	uint32_t n = 0;

	for (const struct lcm_meter_class *c = h->classes; c; c = c->next)
		n++;
	return n;
}

int lcm_meter_class_get(struct lcm_host *h, const char *name, struct lcm_meter_class **ret,
			struct lcm_err *err)
{
	struct lcm_meter_class *c = find(h, name);
	int r;

	if (c) {
		*ret = c;
		return 0;
	}
	if (count(h) >= CLASSES_MAX)
		return lcm_err_set(err, -ENOSPC, "class %s: there are %u already", name,
				   CLASSES_MAX);
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	(void)snprintf(c->name, sizeof(c->name), "%s", name);
	c->host = h;
	c->reject = EAGAIN;
	r = lcm_timer_new(h->e->loop, on_readmit, c, &c->readmit);
	if (r < 0) {
		free(c);
		return r;
	}
	c->next = h->classes;
	h->classes = c;
	*ret = c;
	return 0;
}

void lcm_meter_free(struct lcm_host *h)
{
	while (h->classes) {
		struct lcm_meter_class *c = h->classes;

		h->classes = c->next;
		lcm_timer_free(c->readmit);
		free(c);
	}
}

static void take(struct lcm_meter_class *c, const struct lcm_meter_args *a)
{
	if (a->weight)
		c->weight = a->weight;
	if (a->has_limits) {
		lcm_limits_replace(&c->limits, &a->limits, lcm_now_ns());
		c->reject = a->reject;
	}
	for (struct lcm_session *s = c->host->sessions; s; s = s->next)
		if (s->class == c)
			session_meter_apply(s);
	regulate(c);
}

int lcm_meter_class_set(struct lcm_host *h, const json_t *args, struct lcm_err *err)
{
	struct lcm_meter_class *c;
	struct lcm_meter_args a;
	int r = lcm_meter_args_take(args, &a, err);

	if (r == 0 && (!a.class || !*a.class))
		r = lcm_err_set(err, -EINVAL, "\"class\" is missing");
	if (r == 0)
		r = lcm_meter_class_get(h, a.class, &c, err);
	if (r == 0)
		take(c, &a);
	tidy(h);
	return r;
}

json_t *lcm_meter_classes_json(const struct lcm_host *h)
{
	json_t *list = json_array();

	for (const struct lcm_meter_class *c = h->classes; c; c = c->next) {
		json_t *o = json_pack("{s:s s:I s:s s:I s:I s:I s:I}", "class", c->name, "weight",
				      (json_int_t)c->weight, "state",
				      lcm_meter_state_name(c->admission), "mounts",
				      (json_int_t)c->users, "requests", (json_int_t)c->requests,
				      "times_held", (json_int_t)c->limits.times_held,
				      "times_rejected", (json_int_t)c->limits.times_rejected);
		lcm_meter_limits_put(o, &c->limits, c->reject);
		(void)json_array_append_new(list, o);
	}
	return list;
}

/* ---- the file ---- */

static int check(const json_t *classes, const char *path, struct lcm_err *err)
{
	static const char *const known[] = { "weight", "limits", "readmit", "after", "reject" };
	const char *name, *key;
	json_t *v, *m;

	if (!json_is_object(classes) || json_object_size(classes) > CLASSES_MAX)
		return lcm_err_set(err, -EINVAL,
				   "%s: \"classes\" with at most %u objects is expected", path,
				   CLASSES_MAX);
	json_object_foreach ((json_t *)(uintptr_t)classes, name, v) {
		lcm_autojson json_t *named = json_pack("{s:s}", "class", name);
		struct lcm_meter_args a;
		int r = named && *name ? lcm_meter_args_take(named, &a, err) : -EINVAL;

		if (r == 0)
			r = json_is_object(v) ? lcm_meter_args_take(v, &a, err) : -EINVAL;
		json_object_foreach (v, key, m) {
			size_t i = 0;

			while (i < LCM_ARRAY_SIZE(known) && strcmp(known[i], key) != 0)
				i++;
			if (r == 0 && i == LCM_ARRAY_SIZE(known))
				r = lcm_err_set(err, -EINVAL, "there is no \"%.40s\"", key);
		}
		if (r < 0)
			return lcm_err_prefix(err, r, "%s: class %.64s", path, name);
	}
	return 0;
}

/* As the file has it, and nothing of what was set since. */
static int take_class(struct lcm_host *h, const char *name, const json_t *v, struct lcm_err *err)
{
	struct lcm_meter_args a;
	struct lcm_meter_class *c;
	int r = lcm_meter_args_take(v, &a, NULL);

	if (r == 0)
		r = lcm_meter_class_get(h, name, &c, err);
	if (r < 0)
		return r;
	a.has_limits = true;
	c->weight = 0;
	c->in_file = true;
	take(c, &a);
	return 0;
}

static int take_file(struct lcm_host *h, const json_t *doc, struct lcm_err *err)
{
	static const struct lcm_meter_args nothing = { .has_limits = true, .reject = EAGAIN };
	json_t *classes = json_object_get(doc, "classes"), *v;
	const char *name;
	int r = check(classes, h->meter_file, err);

	if (r < 0)
		return r;
	for (struct lcm_meter_class *c = h->classes; c; c = c->next)
		c->in_file = false;
	json_object_foreach (classes, name, v)
		if (r == 0)
			r = take_class(h, name, v, err);
	for (struct lcm_meter_class *c = h->classes; c; c = c->next) {
		if (c->in_file)
			continue;
		c->weight = 0;
		take(c, &nothing);
	}
	tidy(h);
	return r;
}

int lcm_meter_load(struct lcm_host *h, bool must, struct lcm_err *err)
{
	lcm_autofree char *text = NULL;
	lcm_autojson json_t *doc = NULL;
	size_t len;
	int r = lcm_read_file_at(AT_FDCWD, h->meter_file, POLICY_MAX, &text, &len);

	if (r == -ENOENT && !must)
		return 0;
	if (r < 0)
		return lcm_err_set(err, r, "%s: %s", h->meter_file, strerror(-r));
	r = lcm_json_parse(text, len, POLICY_MAX, h->meter_file, &doc, err);
	if (r == 0)
		r = take_file(h, doc, err);
	if (r == 0)
		lcm_log(LCM_LOG_INFO, "policy of meters from %s", h->meter_file);
	return r;
}
