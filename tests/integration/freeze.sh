#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# freeze.sh BUILDDIR - a registry that is gone while a container waits: it is frozen until the registry is back; the policy changes
# under it, it is killed, its daemon is.
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin freeze 120 "${1:-}"
IMG=$TAP_DIR/img
V2=/sys/fs/cgroup/unified/locum-freeze-$$
ID=freeze-$$
tap_cleanup 'own_cgroups 10 crun delete -f "$ID" >/dev/null 2>&1'

# What runs in the container: a pulse, and a reader of each file that it is told to read.
cat >"$TAP_DIR/work" <<'END'
i=0
while :; do i=$((i + 1)); echo $i >/tmp/new; mv /tmp/new /tmp/pulse; sleep 0.05; done &
while :; do
	for f in /tmp/read.*; do
		[ -e "$f" ] || continue
		n=${f##*.}
		rm "$f"
		{ cat /*/"$n" >"/tmp/got.$n"; echo $? >"/tmp/rc.$n"; } &
	done
	sleep 0.05
done
END

# [OPTION...]: a container in RUN (its supervisor) and PID
container()
{
	rm -f "$TAP_DIR/pid"
	"$LOCUM" run --no-tty --net none --id "$ID" -u 0 --pid-file "$TAP_DIR/pid" -v "$TAP_DIR/work:/tmp/work:ro" "$@" "$BAD_HOST/small:t" -- \
		/bin/sh /tmp/work >"$TAP_DIR/run.out" 2>&1 </dev/null &
	RUN=$!
	tap_until 20 test -s "$TAP_DIR/pid" && PID=$(cat "$TAP_DIR/pid") && IN=$(daemon_field "$ID" target) && tap_until 20 test -e "$IN/tmp/pulse"
}

beats()
{
	read -r beat <"$IN/tmp/pulse"
	tap_until 10 went_on
}

went_on()
{
	read -r now <"$IN/tmp/pulse" && [ "$now" != "$beat" ]
}

# FILTER: of the mount's status
ask()
{
	curl -sf --max-time 5 --unix-socket "$LOCUM_RUN/locum.sock" "http://locum/v1/mounts/$ID" | jq -er "$1"
}

# NAME: the container reads this file of /many or /data, which is not here; somebody waits then
reads()
{
	: >"$IN/tmp/read.$1"
	tap_until 10 ask 'select(.waiters > 0)'
}

# The cgroup that is frozen, by the daemon's word
frozen()
{
	ask '.frozen[0]'
}

is_frozen()
{
	dir=$(frozen) && grep -qx 1 "$dir/freezer.self_freezing" "$dir/cgroup.freeze" 2>/dev/null
}

freezes()
{
	tap_ok "$1" tap_until 20 is_frozen
	DIR=$(frozen)
}

stands_still()
{
	read -r beat <"$IN/tmp/pulse"
	tap_fails "$1" 1 tap_until 1 went_on
}

# The cgroup DIR is not, by the kernel's word
thawed()
{
	! grep -qx 1 "$DIR/freezer.self_freezing" "$DIR/cgroup.freeze" 2>/dev/null
}

status_of()
{
	tap_until 10 test -s "$IN/tmp/rc.$1" && cat "$IN/tmp/rc.$1"
}

again()
{
	bad_start "$IMG/zc" --port "$BAD_PORT"
}

# The registry is back, and nothing is here: what was under way for those that are gone may have come.
afresh()
{
	again && tap_until 10 daemon_nothing_here
}

tap_ok 'a small image' small_image "$IMG"
bad_start "$IMG/zc"
tap_ok 'the daemon' daemon_start --no-background --big-data 0
tap_ok 'a container' container --deadline 1 --at-deadline freeze
tap_ok 'it runs' beats
bad_stop
tap_ok 'the registry is gone; it reads what is not here' reads 20
freezes 'frozen at its deadline'
stands_still 'its pulse has stopped'
tap_like 'status says so' "$("$LOCUM" status "$ID")" "frozen: $DIR"
tap_like 'and since when it waits' "$("$LOCUM" status "$ID")" 'waiting for [1-9].*, frozen at 1.0 s'
tap_ok 'the daemon and we are not frozen' "$LOCUM" status

# ---- live ----
says 'a policy that is none' 1 'at_deadline, eio or freeze, is expected' "$LOCUM" deadline "$ID" --at-deadline burn
tap_ok 'and changes nothing' is_frozen
tap_ok 'a longer deadline' "$LOCUM" deadline "$ID" 600
tap_ok 'thaws it at once' beats
tap_is 'it waits on' "$(daemon_field "$ID" waiters)" 1
tap_ok 'a short one again' "$LOCUM" deadline "$ID" 1
freezes 'freezes it'
tap_ok 'hold for ever' "$LOCUM" deadline "$ID" 0
tap_ok 'thaws it too' beats
tap_ok 'EIO at the deadline' "$LOCUM" deadline "$ID" 1 --at-deadline eio
tap_is 'its reader gets the error' "$(status_of 20)" 1
tap_is 'nobody waits' "$(daemon_field "$ID" waiters)" 0

# ---- the daemon dies, and another comes ----
tap_ok 'frozen again' "$LOCUM" deadline "$ID" --at-deadline freeze
tap_ok 'by the next read' reads 21
freezes 'it'
daemon_kill
tap_fails 'it stays so without a daemon' 1 thawed
tap_ok 'the next daemon' daemon_start --no-background --big-data 0
tap_ok 'has thawed it' grep -q "id=$ID thawed: an earlier daemon" "$TAP_DIR/daemon.log"
tap_is 'and knows the policy' "$(daemon_field "$ID" at_deadline)/$(daemon_field "$ID" deadline_ms)" freeze/1000
freezes 'and freezes it in its turn'
tap_ok 'the registry is back' again
tap_is 'the reader has its file' "$(status_of 21)" 0
tap_ok 'as it should be' cmp "$IN/tmp/got.21" "$IMG/rootfs/many/21" # and the others of /many, which lie beside it, are here
tap_ok 'it runs' beats
tap_ok 'it is not frozen' thawed
tap_is 'no record is left' "$(ls "$LOCUM_RUN/frozen")" ''
bad_stop

# ---- the daemon ends in order ----
tap_ok 'another read' reads medium
freezes 'frozen'
tap_ok 'the daemon ends' daemon_stop
tap_ok 'and thaws it' beats
tap_ok 'the next one' daemon_start --no-background --big-data 0

# ---- killed ----
freezes 'frozen'
kill -KILL "$PID"
tap_ok 'its process is killed' tap_until 20 tap_gone "$PID"
wait "$RUN"
tap_is 'and its run ends' $? 137
tap_ok 'its mount too' tap_until 10 sh -c "test \"\$('$LOCUM' status --json | jq length)\" = 0"
tap_ok 'and its cgroup' tap_until 10 sh -c "! test -e '$DIR'"

# ---- the unified hierarchy, where the container is in one of its own ----
v2()
{
	mkdir "$V2" || return 1
	tap_cleanup "rmdir '$V2'"
	# some may end meanwhile
	for pid in $(cat "$(awk -F: '$2 == "freezer" { print "/sys/fs/cgroup/freezer" $3 }' "/proc/$PID/cgroup")/cgroup.procs"); do
		echo "$pid" >"$V2/cgroup.procs" 2>/dev/null || :
	done
}

tap_ok 'the registry is back' afresh
tap_ok 'another container' container --deadline 1 --at-deadline freeze
if [ -e /sys/fs/cgroup/unified/cgroup.procs ]; then
	tap_ok 'in a cgroup of the unified hierarchy' v2
	bad_stop
	tap_ok 'reads' reads medium
	freezes 'frozen'
	tap_is 'there' "$DIR" "$V2"
	stands_still 'it stands still'
	echo 0 >"$V2/cgroup.freeze"
	tap_ok 'thawed by somebody else' beats
	freezes 'then it is frozen again'
	kill -KILL "$PID"
	tap_ok 'a kill needs no thaw' tap_until 5 tap_gone "$PID"
	wait "$RUN"
	tap_is 'its run ends' $? 137
	tap_ok 'registry' afresh
	tap_ok 'a third container' container --deadline 1 --at-deadline freeze
fi

# ---- umount ----
bad_stop
tap_ok 'it reads' reads big
freezes 'frozen'
tap_ok 'umount' "$LOCUM" umount --lazy "$ID"
tap_ok 'thaws it' tap_until 5 thawed
kill -KILL "$PID"
wait "$RUN"
tap_is 'it can be killed' $? 137

# ---- what is no container's ----
tap_ok 'registry' afresh
tap_ok 'a mount' "$LOCUM" mount --id "$ID" --deadline 1 --at-deadline freeze "$BAD_HOST/small:t" "$M"
tap_ok 'a program in it' chroot "$M" /bin/busybox cat /many/7
bad_stop
chroot "$M" /bin/busybox cat /data/big >"$TAP_DIR/out.big" 2>&1 &
READER=$!
tap_ok 'of our own cgroup is not frozen' tap_until 20 ask 'select(.freeze_error // "" | test("is not of a container on this mount"))'
tap_ok 'nor are we' sh -c '! grep -qx 1 "/sys/fs/cgroup/freezer$(awk -F: "\$2 == \"freezer\" { print \$3 }" /proc/self/cgroup)/freezer.self_freezing" 2>/dev/null'
kill "$READER"
tap_ok 'it can be killed' tap_until 5 tap_gone "$READER"
wait "$READER" 2>/dev/null
tap_ok 'umount' "$LOCUM" umount --remove "$ID"
it_end
tap_end
