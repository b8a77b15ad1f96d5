#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a container that wants processors loses to a background unpack that is pending all the while: nothing is unpacked (alone), normal threads
# (no), the idle class alone (class), and the gate (gated), in turns. Then, on an idle machine, how long the whole unpack takes as
# background and with normal threads. Prints medians over the rounds, and the median of the ratios within each.
# Usage: bench/quiet.sh BUILDDIR [ROUNDS [MIB [SECONDS]]]
set -u
LCM_LIB=${0%/*}/../tests/lib
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../tests/lib/itest.sh"
rounds=${2:-5}
mib=${3:-1024}
ms=$((${4:-4} * 1000))
it_begin bench-quiet 7200 "${1:-}"
quiet=$(realpath "$1")/bench/locum-bench-quiet
python "$LCM_LIB/quiet.py" "$TAP_DIR/oci" "$mib" || exit 1
bad_start "$TAP_DIR/oci" || exit 1
ref=$BAD_HOST/x:t
group=
for dir in /sys/fs/cgroup/cpu /sys/fs/cgroup/cpu,cpuacct /sys/fs/cgroup; do
	[ -n "$group" ] || [ ! -e "$dir/cgroup.procs" ] || { mkdir "$dir/locum-bench-quiet" && group=$dir/locum-bench-quiet; }
done
[ -z "$group" ] || tap_cleanup "rmdir $group"

# KIND N: the container
container()
{
	# shellcheck disable=SC2016
	sh -c '[ -z "$1" ] || echo $$ >"$1/cgroup.procs"; shift; exec "$@"' sh "$group" "$quiet" "$1" "$ms" "$2"
}

begin()
{
	rm -rf --one-file-system "$LOCUM_ROOT" "$LOCUM_RUN"
	daemon_start --idle "$1" || exit 1
	"$LOCUM" mount --id a "$ref" "$M" >/dev/null || exit 1
}

finish()
{
	"$LOCUM" umount --remove a >/dev/null && daemon_stop || exit 1
}

has_begun()
{
	[ "$(daemon_field a blob_bytes_local)" -gt 0 ]
}

# VARIANT: appends to VARIANT.burn, VARIANT.tick
turn()
{
	how=$1
	[ "$how" != alone ] || how=gated
	begin "$how"
	[ "$1" != alone ] || "$LOCUM" wait a --for native >/dev/null || exit 1
	[ "$1" = alone ] || tap_until 20 has_begun || exit 1
	container burn "$(nproc)" >>"$TAP_DIR/$1.burn" || exit 1
	[ "$1" = alone ] || [ "$(daemon_field a phase)" = lazy ] || echo "$1: nothing was pending any more at the end: more MIB, or fewer SECONDS" >&2
	daemon_field a bytes_local >>"$TAP_DIR/$1.done"
	[ "$1" = alone ] || { finish && begin "$how" && tap_until 20 has_begun || exit 1; }
	container tick 1000 >>"$TAP_DIR/$1.tick" || exit 1
	finish
}

native()
{
	[ "$(daemon_field a phase)" = native ]
}

# VARIANT: nobody waits for it: it is only looked at
whole()
{
	begin "$1"
	from=$(now_ms)
	tap_until 600 native || exit 1
	echo $(($(now_ms) - from)) >>"$TAP_DIR/$1.whole"
	finish
}

# FILE FIELD
median()
{
	awk -v f="$2" '{ print $f }' "$TAP_DIR/$1" | sort -n | sed -n "$(((rounds + 1) / 2))p"
}

# FILE BASE FIELD: median of the ratios within a round
ratio()
{
	paste -d' ' "$TAP_DIR/$1" "$TAP_DIR/$2" | awk -v f="$3" -v n="$(awk '{ print NF; exit }' "$TAP_DIR/$1")" '{ print $f / $(f + n) }' | sort -n | sed -n "$(((rounds + 1) / 2))p"
}

i=0
set -- alone no class gated
while [ $i -lt "$rounds" ]; do
	for v in "$@"; do
		turn "$v"
	done
	first=$1
	shift
	set -- "$@" "$first"
	whole no
	whole gated
	i=$((i + 1))
done
for v in alone no class gated; do
	printf '%-6s burning: x %.4f of alone, while %4d MiB are unpacked; a 1 ms task is late by %4d us (median), %5d (p99: x %.2f of alone)\n' $v \
		"$(ratio $v.burn alone.burn 1)" "$(($(median $v.done 1) >> 20))" "$(median $v.tick 1)" "$(median $v.tick 2)" "$(ratio $v.tick alone.tick 2)"
done
printf 'the whole unpack: %d ms as background, %d ms with normal threads, x %.2f\n' "$(median gated.whole 1)" "$(median no.whole 1)" "$(ratio gated.whole no.whole 1)"
tap_ended=1
