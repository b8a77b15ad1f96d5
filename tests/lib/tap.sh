# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# tap.sh - integration cases in POSIX sh that speak TAP. Source it, then:
#
#   tap_begin NAME [SECONDS]     private directory $TAP_DIR, cleanup at exit, end of the whole case after SECONDS (300)
#   tap_ok TEXT CMD...           CMD succeeds
#   tap_fails TEXT STATUS CMD... CMD ends with exactly STATUS; its stderr is in $TAP_DIR/err
#   tap_is TEXT GOT WANTED       two strings are the same
#   tap_like TEXT STRING ERE     STRING has a line that matches
#   tap_skip TEXT REASON         counted; with LCM_TESTS_MUST_RUN=1 it is a failure
#   tap_skip_all REASON          the machine cannot run this case: exit 77 (1 with LCM_TESTS_MUST_RUN=1)
#   tap_limit SECONDS CMD...     run CMD with a time limit (status 124 when it is over)
#   tap_until SECONDS CMD...     repeat CMD every 50 ms until it succeeds; status 1 when the time is over
#   tap_cleanup 'SHELL CODE'     run at exit, last one first, before $TAP_DIR goes
#   tap_clock_stop, tap_clock_start  what is made once for many cases does not count; start begins SECONDS anew
#   tap_kill PID                 TERM, after 5 s KILL, and wait until it is gone
#   tap_diag TEXT...             comment lines
#   tap_end                      the plan and the count as last lines; status 0 only if something ran and all passed
#
# Everything mounted below $TAP_DIR is unmounted at exit. With TAP_KEEP=1, or when something failed, $TAP_DIR stays.

tap_n=0
tap_failed=0
tap_skipped=0
tap_todo=
tap_ended=0
TAP_DIR=

tap_diag()
{
	printf '%s\n' "$*" | sed 's/^/# /'
}

tap_result()
{
	# RESULT TEXT: the one place that counts
	tap_n=$((tap_n + 1))
	[ "$1" = ok ] || tap_failed=$((tap_failed + 1))
	printf '%s %d - %s\n' "$1" "$tap_n" "$2"
}

tap_output()
{
	# the last lines of what a command said
	tail -n 20 "$TAP_DIR/out" "$TAP_DIR/err" 2>/dev/null | sed 's/^/#   /'
}

tap_ok()
{
	tap_text=$1
	shift
	if "$@" >"$TAP_DIR/out" 2>"$TAP_DIR/err" </dev/null; then
		tap_result ok "$tap_text"
	else
		tap_status=$?
		tap_result 'not ok' "$tap_text"
		tap_diag "status $tap_status: $*"
		tap_output
		return 1
	fi
}

tap_fails()
{
	tap_text=$1
	tap_want=$2
	shift 2
	tap_status=0
	"$@" >"$TAP_DIR/out" 2>"$TAP_DIR/err" </dev/null || tap_status=$?
	if [ "$tap_status" -eq "$tap_want" ]; then
		tap_result ok "$tap_text"
	else
		tap_result 'not ok' "$tap_text"
		tap_diag "status $tap_status, not $tap_want: $*"
		tap_output
		return 1
	fi
}

tap_is()
{
	if [ "$2" = "$3" ]; then
		tap_result ok "$1"
	else
		tap_result 'not ok' "$1"
		tap_diag "got:    $2"
		tap_diag "wanted: $3"
		return 1
	fi
}

tap_like()
{
	if printf '%s\n' "$2" | grep -Eq -- "$3"; then
		tap_result ok "$1"
	else
		tap_result 'not ok' "$1"
		tap_diag "got:      $2"
		tap_diag "no match: $3"
		return 1
	fi
}

tap_skip()
{
	if [ "${LCM_TESTS_MUST_RUN:-0}" = 1 ]; then
		tap_result 'not ok' "$1 (must run, but: $2)"
		return 1
	fi
	tap_skipped=$((tap_skipped + 1))
	tap_result ok "$1 # SKIP $2"
}

