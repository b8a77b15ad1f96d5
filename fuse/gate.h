/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.h - the read-only FUSE file system that stands in for missing files.
 *
 * Layer: fuse (may use base and image; knows nothing of where files come from). One gate is one
 * container's /dev/fuse queue. It shows <layer name>/<path> of each layer's TOC and
 * answers LOOKUP of a regular file, once the file is local, with ESTALE: the VFS
 * retries and overlayfs finds the file in REAL. Node ids are deterministic:
 * 1 is the root, else (layer slot + 1) << 32 | entry index (the layer's own
 * directory is entry 0).
 *
 *      lookup(regular)                    lcm_gate_file_done()
 *   ------------------> [blocking queue] ----------------------> ESTALE / EIO
 *                            | fatal signal -> EINTR   | deadline -> EIO
 *
 * Signals: a waiter with a fatal signal is let go at once. A signal with a handler
 * does not end an open before two seconds, and a READ never (interrupt.c).
 *
 * Threads: gate threads (lcm_gate_threads) run the FUSE operations and the want
 * callbacks; everything else says so. An operation never waits.
 * Source: Linux fuse.h 7.31+; libfuse3 low level.
 */
#ifndef LCM_GATE_H
#define LCM_GATE_H

#include "image/toc.h"

struct lcm_gate;
struct lcm_gate_threads;

/** lcm_gate_threads_new - @n (1..4) threads that serve every gate added to them. */
LCM_MUST_USE int lcm_gate_threads_new(unsigned int n, struct lcm_gate_threads **ret);
void lcm_gate_threads_free(struct lcm_gate_threads *t); /* all gates must be closed */

/* Policy: what is served by range instead of as a whole file. */
struct lcm_gate_big {
	uint64_t data_bytes; /* regular files of at least so many bytes; 0: never */
	uint64_t exec_bytes; /* those with an x bit, or named *.so or *.so.* */
};

struct lcm_gate_layer {
	const char *name;          /* directory name in REAL; borrowed until close */
	const struct lcm_toc *toc; /* borrowed until close */
};

struct lcm_gate_ops {
	/** is_local - is the file in REAL? Gate thread; must not block. */
	bool (*is_local)(void *arg, uint32_t layer, uint32_t entry);
	/** want_file - first waiter of a missing file: have lcm_gate_file_done() called once. Gate
	 * thread; must not block. */
	void (*want_file)(void *arg, uint32_t layer, uint32_t entry);
	/** want_range - READ of a big file: have lcm_gate_read_done(@token) called once. Gate
	 * thread; must not block. */
	void (*want_range)(void *arg, uint32_t layer, uint32_t entry, uint64_t off, uint32_t len,
			   uint64_t token);
	/**
	 * unwant - the last waiter for the file, or this READ (@token != 0), is gone (interrupt,
	 * deadline). done may still be called. Gate thread, or the thread inside lcm_gate_expire().
	 * want_file and unwant of one file come in turn and never at the same time, so a later
	 * want_file stands; after unwant, lcm_gate_file_done() with an error only ends those that
	 * came since. An unwant of a READ may overtake its want_range: the answer is then ignored.
	 */
	void (*unwant)(void *arg, uint32_t layer, uint32_t entry, uint64_t token);
	/** unbound - the count of bound inodes became zero. Gate thread. */
	void (*unbound)(void *arg);
	/** gone - the kernel dropped the file system (last overlay unmounted); only
	 * lcm_gate_close() is useful now. Gate thread. */
	void (*gone)(void *arg);
};

struct lcm_gate_config {
	const struct lcm_gate_layer *layers; /* copied (not the TOCs) */
	uint32_t n_layers;
	struct lcm_gate_big big;
	uint64_t deadline_ns;           /* a waiter gets EIO after so long; 0: never */
	const struct lcm_gate_ops *ops; /* borrowed until close */
	void *arg;
};

