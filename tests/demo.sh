#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The main job, as ./quickstart runs it: a real image in a real registry, a container that starts before its image is
# there and ends on plain overlayfs. Prints a time line; fails if any of its claims does not hold.
#
#   tests/demo.sh BUILDDIR
set -euo pipefail
cd "$(dirname "$0")/.."
LCM_LIB=$PWD/tests/lib
export LCM_LIB
# shellcheck source=tests/lib/images.sh
. tests/lib/images.sh

cache=${LOCUM_QUICKSTART_CACHE:-/var/cache/locum-quickstart}
locum=$PWD/$1/locum
mkdir -p "$cache"
work=$(mktemp -d "$cache/demo.XXXXXX")
LOCUM_ROOT=$work/root
LOCUM_RUN=$work/run
export LOCUM_ROOT LOCUM_RUN
run_pid=

cleanup() {
	exec 3>&- 4<&-
	if [ -n "$run_pid" ]; then
		kill "$run_pid" 2>/dev/null || true
		wait "$run_pid" 2>/dev/null || true
	fi
	"$locum" daemon --stop 2>/dev/null || true
	registry_stop 2>/dev/null || true
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT

now() {
	date +%s%3N
}

line() {
	printf '%8d ms  %s\n' $(($(now) - t0)) "$*"
}

fail() {
	printf 'NOT AS PROMISED: %s\n' "$*" >&2
	tail -n 20 "$work/run/daemon.log" >&2 2>/dev/null || true
	exit 1
}

field() {
	"$locum" status --json demo | jq -r "$1"
}

tour() {
	echo >&3
	read -r -t 300 -u 4 answer || fail "the container does not answer"
	# shellcheck disable=SC2086
	set -- $answer
	echo "$3 files, $4 bytes, sha256 $5"
}

echo "== an image of Debian packages, as zstd:chunked, in docker-registry on loopback"
image_python "$cache" "$work/oci" python
registry_start "$work/registry"
image_copy "oci:$work/oci:python" zstd:chunked "docker://$REGISTRY_HOST/demo/python:1"
reference_unpack "$work/oci:python" "$work/reference" >/dev/null
printf 'image: %s, %s files, %s unpacked\n' "$REGISTRY_HOST/demo/python:1" \
	"$(find "$work/reference/rootfs" -type f | wc -l)" "$(du -sh "$work/reference/rootfs" | cut -f1)"
want=$(echo | chroot --userspec=1000:1000 "$work/reference/rootfs" /usr/bin/python3 /app/tour.py | tail -n 1 | cut -d' ' -f3-)
want="$(echo "$want" | cut -d' ' -f1) files, $(echo "$want" | cut -d' ' -f2) bytes, sha256 $(echo "$want" | cut -d' ' -f3)"

sync
echo 3 >/proc/sys/vm/drop_caches
mkdir -p "$LOCUM_RUN"
mkfifo "$work/in" "$work/out"
echo "== locum run (nothing of the image is here yet)"
t0=$(now)
"$locum" run --id demo --no-tty --pid-file "$work/pid" "$REGISTRY_HOST/demo/python:1" -- \
	python3 /app/tour.py <"$work/in" >"$work/out" 2>"$work/err" &
run_pid=$!
exec 3>"$work/in" 4<"$work/out"
read -r -t 60 -u 4 ready || { cat "$work/err" >&2; fail "no first output"; }
first=$(now)
status=$("$locum" status --json demo)
pid=$(cat "$work/pid")
started=$(stat -c %Y "$work/pid")
born=$(cut -d' ' -f22 "/proc/$pid/stat")
printf '%8.0f ms  mounted\n' "$(jq .mounted_ms <<<"$status")"
printf '%8d ms  container running, pid %s\n' $((first - t0)) "$pid"
printf '%8d ms  first output "%s"; by then %s of %s files and %s of %s bytes of the blobs were here\n' $((first - t0)) "$ready" \
	"$(jq .files_local <<<"$status")" "$(jq .files_total <<<"$status")" \
	"$(jq '.demand_bytes + .blob_bytes_local' <<<"$status")" "$(jq .blob_bytes_total <<<"$status")"
: "$started"
[ "$(jq -r .phase <<<"$status")" = lazy ] || line "(the image arrived before the first output)"

before=$(tour)
line "reads before the switch: $before"
"$locum" wait --for local --timeout 300 demo || fail "the image does not become local"
line "everything local and proven ($(field .local_ms | cut -d. -f1) ms after the request)"
"$locum" wait --for native --timeout 300 demo || fail "the mount does not become native"
line "gate gone: native ($(field .native_ms | cut -d. -f1) ms after the request)"
if grep -q ' - fuse' /proc/self/mountinfo "/proc/$pid/mountinfo" && grep -q 'fuse.*locum' /proc/self/mountinfo "/proc/$pid/mountinfo"; then
	fail "a fuse mount is left"
fi
[ "$(cut -d' ' -f22 "/proc/$pid/stat")" = "$born" ] || fail "the container is not the same process any more"
line "container still running, pid $pid"
after=$(tour)
line "reads after the switch:  $after"
[ "$before" = "$want" ] || fail "before the switch it read \"$before\", the image is \"$want\""
[ "$after" = "$want" ] || fail "after the switch it read \"$after\", the image is \"$want\""
daemon=$("$locum" status --json >/dev/null && curl -s --unix-socket "$LOCUM_RUN/locum.sock" http://locum/v1/daemon | jq .pid)
kill -9 "$daemon"
killed=$(tour)
[ "$killed" = "$want" ] || fail "after kill -9 of the daemon it read \"$killed\""
line "the same after kill -9 of the daemon; equal to the image as umoci unpacks it"
grep ' / / ' "/proc/$pid/mountinfo" | sed 's/^/             root: /; s/\(.\{100\}\).*/\1.../'
exec 3>&-
wait "$run_pid" || fail "the container ended with status $?"
run_pid=
line "container ended"
echo "Done. Next: README.md, or: sudo $1/locum run IMAGE"
