/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/queue.h"

#include "src/base/sys.h"

/* Lives while it has waiters, while the fetch side believes it is wanted, or while that is being
 * told. */
struct lcm_wait_file {
	struct lcm_map_node key; /* layer << 32 | entry */
	struct lcm_waiter *first, *last;
	uint64_t since; /* when the first of them came */
	bool told;    /* the fetch side was told "want" and neither done nor "unwant" came since */
	bool telling; /* a thread is inside a callback for it */
};

static uint64_t file_key(uint32_t layer, uint32_t entry)
{
	return (uint64_t)layer << 32 | entry;
}

static struct lcm_wait_file *file_find(const struct lcm_queue *q, uint32_t layer, uint32_t entry)
{
	struct lcm_map_node *n = lcm_map_find(&q->files, file_key(layer, entry));

	return n ? lcm_container_of(n, struct lcm_wait_file, key) : NULL;
}

static struct lcm_wait_file *file_get(struct lcm_queue *q, uint32_t layer, uint32_t entry)
{
	struct lcm_wait_file *f = file_find(q, layer, entry);

	if (f)
		return f;
	f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->key.key = file_key(layer, entry);
	lcm_map_add(&q->files, &f->key);
	return f;
}

static void file_put(struct lcm_queue *q, struct lcm_wait_file *f)
{
	if (f->first || f->told || f->telling)
		return;
	lcm_map_del(&q->files, &f->key);
	free(f);
}

int lcm_queue_init(struct lcm_queue *q)
{
	int r;

	*q = (struct lcm_queue){ 0 };
	r = lcm_map_init(&q->ids);
	if (r == 0)
		r = lcm_map_init(&q->files);
	if (r < 0)
		lcm_map_fini(&q->ids);
	return r;
}

void lcm_queue_fini(struct lcm_queue *q)
{
	struct lcm_map_node *n;

	while ((n = lcm_map_any(&q->files))) {
		lcm_map_del(&q->files, n);
		free(lcm_container_of(n, struct lcm_wait_file, key));
	}
	lcm_map_fini(&q->files);
	lcm_map_fini(&q->ids);
}

static void arrival_add(struct lcm_queue *q, struct lcm_waiter *w)
{
	w->earlier = q->last;
	w->later = NULL;
	if (q->last)
		q->last->later = w;
	else
		q->first = w;
	q->last = w;
}

static void arrival_del(struct lcm_queue *q, struct lcm_waiter *w)
{
	if (w->earlier)
		w->earlier->later = w->later;
	else
		q->first = w->later;
	if (w->later)
		w->later->earlier = w->earlier;
	else
		q->last = w->earlier;
	w->earlier = w->later = NULL;
}

int lcm_queue_add(struct lcm_queue *q, struct lcm_waiter *w)
{
	struct lcm_wait_file *f = NULL;

	if (lcm_map_find(&q->ids, w->id.key))
		return -EEXIST;
	w->since = lcm_now_ns();
	if (!w->len) {
		f = file_get(q, w->layer, w->entry);
		if (!f)
			return -ENOMEM;
		if (!f->first)
			f->since = w->since;
		w->prev = f->last;
		if (f->last)
			f->last->next = w;
		else
			f->first = w;
		f->last = w;
	}
	w->file = f;
	if (!lcm_queue_count(q))
		q->busy_since = w->since;
	lcm_map_add(&q->ids, &w->id);
	arrival_add(q, w);
	q->peak = LCM_MAX(q->peak, lcm_queue_count(q));
	return 0;
}

struct lcm_waiter *lcm_queue_find(const struct lcm_queue *q, uint64_t id)
{
	struct lcm_map_node *n = lcm_map_find(&q->ids, id);

	return n ? lcm_container_of(n, struct lcm_waiter, id) : NULL;
}

static void signalled_add(struct lcm_queue *q, struct lcm_waiter *w)
{
	w->signalled_next = NULL;
	w->signalled_prev = q->signalled_last;
	if (q->signalled_last)
		q->signalled_last->signalled_next = w;
	else
		q->signalled_first = w;
	q->signalled_last = w;
	q->n_signalled++;
}

static void signalled_del(struct lcm_queue *q, struct lcm_waiter *w)
{
	if (w->signalled_prev)
		w->signalled_prev->signalled_next = w->signalled_next;
	else
		q->signalled_first = w->signalled_next;
	if (w->signalled_next)
		w->signalled_next->signalled_prev = w->signalled_prev;
	else
		q->signalled_last = w->signalled_prev;
	q->n_signalled--;
}

