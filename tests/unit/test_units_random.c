/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random sequences of verbs over many owners, each in a process of its own, many of them killed at
 * a random system call; after each the checker must find nothing, and the unit must be as before or
 * as after. LCM_UNITS_OPS: how many verbs; LCM_UNITS_SEED: repeat one run.
 */
#include "tests/unit/test.h"

#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "src/base/sys.h"
#include "tests/unit/unit_pool.h"
#include "unit/unit.h"

#define MB (1ULL << 20)
#define OWNERS 50
#define SNAPS 3
#define SIZE (16 * MB)
#define SYSCALLS 200 /* of a verb, about */

struct snap {
	bool is;
	uint32_t value;
	uint64_t size;
};

/* What one owner's unit should be. */
struct owner {
	bool is, attached, other_pool;
	uint32_t value; /* 0: never written */
	uint64_t size;
	struct snap snaps[SNAPS];
};

enum verb {
	CREATE,
	DELETE,
	WRITE,
	SNAPSHOT,
	UNSNAPSHOT,
	ROLLBACK,
	CLONE,
	GROW,
	MOVE,
	ATTACH,
	DETACH,
	VERBS
};

struct act {
	enum verb verb;
	int owner, from, snap; /* from: of a clone; snap -1: none */
	uint32_t value;
};

static struct {
	struct pool *fs;
	char root[80], run[80];
	struct owner owners[OWNERS];
	uint32_t rnd, last_value;
	unsigned int done[VERBS], killed, before, after;
} w;

static uint32_t rnd(uint32_t n)
{
	w.rnd ^= w.rnd << 13;
	w.rnd ^= w.rnd >> 17;
	w.rnd ^= w.rnd << 5;
	return w.rnd % n;
}

static const char *owner_id(int i, char out[LCM_UUID])
{
	(void)snprintf(out, LCM_UUID, "%08x-0000-4000-8000-000000000000", i + 1);
	return out;
}

static struct lcm_units *open_units(void)
{
	struct lcm_units *u = NULL;
	struct lcm_err err = { 0 };

	if (lcm_units_open(w.root, w.run, &u, &err) < 0)
		fail_msg("%s", err.msg);
	return u;
}

/* ---- one verb ---- */

static int write_value(struct lcm_units *u, const struct act *a, const char *key,
		       struct lcm_err *err)
{
	lcm_autoclose int dir = -EBADF;
	struct lcm_unit v;
	char text[16];
	int r = lcm_unit_attach(u, key, NULL, &v, err);

	if (r < 0)
		return r;
	(void)snprintf(text, sizeof(text), "%u", a->value);
	dir = lcm_sys_openat(AT_FDCWD, lcm_unit_path(u, &v), O_RDONLY | O_DIRECTORY, 0);
	r = lcm_write_file_at(dir, "value", text, strlen(text), 0600);
	lcm_closep(&dir);
	return r < 0 ? r : lcm_unit_detach(u, key, NULL, err);
}

static int run_act(struct lcm_units *u, const struct act *a, struct lcm_err *err)
{
	char key[LCM_UUID], other[LCM_UUID], snap[8];
	struct lcm_unit_options o = { .owner = owner_id(a->owner, key), .size = SIZE, .pool = "p" };
	struct lcm_unit v;

	(void)snprintf(snap, sizeof(snap), "s%d", a->snap);
	switch (a->verb) {
	case CREATE:
		return lcm_unit_create(u, &o, &v, err);
	case DELETE:
		return lcm_unit_delete(u, key, err);
	case WRITE:
		return write_value(u, a, key, err);
	case SNAPSHOT:
		return lcm_unit_snapshot(u, key, snap, err);
	case UNSNAPSHOT:
		return lcm_unit_snapshot_delete(u, key, snap, err);
	case ROLLBACK:
		return lcm_unit_rollback(u, key, snap, err);
	case CLONE:
		o.size = 0;
		return lcm_unit_clone(u, owner_id(a->from, other), a->snap < 0 ? NULL : snap, &o,
				      &v, err);
	case GROW:
		return lcm_unit_resize(u, key, w.owners[a->owner].size + MB, err);
	case MOVE:
		return lcm_unit_move(u, key, w.owners[a->owner].other_pool ? "p" : "q", err);
	case ATTACH:
		return lcm_unit_attach(u, key, NULL, &v, err);
	default:
		return lcm_unit_detach(u, key, NULL, err);
	}
}

/* What the verb makes of its owner. */
static struct owner outcome(const struct act *a)
{
	struct owner o = w.owners[a->owner];
	const struct owner *from = &w.owners[a->from];