/**
 * lcm_gate_open - open /dev/fuse and make a session; the file system is not mounted yet
 * @ret_fd: the /dev/fuse descriptor to mount with (lcm_mount_gate()); borrowed, owned by the gate
 * Return: 0 or -errno (text names /dev/fuse and what to do).
 */
LCM_MUST_USE int lcm_gate_open(const struct lcm_gate_config *cfg, struct lcm_gate **ret,
			       int *ret_fd, struct lcm_err *err);
/**
 * lcm_gate_adopt - go on with the gate of an earlier daemon, which is mounted
 * @cfg: the same layers in the same order; what is big is as it was
 * @fuse_fd, @record_fd: as lcm_gate_fds() gave them; taken, also on failure
 *
 * What the earlier daemon had read and not answered comes again. Each big file counts as one that
 * the kernel holds until lcm_gate_recount() has asked. Return: 0; -ENODEV (the file system is
 * gone); -EUCLEAN (the record); -errno; text.
 */
LCM_MUST_USE int lcm_gate_adopt(const struct lcm_gate_config *cfg, int fuse_fd, int record_fd,
				struct lcm_gate **ret, struct lcm_err *err);
/** lcm_gate_fds - what somebody has to keep so that lcm_gate_adopt() can go on; borrowed. Thread:
 * any. */
void lcm_gate_fds(const struct lcm_gate *g, int *ret_fuse, int *ret_record);
/**
 * lcm_gate_recount - of an adopted gate: ask the kernel which big files it holds; others: nothing
 *
 * Before a count of zero bound files is believed: forgets that the earlier daemon read are not seen
 * again, and one that crosses a lookup may be of the lookups before it. What the kernel lets go of
 * meanwhile may count as held until the next time. Not before lcm_gate_start(): the kernel may wait
 * for READs of a file first. Thread: any but a gate thread; one write for each big file. Return: 0;
 * -ENOMEM (the count is too small).
 */
LCM_MUST_USE int lcm_gate_recount(struct lcm_gate *g);
/** lcm_gate_start - after the mount: let @t serve it. Thread: any. */
LCM_MUST_USE int lcm_gate_start(struct lcm_gate *g, struct lcm_gate_threads *t);
/**
 * lcm_gate_close - answer every waiter with ENOTCONN, close the descriptor (the connection ends),
 * free everything Waits until no gate thread is inside this gate. No callback runs any more once it
 * returns, and none is made for the waiters it answers. Not from a gate thread, and not while
 * another thread is in a call for this gate (lcm_gate_file_done() and so on). NULL is allowed.
 */
void lcm_gate_close(struct lcm_gate *g);

/** lcm_gate_leave - as lcm_gate_close(), but nobody is answered: whoever has the descriptors goes
 * on. */
void lcm_gate_leave(struct lcm_gate *g);

/** lcm_gate_file_done - answer all waiters of a file: 0 -> ESTALE (it is in REAL now), -errno ->
 * EIO. Thread: any but a gate thread inside want_file. */
void lcm_gate_file_done(struct lcm_gate *g, uint32_t layer, uint32_t entry, int status);
/**
 * lcm_gate_read_done - answer one READ with @len bytes from @fd at @off (fd borrowed during the
 * call), or with EIO when @status < 0
 *
 * @len must be what want_range asked for (never beyond the file's end), else EIO: the kernel takes
 * a short answer for the end of the file. Unknown tokens are ignored. Blocks for the pread(2).
 * Thread: any.
 */
void lcm_gate_read_done(struct lcm_gate *g, uint64_t token, int fd, uint64_t off, uint32_t len,
			int status);
/** lcm_gate_expire - answer waiters whose deadline has passed with EIO. Return: CLOCK_MONOTONIC ns
 * of the next deadline, 0 if none. Thread: any. */
