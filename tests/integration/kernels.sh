#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What older kernels lack: without data-only layers an image is pulled whole and mounted plainly; without redirects
# that work with metacopy=off the lazy mount is made with metacopy=on. The tree is the same each time.
# Usage: kernels.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin kernels 120 "${1:-}"

options()
{
	grep " $M " /proc/self/mountinfo
}

tap_ok 'a small image' small_image "$TAP_DIR/img"
tap_ok 'as a tree' [ -d "$TAP_DIR/img/rootfs" ]

for feature in data-only redirect; do
	bad_start "$TAP_DIR/img/zc" || exit 1
	daemon_start --without $feature || exit 1
	tap_ok "without $feature: mount" tap_limit 60 "$LOCUM" mount --id old "$BAD_HOST/small:t" "$M"
	if [ $feature = data-only ]; then
		tap_is "without $feature: native at once" "$(daemon_field "$M" phase)" native
		tap_ok "without $feature: the daemon says why" grep -rq 'cannot mount lazily (data-only' "$TAP_DIR/daemon.log"
	else
		tap_like "without $feature: metacopy=on" "$(options)" 'metacopy=on'
		tap_ok "without $feature: a first open" cmp "$M/many/7" "$TAP_DIR/img/rootfs/many/7"
		tap_ok "without $feature: native" tap_limit 60 "$LOCUM" wait --timeout 50 "$M"
	fi
	tap_ok "without $feature: the tree is right" "$TREECMP" "$M" "$TAP_DIR/img/rootfs"
	tap_ok "without $feature: a change of mode alone" chmod 0604 "$M/many/9"
	tap_ok "without $feature: umount" "$LOCUM" umount "$M"
	tap_ok "without $feature: the same upper again" tap_limit 60 "$LOCUM" mount --id old "$BAD_HOST/small:t" "$M"
	tap_is "without $feature: on the plain layout" "$(daemon_field "$M" phase)" native
	tap_is "without $feature: with its mode" "$(stat -c %a "$M/many/9")" 604
	tap_ok "without $feature: and its content" cmp "$M/many/9" "$TAP_DIR/img/rootfs/many/9"
	tap_ok "without $feature: umount for good" "$LOCUM" umount --remove "$M"
	it_end
	bad_stop
	rm -rf "$LOCUM_ROOT" "$LOCUM_RUN"
done
tap_end