void lcm_queue_signal(struct lcm_queue *q, struct lcm_waiter *w, uint64_t now_ns)
{
	if (w->signalled)
		return;
	w->signalled = now_ns;
	signalled_add(q, w);
}

struct each {
	void (*fn)(void *arg, struct lcm_waiter *w);
	void *arg;
};

static void each_waiter(void *arg, struct lcm_map_node *node)
{
	const struct each *e = arg;

	e->fn(e->arg, lcm_container_of(node, struct lcm_waiter, id));
}

void lcm_queue_each(const struct lcm_queue *q, void (*fn)(void *arg, struct lcm_waiter *w),
		    void *arg)
{
	struct each e = { fn, arg };

	lcm_map_each(&q->ids, each_waiter, &e);
}

struct lcm_waiter *lcm_queue_signalled(struct lcm_queue *q)
{
	struct lcm_waiter *w = q->signalled_first;

	if (w) {
		signalled_del(q, w);
		signalled_add(q, w);
	}
	return w;
}

/* @w is out. A file is charged when its last waiter goes, the clock read only where it is needed.
 */
static void charge(struct lcm_queue *q, const struct lcm_waiter *w)
{
	bool idle = !lcm_queue_count(q), last = !w->file || !w->file->first;
	uint64_t now = idle || last ? lcm_now_ns() : 0;

	if (last)
		lcm_blocked_add(&q->blocked, w->layer, w->entry,
				now - (w->file ? w->file->since : w->since));
	if (idle)
		q->busy_ns += now - q->busy_since;
}

static struct lcm_waiter *take(struct lcm_queue *q, struct lcm_waiter *w)
{
	struct lcm_wait_file *f = w->file;

	lcm_map_del(&q->ids, &w->id);
	arrival_del(q, w);
	if (w->signalled)
		signalled_del(q, w);
	if (f) {
		if (w->prev)
			w->prev->next = w->next;
		else
			f->first = w->next;
		if (w->next)
			w->next->prev = w->prev;
		else
			f->last = w->prev;
	}
	charge(q, w);
	w->file = NULL;
	if (f)
		file_put(q, f);
	w->next = w->prev = NULL;
	return w;
}

struct lcm_waiter *lcm_queue_take(struct lcm_queue *q, uint64_t id)
{
	struct lcm_waiter *w = lcm_queue_find(q, id);

	return w ? take(q, w) : NULL;
}

struct lcm_waiter *lcm_queue_take_file(struct lcm_queue *q, uint32_t layer, uint32_t entry)
{
	struct lcm_wait_file *f = file_find(q, layer, entry);
	struct lcm_waiter *all = NULL, **tail = &all;
	bool last = false;

	if (!f)
		return NULL;
	f->told = false;
	if (!f->first)
		file_put(q, f);
	else
		while (!last) {
			last = f->first == f->last;
			*tail = take(q, f->first);
			tail = &(*tail)->next;
		}
	return all;
}

struct lcm_waiter *lcm_queue_take_expired(struct lcm_queue *q, uint64_t now_ns)
{
	struct lcm_waiter *all = NULL, **tail = &all;

	while (q->deadline_ns && q->first && lcm_queue_next_deadline(q) <= now_ns) {
		*tail = take(q, q->first);
		tail = &(*tail)->next;
	}
	return all;
}

struct lcm_waiter *lcm_queue_take_all(struct lcm_queue *q)
{
	struct lcm_waiter *all = NULL;
	struct lcm_map_node *n;

	while ((n = lcm_map_any(&q->ids))) {
		struct lcm_waiter *w = take(q, lcm_container_of(n, struct lcm_waiter, id));

		w->next = all;
		all = w;
	}
	return all;
}

uint64_t lcm_queue_next_deadline(const struct lcm_queue *q)
{
	return q->first && q->deadline_ns ? q->first->since + q->deadline_ns : 0;
}

uint64_t lcm_queue_oldest(const struct lcm_queue *q)
{
	return q->first ? q->first->since : 0;
}

enum lcm_queue_tell lcm_queue_tell(struct lcm_queue *q, uint32_t layer, uint32_t entry, bool again,
				   bool hold)
{
	struct lcm_wait_file *f = file_find(q, layer, entry);

	if (!f || (f->telling && !again))
		return LCM_TELL_NOTHING;
	if (f->told == (f->first != NULL) || (hold && !f->told)) {
		f->telling = false;
		file_put(q, f);
		return LCM_TELL_NOTHING;
	}
	f->told = !f->told;
	f->telling = true;
	return f->told ? LCM_TELL_WANT : LCM_TELL_UNWANT;
}