uint64_t lcm_gate_expire(struct lcm_gate *g, uint64_t now_ns);
/** lcm_gate_set_deadline - from now on everybody, those that wait already too, gets EIO so long
 * after they came (0: never); by the next lcm_gate_expire(). Thread: any. */
void lcm_gate_set_deadline(struct lcm_gate *g, uint64_t deadline_ns);
/** lcm_gate_oldest - since when (CLOCK_MONOTONIC ns) the one waits that has waited longest; 0:
 * nobody does. Thread: any. */
uint64_t lcm_gate_oldest(struct lcm_gate *g);

enum lcm_gate_admission {
	LCM_GATE_OPEN,
	LCM_GATE_HOLD,   /* those for what is missing wait, and nobody is told to fetch it */
	LCM_GATE_REJECT, /* they are answered with an error */
};
/**
 * lcm_gate_regulate - what becomes of requests for what is missing from now on
 * @error: for LCM_GATE_REJECT, positive: EAGAIN or EIO
 *
 * Those that wait already go on. All others (directories, what is local, the second look after an
 * ESTALE) are answered as ever: an open that was admitted needs them to complete. That is why the
 * queue of /dev/fuse is read on during a hold. Who is held can be killed, and meets the deadline.
 * Thread: any but a gate thread.
 */
void lcm_gate_regulate(struct lcm_gate *g, enum lcm_gate_admission how, int error);

/**
 * lcm_gate_draining - make the kernel let go of bound files as soon as nobody uses them
 *
 * Invalidates the name of every bound file (FUSE_NOTIFY_INVAL_ENTRY), so that its FORGET comes with
 * the last use: when the overlay's own cache is dropped (lcm_mount_shrink()) after the last close
 * and unmap. To be called when every file is local, and again before each lcm_mount_shrink(), since
 * overlayfs may look a name up again meanwhile; costs one write per bound file. A file that is
 * local and has a lookup count of zero is answered ESTALE at any time; one that is still held stays
 * bound.
 *
 * Thread: any but a gate thread, and not while LOOKUPs wait for the calling thread: the kernel
 * takes the lock of the file's directory, which a LOOKUP in it holds until it is answered.
 */
void lcm_gate_draining(struct lcm_gate *g);

/* What a missing file cost those that waited for it. */
struct lcm_gate_blocked {
	uint32_t layer, entry;
	uint64_t wait_ns; /* LOOKUPs that waited together are counted once, READs one by one */
	uint64_t waits;   /* how often that was */
};
#define LCM_GATE_BLOCKED_MAX 10

struct lcm_gate_stats {
	uint64_t requests; /* all opcodes but INIT, FORGET and INTERRUPT */
	uint64_t lookups, lookups_files, reads, read_bytes, forgets, interrupts;
	uint64_t answered_stale, answered_error;
	uint64_t rejected; /* by lcm_gate_regulate() */
	uint32_t waiters;  /* requests waiting now */
	uint32_t waiters_peak;
	uint32_t bound_inodes; /* regular files with a lookup count above zero */
	uint64_t blocked_ns;   /* time in which at least one request waited, until the last went */
	struct lcm_gate_blocked blocked[LCM_GATE_BLOCKED_MAX]; /* the worst, longest first */
	uint32_t n_blocked;
};
void lcm_gate_stats(struct lcm_gate *g, struct lcm_gate_stats *ret); /* Thread: any */
/** lcm_gate_bound_each - every bound file, under the gate's lock: @fn must be short and must not
 * call the gate. Thread: any. */
void lcm_gate_bound_each(struct lcm_gate *g,
			 void (*fn)(void *arg, uint32_t layer, uint32_t entry, uint64_t nlookup),
			 void *arg);

/** lcm_gate_is_big - the policy, one place for it. Never true for files of fewer than two chunks:
 * their first byte costs the whole file. */
bool lcm_gate_is_big(const struct lcm_gate_big *big, const struct lcm_toc *toc,
		     const struct lcm_toc_entry *e);

#endif
