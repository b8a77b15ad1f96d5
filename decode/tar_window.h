/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar_window.h - the last bytes of a tar that passed, to look at a header a second time.
 *
 * Layer: decode. libarchive (3.6) reads the pax time -1.5 as -1 s + 0.5 s and -0.5 as +0.5 s;
 * the header's own text tells. And of a sparse file it does not say how many bytes the tar has of
 * it, which decides where the next header is. And it loses the target of a tar's first link when
 * only the pax header has it, as Go writes names without one ASCII character. Threads: one owner.
 */
#ifndef LCM_TAR_WINDOW_H
#define LCM_TAR_WINDOW_H

#include "src/base/buf.h"

/* Holds the headers of an entry with all xattrs that are allowed, written twice as bsdtar does. */
#define LCM_TAR_TAIL_BYTES ((size_t)192 << 10)

struct lcm_tar_window {
	uint8_t tail[2 * LCM_TAR_TAIL_BYTES]; /* what came before @block */
	size_t tail_len;
	const uint8_t *block; /* borrowed; NULL after it was retired */
	size_t block_len;
	uint64_t off; /* of block[0] in the tar */
};

/** lcm_tar_window_retire - the current block is about to go: keep its end. */
void lcm_tar_window_retire(struct lcm_tar_window *w);
/** lcm_tar_window_set - a new block, after the old one was retired. */
void lcm_tar_window_set(struct lcm_tar_window *w, const void *p, size_t len);
/**
 * lcm_tar_window_mtime - the time in the pax header of the entry whose headers begin at @off
 * Return: 1; 0 when there is none; -EUCLEAN when the header is out of the window or malformed.
 */
LCM_MUST_USE int lcm_tar_window_mtime(const struct lcm_tar_window *w, uint64_t off,
				      int64_t *ret_sec, uint32_t *ret_nsec);

/**
 * lcm_tar_window_link - the target of a link in the pax header of the entry whose headers begin at
 * @off, into @ret (replaced), and the type of the header: '1' hardlink, '2' symlink, or another
 * Return: 1; 0 when there is none; -EUCLEAN as lcm_tar_window_mtime(), or longer than @ret may be.
 */
LCM_MUST_USE int lcm_tar_window_link(const struct lcm_tar_window *w, uint64_t off,
				     struct lcm_buf *ret, char *ret_type);

struct lcm_tar_stored {
	uint64_t header_end; /* byte of the tar behind the entry's last header */
	uint64_t size;       /* bytes that follow it, as the header or a pax record says */
	char type;           /* of the header */
};
/**
 * lcm_tar_window_stored - what the entry whose headers begin at @off has in the tar
 * Return: 0; -EUCLEAN when a header is out of the window or malformed; -ENOMEM.
 */
LCM_MUST_USE int lcm_tar_window_stored(const struct lcm_tar_window *w, uint64_t off,
				       struct lcm_tar_stored *ret);

#endif
