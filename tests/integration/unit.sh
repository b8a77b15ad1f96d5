#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Storage units: the verbs, containers that write into one, many owners at once, a full one beside others, a daemon that is killed.
# Usage: unit.sh BUILDDIR [OWNERS]
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin unit 240 "${1:-}"
owners=${2-8}
M2=$TAP_DIR/m2
M3=$TAP_DIR/m3
P=$TAP_DIR/pool
mkdir "$M2" "$M3" "$P"

unit()
{
	"$LOCUM" unit "$@"
}

# DIR: an attached unit lies there
is_mounted()
{
	mountpoint -q "$1"
}

loops()
{
	losetup -l -n -O BACK-FILE | grep -c "^$TAP_DIR/pool"
}

for tool in mkfs.xfs mkfs.btrfs losetup; do
	command -v "$tool" >/dev/null || tap_skip_all "no $tool (xfsprogs, btrfs-progs, mount)"
done
it_pool_fs xfs xfs 6G && it_pool_fs btrfs btrfs 4G || exit 1
it_image python zstd:chunked || exit 1

# ---- the verbs ----
says 'units want a pool' 1 'there is no pool yet' "$LOCUM" unit create --size 64M
tap_ok 'a pool on xfs' unit pool add x "$P/xfs" --floor 100M
tap_is 'is one of images' "$(unit pool list --json | jq -r '.[0].backend')" image
tap_ok 'a pool on btrfs' unit pool add b "$P/btrfs"
tap_is 'is one of subvolumes' "$(unit pool list --json | jq -r '.[] | select(.name == "b").backend')" subvol
mkdir -p "$TAP_DIR/ext/mine"
says 'a directory that is not empty' 1 'is not empty' "$LOCUM" unit pool add y "$TAP_DIR/ext"
rmdir "$TAP_DIR/ext/mine"
says 'project quotas are not here' 1 'quota' "$LOCUM" unit pool add y "$TAP_DIR/ext" --backend dir
says 'which pool?' 1 'several pools' "$LOCUM" unit create --size 64M
says 'a size is needed' 1 'size is needed' "$LOCUM" unit create --pool x
says 'too small' 1 'bytes are possible' "$LOCUM" unit create --pool x --size 1M
says 'too large for the pool' 1 'bytes left for new units' "$LOCUM" unit create --pool x --size 20G
says 'an owner that is none' 1 'is no UUID' "$LOCUM" unit create --pool x --size 64M --owner me
says 'an option of another command' 2 'takes none of the other' "$LOCUM" unit list --size 4M
says 'a command that is none' 2 'no command "frob"' "$LOCUM" unit frob
says 'a snapshot where none is meant' 2 'grow takes no snapshot' "$LOCUM" unit grow a@b 4M
says 'too few arguments' 2 'takes 2 arguments' "$LOCUM" unit grow a
for pool in x b; do
	tap_ok "$pool: create" unit create --pool "$pool" --name "v$pool" --size 400M
	dir=$(unit attach "v$pool")
	tap_ok "$pool: it is attached" is_mounted "$dir"
	echo one >"$dir/text"
	tap_ok "$pool: a snapshot while it is attached" unit snapshot "v$pool@s"
	echo two >"$dir/text"
	tap_ok "$pool: it grows while it is attached" unit grow "v$pool" 500M
	tap_ok "$pool: df sees it" [ "$(df -B1M --output=size "$dir" | tail -1)" -gt 410 ]
	says "$pool: not deleted meanwhile" 1 'it is attached' "$LOCUM" unit delete "v$pool"
	tap_ok "$pool: detach" unit detach "v$pool"
	tap_ok "$pool: and its place is gone" [ ! -e "$dir" ]
	tap_ok "$pool: a clone of the snapshot" unit clone "v$pool@s" --name "w$pool"
	tap_is "$pool: holds what was" "$(cat "$(unit attach "w$pool")/text")" one
	tap_ok "$pool: roll back" unit rollback "v$pool@s"
	tap_is "$pool: to what was" "$(cat "$(unit attach "v$pool")/text")" one
	tap_ok "$pool: check" unit check --deep
	tap_ok "$pool: detach both" sh -c '"$1" unit detach "v$2" && "$1" unit detach "w$2"' sh "$LOCUM" "$pool"
	tap_ok "$pool: delete both" sh -c '"$1" unit delete "v$2" && "$1" unit delete "w$2"' sh "$LOCUM" "$pool"
