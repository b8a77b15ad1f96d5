/* SPDX-License-Identifier: Apache-2.0 */
#include "src/containerd/service.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "src/base/log.h"
#include "src/cmd/client.h"
#include "src/containerd/cri.h"
#include "src/containerd/snapshots.pb-c.h"

#define SERVICE "/containerd.services.snapshots.v1.Snapshots/"
#define LIST_BATCH 100U
/* And .size, .pool: see doc/containerd.md. */
#define UNIT_LABEL "containerd.io/snapshot/locum.unit"
#define METER_LABEL "containerd.io/snapshot/locum.meter."

enum lcm_grpc_status lcm_service_status(int code)
{
	switch (code) {
	case 0:
		return LCM_GRPC_OK;
	case -ENOENT:
		return LCM_GRPC_NOT_FOUND;
	case -EEXIST:
		return LCM_GRPC_ALREADY_EXISTS;
	case -EINVAL:
		return LCM_GRPC_INVALID_ARGUMENT;
	case -EBUSY:
	case -ENOTEMPTY:
		return LCM_GRPC_FAILED_PRECONDITION;
	case -EACCES:
	case -EPERM:
		return LCM_GRPC_PERMISSION_DENIED;
	case -ENOSPC:
	case -ENOMEM:
	case -EDQUOT:
		return LCM_GRPC_RESOURCE_EXHAUSTED;
	case -ECONNREFUSED:
	case -ESHUTDOWN:
		return LCM_GRPC_UNAVAILABLE;
	default:
		return LCM_GRPC_UNKNOWN;
	}
}

/* ---- from messages ---- */

static json_t *text(const char *s)
{
	return json_string(s ? s : ""); /* NULL when it is not UTF-8 */
}

static json_t *labels_json(Lcm__Label *const *labels, size_t n)
{
	json_t *o = json_object();

	for (size_t i = 0; i < n; i++)
		if (json_object_set_new(o, labels[i]->key, text(labels[i]->value)) < 0) {
			json_decref(o);
			return NULL;
		}
	return o;
}

static json_t *strings_json(char *const *v, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		if (json_array_append_new(a, text(v[i])) < 0) {
			json_decref(a);
			return NULL;
		}
	return a;
}

/* ---- to messages ---- */

static char *member(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return (char *)(uintptr_t)(s ? s : "");
}

static void reply_message(struct lcm_grpc_reply *r, const ProtobufCMessage *m)
{
	uint8_t *at = lcm_grpc_message(r, protobuf_c_message_get_packed_size(m));

	if (at)
		(void)protobuf_c_message_pack(m, at);
}

/* An info and what it points to; what is in @info stays @info's. */
struct info {
	Lcm__Info m;
	Lcm__Timestamp created, updated;
	Lcm__Label *labels, **pointers; /* owned */
};

static void info_fini(struct info *i)
{
	free(i->labels);
	free(i->pointers);
}

static Lcm__Timestamp timestamp(const json_t *o, const char *key)
{
	json_int_t ns = json_integer_value(json_object_get(o, key));
	Lcm__Timestamp t = LCM__TIMESTAMP__INIT;

	t.seconds = ns / 1000000000;
	t.nanos = (int32_t)(ns % 1000000000);
	return t;
}

static int32_t kind_number(const char *name)
{
	static const char *const names[] = { "", "view", "active", "committed" };

	for (size_t i = 1; i < LCM_ARRAY_SIZE(names); i++)
		if (strcmp(names[i], name) == 0)
			return (int32_t)i;
	return 0;
}

static int info_of(struct info *i, json_t *o)
{
	json_t *labels = json_object_get(o, "labels"), *v;
	size_t n = 0, count = json_object_size(labels);
	const char *key;

	*i = (struct info){ .m = LCM__INFO__INIT };
	i->labels = calloc(count + 1, sizeof(*i->labels));
	i->pointers = calloc(count + 1, sizeof(*i->pointers));
	if (!i->labels || !i->pointers) {
		info_fini(i);
		return -ENOMEM;
	}
	json_object_foreach (labels, key, v) {
		i->labels[n] = (Lcm__Label)LCM__LABEL__INIT;
		i->labels[n].key = (char *)(uintptr_t)key;
		i->labels[n].value = (char *)(uintptr_t)json_string_value(v);
		i->pointers[n] = &i->labels[n];
		n++;
	}
	i->created = timestamp(o, "created_ns");
	i->updated = timestamp(o, "updated_ns");
	i->m.name = member(o, "name");
	i->m.parent = member(o, "parent");
	i->m.kind = kind_number(member(o, "kind"));
	i->m.created_at = &i->created;
	i->m.updated_at = &i->updated;
	i->m.labels = i->pointers;
	i->m.n_labels = n;
	return 0;
}

