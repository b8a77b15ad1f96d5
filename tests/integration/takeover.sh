#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The daemon is lost at any moment while containers use lazy mounts; the next one answers what they wait for.
# Usage: takeover.sh BUILDDIR [KILLS [MOUNTS]]; 500 20 takes some ten minutes
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
kills=${2:-12}
mounts=${3:-3}
it_begin takeover $((200 + kills * 4)) "${1:-}"
STALL=$TAP_DIR/stall

# FILE OF THE IMAGE: its content by the mount is that of the reference
right()
{
	tap_limit 30 cmp "$M/$1" "$IMG/rootfs/$1"
}

waiting()
{
	daemon_is "$1" waiters "$2"
}

stalled_start()
{
	# shellcheck disable=SC2046
	set -- $(python "$LCM_LIB/badimage.py" layer "$IMG/zc" 0)
	bad_start "$IMG/zc" --stall "$STALL" --stall-only "$1:$(python "$LCM_LIB/badimage.py" toc "$IMG/zc" 0)"
}

# ---- one waiter, one kill ----
IMG=$TAP_DIR/img
tap_ok 'a small image' small_image "$IMG"
stalled_start && daemon_start --no-background || exit 1
touch "$STALL"
tap_ok 'lazy mount' tap_limit 30 "$LOCUM" mount --id a --deadline 120 "$BAD_HOST/small:t" "$M"
cat "$M/many/5" >"$TAP_DIR/5" 2>"$TAP_DIR/5.err" &
waiter=$!
tap_ok 'somebody waits' tap_until 10 waiting a 1
daemon_kill
cat "$M/many/6" >"$TAP_DIR/6" 2>"$TAP_DIR/6.err" &
waiter2=$!
cat "$M/many/7" >"$TAP_DIR/7" 2>"$TAP_DIR/7.err" &
doomed=$!
tap_is 'find works without a daemon' "$(cd "$M" && tap_limit 10 find . | wc -l)" "$(cd "$IMG/rootfs" && find . | wc -l)"
kill -KILL "$doomed"
tap_ok 'who began to wait without a daemon can be killed' tap_until 5 tap_gone "$doomed"
wait "$doomed" 2>/dev/null
tap_ok 'the others still wait' kill -0 "$waiter" "$waiter2"
daemon_start --no-background || exit 1
tap_ok 'the next daemon has their requests' tap_until 10 waiting a 2
rm "$STALL"
wait "$waiter"
tap_is 'the first is answered' $? 0
wait "$waiter2"
tap_is 'the second too' $? 0
tap_ok 'with the right bytes' cmp "$TAP_DIR/5" "$IMG/rootfs/many/5"
tap_ok 'both' cmp "$TAP_DIR/6" "$IMG/rootfs/many/6"
tap_is 'as doctor said this kernel can' "$("$LOCUM" doctor --json | jq -r '.checks[] | select(.name == "fuse-resend") | .state')" ok

# ---- a waiter whose request was read can be killed when nobody is there ----
tap_ok 'umount' "$LOCUM" umount --remove a
tap_ok 'drop' "$LOCUM" drop-cache
touch "$STALL"
tap_ok 'a new mount' tap_limit 30 "$LOCUM" mount --id a --deadline 120 "$BAD_HOST/small:t" "$M"
cat "$M/many/8" >/dev/null 2>&1 &
doomed=$!
tap_ok 'somebody waits again' tap_until 10 waiting a 1
daemon_kill
sleep 0.2
kill -KILL "$doomed" 2>/dev/null
tap_ok 'and can be killed without a daemon' tap_until 5 tap_gone "$doomed"
wait "$doomed" 2>/dev/null

# ---- stopped in order, replaced ----
daemon_start --no-background || exit 1
cat "$M/many/9" >"$TAP_DIR/9" 2>/dev/null &
waiter=$!
tap_ok 'somebody waits at the next daemon' tap_until 10 waiting a 1
old=$DAEMON_PID
"$LOCUM" daemon --replace --no-background >>"$TAP_DIR/daemon.log" 2>&1 </dev/null 9<&- &
DAEMON_PID=$!
tap_ok 'it is replaced' tap_until 20 daemon_answers
wait "$old"
tap_is 'the old one ended in order' $? 0
tap_ok 'the waiter is with the new one' tap_until 10 waiting a 1
rm "$STALL"
wait "$waiter"
tap_is 'and is answered' $? 0
tap_ok 'with the right bytes' cmp "$TAP_DIR/9" "$IMG/rootfs/many/9"
tap_ok 'what is missing is fetched on demand' right many/10
tap_ok 'the rest is pulled' tap_limit 60 "$LOCUM" pull "$BAD_HOST/small:t"
tap_ok 'it becomes native' it_wait a native 30
tap_ok 'the whole tree is the reference' "$TREECMP" "$M" "$IMG/rootfs" --ignore-dir-times
tap_ok 'umount' "$LOCUM" umount --remove a
tap_ok 'without a gate there is no holder once the daemon has ended' daemon_stop
tap_ok 'it is gone' tap_until 5 sh -c '. "$1/daemon.sh"; [ -z "$(daemon_holder)" ]' sh "$LCM_LIB"

