#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Layers that mean harm, or that readers differ about: each is the right tree, or refused with a text that says why.
# Usage: evil.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin evil 600 "${1:-}"
LIB=$LCM_LIB/evil.py
doc=${0%/*}/../../doc/evil.md

# Mounts $IT_REF; a second time, once its layers are dropped, by the index that the first pull made.
taken()
{
	tap_ok "$1: mount" tap_limit 100 "$LOCUM" mount "$IT_REF" "$M"
	tap_ok "$1: the tree is right" python "$LIB" check "$1" "$M"
	tap_ok "$1: umount" "$LOCUM" umount "$M"
	tap_ok "$1: drop-cache" "$LOCUM" drop-cache "$IT_REF"
	tap_ok "$1: mount by its index" tap_limit 100 "$LOCUM" mount "$IT_REF" "$M"
	tap_ok "$1: the tree is the same" python "$LIB" check "$1" "$M"
	tap_ok "$1: umount" "$LOCUM" umount "$M"
	tap_ok "$1: drop-cache" "$LOCUM" drop-cache --all "$IT_REF"
}

tap_is 'doc/evil.md has the same cases' "$(python "$LIB" table)" "$(grep '^| `' "$doc")"
python "$LIB" make "$TAP_DIR/oci" >"$TAP_DIR/cases" || exit 1
IT_OCI=$TAP_DIR/oci
it_serve && daemon_start || exit 1
before=$(sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$DAEMON_PID/status")
while read -r name what text; do
	IT_REF=$BAD_HOST/x:$name
	case $what in
	tree) taken "$name" ;;
	*) says "$name: refused" 1 "$text" "$LOCUM" mount "$IT_REF" "$M" ;;
	esac
done <"$TAP_DIR/cases"
after=$(sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$DAEMON_PID/status")
tap_diag "the daemon's memory: $before kB before, $after kB after"
tap_ok 'nothing was written outside' [ ! -e /tmp/locum-evil ]
tap_is 'no layer is left' "$(ls "$LOCUM_ROOT/real")" ''
it_end
tap_end
