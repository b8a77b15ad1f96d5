#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The mounted image, while lazy, after native and on the plain layout, is what umoci unpacks: for all kinds of layers.
# Usage: trees.sh BUILDDIR [KIND...]
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin trees 400 "${1:-}"
shift
[ $# -gt 0 ] || set -- zstd:chunked gzip zstd uncompressed

# The tables that skopeo 1.9 writes leave xattrs without a value out.
same()
{
	loose=
	[ "$kind" != zstd:chunked ] || loose=--no-empty-xattrs
	tap_ok "$1" tap_limit 60 "$TREECMP" "$IT_TREE" "$M" $loose
}

# NAME: what a start before the image is there shows. A layer in one zstd frame cannot be entered far from its begin:
# reading all of it has it pulled, so it need not stay lazy.
lazy()
{
	tap_ok "$1: mount" "$LOCUM" mount --deadline 300 "$IT_REF" "$M"
	tap_is "$1: lazy" "$(daemon_field "$M" phase)" lazy
	same "$1: while lazy, as umoci unpacks it"
	[ "${1##* }" = zstd ] || tap_is "$1: still lazy" "$(daemon_field "$M" phase)" lazy
	tap_ok "$1: the rest is pulled" it_rest 60
	tap_ok "$1: native" it_wait "$M" native 30
	same "$1: after native, as umoci unpacks it"
	tap_is "$1: no error" "$(daemon_field "$M" error)" ''
	tap_ok "$1: umount" "$LOCUM" umount "$M"
}

plain()
{
	tap_ok "$1: mount on the plain layout" tap_limit 100 "$LOCUM" mount "$IT_REF" "$M"
	tap_is "$1: native at once" "$(daemon_field "$M" phase)" native
	same "$1: plain layout, as umoci unpacks it"
	tap_ok "$1: umount" "$LOCUM" umount "$M"
}

# The pull has made an index: without the layers the same image is lazy now.
again()
{
	tap_ok "$1: drop-cache" "$LOCUM" drop-cache "$IT_REF"
	lazy "$1"
}

one()
{
	it_image "$1" "$2" || exit 1
	it_serve || exit 1
	daemon_start --no-background || exit 1
	[ "$2" != zstd:chunked ] || lazy "$1 $2"
	plain "$1 $2"
	case "$1 $2" in
	*zstd:chunked | "python zstd" | "python uncompressed") ;;
	*) again "$1 $2" ;;
	esac
	it_end
	rm -rf "$LOCUM_ROOT" "$LOCUM_RUN"
}

for image in python nasty; do
	it_image $image uncompressed && it_reference || exit 1
	for kind; do
		one $image "$kind"
	done
done
tap_end
