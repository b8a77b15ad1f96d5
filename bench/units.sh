#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Storage units, of each kind that there is: the verbs beside qemu-img, cp --reflink=always and mkdir; I/O in a unit beside its pool's own file
# system; a paced neighbour of a unit that is full. In turns, medians. The pools are sparse files below $TMPDIR (/var/tmp), with direct I/O.
# Usage: bench/units.sh BUILDDIR [ROUNDS]; needs 25 GiB there, xfsprogs, btrfs-progs; for all figures qemu-utils and fio
set -u
LCM_LIB=${0%/*}/../tests/lib
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../tests/lib/itest.sh"
rounds=${2:-5}
it_begin bench-units 7200 "${1:-}"
export LOCUM
bench=${0%/*}/units.py

for tool in mkfs.xfs mkfs.btrfs; do
	command -v "$tool" >/dev/null || tap_skip_all "no $tool (xfsprogs, btrfs-progs)"
done
[ "$(df -k --output=avail "$TAP_DIR" | tail -n 1)" -gt 26214400 ] || tap_skip_all "no 25 GiB left in ${TAP_DIR%/*}"

# NAME FS BACKEND: a pool on a file system of its own, with a floor
pool()
{
	truncate -s 48G "$TAP_DIR/$1.img" && "mkfs.$2" -q "$TAP_DIR/$1.img" >/dev/null && mkdir -p "$TAP_DIR/$1/$2" || return 1
	dev=$(losetup -f --show --direct-io=on "$TAP_DIR/$1.img") && mount "$dev" "$TAP_DIR/$1/$2" && losetup -d "$dev" &&
		mkdir "$TAP_DIR/$1/$2/pool" "$TAP_DIR/$1/$2/plain" &&
		"$LOCUM" unit pool add "$1" "$TAP_DIR/$1/$2/pool" --backend "$3" --floor 1G
}

pools=
for kind in image:xfs image:btrfs subvol:btrfs; do
	fs=${kind#*:}
	name=${kind%:*}-$fs
	if pool "$name" "$fs" "${kind%:*}" 2>"$TAP_DIR/err"; then
		pools="$pools ${kind%:*}_on_$fs=$name:$name/$fs"
	else
		echo "${kind%:*} on $fs: not here: $(cat "$TAP_DIR/err")"
	fi
done
echo "directories with project quotas: $("$LOCUM" unit pool add dir "$M" --backend dir 2>&1)"
tap_cleanup 'for u in $("$LOCUM" unit list --json | jq -r ".[].id"); do "$LOCUM" unit detach "$u"; done'
# shellcheck disable=SC2086
python "$bench" verbs "$rounds" "$TAP_DIR" $pools || exit 1
if command -v fio >/dev/null; then
	# shellcheck disable=SC2086
	python "$bench" io "$rounds" "$TAP_DIR" $pools || exit 1
else
	echo 'no fio here: I/O is not measured'
fi
# shellcheck disable=SC2086
python "$bench" beside "$rounds" "$TAP_DIR" $pools || exit 1
tap_ended=1
