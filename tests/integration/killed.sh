#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# killed.sh BUILDDIR [POINTS] - the daemon dies by SIGKILL at any point; the next one goes on as if nothing had been.
# Needs a build with --enable-faults: the n-th system call of the daemon kills it.
set -u
srcdir=${srcdir:-$(dirname "$0")/../..}
LCM_LIB=$srcdir/tests/lib
. "$LCM_LIB/tap.sh"
. "$LCM_LIB/images.sh"
. "$LCM_LIB/daemon.sh"

tap_begin killed 200
daemon_begin "${1:?usage: killed.sh BUILDDIR [POINTS]}"
POINTS=${2:-4}
IMG=$TAP_DIR/img
MNT=$TAP_DIR/mnt
STALL=$TAP_DIR/stall
mkdir "$MNT"
grep -q 'define LCM_FAULTS 1' "$1/config.h" || grep -q LCM_FAULTS "$1/Makefile" || tap_skip_all 'built without --enable-faults'

# Starts a daemon that dies at its N-th call and gives it the work CMD...; status 0 if it died of that.
dies_at()
{
	dies_n=$1
	shift
	LCM_FAULT_NTH=$dies_n LCM_FAULT_ERRNO=0 "$LOCUM" daemon --hold 0 >>"$TAP_DIR/daemon.log" 2>&1 </dev/null &
	DAEMON_PID=$!
	tap_until 10 daemon_answers
	tap_gone "$DAEMON_PID" || tap_limit 30 "$@" >/dev/null 2>&1
	dies_over=0
	tap_gone "$DAEMON_PID" && dies_over=1
	# a verb that met no daemon has started another one
	for dies_pid in $(daemon_pids); do
		kill -KILL "$dies_pid" 2>/dev/null
		tap_until 10 tap_gone "$dies_pid"
	done
	wait "$DAEMON_PID" 2>/dev/null
	DAEMON_PID=
	[ "$dies_over" = 1 ]
}

# After the kill: a mount is right.
recovers()
{
	rm -f "$STALL"
	daemon_start --hold 0 || return 1
	"$LOCUM" mount --id k "$BAD_HOST/small:t" "$MNT" || return 1
	tap_limit 40 "$LOCUM" wait --timeout 35 k || {
		"$LOCUM" status k >&2
		return 1
	}
	"$TREECMP" "$MNT" "$IMG/rootfs" --ignore-dir-times || return 1
	"$LOCUM" umount -l --remove k && "$LOCUM" drop-cache --all && daemon_clean && daemon_stop
}

# TEXT CMD...: finds how many calls it takes by doubling, then dies at POINTS points of them.
sweep()
{
	sweep_text=$1
	shift
	sweep_end=200
	while dies_at "$sweep_end" "$@"; do
		recovers || return 1
		sweep_points=$((sweep_points + 1))
		sweep_end=$((sweep_end * 3))
	done
	recovers || return 1
	sweep_i=1
	while [ "$sweep_i" -le "$POINTS" ]; do
		sweep_n=$((sweep_end * sweep_i / POINTS / 2 + sweep_i % 7))
		dies_at "$sweep_n" "$@" && sweep_points=$((sweep_points + 1))
		recovers || {
			echo "$sweep_text: killed at call $sweep_n" >&2
			return 1
		}
		sweep_i=$((sweep_i + 1))
	done
}

tap_ok 'a small image' small_image "$IMG"

# ---- killed while lazy: the mount is adopted ----
set -- $(python "$LCM_LIB/badimage.py" layer "$IMG/zc" 0)
bad_start "$IMG/zc" --stall "$STALL" --stall-only "$1:$(python "$LCM_LIB/badimage.py" toc "$IMG/zc" 0)"
daemon_start
touch "$STALL"
tap_ok 'lazy mount, its data is held' tap_limit 30 "$LOCUM" mount --id old "$BAD_HOST/small:t" "$MNT"
tap_is 'it is lazy' "$(daemon_field old phase)" lazy
exec 9<"$MNT/etc/hostname"
echo written >"$MNT/tmp/written"
cat "$MNT/many/5" >"$TAP_DIR/read" 2>/dev/null &
waiter=$!
tap_ok 'somebody waits' tap_until 10 daemon_is old waiters 1
tap_kill "$(daemon_holder)"
tap_ok 'the holder of the gate is killed, there is another' tap_until 10 sh -c '. "$1/daemon.sh"; [ -n "$(daemon_holder)" ]' sh "$LCM_LIB"
kill -KILL "$(daemon_holder)" "$DAEMON_PID"
daemon_kill
tap_ok 'the waiter ends when both are killed' tap_until 5 tap_gone "$waiter"
wait "$waiter"
tap_ok 'with an error, not a wrong byte' test $? -ne 0 -a ! -s "$TAP_DIR/read"
tap_fails 'a missing file cannot be read meanwhile' 1 tap_limit 10 cat "$MNT/many/6"
tap_ok 'a local one can' cmp "$MNT/etc/hostname" "$IMG/rootfs/etc/hostname"
tap_is 'find still works' "$(cd "$MNT" && find . | wc -l)" "$(cd "$IMG/rootfs" && find . | wc -l | awk '{ print $1 + 1 }')"
tap_ok 'a new daemon' daemon_start
tap_is 'it has adopted the mount' "$(daemon_field old phase)" lazy
rm "$STALL"
tap_ok 'it becomes native' tap_limit 40 "$LOCUM" wait --timeout 35 old
tap_ok 'the missing files are read through the old mount' cmp "$MNT/many/6" "$IMG/rootfs/many/6"
tap_ok 'what was open is read' cmp /dev/fd/9 "$IMG/rootfs/etc/hostname"
exec 9<&-
tap_is 'what was written is there' "$(cat "$MNT/tmp/written")" written
rm "$MNT/tmp/written"
tap_ok 'the whole tree is the reference' "$TREECMP" "$MNT" "$IMG/rootfs" --ignore-dir-times
tap_ok 'umount' "$LOCUM" umount --remove old
tap_ok 'drop' "$LOCUM" drop-cache --all
tap_ok 'nothing is left' daemon_clean
tap_ok 'daemon ends' daemon_stop

# ---- a pull killed anywhere; sweep.sh has lazy mounts ----
bad_stop
rm -rf --one-file-system "$LOCUM_ROOT"
bad_start "$IMG/gzip"
sweep_points=0
tap_ok 'killed at points of a pull of gzip layers' sweep pull "$LOCUM" pull "$BAD_HOST/small:t"
tap_diag "$sweep_points kills"
tap_ok 'it was killed often enough' test "$sweep_points" -ge $((POINTS / 2))
tap_end