tap_skip_all()
{
	tap_ended=1
	if [ "${LCM_TESTS_MUST_RUN:-0}" = 1 ]; then
		printf 'Bail out! must run, but: %s\n' "$1"
		exit 1
	fi
	printf '1..0 # SKIP %s\n' "$1"
	exit 77
}

tap_limit()
{
	tap_seconds=$1
	shift
	timeout -k 5 "$tap_seconds" "$@"
}

tap_until()
{
	tap_left=$(($1 * 20))
	shift
	while ! "$@" >/dev/null 2>&1; do
		tap_left=$((tap_left - 1))
		[ "$tap_left" -gt 0 ] || return 1
		sleep 0.05
	done
}

tap_cleanup()
{
	tap_todo="$1
$tap_todo"
}

tap_gone()
{
	# A zombie is gone too: only its parent's wait is missing.
	! kill -0 "$1" 2>/dev/null || grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}

tap_kill()
{
	kill "$1" 2>/dev/null || return 0
	tap_until 5 tap_gone "$1" || kill -KILL "$1" 2>/dev/null
	tap_until 5 tap_gone "$1"
	wait "$1" 2>/dev/null || :
}

tap_unmount()
{
	# newest first; mount points are octal-escaped in mountinfo
	awk -v d="$TAP_DIR/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sed '1!G;h;$!d' |
	while IFS= read -r tap_mount; do
		umount -l "$(printf '%b' "$(printf '%s' "$tap_mount" | sed 's/\\\([0-7]\{3\}\)/\\0\1/g')")" || :
	done
}

tap_exit()
{
	tap_status=$?
	trap - EXIT
	trap '' INT TERM HUP
	[ -z "$tap_watchdog" ] || kill "$tap_watchdog" 2>/dev/null || :
	eval "$tap_todo"
	tap_unmount
	if [ "$tap_ended" = 0 ]; then
		printf 'Bail out! %s ended early with status %d\n' "$tap_name" "$tap_status"
		tap_failed=$((tap_failed + 1))
		[ "$tap_status" -ne 0 ] || tap_status=1
	fi
	if [ "${TAP_KEEP:-0}" = 1 ] || [ "$tap_failed" -gt 0 ]; then
		tap_diag "kept: $TAP_DIR"
	else
		rm -rf --one-file-system "$TAP_DIR"
	fi
	exit "$tap_status"
}

tap_watch()
{
	# in the background: ends the case, not the shell it was started from
	trap - EXIT
	sleep "$2" &
	tap_sleep=$!
	trap 'kill $tap_sleep; exit 0' TERM
	wait "$tap_sleep"
	printf '# time limit of %s s is over\n' "$2"
	# The shell acts on it only when the command that it waits for ends.
	trap '' TERM
	kill -TERM "$1"
	# shellcheck disable=SC2013
	for tap_child in $(cat "/proc/$1/task/$1/children"); do
		kill -TERM "$tap_child" 2>/dev/null || :
	done
}

tap_clock_start()
{
	tap_watch $$ "$tap_seconds_all" &
	tap_watchdog=$!
}

tap_clock_stop()
{
	[ -z "$tap_watchdog" ] || kill "$tap_watchdog" 2>/dev/null || :
	tap_watchdog=
}

tap_begin()
{
	tap_name=$1
	TAP_DIR=$(mktemp -d "${TMPDIR:-/var/tmp}/locum-$tap_name.XXXXXX") || exit 1
	tap_seconds_all=${2:-300}
	tap_watchdog=
	trap tap_exit EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
	tap_clock_start
	printf 'TAP version 13\n# %s\n' "$tap_name"
}

tap_end()
{
	tap_ended=1
	printf '1..%d\n' "$tap_n"
	printf '# %s: %d passed, %d failed, %d skipped of %d\n' "$tap_name" \
		$((tap_n - tap_failed - tap_skipped)) "$tap_failed" "$tap_skipped" "$tap_n"
	[ "$tap_n" -gt "$tap_skipped" ] || exit 1
	[ "$tap_failed" -eq 0 ] || exit 1
	exit 0
}