static void reply_info(struct lcm_grpc_reply *r, json_t *o)
{
	Lcm__InfoResponse m = LCM__INFO_RESPONSE__INIT;
	struct info i;

	if (info_of(&i, json_object_get(o, "info")) < 0)
		return;
	m.info = &i.m;
	reply_message(r, &m.base);
	info_fini(&i);
}

static void reply_mounts(struct lcm_grpc_reply *r, json_t *o)
{
	const json_t *v = json_array_get(json_object_get(o, "mounts"), 0);
	const json_t *options = json_object_get(v, "options");
	Lcm__MountsResponse m = LCM__MOUNTS_RESPONSE__INIT;
	Lcm__Mount mount = LCM__MOUNT__INIT, *one = &mount;

	mount.type = member(v, "type");
	mount.source = member(v, "source");
	mount.n_options = json_array_size(options);
	mount.options = calloc(mount.n_options + 1, sizeof(char *));
	if (!mount.options)
		return;
	for (size_t i = 0; i < mount.n_options; i++)
		mount.options[i] = (char *)(uintptr_t)json_string_value(json_array_get(options, i));
	m.n_mounts = 1;
	m.mounts = &one;
	reply_message(r, &m.base);
	free(mount.options);
}

static void reply_empty(struct lcm_grpc_reply *r, json_t *o)
{
	const Lcm__Empty m = LCM__EMPTY__INIT;

	(void)o;
	reply_message(r, &m.base);
}

static void reply_usage(struct lcm_grpc_reply *r, json_t *o)
{
	Lcm__UsageResponse m = LCM__USAGE_RESPONSE__INIT;

	m.size = json_integer_value(json_object_get(o, "size"));
	m.inodes = json_integer_value(json_object_get(o, "inodes"));
	reply_message(r, &m.base);
}

/* Infos @from up to @to of the list. */
static void reply_batch(struct lcm_grpc_reply *r, json_t *list, size_t from, size_t to)
{
	Lcm__ListResponse m = LCM__LIST_RESPONSE__INIT;
	struct info infos[LIST_BATCH];
	Lcm__Info *pointers[LIST_BATCH];

	m.info = pointers;
	for (size_t i = from; i < to; i++) {
		if (info_of(&infos[m.n_info], json_array_get(list, i)) < 0)
			break;
		pointers[m.n_info] = &infos[m.n_info].m;
		m.n_info++;
	}
	if (m.n_info == to - from)
		reply_message(r, &m.base);
	for (size_t i = 0; i < m.n_info; i++)
		info_fini(&infos[i]);
}

static void reply_list(struct lcm_grpc_reply *r, json_t *o)
{
	json_t *list = json_object_get(o, "infos");
	size_t n = json_array_size(list), at = 0;

	do {
		size_t to = LCM_MIN(n, at + LIST_BATCH);

		reply_batch(r, list, at, to);
		at = to;
	} while (at < n);
}

/* ---- methods ---- */

static json_t *key_args(const ProtobufCMessage *m)
{
	const Lcm__KeyRequest *q = (const void *)m;

	return json_pack("{s:o}", "key", text(q->key));
}

static json_t *prepare_args(const ProtobufCMessage *m)
{
	const Lcm__PrepareRequest *q = (const void *)m;

	return json_pack("{s:o s:o s:o}", "key", text(q->key), "parent", text(q->parent), "labels",
			 labels_json(q->labels, q->n_labels));
}

static json_t *commit_args(const ProtobufCMessage *m)
{
	const Lcm__CommitRequest *q = (const void *)m;

	return json_pack("{s:o s:o s:o s:o}", "key", text(q->key), "name", text(q->name), "parent",
			 text(q->parent), "labels", labels_json(q->labels, q->n_labels));
}

static json_t *update_args(const ProtobufCMessage *m)
{
	const Lcm__UpdateRequest *q = (const void *)m;
	const Lcm__Info none = LCM__INFO__INIT, *info = q->info ? q->info : &none;
	json_t *paths = q->update_mask
			    ? strings_json(q->update_mask->paths, q->update_mask->n_paths)
			    : json_array();

	return json_pack("{s:o s:o s:o}", "name", text(info->name), "labels",
			 labels_json(info->labels, info->n_labels), "paths", paths);
}

static json_t *list_args(const ProtobufCMessage *m)
{
	const Lcm__ListRequest *q = (const void *)m;

	return json_pack("{s:o}", "filters", strings_json(q->filters, q->n_filters));
}

static json_t *no_args(const ProtobufCMessage *m)
{
	(void)m;
	return json_object();
}

