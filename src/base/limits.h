/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits.h - every maximum in one place, with its reason.
 *
 * Layer: base. What comes from outside is refused beyond these, by name.
 */
#ifndef LCM_LIMITS_H
#define LCM_LIMITS_H

/* distribution-spec: registries refuse manifests over 4 MiB; so do we. */
#define LCM_MANIFEST_MAX (4U << 20)
/* A config of 127 layers with long history is some 100 KiB. */
#define LCM_CONFIG_MAX (8U << 20)
/* containers/storage reads TOCs of up to 150 MiB, compressed and plain. */
#define LCM_TOC_JSON_MAX (150ULL << 20)
/* One million files is the largest layer the project promises to take. */
#define LCM_TOC_ENTRIES_MAX (4U << 20)
#define LCM_TOC_CHUNKS_MAX (16U << 20)
/* A span is fetched and decoded whole for one byte of it: SOCI's default gives about 2 MiB. */
#define LCM_TOC_SPAN_BLOB_MAX (32ULL << 20)
#define LCM_TOC_SPANS_MAX (1U << 20)
/* What may be decoded for one chunk: more comes with the pull only. */
#define LCM_TOC_UNIT_PLAIN_MAX (64ULL << 20)
#define LCM_TOC_UNIT_SPANS_MAX 128U
/* In one long zstd frame every chunk costs all that comes before it: beyond this the pull is
 * faster. */
#define LCM_TOC_CHAIN_PLAIN_MAX (8ULL << 20)
/* SOCI keeps 32 KiB for every 4 MiB: enough for a layer of 128 GiB. */
#define LCM_TOC_WINDOWS_MAX (1ULL << 30)
/* SOCI's tables of contents: 32 KiB of window for every 4 MiB are enough for a layer of 32 GiB. */
#define LCM_ZTOC_MAX (256ULL << 20)
/* Entries of all layers of an image together: merging keeps some 50 bytes each in memory. */
#define LCM_META_ENTRIES_MAX (16U << 20)
/* overlayfs: OVL_MAX_STACK is 500, and one is the thin one on top of all; registries rarely
 * allow more than 127. */
#define LCM_LAYERS_MAX 499
/* Over hardlinks to hardlinks that come later in their layer. */
#define LCM_LINK_PASSES 8
/* PATH_MAX less the "/<layer>/" that goes before it in a redirect. */
#define LCM_PATH_MAX 4000
/* NAME_MAX: longest file name the kernel takes. */
#define LCM_NAME_LEN_MAX 255
/* Linux XATTR_SIZE_MAX and XATTR_LIST_MAX. */
#define LCM_XATTR_VALUE_MAX 65536
#define LCM_XATTRS_BYTES_MAX 65536
/* zstd window: what `zstd --ultra -22` needs without --long; more is refused. */
#define LCM_ZSTD_WINDOW_LOG_MAX 27
/* What a layer may unpack to: so much for nothing, and so many times its bytes. deflate cannot
 * exceed 1032:1, so that this never stops a gzip layer; zstd, which can reach 32768:1, gets a
 * gigabyte of zeros for nothing. */
#define LCM_PLAIN_FREE (1ULL << 30)
#define LCM_PLAIN_RATIO 1100ULL
/* Names of xattrs of one file: more do not fit into XATTR_LIST_MAX in any useful way. */
#define LCM_XATTRS_MAX 1024U
/* Address space of an isolated function: a TOC of LCM_TOC_ENTRIES_MAX entries, or the largest zstd
 * window and a layer's rings. */
#define LCM_FN_AS_MAX (3ULL << 30)
/* Processes: each has a uid of its own from a range of this size. */
#define LCM_FN_MAX 256U
/* A function that makes no progress for so long, or that is slower in all than LCM_FN_RATE_MIN
 * bytes per second after as long again, is hung. */
#define LCM_FN_HANG_NS 20000000000ULL
#define LCM_FN_RATE_MIN (256ULL << 10)
/* Depth of JSON we accept anywhere (jansson's own limit is 2048). */
#define LCM_JSON_DEPTH_MAX 64
/* A control request is a few options, or the labels of a snapshot. */
#define LCM_CONTROL_BODY_MAX (1U << 20)
/* A control answer: the status of thousands of mounts. */
#define LCM_CONTROL_REPLY_MAX (64U << 20)
/* A container's id: RUN/c/ID.json.PID.SERIAL.tmp, as which its tie is written, must be a file name
 * (LCM_NAME_LEN_MAX) with both numbers at their longest. Runtimes' clients use 64 and 76. */
#define LCM_CONTAINER_ID_MAX 224
/* A container's state as runtimes write it, and its config: Kubernetes has some 10 KB of them. */
#define LCM_HOOK_STATE_MAX (1U << 20)
#define LCM_HOOK_CONFIG_MAX (16U << 20)
/* The daemon's configuration file. */
#define LCM_CONFIG_FILE_MAX (64U << 10)
/* Its options; the rows are allocated at once. Nobody has a thousand registries. */
#define LCM_CONFIG_LINES_MAX 1024
/* images.json and layers.json of an image store: an image has less than 2 KB in either. */
#define LCM_CSTORE_LIST_MAX (16U << 20)
/* A process's /proc/PID/mountinfo: a host with 10,000 containers has some 30 MB. */
#define LCM_MOUNTINFO_MAX (64U << 20)
/* Auth files and bearer token answers. */
#define LCM_AUTH_FILE_MAX (1U << 20)
#define LCM_TOKEN_REPLY_MAX (1U << 20)
/* Hops of redirects: registries need one or two. */
#define LCM_REDIRECTS_MAX 5

#endif
