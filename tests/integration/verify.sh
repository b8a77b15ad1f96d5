#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A disk that rots: verify finds it, repair brings it again, and no new mount reads it.
# Usage: verify.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin verify 200 "${1:-}"
F=usr/lib/python3.11/json/decoder.py

verify()
{
	"$LOCUM" verify --json "$@"
}

# STATE [ARG...]: every layer of those is
all_are()
{
	all_state=$1
	shift
	[ "$(verify "$@" 2>/dev/null | jq -rs 'map(.state) | unique | join(",")')" = "$all_state" ]
}

# Of the layer's directory that has FILE, the path
stored()
{
	for stored_dir in "$LOCUM_ROOT"/real/*; do
		[ ! -f "$stored_dir/$1" ] || echo "$stored_dir/$1"
	done | tail -n1
}

# FILE: one bit of it, with the time that it had
rot()
{
	python -c 'import os, sys
st = os.stat(sys.argv[1])
with open(sys.argv[1], "r+b") as f:
    f.seek(st.st_size // 2)
    b = f.read(1)
    f.seek(st.st_size // 2)
    f.write(bytes([b[0] ^ 4]))
    f.flush()
    os.fsync(f.fileno())
os.utime(sys.argv[1], ns=(st.st_atime_ns, st.st_mtime_ns))' "$1"
}

layers()
{
	find "$LOCUM_ROOT/$1" -mindepth 1 -maxdepth 1 | wc -l
}

right()
{
	cmp "$1/$F" "$IT_TREE/$F"
}

it_image nasty-small zstd:chunked
cp -a "$IT_OCI" "$TAP_DIR/nasty"
it_image python gzip
it_reference || exit 1
bad_start "$TAP_DIR/nasty" && daemon_start || exit 1
tap_ok 'an image with every kind of file' "$LOCUM" pull "$BAD_HOST/n:t"
port=$BAD_PORT
bad_stop
bad_start "$IT_OCI" --port "$port" || exit 1
tap_ok 'and another' "$LOCUM" pull "$BAD_HOST/a:t"
a=$BAD_HOST/a:t

# ---- nothing is wrong ----
tap_ok 'once synced they are whole' tap_until 60 all_are whole
tap_ok 'so they are for who is in a hurry' all_are whole --now
tap_is 'each has a seal' "$(layers seals)" "$(layers real)"
tap_ok 'which is what people are told' sh -c '"$1" verify | tail -n1 | grep -q " 0 damaged, 0 not known, 0 not complete yet$"' sh "$LOCUM"
tap_ok 'all bytes of it were read' [ "$(verify "$a" | jq -s 'map(.bytes) | add')" -gt 50000000 ]
says 'an image that is not here' 1 'verify: .*x:t is not in the store' "$LOCUM" verify "$BAD_HOST/x:t"
says 'two images' 2 'one image at most' "$LOCUM" verify a b

# ---- who asked goes away ----
for i in 1 2 3 4 5 6 7 8; do
	timeout -s KILL "0.0$i" "$LOCUM" verify >/dev/null 2>&1
done
tap_ok 'eight clients were killed, the ninth is answered' all_are whole

# ---- the daemon ends ----
"$LOCUM" verify >"$TAP_DIR/verify" 2>"$TAP_DIR/verify.err" &
asker=$!
tap_ok 'a layer has been read' tap_until 60 grep -q '^layer' "$TAP_DIR/verify"
tap_ok 'the daemon ends in order' daemon_stop
wait "$asker"
tap_is 'who asked is told' $? 1
daemon_start || exit 1

# ---- nobody uses it ----
rot "$(stored "$F")"
says 'one bit' 1 '1 of 3 layers are damaged; --repair' "$LOCUM" verify "$a"
tap_is 'by its name' "$("$LOCUM" verify "$a" 2>/dev/null | sed -n 's/^    //p')" "/$F: content differs"
tap_ok 'the other image is whole' all_are whole "$BAD_HOST/n:t"
tap_is 'looking changes nothing' "$(verify "$a" 2>/dev/null | jq -rs 'map(select(.damaged > 0)) | length')" 1
bad_stop
says 'repaired while the registry is away' 1 'verify: .*127.0.0.1' "$LOCUM" verify --repair "$a"
tap_ok 'what is damaged is gone' [ -z "$(stored "$F")" ]
bad_start "$IT_OCI" --port "$port" || exit 1
tap_ok 'a pull brings it' "$LOCUM" pull "$a"
tap_ok 'and all is whole' tap_until 60 all_are whole
rot "$(stored "$F")"
chmod 0600 "$(stored "$F")"
tap_ok 'repaired, of all images' "$LOCUM" verify --repair
tap_ok 'it is as it was' cmp "$(stored "$F")" "$IT_TREE/$F"
tap_ok 'and all is whole again' tap_until 60 all_are whole

tree=$(stored "$F")
tree=${tree%"/$F"}
mv "$tree" "$TAP_DIR/tree"
tap_is 'a layer that is not there at all' "$(verify "$a" 2>/dev/null | jq -rs 'map(select(.state == "damaged") | .damage[].what) | join(",")')" missing
tap_ok 'repaired' "$LOCUM" verify --repair "$a"
rm -r "$TAP_DIR/tree"
tap_ok 'and all is whole' tap_until 60 all_are whole

# ---- a container runs on it ----
tap_ok 'mount' "$LOCUM" mount --id old "$a" "$M"
tap_ok 'native' it_wait old native 60
n=$(layers real)
rot "$(stored "$F")"
tap_is 'the mount is named' "$(verify "$a" 2>/dev/null | jq -rs 'map(select(.damaged > 0) | .mounts[]) | join(",")')" old
tap_is 'repair sets it aside' "$(verify --repair "$a" | jq -rs 'map(select(.state == "damaged") | .repair) | join(",")')" 'set aside'
tap_ok 'the new layer is whole' tap_until 60 all_are whole "$a"
tap_is 'the old one stays' "$(layers real)" "$((n + 1))"
tap_is 'and is known' "$(verify 2>/dev/null | jq -rs 'map(select(.set_aside) | .state) | join(",")')" damaged
mkdir "$TAP_DIR/m2"
tap_ok 'a new mount' "$LOCUM" mount --id new "$a" "$TAP_DIR/m2"
tap_ok 'reads right' right "$TAP_DIR/m2"
tap_ok 'the daemon goes' daemon_stop
daemon_start || exit 1
tap_ok 'a mount after it' "$LOCUM" umount new
tap_ok 'again' "$LOCUM" mount --id new "$a" "$TAP_DIR/m2"
tap_ok 'reads right, too' right "$TAP_DIR/m2"
tap_ok 'the old mount ends' "$LOCUM" umount --remove old
tap_ok 'and its layer with it' [ "$(layers real)" = "$n" ]
tap_ok 'all that is left is whole' all_are whole
tap_ok 'umount' "$LOCUM" umount --remove new

# ---- the seal ----
tree=$(stored "$F")
tree=${tree%"/$F"}
seal=$LOCUM_ROOT/seals/${tree##*/}
rot "$seal"
says 'a damaged seal says nothing' 1 'of 1 of 3 layers it is not known' "$LOCUM" verify "$a"
tap_is 'and why' "$(verify "$a" 2>/dev/null | jq -rs 'map(select(.why) | .state, .why) | join(": ")')" 'unknown: the seal is damaged: its checksum differs'
rm "$seal"
tap_is 'nor does none' "$(verify "$a" 2>/dev/null | jq -rs 'map(select(.why) | .why) | join(",")')" 'an older locum stored it, or its disk was full then'
says 'repair leaves it alone' 1 'of 1 of 3 layers it is not known' "$LOCUM" verify --repair "$a"
tap_ok 'as nobody knows better' [ -d "$tree" ]
tap_ok 'gc takes the seals along' "$LOCUM" gc --to 0
tap_is 'none is left' "$(layers seals)" 0

# ---- a seal that cannot be written ----
rmdir "$LOCUM_ROOT/seals"
tap_ok 'a pull' "$LOCUM" pull "$a"
tap_ok 'is as whole as any' tap_until 30 all_are unknown "$a"
tap_is 'no half of a seal is left' "$(find "$LOCUM_ROOT/tmp" -name 'seal-*')" ''
tap_ok 'gc of everything' "$LOCUM" gc --to 0
bad_stop
it_end
tap_end
