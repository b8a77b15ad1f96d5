#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Storage units that come and go: cycles after which nothing is left, many processes at one unit, verbs that are really killed, and a host that
# crashes. (What each verb does is unit.sh's.)
# Usage: unit_many.sh BUILDDIR [CYCLES [SEED]]
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
cycles=${2-8}
seed=${3-$(date +%s)}
it_begin unit_many $((300 + cycles * 2)) "${1:-}"
export LOCUM
P=$TAP_DIR/pool
mkdir "$P"
# In memory, where there is plenty: thousands of syncs cost nothing then.
img=$TAP_DIR
if [ "$(df -k --output=avail /dev/shm 2>/dev/null | tail -n 1)" -gt 6000000 ]; then
	img=$(mktemp -d /dev/shm/locum-unit_many.XXXXXX) || exit 1
	tap_cleanup 'rm -rf "$img"'
fi

IT_IMG=$img

unit()
{
	"$LOCUM" unit "$@"
}

# What the kernel still has of units: their loop devices, their mounts.
bound()
{
	losetup -l -n -O BACK-FILE | grep "^$P/" | grep -c /
	awk -v d="$LOCUM_RUN/u/" 'index($5, d) == 1' /proc/self/mountinfo | wc -l
}

nothing_bound()
{
	[ "$(bound | tr '\n' ' ')" = '0 0 ' ]
}

# FS: free MB, once what was deleted is
free_mb()
{
	[ "$1" != btrfs ] || btrfs subvolume sync "$P/btrfs" >/dev/null 2>&1
	sync -f "$P/$1"
	echo $(($(stat -f -c '%f * %S' "$P/$1") >> 20))
}

# FS MB: so much is free again, but for what the file system keeps for its own tables
is_free()
{
	[ "$(free_mb "$1")" -ge $(($2 - 40)) ]
}

fds()
{
	find "/proc/$DAEMON_PID/fd" -mindepth 1 | wc -l
}

has_fds()
{
	[ "$(fds)" -le "$1" ]
}

for tool in mkfs.xfs mkfs.btrfs losetup; do
	command -v "$tool" >/dev/null || tap_skip_all "no $tool (xfsprogs, btrfs-progs, mount)"
done
it_pool_fs xfs xfs 3G && it_pool_fs btrfs btrfs 3G || exit 1
it_image python zstd:chunked || exit 1
unit pool add xfs "$P/xfs" && unit pool add btrfs "$P/btrfs" && it_serve && daemon_start || exit 1
tap_diag "btrfs: $(unit pool list --json | jq -r '.[] | select(.name == "btrfs").backend'); seed $seed"

# ---- cycles ----
# FS: units of two sizes, the larger one with xfs in it
cycle()
{
	n=0
	while [ "$n" -lt "$cycles" ]; do
		size=32M
		[ $((n % 4)) != 3 ] || size=320M
		"$LOCUM" unit create --pool "$1" --name "c-$1" --size "$size" >/dev/null && dir=$("$LOCUM" unit attach "c-$1") &&
			head -c 3000000 /dev/urandom >"$dir/file" && "$LOCUM" unit snapshot "c-$1@s" && "$LOCUM" unit detach "c-$1" &&
			"$LOCUM" unit delete "c-$1" || return 1
		n=$((n + 1))
	done
}

# N: units that mounts bring along
mounts()
{
	n=0
	while [ "$n" -lt "$1" ]; do
		"$LOCUM" mount --id c --unit new --unit-size 32M --unit-pool xfs "$IT_REF" "$M" >/dev/null && echo x >"$M/x" &&
			"$LOCUM" umount --remove c || return 1
		n=$((n + 1))
	done
}

tap_ok 'a mount with a unit of its own, to warm up' mounts 1
xfs_mb=$(free_mb xfs)
btrfs_mb=$(free_mb btrfs)
had=$(fds)
cycle xfs >"$TAP_DIR/cycle.xfs" 2>&1 &
one=$!
cycle btrfs >"$TAP_DIR/cycle.btrfs" 2>&1 &
two=$!
tap_ok "$(((cycles + 3) / 4)) mounts with units of their own" mounts $(((cycles + 3) / 4))
for pid in "$one" "$two"; do
	tap_ok "beside them, $cycles times create, attach, write, snapshot, detach, delete" wait "$pid"
done
sed 's/^/# /' "$TAP_DIR/cycle.xfs" "$TAP_DIR/cycle.btrfs"
tap_ok 'no loop device and no mount is left' nothing_bound
tap_is 'no unit' "$(unit list --json | jq length)" 0
tap_is 'no file' "$(find "$P" -mindepth 2 -name '*-*' | wc -l)" 0
tap_ok "xfs: $xfs_mb MB are free again" tap_until 20 is_free xfs "$xfs_mb"
tap_ok "btrfs: $btrfs_mb MB are free again" tap_until 20 is_free btrfs "$btrfs_mb"
tap_ok "the daemon has its $had descriptors, no more" tap_until 20 has_fds "$had"

