#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# life.sh BUILDDIR [SECONDS] - everything at once, and the daemon ended in the middle of it: what has an owner must outlive
# what uses it. Of most use with --enable-sanitizers=address,undefined.
set -u
srcdir=${srcdir:-$(dirname "$0")/../..}
LCM_LIB=$srcdir/tests/lib
. "$LCM_LIB/tap.sh"
. "$LCM_LIB/images.sh"
. "$LCM_LIB/daemon.sh"

tap_begin life 280
daemon_begin "${1:?usage: life.sh BUILDDIR [SECONDS]}"
SECONDS_MAX=${2:-30}
IMG=$TAP_DIR/img
STALL=$TAP_DIR/stall
mkdir "$TAP_DIR/a" "$TAP_DIR/b"

has_waiters()
{
	[ "$(daemon_field "$1" waiters)" -ge "$2" ]
}

read_in_background()
{
	cat "$1" >/dev/null 2>&1 &
	readers="$readers $!"
}

tap_ok 'a small image' small_image "$IMG"
bad_start "$IMG/zc" --stall "$STALL"

# ---- the daemon ends, or somebody waits for all, while the pull lets demand go first ----
daemon_start --hold 1500
tap_ok 'mounted' tap_limit 30 "$LOCUM" mount --id a "$BAD_HOST/small:t" "$TAP_DIR/a"
tap_ok 'a file' cmp "$TAP_DIR/a/many/7" "$IMG/rootfs/many/7"
tap_ok 'the daemon ends while the pull yields' daemon_stop
daemon_start --hold 1500
tap_ok 'its mount is adopted and becomes native' tap_limit 40 "$LOCUM" wait --timeout 35 a
tap_ok 'umount' "$LOCUM" umount --remove a
tap_ok 'drop' "$LOCUM" drop-cache --all
tap_ok 'mounted again' tap_limit 30 "$LOCUM" mount --id a "$BAD_HOST/small:t" "$TAP_DIR/a"
tap_ok 'a file' cmp "$TAP_DIR/a/many/8" "$IMG/rootfs/many/8"
tap_ok 'a pull that yielded becomes urgent' tap_limit 20 "$LOCUM" pull "$BAD_HOST/small:t"
tap_ok 'umount' "$LOCUM" umount --remove a
tap_ok 'drop' "$LOCUM" drop-cache --all
tap_ok 'the daemon ends' daemon_stop

# ---- one leaves while two wait ----
daemon_start --no-background --deadline 60
for name in a b; do
	tap_ok "mounted at $name" tap_limit 30 "$LOCUM" mount --id "$name" "$BAD_HOST/small:t" "$TAP_DIR/$name"
done
touch "$STALL"
readers=
i=100
while [ "$i" -lt 116 ]; do
	read_in_background "$TAP_DIR/a/many/$i"
	i=$((i + 1))
done
tap_ok 'as many wait as may be fetched at once' tap_until 10 has_waiters a 16
cat "$TAP_DIR/a/many/200" >/dev/null 2>&1 &
leaver=$!
cat "$TAP_DIR/b/many/200" >"$TAP_DIR/read" 2>&1 &
stayer=$!
tap_ok 'two more wait for one file' tap_until 10 has_waiters a 17
tap_ok 'in two mounts' tap_until 10 has_waiters b 1
kill -KILL "$leaver"
tap_ok 'one of them is killed' tap_until 10 tap_gone "$leaver"
wait "$leaver" 2>/dev/null
rm "$STALL"
tap_ok 'the other gets its file' tap_until 15 tap_gone "$stayer"
kill -KILL "$stayer" 2>/dev/null
wait "$stayer" 2>/dev/null
tap_ok 'and the right one' cmp "$TAP_DIR/read" "$IMG/rootfs/many/200"
for reader in $readers; do
	wait "$reader"
done

# ---- a mount goes while a big file is read ----
touch "$STALL"
dd if="$TAP_DIR/a/data/big" of=/dev/null bs=64k count=1 skip=20 2>/dev/null &
reader=$!
tap_ok 'a reader of a big file waits' tap_until 10 has_waiters a 1
tap_ok 'umount -l' "$LOCUM" umount -l --remove a
tap_ok 'the reader ends' tap_until 10 tap_gone "$reader"
wait "$reader"
rm "$STALL"
tap_ok 'the other mount reads the big file' tap_limit 20 cmp "$TAP_DIR/b/data/big" "$IMG/rootfs/data/big"
tap_ok 'umount' "$LOCUM" umount -l --remove b
tap_ok 'drop' "$LOCUM" drop-cache --all
tap_ok 'the daemon ends' daemon_stop

# ---- everything at once ----
# Three forms of one image: their layers are shared once they are complete.
hosts=
for kind in zc gzip zstd; do
	"$BADREGISTRY" "$IMG/$kind" >"$TAP_DIR/$kind.out" 2>&1 </dev/null &
	tap_cleanup "tap_kill $!"
	tap_until 10 grep -q '^serving' "$TAP_DIR/$kind.out"
	hosts="$hosts $(sed -n 's|^serving .* on http://||p' "$TAP_DIR/$kind.out")"
done