static const struct method {
	const char *name, *url;
	const ProtobufCMessageDescriptor *request;
	json_t *(*args)(const ProtobufCMessage *m);
	void (*reply)(struct lcm_grpc_reply *r, json_t *o);
} methods[] = {
	{ "Prepare", "prepare", &lcm__prepare_request__descriptor, prepare_args, reply_mounts },
	{ "View", "view", &lcm__prepare_request__descriptor, prepare_args, reply_mounts },
	{ "Mounts", "mounts", &lcm__key_request__descriptor, key_args, reply_mounts },
	{ "Commit", "commit", &lcm__commit_request__descriptor, commit_args, reply_empty },
	{ "Remove", "remove", &lcm__key_request__descriptor, key_args, reply_empty },
	{ "Stat", "stat", &lcm__key_request__descriptor, key_args, reply_info },
	{ "Update", "update", &lcm__update_request__descriptor, update_args, reply_info },
	{ "List", "list", &lcm__list_request__descriptor, list_args, reply_list },
	{ "Usage", "usage", &lcm__key_request__descriptor, key_args, reply_usage },
	{ "Cleanup", "cleanup", &lcm__empty__descriptor, no_args, reply_empty },
};

static void fail(struct lcm_grpc_reply *r, int code, const char *why)
{
	r->status = lcm_service_status(code);
	lcm_err_set(&r->err, code, "%s", why);
}

static void ask(const struct method *m, json_t *args, struct lcm_grpc_reply *ret)
{
	struct lcm_err err = { 0 };
	json_t *o = NULL;
	char url[64];
	int r;

	(void)snprintf(url, sizeof(url), "/v1/snapshots/%s", m->url);
	r = client_call("POST", url, args, true, &o, &err);
	if (r < 0) {
		lcm_log(r == -EEXIST || r == -ENOENT ? LCM_LOG_DEBUG : LCM_LOG_WARNING, "%s: %s",
			m->name, lcm_err_text(&err, r));
		fail(ret, r, lcm_err_text(&err, r));
		return;
	}
	m->reply(ret, o);
	json_decref(o);
}

/* Pods' annotations become labels: without leave they choose nobody's data. */
static bool names_unit(const json_t *args)
{
	const char *key;
	json_t *v;

	json_object_foreach (json_object_get(args, "labels"), key, v)
		if (strncmp(key, UNIT_LABEL, sizeof(UNIT_LABEL) - 1) == 0)
			return true;
	return false;
}

/* Images' annotations become labels, too, and are none of ours to refuse. */
static void drop_meters(json_t *args)
{
	json_t *labels = json_object_get(args, "labels"), *v;
	const char *key;
	void *next;

	json_object_foreach_safe(labels, next, key, v)
	{
		if (strncmp(key, METER_LABEL, sizeof(METER_LABEL) - 1) != 0)
			continue;
		lcm_log(LCM_LOG_NOTICE,
			"label %.100s is not taken (locum-containerd --meters allows it)", key);
		(void)json_object_del(labels, key);
	}
}

void lcm_service_call(void *arg, const char *method, const uint8_t *p, size_t len,
		      struct lcm_grpc_reply *ret)
{
	const size_t prefix = sizeof(SERVICE) - 1;
	const struct lcm_service *service = arg;
	const struct method *m = NULL;
	ProtobufCMessage *q;
	json_t *args = NULL;

	if (service->containerd && lcm_cri_is(method)) {
		lcm_cri_call(service->containerd, method, p, len, ret);
		return;
	}
	for (size_t i = 0; i < LCM_ARRAY_SIZE(methods); i++)
		if (strncmp(method, SERVICE, prefix) == 0 &&
		    strcmp(method + prefix, methods[i].name) == 0)
			m = &methods[i];
	if (!m) {
		ret->status = LCM_GRPC_UNIMPLEMENTED;
		lcm_err_set(&ret->err, -ENOSYS, "locum does not have %s", method);
		return;
	}
	q = protobuf_c_message_unpack(m->request, NULL, len, p);
	if (!q) {
		fail(ret, -EINVAL, "the message is malformed");
		return;
	}
	args = m->args(q);
	protobuf_c_message_free_unpacked(q, NULL);
	if (args && m->args == prepare_args && !service->meters)
		drop_meters(args);
	if (!args) {
		fail(ret, -EINVAL, "the message has a text that is not UTF-8");
	} else if (m->args == prepare_args && !service->units && names_unit(args)) {
		json_decref(args);
		fail(ret, -EPERM,
		     "label " UNIT_LABEL
		     " is not taken: whoever may set labels would choose among all units "
		     "(locum-containerd --units allows it)");
	} else {
		ask(m, args, ret);
	}
}
