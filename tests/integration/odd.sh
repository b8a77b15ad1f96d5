#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Images that are right and unusual are right here: whole at first, lazy after drop-cache, and native in the end.
# Usage: odd.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin odd 200 "${1:-}"

same()
{
	tap_ok "$1" tap_limit 60 "$TREECMP" "$TAP_DIR/odd/trees/$tag" "$M"
}

python "$LCM_LIB/oddimages.py" "$TAP_DIR/odd" >"$TAP_DIR/tags" || exit 1
IT_OCI=$TAP_DIR/odd/oci
it_serve && daemon_start --no-background || exit 1
while read -r tag; do
	IT_REF=$BAD_HOST/x:$tag
	tap_ok "$tag: mount" "$LOCUM" mount "$IT_REF" "$M"
	tap_is "$tag: native" "$(daemon_field "$M" phase)" native
	same "$tag: whole"
	tap_ok "$tag: umount" "$LOCUM" umount "$M"
	tap_ok "$tag: drop-cache" "$LOCUM" drop-cache "$IT_REF"
	tap_ok "$tag: mount again" "$LOCUM" mount "$IT_REF" "$M"
	same "$tag: again"
	tap_ok "$tag: the rest is pulled" it_rest 60
	tap_ok "$tag: native in the end" it_wait "$M" native 30
	same "$tag: in the end"
	tap_ok "$tag: umount" "$LOCUM" umount "$M"
done <"$TAP_DIR/tags"
tap_is 'all were tried' "$(wc -l <"$TAP_DIR/tags" | tr -d ' ')" 11
it_end
tap_end