# N: a number below N
random()
{
	awk -v s="$(od -An -N4 -tu4 /dev/urandom)" -v n="$1" 'BEGIN { print s % n }'
}

random_host()
{
	echo "$hosts" | awk -v i="$(random 3)" '{ print $(i + 1) }'
}

# CMD...: may fail, since the daemon comes and goes, but not hang
brief()
{
	tap_limit 30 "$@" >>"$TAP_DIR/work.log" 2>&1
	[ $? -ne 124 ] || echo "hung: $*" >>"$TAP_DIR/wrong"
}

# DIR FILE: what can be read is right
read_one()
{
	read_to=$1.$(random 1000000)
	tap_limit 30 cat "$1/$2" >"$read_to" 2>/dev/null
	read_status=$?
	[ "$read_status" != 124 ] || echo "hung: read $2" >>"$TAP_DIR/wrong"
	# without its mount the directory is empty: cat fails
	[ "$read_status" != 0 ] || cmp -s "$read_to" "$IMG/rootfs/$2" || echo "wrong bytes: $2" >>"$TAP_DIR/wrong"
	rm -f "$read_to"
}

# NAME UNTIL_MS
worker()
{
	worker_dir=$TAP_DIR/$1
	mkdir -p "$worker_dir"
	while [ "$(now_ms)" -lt "$2" ]; do
		case $(random 12) in
		0 | 1 | 2) brief "$LOCUM" mount --id "$1" "$(random_host)/small:t" "$worker_dir" ;;
		3 | 4) read_one "$worker_dir" "many/$(random 299)" ;;
		5) read_one "$worker_dir" data/big & ;;
		6) brief "$LOCUM" umount -l --remove "$1" ;;
		7) brief "$LOCUM" pull "$(random_host)/small:t" & ;;
		8) brief "$LOCUM" status --json ;;
		9) brief "$LOCUM" drop-cache --all ;;
		10) brief "$LOCUM" wait --timeout 2 "$1" ;;
		11) brief "$LOCUM" run --no-tty "$(random_host)/small:t" -- /bin/sh -c 'exit 0' ;;
		esac
	done
	wait
}

# SECONDS [stop]: with "stop" the daemon is ended again and again
storm()
{
	storm_end=$(($(now_ms) + $1 * 1000))
	storm_pids=
	for storm_name in w1 w2 w3 w4; do
		worker "$storm_name" "$storm_end" &
		storm_pids="$storm_pids $!"
	done
	while [ -n "${2-}" ] && [ "$(now_ms)" -lt "$storm_end" ]; do
		sleep "1.$(random 10)"
		for storm_daemon in $(daemon_pids); do
			# verbs have the same name and environment
			grep -qaz '^daemon$' "/proc/$storm_daemon/cmdline" 2>/dev/null || continue
			kill -TERM "$storm_daemon" 2>/dev/null
			stops=$((stops + 1))
			tap_until 30 tap_gone "$storm_daemon" || echo "daemon $storm_daemon does not end" >>"$TAP_DIR/wrong"
		done
	done
	for storm_pid in $storm_pids; do
		wait "$storm_pid"
	done
}

# The socket's daemon forgets everything.
forget()
{
	for forget_id in $("$LOCUM" status --json | python -c 'import json, sys; print(*[m["id"] for m in json.load(sys.stdin)])'); do
		"$LOCUM" umount -l --remove "$forget_id" || return 1
	done
	"$LOCUM" drop-cache --all
}

no_more_open()
{
	[ "$(files_open)" -le "$1" ]
}

nothing_wrong()
{
	cat "$TAP_DIR/wrong" >&2
	[ ! -s "$TAP_DIR/wrong" ] && daemon_sane
}

# Connections to registries may be kept for a while.
files_open()
{
	find "/proc/$DAEMON_PID/fd" -lname '/*' | wc -l
}

: >"$TAP_DIR/wrong"
stops=0
storm $((SECONDS_MAX / 2)) stop
tap_diag "$stops daemons were ended, $(grep -c . "$TAP_DIR/work.log") lines said"
tap_ok 'nothing hung, no byte was wrong, no sanitizer spoke' nothing_wrong
for pid in $(daemon_pids); do
	tap_kill "$pid"
done
daemon_start
tap_ok 'the next daemon lets all go' forget
tap_ok 'nothing is left' daemon_clean
before=$(files_open)
storm $((SECONDS_MAX / 2))
tap_ok 'nothing hung, no byte was wrong, no sanitizer spoke, with one daemon' nothing_wrong
tap_ok 'all goes again' forget
tap_ok 'nothing is left' daemon_clean
tap_diag "$before open files before, $(files_open) now"
tap_ok 'no file stays open' tap_until 10 no_more_open "$before"
tap_ok 'a pull' tap_limit 30 "$LOCUM" pull "$BAD_HOST/small:t"
tap_ok 'a mount' tap_limit 30 "$LOCUM" mount --id end "$BAD_HOST/small:t" "$TAP_DIR/a"
tap_ok 'the tree is the reference' "$TREECMP" "$TAP_DIR/a" "$IMG/rootfs" --ignore-dir-times
tap_ok 'umount' "$LOCUM" umount --remove end
tap_ok 'the daemon ends' daemon_stop
tap_end
