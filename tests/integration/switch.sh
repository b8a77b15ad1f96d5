#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A container that holds everything notices nothing across the switch, nor when the daemon is killed.
# Usage: switch.sh BUILDDIR [RUNTIME...]
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin switch 200 "${1:-}"
shift
[ $# -gt 0 ] || set -- crun runc

# Holders answer in $TAP_DIR/said; a check is over with its line "checked".
checks()
{
	grep -c '^checked' "$TAP_DIR/said"
}

checked_more()
{
	[ "$(checks)" -gt "$1" ]
}

check()
{
	had=$(checks)
	lines=$(wc -l <"$TAP_DIR/said")
	echo check >&7
	tap_ok "$1: answers" tap_until 30 checked_more "$had"
	answer=$(tail -n "+$((lines + 1))" "$TAP_DIR/said")
	tap_is "$1: nothing is BAD" "$(printf '%s\n' "$answer" | grep BAD)" ''
	tap_is "$1: all are ok" "$(printf '%s\n' "$answer" | grep -c '^ok ')" "$holders"
	tap_diag "$1: longest $(printf '%s\n' "$answer" | grep '^gap')"
}

start_time()
{
	sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f20
}

# RUNTIME
switch()
{
	rm -f "$TAP_DIR/in" "$TAP_DIR/said" "$TAP_DIR/pid"
	: >"$TAP_DIR/said"
	mkfifo "$TAP_DIR/in"
	"$LOCUM" run --id "c-$1" --user 0 --no-tty --runtime "$(command -v "$1")" --pid-file "$TAP_DIR/pid" \
		-v "$(realpath "$here"):/mnt:ro" "$IT_REF" -- python3 -u /mnt/holds.py <"$TAP_DIR/in" >"$TAP_DIR/said" 2>"$TAP_DIR/run.err" &
	run=$!
	exec 7>"$TAP_DIR/in"
	tap_ok "$1: the container holds all" tap_until 60 grep -q '^holding' "$TAP_DIR/said" || {
		tap_diag "$(cat "$TAP_DIR/run.err" "$TAP_DIR/said")"
		exec 7>&-
		return
	}
	holders=$(sed -n 's/^holding //p' "$TAP_DIR/said")
	pid=$(cat "$TAP_DIR/pid")
	started=$(start_time "$pid")
	tap_is "$1: lazy" "$(daemon_field "c-$1" phase)" lazy
	check "$1: before the switch"
	tap_is "$1: still lazy" "$(daemon_field "c-$1" phase)" lazy
	tap_diag "$1: $(daemon_field "c-$1" files_local) of $(daemon_field "c-$1" files_total) files local"
	it_rest 60 >/dev/null &
	pull=$!
	check "$1: while it switches"
	wait "$pull"
	tap_ok "$1: native" it_wait "c-$1" native 30
	check "$1: after the switch"
	tap_is "$1: same process" "$(start_time "$pid")" "$started"
	tap_is "$1: the container sees no FUSE" "$(it_fuse "$pid")" ''
	tap_is "$1: the host sees no FUSE" "$(it_fuse)" ''
	tap_like "$1: its root is overlayfs" "$(awk '$5 == "/"' "/proc/$pid/mountinfo")" ' - overlay '
	daemon_kill
	check "$1: the daemon was killed"
	tap_is "$1: same process" "$(start_time "$pid")" "$started"
	daemon_start --no-background || exit 1
	check "$1: a new daemon"
	echo end >&7
	exec 7>&-
	wait "$run"
	tap_is "$1: exit status" $? 0
	tap_ok "$1: unmounted" tap_until 10 [ -z "$(daemon_mounts)" ]
}

here=$(dirname "$0")
it_image python zstd:chunked || exit 1
it_serve || exit 1
for runtime; do
	command -v "$runtime" >/dev/null || {
		tap_skip "$runtime" 'not installed'
		continue
	}
	daemon_start --no-background || exit 1
	switch "$runtime"
	tap_ok "$runtime: the daemon ends in order" daemon_stop
	rm -rf "$LOCUM_ROOT" "$LOCUM_RUN"
done
tap_is 'no mount is left' "$(daemon_mounts)" ''
tap_end