done
tap_is 'nothing is left of them' "$(find "$P/xfs" "$P/btrfs" -mindepth 1 -maxdepth 1 -name '*-*' | wc -l)" 0

# ---- deleted data ----
tap_ok 'a unit' unit create --pool x --name secret --size 64M
dir=$(unit attach secret)
yes 'locum secret pattern' | head -c 40000000 >"$dir/file"
sync -f "$dir/file"
tap_ok 'detach and delete' sh -c '"$1" unit detach secret && "$1" unit delete secret' sh "$LOCUM"
tap_ok 'another one in its place' unit create --pool x --name next --size 64M
tap_is 'sees nothing of it' "$(grep -c 'locum secret pattern' "$P/xfs/$(it_unit next id)/data")" 0
tap_ok 'gc tells the device' unit gc
sync -f "$P/xfs"
tap_is 'and the device forgets it' "$(grep -c 'locum secret pattern' "$TAP_DIR/xfs.img")" 0
tap_ok 'delete' unit delete next

# ---- into another pool ----
it_pool_fs ext4 ext4 1G || exit 1
tap_ok 'another pool' unit pool add far "$P/ext4" --backend image
tap_ok 'a unit' unit create --pool x --name goer --size 64M
dir=$(unit attach goer)
echo one >"$dir/text"
says 'not while it is attached' 1 'cannot be moved: it is attached' "$LOCUM" unit move goer far
tap_ok 'detach, snapshot' sh -c '"$1" unit detach goer && "$1" unit snapshot goer@s' sh "$LOCUM"
echo two >"$(unit attach goer)/text"
tap_ok 'detach' unit detach goer
says 'not into one of another kind' 1 'has units of kind' "$LOCUM" unit move goer b
tap_ok 'move' unit move goer far
tap_is 'it is there' "$(it_unit goer pool)" far
tap_is 'with what is in it' "$(cat "$(unit attach goer)/text")" two
tap_ok 'roll back' sh -c '"$1" unit detach goer && "$1" unit rollback goer@s' sh "$LOCUM"
tap_is 'to the snapshot that came with it' "$(cat "$(unit attach goer)/text")" one
tap_is 'the other pool has nothing of it' "$(find "$P/xfs" -name "$(it_unit goer id)" | wc -l)" 0
tap_ok 'detach, check, delete' sh -c '"$1" unit detach goer && "$1" unit check --deep && "$1" unit delete goer' sh "$LOCUM"
tap_ok 'the pool goes' unit pool remove far
umount "$P/ext4"

# ---- streams ----
OTHER=33333333-3333-4333-8333-333333333333

# DIR: of all files but the mark
sums()
{
	(cd "$1" && find . ! -name .locum-unit -type f -exec sha256sum {} + | sort | sha256sum)
}

# POOL FILE: for another owner
import()
{
	"$LOCUM" unit import --pool "$1" --owner "$OTHER" --name came <"$2"
}