# ---- one unit, many processes ----
for fs in xfs btrfs; do
	tap_ok "$fs: a unit" unit create --pool "$fs" --name one --size 48M
	echo one >"$(unit attach one)/text"
	unit detach one
	tap_ok "$fs: 5 processes at it, $cycles verbs each: done or refused in one line" \
		python "$LCM_LIB/units.py" at-once one 5 "$cycles" "$seed"
	tail -n 1 "$TAP_DIR/out" | sed 's/^/#     /'
	tap_ok "$fs: nothing is where it does not belong" unit check --deep
	unit detach one
	tap_is "$fs: it holds what it held" "$(cat "$(unit attach one)/text")" one
	# A program that looks at all devices has this one open just when it is detached.
	dev=$(losetup -l -n -O NAME,BACK-FILE | awk -v d="$P/" 'index($2, d) == 1 { print $1; exit }')
	sleep 0.1 8<"${dev:-/dev/null}" &
	tap_ok "$fs: detach, and attach at once" sh -c '"$1" unit detach one && "$1" unit attach one' sh "$LOCUM"
	wait "$!"
	tap_ok "$fs: detach, delete" sh -c '"$1" unit detach one && "$1" unit delete one' sh "$LOCUM"
done

# ---- killed ----
for fs in xfs btrfs; do
	tap_ok "$fs: $((cycles * 2)) verbs, killed at any time: gc and check find it as it was or as it was to be" \
		python "$LCM_LIB/units.py" killed "$fs" $((cycles * 2)) "$seed"
	tail -n 1 "$TAP_DIR/out" | sed 's/^/#     /'
done
tap_ok 'nothing is where it does not belong' unit check --deep
tap_is 'no unit' "$(unit list --json | jq length)" 0
tap_is 'nothing is left of those being made or removed' "$(find "$P"/*/.tmp "$P"/*/.trash -mindepth 1 | wc -l)" 0
tap_ok 'no loop device and no mount is left' tap_until 10 nothing_bound

# ---- a host that crashes ----
for fs in xfs btrfs; do
	tap_ok "$fs: a unit with a mount on it" unit create --pool "$fs" --name "web-$fs" --size 64M
	tap_ok "$fs: another one, attached" unit create --pool "$fs" --name "att-$fs" --size 64M
	mkdir "$TAP_DIR/m-$fs"
	tap_ok "$fs: mount" "$LOCUM" mount --id "m-$fs" --unit "web-$fs" "$IT_REF" "$TAP_DIR/m-$fs"
	echo mine >"$TAP_DIR/m-$fs/mine"
	echo mine >"$(unit attach "att-$fs")/mine"
done
sync
holder=$(daemon_holder)
daemon_kill
for pid in $holder; do
	kill -KILL "$pid"
	tap_until 5 tap_gone "$pid"
done
umount -l "$TAP_DIR/m-xfs" "$TAP_DIR/m-btrfs"
awk -v d="$LOCUM_RUN/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sed '1!G;h;$!d' | xargs -r umount -l
rm -rf "${LOCUM_RUN:?}"
tap_ok 'after that, no mount is there' tap_until 10 nothing_bound
daemon_start || exit 1
for fs in xfs btrfs; do
	tap_is "$fs: the next daemon finds the unit detached" "$(it_unit "web-$fs" attached)/$(it_unit "web-$fs" mount)" null/null
	tap_is "$fs: and the other one" "$(it_unit "att-$fs" attached)" null
	tap_ok "$fs: mount again" "$LOCUM" mount --id "m-$fs" --unit "web-$fs" "$IT_REF" "$TAP_DIR/m-$fs"
	tap_is "$fs: with what was written" "$(cat "$TAP_DIR/m-$fs/mine")" mine
	tap_ok "$fs: umount" "$LOCUM" umount "m-$fs"
	tap_is "$fs: the other one holds it, too" "$(cat "$(unit attach "att-$fs")/mine")" mine
	tap_ok "$fs: detach, delete" sh -c '"$1" unit detach "att-$2" && "$1" unit delete "att-$2" && "$1" unit delete "web-$2"' sh "$LOCUM" "$fs"
done
tap_ok 'check' unit check --deep
tap_ok 'no loop device and no mount is left' nothing_bound
tap_ok 'pools go' sh -c '"$1" unit pool remove xfs && "$1" unit pool remove btrfs' sh "$LOCUM"
umount "$P/xfs" "$P/btrfs"
it_end
tap_end
