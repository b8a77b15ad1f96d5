#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Background beside a container that wants every processor: it waits, has its share when that was said, and whoever waits for something gets it.
# Usage: idle.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin idle 150 "${1:-}"
QUIET=$(realpath "$1")/bench/locum-bench-quiet
python "$LCM_LIB/quiet.py" "$TAP_DIR/oci" 6 && bad_start "$TAP_DIR/oci" || exit 1
IT_REF=$BAD_HOST/x:t
mkdir "$TAP_DIR/m2"

# One thread for each processor leaves nothing idle.
burn()
{
	"$QUIET" burn 600000 "$(nproc)" >/dev/null &
	burner=$!
	tap_cleanup "tap_kill $burner"
}

background()
{
	curl -s --unix-socket "$LOCUM_RUN/locum.sock" http://locum/v1/daemon | jq -r ".background.$1"
}

background_is()
{
	[ "$(background "$1")" = "$2" ]
}

native()
{
	daemon_is "$1" phase native
}

decoders()
{
	# shellcheck disable=SC2046
	for pid in $(cat /proc/"$DAEMON_PID"/task/*/children); do
		[ "$(cat "/proc/$pid/comm")" != locum-decode ] || echo "$pid"
	done
}

stopped()
{
	decoders | sed 's|.*|/proc/&/stat|' | xargs cut -d' ' -f3 | grep -q T
}

idle_threads()
{
	for task in /proc/"$DAEMON_PID"/task/*; do
		awk '{ sub(/.*\) /, ""); if ($39 == 5) n = 1 } END { exit !n }' "$task/stat" && echo "${task##*/}"
	done
	return 0
}

# ---- nobody waits ----
burn
daemon_start --idle-share 0 || exit 1
tap_is 'quiescent by default' "$(background state)" none
tap_ok 'a mount' "$LOCUM" mount --id a "$IT_REF" "$M"
tap_ok 'while all processors are wanted the rest waits' tap_until 30 background_is state waiting
tap_like 'status says so' "$("$LOCUM" status a)" 'the rest waits for a processor'
tap_ok 'its threads have the idle class' [ -n "$(idle_threads)" ]
tap_ok 'its decoder is stopped' tap_until 30 stopped
cgroup=$(background cgroup)
if [ "$(background cgroup_threads)" = true ]; then
	tap_is 'the idle cgroup has them all' "$(idle_threads | while read -r tid; do grep -cx "$tid" "$cgroup/tasks"; done | sort -u)" 1
	tap_is 'and is one' "$(cat "$cgroup/cpu.idle")" 1
	tap_ok 'and has no other thread of the daemon' [ "$(for task in /proc/"$DAEMON_PID"/task/*; do grep -x "${task##*/}" "$cgroup/tasks"; done | wc -l)" = "$(idle_threads | wc -l)" ]
else
	tap_ok 'without an idle cgroup for threads the reason is known' [ "$cgroup" != null -o "$(background no_cgroup)" != null ]
fi
tap_ok 'demand is served meanwhile' cat "$M/f3"
tap_ok 'and the rest still waits' tap_until 30 background_is state waiting
tap_is 'and is not here' "$(daemon_field a phase)" lazy
tap_ok 'status --watch does not count as waiting' sh -c 'timeout 2 "$1" status --watch a; test $? = 124' sh "$LOCUM"
tap_ok 'the rest waits on' tap_until 30 background_is state waiting
tap_is 'and is not here' "$(daemon_field a phase)" lazy

# ---- somebody comes to wait ----
tap_ok 'locum wait has it brought at once' it_wait a native 60
[ "$(background cgroup_threads)" != true ] || tap_is 'the idle cgroup is as before' "$(cat "$cgroup/cpu.idle")" 1
tap_ok 'umount' "$LOCUM" umount --remove a
tap_ok 'the layers go' "$LOCUM" drop-cache
tap_ok 'a pull that somebody waits for is no background' tap_limit 60 "$LOCUM" pull "$IT_REF"
tap_ok 'the layers go' "$LOCUM" drop-cache
tap_ok 'a mount' "$LOCUM" mount --id a "$IT_REF" "$M"
tap_ok 'the rest waits' tap_until 30 background_is state waiting
tap_ok 'a full mount of the same image does not' tap_limit 60 "$LOCUM" mount --full --id b "$IT_REF" "$TAP_DIR/m2"
tap_ok 'nor the first one any more' tap_until 60 native a
tap_ok 'umount' "$LOCUM" umount --remove a
tap_ok 'umount' "$LOCUM" umount --remove b
tap_ok 'the layers go' "$LOCUM" drop-cache

# ---- daemons that go meanwhile ----
tap_ok 'a mount' "$LOCUM" mount --id a "$IT_REF" "$M"
tap_ok 'the rest waits' tap_until 30 stopped
tap_ok 'a daemon ends while it waits' daemon_stop
[ "$cgroup" = null ] || tap_ok 'without its cgroup' [ ! -e "$cgroup" ]
daemon_start --idle-share 0 || exit 1
cgroup=$(background cgroup)
tap_ok 'the next one waits, too' tap_until 30 stopped
left=$(decoders)
daemon_kill
tap_ok 'of a killed one no stopped decoder is left' tap_until 20 sh -c 'for pid; do ! kill -0 "$pid" 2>/dev/null || exit 1; done' sh $left
daemon_start --idle-wait 0 --idle-share 50 || exit 1
[ "$cgroup" = null ] || tap_ok 'nor its cgroup' [ ! -e "$cgroup" ]

# ---- starved ----
tap_ok 'with a share the rest comes though all processors are wanted' tap_until 60 native a
tap_ok 'as its share' [ "$(background shares)" -ge 1 ]
tap_ok 'umount' "$LOCUM" umount --remove a
daemon_stop
rm -rf --one-file-system "$LOCUM_ROOT"

# ---- a processor is given up ----
daemon_start --idle-wait 5 || exit 1
tap_ok 'a mount' "$LOCUM" mount --id a "$IT_REF" "$M"
tap_ok 'the rest waits' tap_until 30 background_is state waiting
tap_kill $burner
tap_ok 'and comes once nobody wants them any more' tap_until 90 native a
# Whether this machine has nothing else to do is not known.
tap_ok 'as a release, or as its share' [ "$(background released)" -ge 1 -o "$(background shares)" -ge 1 ]
tap_like 'metrics have it' "$(curl -s --unix-socket "$LOCUM_RUN/locum.sock" http://locum/metrics)" '^locum_background_processor_seconds_total [0-9.e-]+$'
tap_ok 'umount' "$LOCUM" umount --remove a
says 'a share of more than half' 2 '0 to 50 is expected' "$LOCUM" daemon --idle-share 51
says 'no slice' 2 '1 to 1000 is expected' "$LOCUM" daemon --idle-slice 0
says 'no such way' 2 'gated, class or no' "$LOCUM" daemon --idle perhaps
tap_like 'doctor tells of the class' "$("$LOCUM" doctor)" 'idle-class +yes'
tap_like 'and of the cgroup' "$("$LOCUM" doctor)" 'idle-cgroup +'
it_end
tap_end