	switch (a->verb) {
	case CREATE:
		return (struct owner){ .is = true, .size = SIZE };
	case DELETE:
		return (struct owner){ .is = false };
	case WRITE:
		o.value = a->value;
		return o;
	case SNAPSHOT:
		o.snaps[a->snap] = (struct snap){ true, o.value, o.size };
		return o;
	case UNSNAPSHOT:
		o.snaps[a->snap].is = false;
		return o;
	case ROLLBACK:
		o.value = o.snaps[a->snap].value;
		o.size = o.snaps[a->snap].size;
		return o;
	case CLONE:
		return (struct owner){
			.is = true,
			.other_pool = from->other_pool,
			.value = a->snap < 0 ? from->value : from->snaps[a->snap].value,
			.size = a->snap < 0 ? from->size : from->snaps[a->snap].size,
		};
	case GROW:
		o.size += MB;
		return o;
	case MOVE:
		o.other_pool = !o.other_pool;
		return o;
	default:
		o.attached = a->verb == ATTACH;
		return o;
	}
}

/* A verb that ought to succeed now; false: there is none for this owner. */
static bool choose(struct act *a)
{
	const struct owner *o;

	*a = (struct act){ .verb = (enum verb)rnd(VERBS), .owner = (int)rnd(OWNERS), .snap = -1 };
	o = &w.owners[a->owner];
	a->snap = (int)rnd(SNAPS);
	a->from = (int)rnd(OWNERS);
	a->value = ++w.last_value;
	switch (a->verb) {
	case CREATE:
		return !o->is;
	case CLONE:
		if (rnd(2))
			a->snap = -1;
		return !o->is && a->from != a->owner && w.owners[a->from].is &&
		       (a->snap < 0 ? !w.owners[a->from].attached
				    : w.owners[a->from].snaps[a->snap].is);
	case SNAPSHOT:
		return o->is && !o->attached && !o->snaps[a->snap].is;
	case UNSNAPSHOT:
		return o->is && o->snaps[a->snap].is;
	case ROLLBACK:
		return o->is && !o->attached && o->snaps[a->snap].is;
	case DETACH:
		return o->attached;
	case DELETE:
		return o->is && !o->attached && rnd(3) == 0;
	default:
		return o->is && !o->attached;
	}
}

/* ---- is it as it should be? ---- */

static uint32_t read_value(struct lcm_units *u, const struct lcm_unit *v)
{
	lcm_autofree char *text = NULL;
	char path[256];
	size_t len;
	unsigned int n = 0;

	(void)snprintf(path, sizeof(path), "%s/value", lcm_unit_path(u, v));
	if (lcm_read_file_at(AT_FDCWD, path, 16, &text, &len) == 0)
		assert_int_equal(sscanf(text, "%u", &n), 1);
	return n;
}

struct seen {
	const struct owner *o;
	int n;
	bool right;
};

static int see_snap(void *arg, const struct lcm_unit_snap *s)
{
	struct seen *seen = arg;
	int i = s->name[1] - '0';

	seen->n++;
	seen->right &= i >= 0 && i < SNAPS && seen->o->snaps[i].is &&
		       seen->o->snaps[i].size == s->size;
	return 0;
}

static bool is_as(struct lcm_units *u, int owner, const struct owner *o)
{
	struct seen seen = { .o = o, .right = true };
	struct lcm_err err = { 0 };
	char key[LCM_UUID];
	struct lcm_unit v;
	int r = lcm_unit_get(u, owner_id(owner, key), &v, &err), n = 0;
	bool was, same;

	if (r == -ENOENT || !o->is)
		return (r == -ENOENT) == !o->is;
	assert_int_equal(lcm_unit_snapshot_each(u, &v, see_snap, &seen), 0);
	for (int i = 0; i < SNAPS; i++)
		n += o->snaps[i].is;
	if (v.size != o->size || seen.n != n || !seen.right || v.op[0] ||
	    strcmp(v.pool, o->other_pool ? "q" : "p") != 0)
		return false;
	was = v.attached;
	if (!was && lcm_unit_attach(u, key, NULL, &v, &err) < 0)
		fail_msg("%s", err.msg);
	same = read_value(u, &v) == o->value;
	if (!was && lcm_unit_detach(u, key, NULL, &err) < 0)
		fail_msg("%s", err.msg);
	return same;
}

static void print(void *arg, const char *what)
{
	(void)arg;
	print_message("check: %s\n", what);
}

/* ---- in a process of its own, perhaps killed ---- */

/* Return: the status of the verb, 1 when it was killed. */
static int in_child(const struct act *a, long nth)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct lcm_err err = { 0 };
		struct lcm_units *u = open_units();
		int r;

#ifdef LCM_FAULTS
		if (nth)
			lcm_fault_arm(nth, 0);
#else
		(void)nth;
#endif
		r = run_act(u, a, &err);
#ifdef LCM_FAULTS
		lcm_fault_disarm();
#endif
		if (r < 0 && r != -ENOSPC)
			(void)fprintf(stderr, "verb %d owner %d: %s\n", a->verb, a->owner, err.msg);
		_exit(r < 0 ? -r : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status)) {
		assert_int_equal(WTERMSIG(status), SIGKILL);
		return 1;
	}
	return -WEXITSTATUS(status);
}