# ---- unmounted while there is no daemon ----
daemon_start --no-background || exit 1
"$LOCUM" drop-cache --all >/dev/null
tap_ok 'mount' "$LOCUM" mount --id b "$BAD_HOST/small:t" "$M"
daemon_kill
umount "$M"
tap_ok 'unmounted without a daemon: the holder has nothing to hold' tap_until 5 sh -c '. "$1/daemon.sh"; [ -z "$(daemon_holder)" ]' sh "$LCM_LIB"
daemon_start --no-background || exit 1
tap_is 'the next daemon does not know it' "$("$LOCUM" status --json | jq length)" 0

# ---- a mount that the next daemon cannot go on with ----
touch "$STALL"
tap_ok 'mount' tap_limit 30 "$LOCUM" mount --id c "$BAD_HOST/small:t" "$M"
cat "$M/many/7" >/dev/null 2>&1 &
waiter=$!
tap_ok 'somebody waits' tap_until 10 waiting c 1
daemon_kill
for blob in "$LOCUM_ROOT"/blobs/*; do
	rm "$blob" && mkdir "$blob"
done
daemon_start --no-background || exit 1
tap_ok 'its layer cannot be opened: it has failed' tap_until 10 daemon_is c phase failed
tap_ok 'who waits is let go' tap_until 10 tap_gone "$waiter"
wait "$waiter"
tap_is 'with an error' $? 1
tap_ok 'umount' "$LOCUM" umount --remove c
rmdir "$LOCUM_ROOT"/blobs/* 2>/dev/null
rm "$STALL"
tap_ok 'its end' daemon_stop
bad_stop
rm -rf --one-file-system "$LOCUM_ROOT"

# ---- systemd's descriptor store ----
stalled_start || exit 1
touch "$STALL"
python "$LCM_LIB/fdstore.py" "$TAP_DIR/notify" "$LOCUM" daemon --keep systemd --no-background >"$TAP_DIR/manager" 2>>"$TAP_DIR/daemon.log" &
manager=$!
tap_cleanup "tap_kill $manager"
tap_ok 'a daemon of a service manager is ready' tap_until 20 grep -q READY=1 "$TAP_DIR/manager"
tap_ok 'mount' tap_limit 30 "$LOCUM" mount --id unit "$BAD_HOST/small:t" "$M"
tap_ok 'the manager has its gate: two descriptors' grep -q '^FDSTORE=1 FDNAME=gate-unit FDPOLL=0 2$' "$TAP_DIR/manager"
tap_is 'and there is no holder' "$(daemon_holder)" ''
says 'what systemd keeps another daemon would not get' 1 'systemctl restart locum' "$LOCUM" daemon --replace
cat "$M/many/5" >"$TAP_DIR/5" 2>/dev/null &
waiter=$!
tap_ok 'somebody waits' tap_until 10 waiting unit 1
kill -KILL "$(sed -n 's/^started \([0-9]*\) .*/\1/p' "$TAP_DIR/manager" | tail -n 1)"
tap_ok 'it is started again, with both' tap_until 20 grep -q '^started [0-9]* 2$' "$TAP_DIR/manager"
tap_ok 'and has the waiter' tap_until 20 waiting unit 1
rm "$STALL"
wait "$waiter"
tap_is 'who is answered' $? 0
tap_ok 'with the right bytes' cmp "$TAP_DIR/5" "$IMG/rootfs/many/5"
tap_ok 'umount' "$LOCUM" umount --remove unit
tap_ok 'the manager lets go of it' tap_until 5 grep -q '^FDSTOREREMOVE=1 FDNAME=gate-unit' "$TAP_DIR/manager"
tap_ok 'stop' "$LOCUM" daemon --stop
tap_ok 'the manager ends with it' tap_until 10 tap_gone "$manager"
bad_stop
rm -rf --one-file-system "$LOCUM_ROOT"

