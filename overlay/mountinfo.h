/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mountinfo.h - a pure parser of /proc/<pid>/mountinfo.
 *
 * Layer: overlay. Pure: no I/O, no allocation. Source: proc(5) "mountinfo"; the kernel
 * writes space, tab, newline, backslash (and '#' in the source) as \ooo.
 * Threads: any.
 */
#ifndef LCM_MOUNTINFO_H
#define LCM_MOUNTINFO_H

#include "src/base/base.h"

/* /proc/self/mountinfo: a host with 10,000 containers has some 30 MB. */
#define LCM_MOUNTINFO_MAX (64U << 20)

/* A field as it stands in the file, escapes and all; borrowed from the text. */
struct lcm_mountinfo_field {
	const char *p;
	size_t len;
};

struct lcm_mountinfo {
	uint64_t id, parent;
	struct lcm_mountinfo_field dev;         /* major:minor of its file system */
	struct lcm_mountinfo_field root;        /* of the mount within its file system */
	struct lcm_mountinfo_field mount_point; /* seen from the reader's root */
	struct lcm_mountinfo_field type;        /* "overlay", "fuse.locum", ... */
	struct lcm_mountinfo_field source;
	struct lcm_mountinfo_field super_options;
};

/**
 * lcm_mountinfo_next - parse the line at *@at and step over it
 * @at:  in, out: next unread byte; always advances past a line, also past a bad one
 * @end: one past the last byte of the text
 *
 * Return: 1 (*ret filled), 0 (end of text), -EUCLEAN (this line is not mountinfo; the next call
 * goes on after it).
 */
LCM_MUST_USE int lcm_mountinfo_next(const char **at, const char *end, struct lcm_mountinfo *ret);
/** lcm_mountinfo_is - does the field, unescaped, equal the string @plain? A broken escape stands
 * for itself. */
bool lcm_mountinfo_is(const struct lcm_mountinfo_field *f, const char *plain);
/** lcm_mountinfo_copy - the field, unescaped, as a string. Return: 0, -ENAMETOOLONG. */
LCM_MUST_USE int lcm_mountinfo_copy(const struct lcm_mountinfo_field *f, char *out, size_t cap);
/**
 * lcm_mountinfo_below - where a mount point is below a directory
 * @dir: as the kernel names it: absolute, no links, not escaped
 * @out: "proc", "etc/hosts"; "": @dir itself; undefined on failure
 *
 * Return: 0; -EXDEV (it is elsewhere); -ENAMETOOLONG.
 */
LCM_MUST_USE int lcm_mountinfo_below(const struct lcm_mountinfo_field *f, const char *dir,
				     char *out, size_t cap);

#endif