for pool in x b; do
	tap_ok "$pool: a unit to export" unit create --pool "$pool" --name moved --size 64M
	dir=$(unit attach moved)
	head -c 30000000 /dev/urandom >"$dir/random"
	yes compressible | head -c 10000000 >"$dir/text"
	mkdir -p "$dir/upper/a" && setfattr -n user.x -v 1 "$dir/upper/a" && ln -s nowhere "$dir/upper/l"
	sum=$(sums "$dir")
	tap_ok "$pool: detach, snapshot" sh -c '"$1" unit detach moved && "$1" unit snapshot moved@s' sh "$LOCUM"
	says "$pool: a snapshot is what is exported" 2 'export wants UNIT@NAME' "$LOCUM" unit export moved
	tap_ok "$pool: export" sh -c '"$1" unit export moved@s >"$2"' sh "$LOCUM" "$TAP_DIR/stream"
	says "$pool: its owner has it still" 1 'has a unit already' sh -c '"$1" unit import --pool "$3" <"$2"' sh "$LOCUM" "$TAP_DIR/stream" "$pool"
	tap_ok "$pool: import for another" import "$pool" "$TAP_DIR/stream"
	dir=$(unit attach came)
	tap_is "$pool: all is there" "$(sums "$dir")" "$sum"
	tap_is "$pool: attributes and links, too" "$(getfattr --only-values -n user.x "$dir/upper/a" 2>/dev/null)$(readlink "$dir/upper/l")" 1nowhere
	tap_ok "$pool: detach, delete" sh -c '"$1" unit detach came && "$1" unit delete came' sh "$LOCUM"
	head -c 20000000 "$TAP_DIR/stream" >"$TAP_DIR/part"
	says "$pool: a stream that breaks off" 1 'the stream ends early' sh -c '"$1" unit import --pool "$3" --owner "$4" --name came <"$2"' sh "$LOCUM" "$TAP_DIR/part" "$pool" "$OTHER"
	from=$(sed -n 's/.*--from \([0-9]*\) .*/\1/p' "$TAP_DIR/err")
	tap_ok "$pool: says from where" [ "$from" -gt 10000000 ]
	says "$pool: what is not whole is not attached" 1 'import was interrupted' "$LOCUM" unit attach came
	tap_ok "$pool: and is no fault" unit check
	tap_ok "$pool: another snapshot" unit snapshot moved@t
	says "$pool: it does not go on with that" 1 'begun from another stream' sh -c '"$1" unit export moved@t 2>/dev/null | "$1" unit import --resume came' sh "$LOCUM"
	tap_ok "$pool: it goes on with its own" sh -c '"$1" unit export moved@s --from "$2" | "$1" unit import --resume came' sh "$LOCUM" "$from"
	tap_is "$pool: all is there" "$(sums "$(unit attach came)")" "$sum"
	tap_ok "$pool: detach, delete" sh -c '"$1" unit detach came && "$1" unit delete came' sh "$LOCUM"
	python - "$TAP_DIR/stream" "$TAP_DIR/bad" <<-'END'
		import sys
		b = bytearray(open(sys.argv[1], "rb").read())
		b[len(b) // 2] ^= 1
		open(sys.argv[2], "wb").write(b)
	END
	says "$pool: a damaged one" 1 'damaged' sh -c '"$1" unit import --pool "$3" --owner "$4" --name came <"$2"' sh "$LOCUM" "$TAP_DIR/bad" "$pool" "$OTHER"
	tap_ok "$pool: is deleted half" unit delete came
	says "$pool: and what is none" 1 'no stream of a unit' sh -c 'yes hello | "$1" unit import --pool "$2"' sh "$LOCUM" "$pool"
	tap_ok "$pool: delete" unit delete moved
done

# ---- another database ----
tap_ok 'two units' sh -c 'for p in x b; do "$1" unit create --pool $p --name "lost$p" --size 64M && "$1" unit snapshot "lost$p@s"; done' sh "$LOCUM"
dir=$(unit attach lostx)
echo here >"$dir/text"
tap_ok 'detach' unit detach lostx
says 'a pool is no new one' 1 'is a pool already; take it with --adopt' "$LOCUM" unit pool add again "$P/xfs"
says 'nor is it taken twice' 1 'is there already' "$LOCUM" unit pool add x "$P/xfs" --adopt
before=$(unit list --json | jq -S 'map({id, owner, name, pool, size}) | sort')
rm -f "$LOCUM_ROOT"/units.db*
says 'without a database nothing is there' 1 'no unit lostx' "$LOCUM" unit show lostx
says 'no pool to adopt' 1 'holds no pool' "$LOCUM" unit pool add x "$TAP_DIR/ext" --adopt
tap_is 'a pool is taken again' "$(unit pool add x "$P/xfs" --adopt --floor 100M)" '1 units'
tap_is 'the other, too' "$(unit pool add b "$P/btrfs" --adopt)" '1 units'
tap_is 'with all units' "$(unit list --json | jq -S 'map({id, owner, name, pool, size}) | sort')" "$before"
tap_is 'and their snapshots' "$(it_unit lostx 'snapshots[0].name')$(it_unit lostb 'snapshots[0].name')" ss
tap_is 'and what is in them' "$(cat "$(unit attach lostx)/text")" here
tap_ok 'detach' unit detach lostx
tap_ok 'all is right' unit check --deep
tap_ok 'delete' sh -c '"$1" unit delete lostx && "$1" unit delete lostb' sh "$LOCUM"

# ---- containers ----
it_serve && daemon_start || exit 1
tap_ok 'a unit' unit create --pool x --name web --size 400M
tap_ok 'mount with it' "$LOCUM" mount --id m --unit web "$IT_REF" "$M"
dir=$(it_unit web attached)
tap_is 'it is the mount that has it' "$(it_unit web mount)" m
tap_is 'status says so' "$(daemon_field m unit)" "$(it_unit web id)"
echo mine >"$M/etc/mine"
tap_is 'what is written is in the unit' "$(cat "$dir/upper/etc/mine")" mine
says 'nobody else detaches it' 1 'mount m has it' "$LOCUM" unit detach web
says 'nor mounts with it' 1 'mount m has it' "$LOCUM" mount --id n --unit web "$IT_REF" "$M2"
tap_is 'and that one leaves nothing' "$("$LOCUM" status --json | jq length)" 1
dd if=/dev/zero of="$M/full" bs=1M count=1000 2>"$TAP_DIR/dd.err"
tap_ok 'it is full at its size' grep -q 'No space left' "$TAP_DIR/dd.err"
tap_ok 'others are not' "$LOCUM" mount --id other "$IT_REF" "$M3"
tap_ok 'they write' sh -c 'dd if=/dev/zero of="$1/file" bs=1M count=20 2>/dev/null' sh "$M3"
tap_ok 'umount that' "$LOCUM" umount --remove other
rm "$M/full"
tap_ok 'a snapshot of the running one' unit snapshot web@run
tap_ok 'a clone to run beside it' unit clone web@run --name beside
tap_ok 'mounted' "$LOCUM" mount --id b --unit beside "$IT_REF" "$M2"
tap_is 'with what was written' "$(cat "$M2/etc/mine")" mine
echo theirs >"$M2/etc/mine"
tap_is 'the first sees nothing of it' "$(cat "$M/etc/mine")" mine
echo later >"$M/etc/mine"
tap_ok 'native' it_wait m native 60
tap_ok 'umount: the answer comes when it is detached' "$LOCUM" umount m
tap_is 'it is' "$(it_unit web attached)/$(it_unit web mount)" null/null
tap_ok 'roll back' unit rollback web@run
tap_ok 'mount again, at once' "$LOCUM" mount --id m --unit web "$IT_REF" "$M"
tap_is 'as it was then' "$(cat "$M/etc/mine")" mine
tap_is 'the clone as it is' "$(cat "$M2/etc/mine")" theirs
daemon_kill
daemon_start || exit 1
tap_is 'the next daemon knows whose it is' "$(daemon_field m unit)" "$(it_unit web id)"
tap_ok 'umount' "$LOCUM" umount m
tap_is 'detaches it' "$(it_unit web attached)" null
daemon_kill
umount "$M2"
daemon_start || exit 1
tap_ok 'of a mount that is gone it is detached' [ "$(it_unit beside attached)/$(it_unit beside mount)" = null/null ]
tap_ok 'mount' "$LOCUM" mount --id b --unit beside "$IT_REF" "$M2"
# while another process has the unit's lock, the end of the mount waits for it
tap_ok 'somebody has its lock' it_hold_units 60
tap_cleanup it_release_units
curl -s -m 2 -X DELETE --unix-socket "$LOCUM_RUN/locum.sock" http://locum/v1/mounts/b
tap_is 'who unmounts gives up waiting' $? 28
tap_is 'the daemon goes on' "$("$LOCUM" status --json | jq length)" 1
it_release_units
tap_ok 'and so does the end of the mount' tap_until 10 sh -c '[ "$("$1" status --json | jq length)" = 0 ]' sh "$LOCUM"
tap_is 'it is detached' "$(it_unit beside mount)" null
tap_ok 'mount, lazily gone' "$LOCUM" mount --id b --unit beside "$IT_REF" "$M2"
umount "$M2"
tap_ok 'somebody unmounts it: the daemon detaches' tap_until 10 sh -c '[ "$("$1" unit show --json beside | jq -r .mount)" = null ]' sh "$LOCUM"
tap_ok 'remove what it wrote' sh -c '"$1" mount --id b --unit beside "$2" "$3" >/dev/null && "$1" umount --remove b' sh "$LOCUM" "$IT_REF" "$M2"
tap_ok 'is gone from the unit' sh -c '! [ -e "$("$1" unit attach beside)/upper" ]' sh "$LOCUM"
tap_ok 'detach' unit detach beside

# ---- new ones ----
says 'a new one needs a size' 1 'needs a size' "$LOCUM" mount --unit new "$IT_REF" "$M2"
says 'and a pool' 1 'several pools' "$LOCUM" mount --unit new --unit-size 100M "$IT_REF" "$M2"
tap_ok 'a new one' "$LOCUM" mount --unit new --unit-size 100M --unit-pool b "$IT_REF" "$M2"
id=$(daemon_field "$M2" id)
tap_ok 'is called as the mount' unit show "$id"
tap_ok 'umount' "$LOCUM" umount "$M2"
says 'and goes with it' 1 "no unit $id" "$LOCUM" unit show "$id"
tap_ok 'one that is kept' "$LOCUM" mount --id k --unit new --unit-size 100M --unit-pool b "$IT_REF" "$M2"
echo kept >"$M2/kept"
tap_ok 'umount' "$LOCUM" umount k
tap_ok 'the same again' "$LOCUM" mount --id k --unit new --unit-size 100M --unit-pool b "$IT_REF" "$M2"
tap_is 'with what was written' "$(cat "$M2/kept")" kept
tap_ok 'umount for good' "$LOCUM" umount --remove k
says 'it is gone' 1 'no unit k' "$LOCUM" unit show k
tap_like 'status names it' "$("$LOCUM" mount --id s --unit beside "$IT_REF" "$M2" >/dev/null && "$LOCUM" status s && "$LOCUM" umount s)" '^    unit beside$'
tap_is 'run in one' "$(tap_limit 60 "$LOCUM" run --no-tty --unit new --unit-size 100M --unit-pool b "$IT_REF" -- sh -c 'echo in >/tmp/written && cat /tmp/written' 2>&1)" in
tap_is 'which is gone' "$(unit list --json | jq -r '[.[].pool] | map(select(. == "b")) | length')" 0
tap_is 'run in one that stays' "$(tap_limit 60 "$LOCUM" run --no-tty --id r --unit beside "$IT_REF" -- sh -c 'echo ran >/tmp/written && cat /tmp/written' 2>&1)" ran
tap_is 'it is detached at once' "$(it_unit beside attached)" null
dir=$(unit attach beside)
tap_is 'it has what the container is' "$(jq -r '.process.args[2]' "$dir/config.json")" 'echo ran >/tmp/written && cat /tmp/written'
tap_is 'and what it wrote' "$(cat "$dir/upper/tmp/written")" ran
tap_is 'and nothing that ends with it' "$(cd "$dir" && echo *)" 'config.json upper work'
tap_is 'no bundle is anywhere else' "$(ls "$LOCUM_RUN/b" 2>/dev/null)" ''
tap_ok 'detach' unit detach beside
tap_ok 'a running one' sh -c '"$1" run --no-tty --id r --unit beside "$2" -- sleep 60 >"$3" 2>&1 & echo $! >"$4"' sh "$LOCUM" "$IT_REF" "$TAP_DIR/run.out" "$TAP_DIR/run.pid"
tap_until 30 test -s "$LOCUM_RUN/u/$(it_unit beside id)/pid" || tap_diag "$(cat "$TAP_DIR/run.out")"
tap_is 'its bundle is in the unit' "$(tr '\0' ' ' <"/proc/$(cat "$LOCUM_RUN/u/$(it_unit beside id)/pid")/cmdline")" 'sleep 60 '
tap_kill "$(cat "$LOCUM_RUN/u/$(it_unit beside id)/pid")"
tap_until 20 tap_gone "$(cat "$TAP_DIR/run.pid")"
tap_is 'it goes from the unit' "$(it_unit beside attached)" null

# ---- many owners at once ----
# N: writes its own pattern, with snapshots, clones and growth in between, and reads it back
owner()
{
	name=o$1
	"$LOCUM" unit create --pool "$2" --name "$name" --size 48M >/dev/null || return 1
	for round in 1 2; do
		dir=$("$LOCUM" unit attach "$name") || return 1
		yes "$name $round" | head -c 8000000 >"$dir/data" && sync -f "$dir/data"
		"$LOCUM" unit snapshot "$name@$round" || return 1
		"$LOCUM" unit detach "$name" || return 1
		"$LOCUM" unit grow "$name" "$((48 + round * 8))M" || return 1
	done
	"$LOCUM" unit clone "$name@1" --name "$name-c" >/dev/null || return 1
	dir=$("$LOCUM" unit attach "$name-c") && yes "$name 1" | head -c 8000000 | cmp - "$dir/data" || return 1
	dir=$("$LOCUM" unit attach "$name") && yes "$name 2" | head -c 8000000 | cmp - "$dir/data" || return 1
	"$LOCUM" unit detach "$name-c" && "$LOCUM" unit delete "$name-c"
}
n=0
pids=
while [ "$n" -lt "$owners" ]; do
	pool=x
	[ $((n % 2)) = 0 ] || pool=b
	owner "$n" "$pool" >"$TAP_DIR/owner.$n" 2>&1 &
	pids="$pids $!"
	n=$((n + 1))
done
bad=0
n=0
for pid in $pids; do
	wait "$pid" || {
		bad=$((bad + 1))
		sed 's/^/# /' "$TAP_DIR/owner.$n"
	}
	n=$((n + 1))
done
tap_is "$owners owners at once: each reads what it wrote" "$bad" 0
tap_ok 'nothing is where it does not belong' unit check --deep
while [ "$n" -gt 0 ]; do
	n=$((n - 1))
	unit detach "o$n" && unit delete "o$n" || bad=1
done
tap_is 'all go' "$bad" 0
tap_ok 'also these' sh -c '"$1" unit delete web && "$1" unit delete beside' sh "$LOCUM"
tap_ok 'check' unit check
tap_is 'no loop device is left' "$(loops)" 0
tap_ok 'pools go' sh -c '"$1" unit pool remove x && "$1" unit pool remove b' sh "$LOCUM"
umount "$P/xfs" "$P/btrfs"
it_end
tap_end
