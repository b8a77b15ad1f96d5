#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# podman runs a container on a root file system whose image is not here yet.
# Usage: podman.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin podman 120 "${1:-}"

# podman's default limits are refused where root lacks CAP_SYS_RESOURCE
limit()
{
	sed -n "s/^Max $1  *[0-9a-z]*  *\([0-9a-z]*\) .*/\1/p" /proc/self/limits | sed 's/unlimited/4194304/'
}
files=$(limit 'open files')
procs=$(limit processes)
[ "$procs" -lt 4096 ] || procs=4096
printf '[containers]\ndefault_ulimits = ["nofile=%s:%s", "nproc=%s:%s"]\n' "$files" "$files" "$procs" "$procs" >"$TAP_DIR/containers.conf"
cat >"$TAP_DIR/storage.conf" <<-END
	[storage]
	driver = "overlay"
	graphroot = "$TAP_DIR/graph"
	runroot = "$TAP_DIR/graph-run"
END
CONTAINERS_CONF=$TAP_DIR/containers.conf
CONTAINERS_STORAGE_CONF=$TAP_DIR/storage.conf
export CONTAINERS_CONF CONTAINERS_STORAGE_CONF

# Where cgroups are hybrid runtimes want the v1 part alone.
podman_run()
{
	# shellcheck disable=SC2016
	tap_limit 60 unshare -m sh -c 'umount -l /sys/fs/cgroup/unified 2>/dev/null
		exec podman --cgroup-manager=cgroupfs --events-backend=none run --network=none "$@"' sh "$@"
}

it_image python zstd:chunked && it_serve && daemon_start --no-background || exit 1
tap_diag "$(podman --version)"
tap_ok 'mount without a directory' "$LOCUM" mount "$IT_REF"
dir=$(cat "$TAP_DIR/out")
tap_is 'prints the one that was made' "$dir" "$LOCUM_RUN/m/$(daemon_field "$dir" id)"
tap_is 'lazy' "$(daemon_field "$dir" phase)" lazy
tap_ok 'podman runs a container on it' podman_run --rm --rootfs "$dir" python3 -c 'print(6 * 7)'
tap_is 'right' "$(tail -n 1 "$TAP_DIR/out")" 42
tap_is 'still lazy' "$(daemon_field "$dir" phase)" lazy
tap_ok 'little of the image is here' [ "$(daemon_field "$dir" files_local)" -lt $(($(daemon_field "$dir" files_total) / 4)) ]
tap_ok 'what it writes stays' podman_run --rm --rootfs "$dir" sh -c 'echo mine >/root/file'
tap_is 'in the mount' "$(cat "$dir/root/file")" mine
tap_ok 'the rest is pulled' it_rest 60
tap_ok 'native' it_wait "$dir" native 30
tap_ok 'podman runs another' podman_run --rm --rootfs "$dir" cat /root/file
tap_ok 'umount' "$LOCUM" umount "$dir"
tap_ok 'takes the directory with it' test ! -e "$dir"
tap_fails 'no image is no mount' 2 "$LOCUM" mount
it_end
tap_end
