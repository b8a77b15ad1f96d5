#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Layers that mean harm, or that readers differ about: each is the right tree, or refused with a text that says why. The
# daemon is as before after each that is refused, and another image that is mounted all the while notices nothing.
# Usage: evil.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin evil 600 "${1:-}"
LIB=$LCM_LIB/evil.py
doc=${0%/*}/../../doc/evil.md
KIB_MAX=65536
# What AddressSanitizer keeps of freed memory would count as the daemon's.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}quarantine_size_mb=4"

right()
{
	tap_ok "$1: $2" python "$LIB" check "$1" "$M"
}

# Mounts $IT_REF; a second time, once its layers are dropped, by the index that the first pull made.
taken()
{
	tap_ok "$1: mount" tap_limit 100 "$LOCUM" mount "$IT_REF" "$M"
	right "$1" 'the tree is right'
	tap_ok "$1: umount" "$LOCUM" umount "$M"
	tap_ok "$1: drop-cache" "$LOCUM" drop-cache "$IT_REF"
	tap_ok "$1: mount by its index" tap_limit 100 "$LOCUM" mount "$IT_REF" "$M"
	right "$1" 'the tree is the same'
	tap_ok "$1: umount" "$LOCUM" umount "$M"
	tap_ok "$1: drop-cache" "$LOCUM" drop-cache --all "$IT_REF"
}

# NAME [--eio]: by the table of contents that the image has, then by its layers
lazy()
{
	tap_ok "$1: mount" "$LOCUM" mount --deadline 20 "$IT_REF" "$M"
	tap_is "$1: lazy" "$(daemon_field "$M" phase)" lazy
	tap_ok "$1: the tree is right while lazy" python "$LIB" check "$1" "$M" ${2:+"$2"}
	tap_ok "$1: the rest is pulled" it_rest 60
	tap_ok "$1: native" it_wait "$M" native 30
	right "$1" 'the tree is the same'
	tap_ok "$1: umount" "$LOCUM" umount "$M"
	tap_ok "$1: drop-cache" "$LOCUM" drop-cache --all "$IT_REF"
}

# NAME ERE
refused()
{
	says "$1: refused" 1 "$2" "$LOCUM" mount "$IT_REF" "$M" || "$LOCUM" umount "$M" >"$TAP_DIR/out" 2>&1
}

# NAME: what it was before
nothing_left()
{
	tap_ok "$1: nothing of it is left" tap_until 10 unchanged || {
		diff "$TAP_DIR/state" "$TAP_DIR/now" | sed 's/^/# /'
		settle
	}
}

# What is below the state directory, which mounts there are, how many descriptors of each kind the daemon has, but for
# sockets: connections are kept and dropped, functions kept ready.
state()
{
	find "$LOCUM_ROOT" "$LOCUM_RUN" -name .trash -prune -o ! -name 'locum.db*' -print | sort
	cut -d' ' -f5- "/proc/$DAEMON_PID/mountinfo" /proc/self/mountinfo | grep -F "$TAP_DIR"
	for fd in "/proc/$DAEMON_PID/fd"/*; do
		readlink "$fd"
	done | sed "s|:.*||; s|^$TAP_DIR/.*|file|" | grep -v socket | sort | uniq -c
}

unchanged()
{
	state >"$TAP_DIR/now"
	cmp -s "$TAP_DIR/state" "$TAP_DIR/now"
}

# Descriptors are closed a moment later.
settle()
{
	state >"$TAP_DIR/state"
	while sleep 0.2 && ! unchanged; do
		mv "$TAP_DIR/now" "$TAP_DIR/state"
	done
}

# N: the first N files of the other image; the gate brings those that were not read so far
innocent()
{
	tap_ok "the other image notices nothing ($1 files)" tap_limit 60 python "$LIB" innocent "$TAP_DIR/innocent" "$1"
	tap_is 'the other image is still lazy' "$(daemon_field "$TAP_DIR/innocent" phase)" lazy
	settle
}

anon()
{
	sed -n 's/^RssAnon:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$DAEMON_PID/status"
}

tap_is 'doc/evil.md has the same cases' "$(python "$LIB" table)" "$(grep '^| `' "$doc")"
python "$LIB" make "$TAP_DIR/oci" >"$TAP_DIR/cases" || exit 1
IT_OCI=$TAP_DIR/oci
# All that is lazy stays so until it is pulled by hand.
it_serve && daemon_start --no-background || exit 1
before=$(anon)
most=$before
mkdir "$TAP_DIR/innocent"
tap_ok 'the other image: mount' "$LOCUM" mount "$BAD_HOST/x:innocent" "$TAP_DIR/innocent"
n=0
innocent 1
while read -r name what text; do
	IT_REF=$BAD_HOST/x:$name
	case $what in
	tree) taken "$name" ;;
	lazy) lazy "$name" ;;
	eio) lazy "$name" --eio ;;
	useless)
		refused "$name" "$text"
		tap_ok "$name: drop-cache" "$LOCUM" drop-cache --all "$IT_REF"
		;;
	*) refused "$name" "$text" ;;
	esac
	nothing_left "$name"
	n=$((n + 1))
	[ $((n % 16)) != 0 ] || innocent $((n / 2))
	now=$(anon)
	[ "$now" -le "$most" ] || most=$now
done <"$TAP_DIR/cases"
innocent 80
tap_diag "$n cases; the daemon's own memory: $before kB before, $most kB at most, $(anon) kB after"
tap_ok "it has grown by no more than $KIB_MAX kB" [ $((most - before)) -le $KIB_MAX ]
tap_ok 'the other image: umount' "$LOCUM" umount "$TAP_DIR/innocent"
tap_ok 'the other image: drop-cache' "$LOCUM" drop-cache --all "$BAD_HOST/x:innocent"
tap_ok 'nothing was written outside' [ ! -e /tmp/locum-evil ]
tap_is 'no layer is left' "$(ls "$LOCUM_ROOT/real")" ''
it_end
tap_end
