#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# stalled.sh BUILDDIR - a registry that stalls: waiters can be killed, get EIO at the deadline, and nobody else notices.
set -u
srcdir=${srcdir:-$(dirname "$0")/../..}
LCM_LIB=$srcdir/tests/lib
. "$LCM_LIB/tap.sh"
. "$LCM_LIB/images.sh"
. "$LCM_LIB/daemon.sh"

tap_begin stalled 100
daemon_begin "${1:?usage: stalled.sh BUILDDIR}"
IMG=$TAP_DIR/img
MNT=$TAP_DIR/mnt
STALL=$TAP_DIR/stall
mkdir "$MNT"

same()
{
	tap_limit 20 cmp "$MNT/$1" "$IMG/rootfs/$1"
}

# Starts a reader that will wait: READER. It is waiting for the gate once the daemon counts it.
reader()
{
	cat "$MNT/$1" >"$TAP_DIR/read.$2" 2>"$TAP_DIR/read.err" &
	READER=$!
	tap_until 10 daemon_is st waiters "$2"
}

tap_ok 'a small image' small_image "$IMG"
bad_start "$IMG/zc" --stall "$STALL"
daemon_start --no-background --deadline 60
tap_ok 'mounted' tap_limit 30 "$LOCUM" mount --id st "$BAD_HOST/small:t" "$MNT"
tap_ok 'a file before the stall' same many/7
touch "$STALL"

# ---- SIGKILL ----
tap_ok 'a reader waits' reader many/20 1
python - "$READER" >"$TAP_DIR/killed" <<'END'
import os, signal, sys, time
pid = int(sys.argv[1])
start = time.monotonic()
os.kill(pid, signal.SIGKILL)
while time.monotonic() - start < 10:
    try:
        with open("/proc/%d/stat" % pid) as f:
            if f.read().rsplit(")", 1)[1].split()[0] in "ZX":
                break
    except FileNotFoundError:
        break
    time.sleep(0.001)
print("%.1f" % ((time.monotonic() - start) * 1000))
END
wait "$READER" 2>/dev/null
tap_is 'the reader died by SIGKILL' $? 137
tap_diag "a waiter was gone $(cat "$TAP_DIR/killed") ms after SIGKILL (wanted: 100 on an idle machine)"
tap_ok 'in less than a second' awk '{ exit !($1 < 1000) }' "$TAP_DIR/killed"
tap_ok 'it is not counted any more' tap_until 5 daemon_is st waiters 0
tap_ok 'another reader of the same file waits' reader many/20 1
kill -TERM "$READER"
tap_ok 'SIGTERM ends a waiter' tap_until 2 tap_gone "$READER"
wait "$READER" 2>/dev/null
tap_ok 'it is not counted' tap_until 5 daemon_is st waiters 0
tap_ok 'two readers of two files wait' reader many/21 1
first=$READER
tap_ok 'the second' reader many/22 2

# ---- meanwhile ----
tap_ok 'a local file is read' same many/7
tap_ok 'an empty directory listing, stat and find work' tap_limit 20 sh -c 'cd "$0" && find . -xdev -ls | wc -l' "$MNT"
tap_is 'find saw everything' "$(cd "$MNT" && tap_limit 20 find . | wc -l)" "$(cd "$IMG/rootfs" && find . | wc -l)"
tap_ok 'stat of the very file that is waited for' tap_limit 5 stat "$MNT/many/21"
tap_ok 'writes work' sh -c 'echo hello >"$0/tmp/new" && cat "$0/tmp/new"' "$MNT"
tap_ok 'locum status answers' tap_limit 5 "$LOCUM" status st
rm "$STALL"
for pid in "$first" "$READER"; do
	wait "$pid"
	tap_is 'the stall is over: a waiter has its file' $? 0
done
tap_ok 'and it is right' cmp "$TAP_DIR/read.2" "$IMG/rootfs/many/22"
tap_ok 'the killed ones can be read too' same many/20
tap_ok 'umount' "$LOCUM" umount --remove st
tap_ok 'nothing is left but the layers' test -z "$(daemon_mounts)"

