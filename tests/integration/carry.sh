#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A mount's limits and weight on its container's cgroup once the gate is gone: what is set, what is not, whose it is, and that it holds.
# Usage: carry.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin carry 100 "${1:-}"
BLKIO=/sys/fs/cgroup/blkio
python "$LCM_LIB/quiet.py" "$TAP_DIR/oci" 2 && bad_start "$TAP_DIR/oci" || exit 1
IT_REF=$BAD_HOST/x:t
it_pool_fs disk ext4 200M || tap_skip_all 'no loop device with ext4'
LOCUM_ROOT=$TAP_DIR/pool/disk/root
loop=$(findmnt -n -o SOURCE "$TAP_DIR/pool/disk")
disk=$(cat "/sys/block/${loop##*/}/dev")
queue=/sys/block/${loop##*/}/queue
# A loop device keeps its scheduler for whoever has it next.
echo none >"$queue/scheduler"
tap_cleanup "echo none >$queue/scheduler"

io()
{
	"$LOCUM" status --json a | jq -r ".containers[0].io$1"
}

io_is()
{
	[ "$(io "$1")" = "$2" ]
}

# KNOB VALUE: of the container's cgroup, for the disk
knob_is()
{
	[ "$(sed -n "s/^$disk //p" "$group/$1")" = "$2" ]
}

tie()
{
	curl -sf --unix-socket "$LOCUM_RUN/locum.sock" -d "{\"id\":\"c\",\"mount\":\"a\",\"pid\":$1}" http://locum/v1/containers
}

daemon_start || exit 1
tap_like 'doctor tells of limits' "$("$LOCUM" doctor)" '^(ok|warn) +io-limits +[^ ]'
tap_like 'and of weights' "$("$LOCUM" doctor)" '^(ok|warn) +io-weights +[^ ]'
tap_ok 'a mount with a policy' "$LOCUM" mount --id a --weight 300 "$IT_REF" "$M"
tap_ok 'more of it' "$LOCUM" meter set a --limit written_bytes=524288 --limit decode_ms=900
tap_ok 'it becomes native' it_wait a native 60
if [ ! -e $BLKIO/cgroup.procs ]; then
	sleep 1000 &
	tap_cleanup "tap_kill $!"
	tap_ok 'a container without an I/O cgroup of its own' tie $!
	tap_ok 'has a reason' tap_until 10 sh -c 'test "$("$1" status --json a | jq -r ".containers[0].io.why")" != null' sh "$LOCUM"
	tap_skip 'limits and weights' 'no blkio controller of cgroup v1'
	tap_ok 'umount' "$LOCUM" umount --remove a
	it_end
	tap_end
fi

# ---- one in nobody's cgroup ----
sleep 1000 &
tap_cleanup "tap_kill $!"
tap_ok 'a process of the daemon'"'"'s cgroup' tie $!
tap_ok 'is limited by nobody' tap_until 10 io_is .why 'the container has no I/O cgroup of its own'
tap_like 'meter show says so' "$("$LOCUM" meter show a)" 'container c: nothing is carried over: the container has no'
tap_ok 'it ends' tap_kill $!
tap_ok 'and is forgotten' tap_until 10 daemon_is a containers ''

# ---- one in somebody's cgroup ----
group=$BLKIO/locum-test-$$
mkdir "$group" && tap_cleanup "rmdir $group"
in_group()
{
	sh -c 'echo $$ >"$1/cgroup.procs"; exec sleep 1000' sh "$group" &
	tap_cleanup "tap_kill $!"
	tap_until 10 grep -qx $! "$group/cgroup.procs" || exit 1
}
in_group
other=$!
in_group
tap_ok 'a process in a cgroup with others' tie $!
tap_ok 'is limited by nobody' tap_until 10 sh -c '"$1" status --json a | jq -e ".containers[0].io.why | test(\"not the container.s alone: process $2 in it\")"' sh "$LOCUM" $other
tap_is 'nor are they' "$(cat "$group/blkio.throttle.read_bps_device")" ''
tap_ok 'it ends' tap_kill $!
tap_ok 'and is forgotten' tap_until 10 daemon_is a containers ''
tap_ok 'the other one goes' tap_kill $other

# ---- limits ----
in_group
container=$!
tap_ok 'a container with one of its own' tie $container
tap_ok 'has the limit on what it reads' tap_until 10 knob_is blkio.throttle.read_bps_device 524288
tap_ok 'status says so' tap_until 10 io_is .read_bytes.set 524288
tap_like 'meter show says so' "$("$LOCUM" meter show a)" "container c: read_bytes 524288 on disk $disk, by $group"
tap_like 'what is for decoders is for nothing any more' "$("$LOCUM" meter show a)" 'limit decode_ms 900 .*nothing left'
tap_like 'why there is no weight' "$("$LOCUM" meter show a)" "weight is not carried over: nothing shares disk $disk by weight"
from=$(now_ms)
tap_ok 'it reads 1 MiB from the disk' sh -c 'echo $$ >"$1/cgroup.procs"; dd if="$2" of=/dev/null bs=256k count=4 iflag=direct' sh "$group" "$(find "$LOCUM_ROOT/real" -name f0)"
took=$(($(now_ms) - from))
tap_diag "it took $took ms"
tap_ok 'in no less time than the limit says' [ $took -ge 1400 ]
tap_ok 'a limit is changed live' "$LOCUM" meter set a --limit written_bytes=10485760 --limit requests=500/500
tap_ok 'and is there' tap_until 10 knob_is blkio.throttle.read_bps_device 10485760
tap_ok 'the other one, too' tap_until 10 knob_is blkio.throttle.read_iops_device 1000

# ---- the next daemon ----
daemon_stop
tap_ok 'they outlive the daemon' knob_is blkio.throttle.read_bps_device 10485760
daemon_start || exit 1
tap_ok 'as the policy does: the next one knows' tap_until 10 io_is .read_bytes.set 10485760
tap_ok 'and what was before it' io_is .read_bytes.before 0
tap_ok 'the policy is lifted' "$LOCUM" meter set a --no-limits
tap_ok 'and what it had set is gone' tap_until 10 knob_is blkio.throttle.read_bps_device ''
tap_ok 'all of it' tap_until 10 knob_is blkio.throttle.read_iops_device ''

# ---- the administrator's ----
echo "$disk 1000000" >"$group/blkio.throttle.read_bps_device"
tap_ok 'a wider limit than the administrator'"'"'s' "$LOCUM" meter set a --limit written_bytes=2000000
tap_ok 'is not set' tap_until 10 io_is .read_bytes.why 'blkio.throttle.read_bps_device has 1000000 already, set by somebody else'
tap_ok 'his is there' knob_is blkio.throttle.read_bps_device 1000000
tap_ok 'a tighter one' "$LOCUM" meter set a --limit written_bytes=400000
tap_ok 'is' tap_until 10 knob_is blkio.throttle.read_bps_device 400000
tap_ok 'lifted' "$LOCUM" meter set a --no-limits
tap_ok 'his is back' tap_until 10 knob_is blkio.throttle.read_bps_device 1000000
tap_ok 'again' "$LOCUM" meter set a --limit written_bytes=400000
tap_ok 'set' tap_until 10 io_is .read_bytes.set 400000
echo "$disk 77777" >"$group/blkio.throttle.read_bps_device"
tap_ok 'he changes it meanwhile' "$LOCUM" meter set a --no-limits
tap_ok 'the policy is gone' tap_until 10 io_is .read_bytes null
tap_ok 'and his stays' knob_is blkio.throttle.read_bps_device 77777

# ---- weights ----
if echo bfq >"$queue/scheduler" 2>/dev/null; then
	echo 1 >"$queue/iosched/low_latency"
	tap_ok 'with BFQ, and its low_latency' "$LOCUM" meter set a --weight 301
	tap_ok 'there is no weight either' tap_until 10 io_is .weight.why "BFQ of disk $disk has low_latency on: it ignores weights then"
	echo 0 >"$queue/iosched/low_latency"
	tap_ok 'without' "$LOCUM" meter set a --weight 302
	tap_ok 'there is' tap_until 10 grep -qx 302 "$group/blkio.bfq.weight"
	tap_like 'doctor knows' "$("$LOCUM" doctor --root "$LOCUM_ROOT")" 'io-weights +blkio.bfq.weight'
	tap_ok 'more than it can have' "$LOCUM" meter set a --weight 5000
	tap_ok 'is as much as it can' tap_until 10 grep -qx 1000 "$group/blkio.bfq.weight"
	tap_ok 'the mount goes' "$LOCUM" umount --lazy --remove a
	tap_ok 'and its weight with it' tap_until 10 grep -qx 100 "$group/blkio.bfq.weight"
else
	tap_skip 'weights' 'no BFQ'
	tap_ok 'umount' "$LOCUM" umount --lazy --remove a
fi
tap_kill $container
it_end
tap_end
