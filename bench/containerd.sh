#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# How long containerd takes from nothing to a container's first output: with its overlayfs snapshotter and with locum, by turns.
# The registry is on this machine and answers after DELAY ms; caches are dropped, stores are empty before each turn.
# Usage: bench/containerd.sh BUILDDIR [RUNS [DELAY]]    needs what the tests need; prints medians and the ratio
set -u
LCM_LIB=${0%/*}/../tests/lib
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../tests/lib/itest.sh"
# shellcheck source=tests/lib/containerd.sh
. "${0%/*}/../tests/lib/containerd.sh"
runs=${2:-5}
delay=${3:-20}
it_begin bench-containerd 3600 "${1:-}"
ctd_begin "$1"

median()
{
	sort -n "$1" | sed -n "$(((runs + 1) / 2))p"
}

# SNAPSHOTTER: one turn; appends its milliseconds
turn()
{
	it_serve --delay-ms "$delay" >/dev/null && daemon_start && ctd_start_locum && ctd_start || exit 1
	sync
	echo 3 >/proc/sys/vm/drop_caches
	begin=$(now_ms)
	if [ "$1" = locum ]; then
		ctd_pull "$IT_REF"
	else
		ctd_pull_plain "$IT_REF" "$1"
	fi >"$TAP_DIR/out" 2>&1 || { cat "$TAP_DIR/out"; exit 1; }
	pulled=$(now_ms)
	ctd run --rm --snapshotter "$1" "$IT_REF" one >"$TAP_DIR/out" 2>&1 && grep -q '^hello' "$TAP_DIR/out" || { cat "$TAP_DIR/out"; exit 1; }
	echo $(($(now_ms) - begin)) >>"$TAP_DIR/total.$1"
	echo $((pulled - begin)) >>"$TAP_DIR/pull.$1"
	ctd_stop
	ctd_stop_locum
	daemon_stop
	bad_stop
	# containerd had no time to have it removed
	tap_unmount
	rm -rf --one-file-system "$TAP_DIR/c-root" "$TAP_DIR/c-state" "$LOCUM_ROOT" "$LOCUM_RUN"
}

it_image python zstd:chunked || exit 1
for V in 1.6 testing; do
	ctd_version $V || exit 1
	rm -f "$TAP_DIR"/total.* "$TAP_DIR"/pull.*
	i=0
	while [ $i -lt "$runs" ]; do
		turn overlayfs
		turn locum
		i=$((i + 1))
	done
	printf '%s: pull and run, medians of %d: overlayfs %d ms (pull %d), locum %d ms (pull %d): %s x\n' "$(ctd --version)" "$runs" \
		"$(median "$TAP_DIR/total.overlayfs")" "$(median "$TAP_DIR/pull.overlayfs")" "$(median "$TAP_DIR/total.locum")" \
		"$(median "$TAP_DIR/pull.locum")" "$(awk -v a="$(median "$TAP_DIR/total.locum")" -v b="$(median "$TAP_DIR/total.overlayfs")" \
			'BEGIN { printf "%.2f", a / b }')"
done
tap_ended=1