# ---- the deadline ----
tap_ok 'drop' "$LOCUM" drop-cache --all
tap_ok 'mounted with a deadline of 2 s' tap_limit 30 "$LOCUM" mount --id st --deadline 2 "$BAD_HOST/small:t" "$MNT"
tap_ok 'a local file' same many/7
touch "$STALL"
start=$(now_ms)
tap_fails 'a reader gets an error' 1 tap_limit 20 cat "$MNT/many/30"
took=$(($(now_ms) - start))
tap_like 'it is EIO' "$(cat "$TAP_DIR/err")" 'Input/output error'
tap_diag "the deadline of 2 s was over after $took ms"
tap_ok 'at the deadline, not before and not much later' test "$took" -ge 1900 -a "$took" -lt 8000
start=$(now_ms)
tap_fails 'a reader of a big file gets EIO too' 1 tap_limit 20 cat "$MNT/data/big"
took=$(($(now_ms) - start))
tap_ok "at the deadline ($took ms)" test "$took" -ge 1900 -a "$took" -lt 12000
tap_ok 'a local file is read meanwhile' same many/7
tap_is 'the mount is still lazy' "$(daemon_field st phase)" lazy
rm "$STALL"
tap_ok 'a later open tries again and works' same many/30
tap_ok 'the big file too' same data/big
tap_ok 'umount' "$LOCUM" umount --remove st

# ---- nobody waits any more ----
tap_ok 'nothing is here' tap_until 5 daemon_nothing_here --all
tap_ok 'mounted' tap_limit 30 "$LOCUM" mount --id st --deadline 60 "$BAD_HOST/small:t" "$MNT"
touch "$STALL"
tap_ok 'a reader waits' reader many/20 1
kill -KILL "$READER"
wait "$READER" 2>/dev/null
tap_ok 'umount' "$LOCUM" umount --remove st
tap_ok 'what it waited for keeps no layer' tap_until 5 daemon_nothing_here --all
rm "$STALL"
tap_ok 'daemon ends' daemon_stop

# ---- with the background pull on ----
rm -rf --one-file-system "$LOCUM_ROOT"
touch "$STALL"
bad_stop
set -- $(python "$LCM_LIB/badimage.py" layer "$IMG/zc" 0)
toc=$(python "$LCM_LIB/badimage.py" toc "$IMG/zc" 0)
bad_start "$IMG/zc" --stall "$STALL" --stall-only "$1:$toc"
daemon_start --deadline 2
tap_ok 'mounted while the data of a layer is held' tap_limit 30 "$LOCUM" mount --id bg "$BAD_HOST/small:t" "$MNT"
tap_fails 'its files: EIO' 1 tap_limit 20 cat "$MNT/many/40"
tap_ok 'the other layer is read' same etc/hostname
says 'wait gives up at its time limit' 1 'still lazy' "$LOCUM" wait --timeout 1 bg
rm "$STALL"
tap_ok 'the stall is over: native' tap_limit 40 "$LOCUM" wait --timeout 35 bg
tap_ok 'the tree is the reference' "$TREECMP" "$MNT" "$IMG/rootfs" --ignore-dir-times
tap_ok 'umount' "$LOCUM" umount --remove bg

# ---- not even a table of contents ----
tap_ok 'nothing is here' tap_until 5 daemon_nothing_here --all
bad_stop
bad_start "$IMG/zc" --stall "$STALL" --stall-only "$1:$((1 << 40))"
touch "$STALL"
"$LOCUM" mount --id toc "$BAD_HOST/small:t" "$MNT" >"$TAP_DIR/toc.out" 2>&1 &
mount=$!
tap_ok 'a mount waits for one' tap_until 10 daemon_is toc phase preparing
tap_ok 'umount' "$LOCUM" umount --remove toc
wait "$mount"
tap_is 'the mount failed' $? 1
tap_ok 'its fetch keeps no layer' tap_until 5 daemon_nothing_here --all
rm "$STALL"
tap_ok 'and it can be had again' tap_limit 30 "$LOCUM" mount --id toc "$BAD_HOST/small:t" "$MNT"
tap_ok 'a file' same many/40
tap_ok 'umount' "$LOCUM" umount --remove toc
tap_ok 'nothing is left' daemon_clean
tap_ok 'daemon ends' daemon_stop
tap_end
