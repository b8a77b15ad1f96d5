#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What goes when there is too much: by hand, by itself, never what somebody uses; what `locum images` says of it.
# Usage: gc.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin gc 150 "${1:-}"

# NAME KEY: of `locum images`
image()
{
	"$LOCUM" images --json | jq -r --arg name "$BAD_HOST/$1:t" --arg key "$2" '.[] | select(.image == $name) | .[$key]'
}

total()
{
	curl -s --unix-socket "$LOCUM_RUN/locum.sock" http://locum/v1/images | jq .disk_bytes
}

gc()
{
	"$LOCUM" gc --json "$@" | jq -r "$what"
}

here()
{
	[ "$(image "$1" disk_bytes)" != 0 ]
}

# three images: two names of one, and two others
it_image python gzip
cp -a "$IT_OCI" "$TAP_DIR/python"
it_image nasty-small zstd:chunked
nasty=$IT_OCI
bad_start "$TAP_DIR/python" && daemon_start || exit 1
tap_ok 'an image by one name' "$LOCUM" pull "$BAD_HOST/a:t"
tap_ok 'and by another' "$LOCUM" pull "$BAD_HOST/b:t"
size=$(image a disk_bytes)
tap_is 'each has all of its layers' "$(image b disk_bytes)" "$size"
tap_is 'neither has any for itself' "$(image a own_bytes)/$(image b own_bytes)" 0/0
tap_is 'together they are counted once' "$(total)" "$size"
real=$(du -s --apparent-size -B1 "$LOCUM_ROOT/real" | cut -f1)
tap_ok 'which is what is on the disk, within a tenth' [ "$((size * 10))" -gt "$((real * 9))" -a "$((size * 9))" -lt "$((real * 10))" ]
port=$BAD_PORT
bad_stop
bad_start "$nasty" --port "$port" || exit 1
tap_ok 'another image' "$LOCUM" pull "$BAD_HOST/n:t"
nasty_size=$(image n disk_bytes)
tap_is 'it has its layers for itself' "$(image n own_bytes)" "$nasty_size"
says 'without a quota the size has to be said' 1 'the daemon has no quota; .* --to SIZE' "$LOCUM" gc
says 'what is no size' 2 'gc: --to much is not a size' "$LOCUM" gc --to much

# ---- by hand ----
what=.layers_dropped
tap_is 'there is room: nothing goes' "$(gc --to 10G)" 0
before=$(total)
what=.bytes_after
tap_ok 'a dry run says what would go' [ "$(gc --to "$nasty_size" --dry-run)" -le "$nasty_size" ]
tap_is 'and does nothing' "$(total)" "$before"
tap_ok 'the oldest go' [ "$(gc --to "$nasty_size")" -le "$nasty_size" ]
tap_is 'which are those of the first image' "$(image a disk_bytes)" 0
tap_is 'the younger one stays whole' "$(image n disk_bytes)" "$nasty_size"
bad_stop
bad_start "$TAP_DIR/python" --port "$port" || exit 1
tap_ok 'it comes again' "$LOCUM" mount "$BAD_HOST/a:t" "$M"
tap_is 'lazily: its tables are still here' "$(daemon_field "$M" phase)" lazy
what=.layers_in_use
tap_ok 'what is mounted is in use' [ "$(gc --to 0)" -gt 0 ]
tap_is 'the other one is gone' "$(image n disk_bytes)" 0
tap_ok 'it becomes native' it_wait "$M" native 60
tap_ok 'gc of everything' "$LOCUM" gc --to 0
tap_ok 'takes nothing from it' sh -c 'find "$1" -xdev -type f -exec cat {} + | wc -c' sh "$M"
tap_ok 'umount' "$LOCUM" umount "$M"

# ---- a container that was kept ----
tap_ok 'mount, to be kept' "$LOCUM" mount --id kept "$BAD_HOST/a:t" "$M"
echo mine >"$M/root/mine"
tap_ok 'it is local' it_wait kept native 60
tap_ok 'umount' "$LOCUM" umount --keep kept
tap_ok 'gc of everything' "$LOCUM" gc --to 0
tap_is 'spares what it has written on' "$(image a disk_bytes)" "$size"
bad_stop
tap_ok 'so that it mounts without a registry' "$LOCUM" mount --id kept --pull never "$BAD_HOST/a:t" "$M"
tap_is 'with what it wrote' "$(cat "$M/root/mine")" mine
tap_ok 'umount for good' "$LOCUM" umount --remove kept
tap_ok 'gc of everything' "$LOCUM" gc --to 0
tap_is 'now they go' "$(total)" 0
tap_ok 'and their space comes back' daemon_swept

# ---- one that is kept as it ends ----
bad_start "$TAP_DIR/python" --port "$port" || exit 1
tap_ok 'mount without a name' "$LOCUM" mount "$BAD_HOST/a:t" "$M"
name=$(daemon_field "$M" id)
tap_ok 'it is local' it_wait "$M" native 60
echo mine >"$M/root/mine"
tap_ok 'umount, and keep what it wrote' "$LOCUM" umount --keep "$M"
tap_ok 'gc of everything' "$LOCUM" gc --to 0
tap_is 'spares what it has written on' "$(image a disk_bytes)" "$size"
mv "$LOCUM_ROOT/containers/$name/layers" "$TAP_DIR/layers"
mkdir "$LOCUM_ROOT/containers/$name/layers"
says 'what cannot be read is no leave to drop' 1 "containers/$name/layers: Is a directory" "$LOCUM" gc --to 0
tap_is 'nothing is dropped' "$(image a disk_bytes)" "$size"
rmdir "$LOCUM_ROOT/containers/$name/layers"
mv "$TAP_DIR/layers" "$LOCUM_ROOT/containers/$name/layers"
tap_ok 'mount by its name' "$LOCUM" mount --id "$name" --pull never "$BAD_HOST/a:t" "$M"
tap_is 'with what it wrote' "$(cat "$M/root/mine")" mine
tap_ok 'umount for good' "$LOCUM" umount --remove "$name"
tap_ok 'gc of everything' "$LOCUM" gc --to 0
daemon_stop
bad_stop

# ---- by itself ----
bad_start "$TAP_DIR/python" --port "$port" || exit 1
says 'a low mark above the quota' 2 'quota-low is more than --quota' "$LOCUM" daemon --quota 1M --quota-low 2M
daemon_start --quota $((size + nasty_size / 2)) --quota-low "$size" || exit 1
tap_ok 'the first image' "$LOCUM" pull "$BAD_HOST/a:t"
bad_stop
bad_start "$nasty" --port "$port" || exit 1
tap_ok 'the second, which is too much' "$LOCUM" pull "$BAD_HOST/n:t"
tap_ok 'the first goes by itself' tap_until 30 sh -c "[ \"\$(curl -s --unix-socket '$LOCUM_RUN/locum.sock' http://locum/v1/images | jq .disk_bytes)\" -le $size ]"
tap_ok 'the second stays' here n
tap_ok 'it is counted' [ "$(curl -s --unix-socket "$LOCUM_RUN/locum.sock" http://locum/metrics | sed -n 's/^locum_gc_layers_total //p')" -gt 0 ]
what=.bytes_after
tap_ok 'gc without a size goes to the low mark' [ "$(gc)" -le "$size" ]
it_end
tap_end
