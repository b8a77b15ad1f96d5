/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/pull_ring.h"

#include <string.h>
#include <sys/eventfd.h>

#include "src/base/sys.h"

/* With less than half of the ring left to decode the network goes on: so much, a whole span, may
 * have to wait for its last byte before any of it may be decoded (see lcm_fn_stream_mem()). */
#define LOW_SHARE 2U
#define DISK_READ_MAX (1ULL << 20)

struct lcm_pull_item {
	struct lcm_pull_item *next;
	uint64_t off, len;
	bool disk; /* it lies in the blob file, not in the ring */
};

int lcm_pull_ring_init(struct lcm_pull_ring *r, uint8_t *bytes, uint64_t len)
{
	*r = (struct lcm_pull_ring){ .bytes = bytes, .len = len };
	r->wake = (int)lcm_errno(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (r->wake < 0)
		return r->wake;
	(void)pthread_mutex_init(&r->mu, NULL);
	return 0;
}

void lcm_pull_ring_fini(struct lcm_pull_ring *r)
{
	while (r->head) {
		struct lcm_pull_item *it = r->head;

		r->head = it->next;
		free(it);
	}
	(void)pthread_mutex_destroy(&r->mu);
	lcm_closep(&r->wake);
}

void lcm_pull_ring_wake(struct lcm_pull_ring *r)
{
	const uint64_t one = 1;

	lcm_ignore(lcm_sys_write_full(r->wake, &one, sizeof(one)));
}

/* With mu held. Bytes of the network that follow one another are one item. */
static int push(struct lcm_pull_ring *r, uint64_t off, uint64_t len, bool disk)
{
	struct lcm_pull_item *it;

	if (r->tail && !disk && !r->tail->disk) {
		r->tail->len += len;
		r->planned = off + len;
		return 0;
	}
	it = calloc(1, sizeof(*it));
	if (!it)
		return -ENOMEM;
	*it = (struct lcm_pull_item){ .off = off, .len = len, .disk = disk };
	if (r->tail)
		r->tail->next = it;
	else
		r->head = it;
	r->tail = it;
	r->planned = off + len;
	return 0;
}

static void pop(struct lcm_pull_ring *r)
{
	struct lcm_pull_item *it = r->head;

	r->head = it->next;
	if (!r->head)
		r->tail = NULL;
	free(it);
}

static uint64_t room_at(const struct lcm_pull_ring *r, uint64_t off)
{
	return r->done + r->len > off ? r->done + r->len - off : 0;
}

static void copy_in(struct lcm_pull_ring *r, uint64_t off, const uint8_t *p, size_t len)
{
	uint64_t at = off % r->len;
	size_t n = (size_t)LCM_MIN((uint64_t)len, r->len - at);

	memcpy(r->bytes + at, p, n);
	memcpy(r->bytes, p + n, len - n);
}

int lcm_pull_ring_put(struct lcm_pull_ring *r, uint64_t off, const void *p, size_t len)
{
	bool room;
	int st = 0;

	(void)pthread_mutex_lock(&r->mu);
	room = room_at(r, off) >= len;
	r->full |= !room;
	(void)pthread_mutex_unlock(&r->mu);
	if (!room)
		return 0;
	copy_in(r, off, p, len); /* nobody looks there before the item is pushed */
	(void)pthread_mutex_lock(&r->mu);
	st = push(r, off, len, false);
	(void)pthread_mutex_unlock(&r->mu);
	lcm_pull_ring_wake(r);
	return st < 0 ? st : 1;
}

int lcm_pull_ring_disk(struct lcm_pull_ring *r, uint64_t off, uint64_t len)
{
	int st;

	(void)pthread_mutex_lock(&r->mu);
	st = push(r, off, len, true);
	(void)pthread_mutex_unlock(&r->mu);
	lcm_pull_ring_wake(r);
	return st;
}

/* With mu held. */
static bool is_low(const struct lcm_pull_ring *r)
{
	return r->planned <= r->done + r->len / LOW_SHARE;
}

bool lcm_pull_ring_has_room(struct lcm_pull_ring *r)
{
	bool room;

	(void)pthread_mutex_lock(&r->mu);
	room = is_low(r);
	(void)pthread_mutex_unlock(&r->mu);
	return room;
}

bool lcm_pull_ring_refilled(struct lcm_pull_ring *r)
{
	bool full;

	(void)pthread_mutex_lock(&r->mu);
	full = r->full;
	r->full = r->refill_posted = false;
	(void)pthread_mutex_unlock(&r->mu);
	return full;
}

bool lcm_pull_ring_refill_posted(struct lcm_pull_ring *r)
{
	bool posted;

	(void)pthread_mutex_lock(&r->mu);
	posted = r->refill_posted;
	(void)pthread_mutex_unlock(&r->mu);
	return posted;
}

void lcm_pull_ring_stop(struct lcm_pull_ring *r, int status, const struct lcm_err *err)
{
	(void)pthread_mutex_lock(&r->mu);
	if (!r->stop) {
		r->stop = status;
		if (err)
			r->stop_err = *err;
	}
	(void)pthread_mutex_unlock(&r->mu);
	lcm_pull_ring_wake(r);
}

int lcm_pull_ring_stopped(struct lcm_pull_ring *r)
{
	int st;

	(void)pthread_mutex_lock(&r->mu);
	st = r->stop;
	(void)pthread_mutex_unlock(&r->mu);
	return st;
}

bool lcm_pull_ring_why(struct lcm_pull_ring *r, struct lcm_err *ret)
{
	bool has;

	(void)pthread_mutex_lock(&r->mu);
	has = r->stop && r->stop_err.code;
	if (has)
		*ret = r->stop_err;
	(void)pthread_mutex_unlock(&r->mu);
	return has;
}

/* ---- the stream's thread ---- */

/* What the next item has for now; *ret_disk bytes of it lie on the disk. With mu held. */
static void item_next(struct lcm_pull_ring *r, uint64_t *ret_disk)
{
	uint64_t room = room_at(r, r->until);

	*ret_disk = 0;
	while (r->head && !r->head->disk) {
		r->until = r->head->off + r->head->len;
		pop(r);
		room = room_at(r, r->until);
	}
	if (r->head)
		*ret_disk = LCM_MIN(LCM_MIN(r->head->len, room), DISK_READ_MAX);
}

static int disk_read(struct lcm_pull_ring *r, struct lcm_blob *blob, uint64_t off, uint64_t len)
{
	uint64_t at = off % r->len, n = LCM_MIN(len, r->len - at);
	int st = lcm_blob_read(blob, off, r->bytes + at, (size_t)n);

	if (st == 0 && len > n)
		st = lcm_blob_read(blob, off + n, r->bytes, (size_t)(len - n));
	return st;
}

static void disk_had(struct lcm_pull_ring *r, uint64_t len)
{
	(void)pthread_mutex_lock(&r->mu);
	r->until += len;
	r->head->off += len;
	r->head->len -= len;
	if (!r->head->len)
		pop(r);
	(void)pthread_mutex_unlock(&r->mu);
}

int lcm_pull_ring_fill(struct lcm_pull_ring *r, struct lcm_blob *blob, uint64_t done,
		       uint64_t *ret_until, bool *ret_refill)
{
	uint64_t disk = 0;
	int st;

	(void)pthread_mutex_lock(&r->mu);
	st = r->stop;
	if (st == 0)
		item_next(r, &disk);
	*ret_refill = !r->refill_posted && done > r->done && !is_low(r);
	r->done = done;
	*ret_refill = !r->refill_posted && (*ret_refill || r->full) && is_low(r);
	r->refill_posted |= *ret_refill;
	*ret_until = r->until;
	(void)pthread_mutex_unlock(&r->mu);
	if (st < 0 || !disk)
		return st;
	st = disk_read(r, blob, r->until, disk);
	if (st < 0)
		return st;
	disk_had(r, disk);
	*ret_until += disk;
	lcm_pull_ring_wake(r); /* there may be more */
	return 0;
}
