/* SPDX-License-Identifier: Apache-2.0 */
/* session_read.c - what others may know of a session. */
#include <string.h>

#include "src/daemon/session_priv.h"

struct lcm_session *lcm_session_find(struct lcm_host *h, const char *name)
{
	struct lcm_session *s = h->sessions;

	while (s && strcmp(*name == '/' ? (s->target ? s->target : "") : s->id, name) != 0)
		s = s->next;
	return s;
}

struct lcm_host *lcm_session_host(const struct lcm_session *s)
{
	return s->host;
}

struct lcm_session *lcm_session_at(struct lcm_host *h, dev_t dev)
{
	struct lcm_session *s = h->sessions;
	struct lcm_file_id id;

	while (s && !(s->target && s->t_mounted &&
		      lcm_sys_file_id(AT_FDCWD, s->target, &id, 0) == 0 && id.dev == dev))
		s = s->next;
	return s;
}

enum lcm_phase lcm_session_phase(const struct lcm_session *s)
{
	return s->phase;
}

const char *lcm_session_id(const struct lcm_session *s)
{
	return s->id;
}

const char *lcm_session_target(const struct lcm_session *s)
{
	return s->target ? s->target : "";
}

int lcm_session_error(const struct lcm_session *s, struct lcm_err *err)
{
	if (s->phase != LCM_FAILED)
		return 0;
	*err = s->error;
	return s->error.code;
}

struct lcm_session *lcm_session_next(const struct lcm_session *s)
{
	return s->next;
}

bool lcm_session_has_layer(const struct lcm_session *s, int64_t id)
{
	for (uint32_t i = 0; i < s->n_slots; i++)
		if (s->slots[i].layer && s->slots[i].layer->row.id == id)
			return true;
	return false;
}

const char *lcm_session_config(const struct lcm_session *s)
{
	return s->image ? lcm_image_config_json(s->image) : "";
}

const char *lcm_session_config_text(const struct lcm_session *s)
{
	return s->image ? lcm_image_config_text(s->image) : "";
}

const char *lcm_session_manifest(const struct lcm_session *s)
{
	return s->image ? lcm_image_manifest_json(s->image) : "";
}

void lcm_session_watch(struct lcm_session *s, struct lcm_session_watch *w)
{
	w->next = s->watches;
	s->watches = w;
}

static void unwatch(struct lcm_session_watch **list, const struct lcm_session_watch *w)
{
	for (struct lcm_session_watch **p = list; *p; p = &(*p)->next) {
		if (*p != w)
			continue;
		*p = w->next;
		return;
	}
}

void lcm_session_unwatch(struct lcm_session *s, struct lcm_session_watch *w)
{
	unwatch(&s->watches, w);
}

void lcm_session_watch_all(struct lcm_host *h, struct lcm_session_watch *w)
{
	w->next = h->watches;
	h->watches = w;
}

void lcm_session_unwatch_all(struct lcm_host *h, struct lcm_session_watch *w)
{
	unwatch(&h->watches, w);
}