static void after_kill(struct lcm_units *u, const struct act *a, const struct owner *next)
{
	struct owner *o = &w.owners[a->owner];
	struct lcm_err err = { 0 };
	char key[LCM_UUID];
	bool was;

	w.killed++;
	if (lcm_unit_gc(u, NULL, NULL, &err) < 0)
		fail_msg("gc: %s", err.msg);
	if (a->verb == WRITE || a->verb == ATTACH || a->verb == DETACH) {
		struct lcm_unit v;

		if (lcm_unit_detach(u, owner_id(a->owner, key), NULL, &err) < 0)
			fail_msg("%s", err.msg);
		assert_int_equal(lcm_unit_get(u, key, &v, &err), 0);
		assert_false(v.attached);
		o->attached = false;
	}
	if (is_as(u, a->owner, o)) {
		w.before++;
	} else if (is_as(u, a->owner, next)) {
		was = o->attached; /* what changes it is detached by now */
		*o = *next;
		o->attached = was;
		w.after++;
	} else {
		fail_msg("verb %d of owner %d was killed: neither before nor after", a->verb,
			 a->owner);
	}
}

static void one(void)
{
	struct lcm_units *u;
	struct lcm_err err = { 0 };
	struct owner next;
	struct act a;
	int r;

	while (!choose(&a))
		;
	next = outcome(&a);
	r = in_child(&a, rnd(3) ? 0 : 1 + (long)rnd(SYSCALLS));
	u = open_units();
	if (r > 0) {
		after_kill(u, &a, &next);
	} else if (r == 0) {
		w.owners[a.owner] = next;
		w.done[a.verb]++;
		assert_true(is_as(u, a.owner, &next));
	} else {
		assert_int_equal(r, -ENOSPC);
		assert_true(is_as(u, a.owner, &w.owners[a.owner]));
	}
	assert_int_equal(lcm_unit_check(u, rnd(20) == 0, print, NULL, &err), 0);
	lcm_units_free(u);
}

static void detach_all(void)
{
	struct lcm_units *u = open_units();
	char key[LCM_UUID];

	for (int i = 0; i < OWNERS; i++) {
		if (!w.owners[i].is)
			continue;
		assert_true(is_as(u, i, &w.owners[i]));
		assert_int_equal(lcm_unit_detach(u, owner_id(i, key), NULL, NULL), 0);
	}
	lcm_units_free(u);
}

static unsigned long number(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);
	unsigned int n;

	return text && sscanf(text, "%u", &n) == 1 ? n : otherwise;
}

/* Two pools on one file system. */
static void add_pools(const char *backend)
{
	struct lcm_units *u = open_units();
	struct lcm_err err = { 0 };

	for (const char *name = "pq"; *name; name++) {
		const char text[] = { *name, '\0' };
		char path[96];
		const struct lcm_pool_options o = { .name = text,
						    .path = path,
						    .backend = backend };
		struct lcm_pool p;

		(void)snprintf(path, sizeof(path), "%s/p/%s", w.fs->dir, text);
		assert_int_equal(lcm_sys_mkdirat(AT_FDCWD, path, 0700), 0);
		if (lcm_pool_add(u, &o, &p, &err) < 0)
			fail_msg("%s", err.msg);
	}
	lcm_units_free(u);
}

static void sequence(const struct pool_row *row, const char *backend)
{
	unsigned long ops = number("LCM_UNITS_OPS", 120);
	void *state = (void *)(uintptr_t)row;

	memset(&w, 0, sizeof(w));
	w.rnd = (uint32_t)number("LCM_UNITS_SEED", lcm_now_ns() & 0xffffff) | 1;
	print_message("%s: seed %u\n", row->name, w.rnd);
	assert_int_equal(pool_setup(&state), 0);
	w.fs = state;
	(void)snprintf(w.root, sizeof(w.root), "%s/root", w.fs->dir);
	(void)snprintf(w.run, sizeof(w.run), "%s/run", w.fs->dir);
	add_pools(backend);
	for (unsigned long i = 0; i < ops; i++)
		one();
	detach_all();
	print_message("%lu verbs, %u killed: %u as before, %u as after\n", ops, w.killed, w.before,
		      w.after);
	assert_int_equal(pool_teardown(&state), 0);
}

static void images(void **state)
{
	static const struct pool_row xfs = { .name = "image on xfs", .fs = "xfs" },
				     ext4 = { .name = "image on ext4", .fs = "ext4" };

	(void)state;
	sequence(&xfs, "image");
	sequence(&ext4, "image");
}

static void subvolumes(void **state)
{
	static const struct pool_row btrfs = { .name = "subvol on btrfs", .fs = "btrfs" };

	(void)state;
	sequence(&btrfs, "subvol");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(images),
		cmocka_unit_test(subvolumes),
	};

	if (!pool_may_run("test_units_random"))
		return getenv("LCM_TESTS_MUST_RUN") ? 1 : 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