# ---- big files: open, mapped and bound while daemons come and go ----
it_image nasty-small zstd:chunked && it_serve && daemon_start --no-background --big-data 64K --big-exec 64K || exit 1
tap_ok 'mount with big files' "$LOCUM" mount --id big --big-data 64K --big-exec 64K "$IT_REF" "$M"
big=$(find "$M" -type f -size +1000k | head -n 1)
exec 9<"$big"
head -c 65536 <&9 >"$TAP_DIR/head"
tap_ok 'the kernel holds it' tap_until 5 daemon_is big bound_inodes 1
daemon_kill
daemon_start --no-background --big-data 0 || exit 1
tap_ok 'the next daemon asks the kernel' tap_until 10 daemon_is big bound_inodes 1
cat <&9 >"$TAP_DIR/tail"
it_serve_pid=$BAD_PID
tap_ok 'the rest is pulled' tap_limit 100 "$LOCUM" pull "$IT_REF"
tap_ok 'it drains' tap_until 20 daemon_is big phase draining
tap_ok 'what was read by the old handle is right' sh -c 'cat "$1" "$2" | cmp - "$3"' sh "$TAP_DIR/head" "$TAP_DIR/tail" "$big"
tap_is 'held by the open file' "$(daemon_field big bound_inodes)" 1
daemon_kill
daemon_start || exit 1
tap_ok 'a third one drains on' tap_until 20 daemon_is big phase draining
exec 9<&-
tap_ok 'native after the last close' it_wait big native 60
tap_ok 'the registry served all of that' kill -0 "$it_serve_pid"
tap_ok 'umount' "$LOCUM" umount --remove big
tap_ok 'drop' "$LOCUM" drop-cache --all

# ---- many readers, many kills ----
bad_stop
it_image python uncompressed && it_reference && tree=$IT_TREE && it_image python zstd:chunked && it_serve --delay-ms 100 || exit 1

# MOUNT...: reads every file of each by two processes at once, in orders of their own, and compares with the reference
readers()
{
	python - "$tree" "$@" <<-'END'
		import hashlib, multiprocessing, os, random, sys
		def files(top):
		    return [os.path.relpath(os.path.join(d, f), top) for d, _, fs in os.walk(top) for f in fs
		            if not os.path.islink(os.path.join(d, f)) and os.path.isfile(os.path.join(d, f))]
		def digest(path):
		    with open(path, "rb") as h:
		        return hashlib.sha256(h.read()).hexdigest()
		tree = os.fsencode(sys.argv[1])
		want = {f: digest(os.path.join(tree, f)) for f in files(tree)}
		def reader(job):
		    mount, seed = job
		    mine = list(want)
		    random.Random(seed).shuffle(mine)
		    return sum(digest(os.path.join(os.fsencode(mount), f)) != want[f] for f in mine)
		jobs = [(m, i) for i, m in enumerate(sys.argv[2:] * 2)]
		with multiprocessing.Pool(len(jobs)) as pool:
		    wrong = sum(pool.map(reader, jobs, chunksize=1))
		print(len(want) * len(jobs), "files read,", wrong, "wrong")
		sys.exit(wrong != 0)
	END
}

# One daemon's life: any moment of it will do.
kill_daemon()
{
	sleep "0.$(($(now_ms) % 8 + 1))"
	start=$(now_ms)
	daemon_kill
	daemon_start --no-background || exit 1
	echo $(($(now_ms) - start)) >>"$TAP_DIR/took"
	done_kills=$((done_kills + 1))
}

: >"$TAP_DIR/took"
: >"$TAP_DIR/read"
done_kills=0
failed=0
round=0
while [ "$done_kills" -lt "$kills" ]; do
	round=$((round + 1))
	set --
	i=0
	while [ $i -lt "$mounts" ]; do
		mkdir -p "$TAP_DIR/m$i"
		"$LOCUM" mount --id "load$i" "$IT_REF" "$TAP_DIR/m$i" >/dev/null || exit 1
		set -- "$@" "$TAP_DIR/m$i"
		i=$((i + 1))
	done
	readers "$@" >>"$TAP_DIR/read" 2>&1 &
	pid=$!
	while [ "$done_kills" -lt "$kills" ] && ! tap_gone "$pid"; do
		kill_daemon
	done
	tap_until 120 tap_gone "$pid"
	wait "$pid" || failed=$((failed + 1))
	for m; do
		"$LOCUM" umount --remove "$m" || failed=$((failed + 1))
	done
	"$LOCUM" drop-cache >/dev/null
	[ "$failed" = 0 ] || break
done
tap_is 'no reader met an error or a wrong byte' "$failed" 0
tap_diag "$(cat "$TAP_DIR/read")"
tap_is 'so many daemons were killed under them' "$done_kills" "$kills"
tap_diag "$mounts mounts, $round rounds, $done_kills kills; ms from kill to the next daemon's answer: $(sort -n "$TAP_DIR/took" |
	awk '{ v[NR] = $1 } END { print "median " v[int((NR + 1) / 2)] ", p99 " v[int((NR * 99 + 99) / 100)] ", most " v[NR] }')"
it_end
tap_end
