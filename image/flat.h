/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flat.h - FlatBuffers from outside, read in place.
 *
 * Layer: image. Pure. Whatever the bytes are, no read leaves them and none costs more than a few
 * steps. The accessors do not fail one by one: what is malformed reads as absent, and sets
 * lcm_flat.bad for good; the reader looks at that before it believes anything. A buffer whose
 * vectors share elements could make a small input a long one: all vectors together may have no more
 * bytes than the buffer has.
 * Source: FlatBuffers internals (flatbuffers.dev/internals), without file identifiers and structs.
 * Slots are fields in the order of their declaration. Threads: one owner.
 */
#ifndef LCM_FLAT_H
#define LCM_FLAT_H

#include "src/base/base.h"

struct lcm_flat {
	const uint8_t *p; /* borrowed */
	size_t len;
	size_t left; /* bytes of vectors that may still be read */
	bool bad;
};

struct lcm_flat_table {
	struct lcm_flat *f; /* borrowed; NULL: the table is absent, and so are its fields */
	size_t at, len;
	size_t vtable, vtable_len;
};

struct lcm_flat_vector {
	struct lcm_flat *f; /* borrowed */
	size_t at;          /* of the first element */
	size_t n;           /* elements; 0 when it is absent */
};

/** lcm_flat_open - read @len bytes @p, borrowed while @f is in use. Return: the root table. */
struct lcm_flat_table lcm_flat_open(struct lcm_flat *f, const void *p, size_t len);
/** lcm_flat_int - a field of @width (1, 2, 4 or 8) bytes, its sign extended; @otherwise: when it is
 * absent. Unsigned ones are to be cast to their width. */
int64_t lcm_flat_int(const struct lcm_flat_table *t, unsigned int slot, size_t width,
		     int64_t otherwise);
/** lcm_flat_table - a table in a field. ret.f is NULL when it is absent. */
struct lcm_flat_table lcm_flat_table(const struct lcm_flat_table *t, unsigned int slot);
/** lcm_flat_string - borrowed from the buffer and NUL-terminated there; may hold NULs. "": absent.
 */
const char *lcm_flat_string(const struct lcm_flat_table *t, unsigned int slot, size_t *ret_len);
/** lcm_flat_vector - @width: bytes of an element; 4 for tables and strings. */
struct lcm_flat_vector lcm_flat_vector(const struct lcm_flat_table *t, unsigned int slot,
				       size_t width);
/** lcm_flat_bytes - the elements of a vector of width 1; NULL when there are none. */
const uint8_t *lcm_flat_bytes(const struct lcm_flat_vector *v);
/** lcm_flat_table_at, lcm_flat_string_at - element @i (< v->n). */
struct lcm_flat_table lcm_flat_table_at(const struct lcm_flat_vector *v, size_t i);
const char *lcm_flat_string_at(const struct lcm_flat_vector *v, size_t i, size_t *ret_len);

#endif
