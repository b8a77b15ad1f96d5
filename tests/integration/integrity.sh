#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# integrity.sh BUILDDIR - damaged images: an error to the reader and in `locum status`, never a wrong byte, never native.
set -u
srcdir=${srcdir:-$(dirname "$0")/../..}
LCM_LIB=$srcdir/tests/lib
. "$LCM_LIB/tap.sh"
. "$LCM_LIB/images.sh"
. "$LCM_LIB/daemon.sh"

tap_begin integrity 120
daemon_begin "${1:?usage: integrity.sh BUILDDIR}"
IMG=$TAP_DIR/img
MNT=$TAP_DIR/mnt
FILE=data/medium
# what proved wrong must be gone
DAEMON_STRICT=1
mkdir "$MNT"

badimage()
{
	python "$LCM_LIB/badimage.py" "$@"
}

same()
{
	cmp "$MNT/$1" "$IMG/rootfs/$1"
}

reads_eio()
{
	# the reader gets EIO and not one byte
	reads_status=0
	tap_limit 20 dd if="$MNT/$1" of="$TAP_DIR/read" bs=64k 2>"$TAP_DIR/dd" || reads_status=$?
	[ "$reads_status" = 1 ] && grep -q 'Input/output error' "$TAP_DIR/dd" && [ ! -s "$TAP_DIR/read" ] && return 0
	cat "$TAP_DIR/dd" >&2
	echo "status $reads_status, $(stat -c %s "$TAP_DIR/read") bytes" >&2
	return 1
}

# Every file below DIR is either right or an I/O error; at least $2 of them are right.
never_wrong()
{
	never_right=0
	for never_file in "$MNT/$1"/*; do
		never_name=$1/${never_file##*/}
		if tap_limit 20 cat "$never_file" 2>/dev/null >"$TAP_DIR/read"; then
			cmp "$TAP_DIR/read" "$IMG/rootfs/$never_name" || return 1
			never_right=$((never_right + 1))
		fi
	done
	[ "$never_right" -ge "$2" ] || {
		echo "only $never_right were right" >&2
		return 1
	}
}

umounted()
{
	"$LOCUM" umount "$1" && daemon_clean
}

fresh()
{
	"$LOCUM" drop-cache --all >/dev/null && daemon_clean
}

tap_ok 'a small image' small_image "$IMG"
set -- $(badimage where "$IMG/zc" "$FILE")
BLOB=$1 OFF=$(($2 + $3 / 2))

# ---- a flipped byte, nothing but demand ----
bad_start "$IMG/zc" --flip "$BLOB:$OFF"
tap_ok 'daemon without background' daemon_start --no-background
tap_ok 'mounted' tap_limit 30 "$LOCUM" mount --id flip "$BAD_HOST/small:t" "$MNT"
tap_ok 'flipped byte: EIO to the reader, no byte' reads_eio "$FILE"
tap_like 'status names layer, file and digest' "$(daemon_field flip error)" "layer .*/$FILE: .*digest"
tap_ok 'another file of the layer reads right' same many/42
tap_ok 'a file of the other layer reads right' same etc/hostname
tap_ok 'a big file by range reads right' same data/big
tap_ok 'again: EIO' reads_eio "$FILE"
tap_is 'still lazy' "$(daemon_field flip phase)" lazy
bad_stop
bad_start "$IMG/zc" --port "$BAD_PORT"
tap_ok 'healed: a later open reads right' same "$FILE"
tap_ok 'umount leaves nothing' sh -c '"$0" umount -l --remove flip' "$LOCUM"
tap_ok 'daemon ends' daemon_stop
bad_stop

# ---- the same in a big file: only the readers of that chunk ----
set -- $(badimage where "$IMG/zc" data/big)
rm -rf --one-file-system "$LOCUM_ROOT"
bad_start "$IMG/zc" --flip "$BLOB:$(($2 + $3 / 2))"
daemon_start --no-background --big-data 1M
tap_ok 'mounted with big files by range' tap_limit 30 "$LOCUM" mount --id big "$BAD_HOST/small:t" "$MNT"
big_bytes()
{
	# every block that can be read is right, and at least one cannot
	python - "$MNT/data/big" "$IMG/rootfs/data/big" <<-'END'
		import errno, os, sys
		a, b = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_RDONLY)
		good = bad = 0
		for off in range(0, os.fstat(b).st_size, 65536):
		    try:
		        got = os.pread(a, 65536, off)
		    except OSError as e:
		        assert e.errno == errno.EIO, e
		        bad += 1
		        continue
		    want = os.pread(b, 65536, off)
		    assert got == want[:len(got)], "wrong bytes at %d" % off
		    good += got == want
		    bad += got != want
		print("%d blocks right, %d EIO" % (good, bad))
		assert good and bad
	END
}
tap_ok 'reads of a big file: right or EIO' big_bytes
tap_diag "$(cat "$TAP_DIR/out")"
tap_like 'status names the big file' "$(daemon_field big error)" 'layer .*/data/big: .*digest'
tap_ok 'umount' "$LOCUM" umount -l --remove big
tap_ok 'daemon ends' daemon_stop
bad_stop

# ---- a flipped byte with the background pull on ----
set -- $(badimage where "$IMG/zc" "$FILE")
rm -rf --one-file-system "$LOCUM_ROOT"
bad_start "$IMG/zc" --flip "$BLOB:$OFF"
daemon_start --hold 0
tap_ok 'mounted with background' tap_limit 30 "$LOCUM" mount --id both "$BAD_HOST/small:t" "$MNT"
tap_ok 'flipped byte: EIO' reads_eio "$FILE"
says 'wait --for native fails and says why' 1 'layer sha256:.*(digest|mismatch|damaged)' "$LOCUM" wait --for native --timeout 20 both
tap_is 'failed, not native' "$(daemon_field both phase)" failed
tap_like 'with a named reason' "$(daemon_field both error)" 'layer sha256:.*(digest|mismatch|damaged)'
tap_ok 'never a wrong byte in what can be read' never_wrong many 0
tap_ok 'EIO again' reads_eio "$FILE"
tap_ok 'umount leaves nothing, not the layer either' sh -c '"$0" umount -l --remove both' "$LOCUM"
tap_ok 'nothing is left' daemon_clean
bad_stop
bad_start "$IMG/zc" --port "$BAD_PORT"
tap_ok 'healed: mounts again' tap_limit 30 "$LOCUM" mount --id both "$BAD_HOST/small:t" "$MNT"
tap_ok 'healed: reads right' same "$FILE"
tap_ok 'healed: native' tap_limit 30 "$LOCUM" wait --for native --timeout 25 both
tap_ok 'healed: the tree is the reference' "$TREECMP" "$MNT" "$IMG/rootfs" --ignore-dir-times
tap_ok 'umount' "$LOCUM" umount --remove both
bad_stop

# ---- pulls of plain gzip ----
set -- $(badimage layer "$IMG/gzip" 0)
BLOB=$1 SIZE=$2
tap_ok 'no layer is left' fresh
bad_start "$IMG/gzip" --flip "$BLOB:$((SIZE / 2))"
says 'gzip, byte flipped in the middle: pull fails' 1 'layer.*(digest|mismatch|damaged|corrupt|gzip|inflate|deflate)' "$LOCUM" pull "$BAD_HOST/small:t"
tap_ok 'no half layer is left' daemon_clean
bad_stop
bad_start "$IMG/gzip" --port "$BAD_PORT" --flip "$BLOB:$((SIZE - 3))"
says 'gzip, byte flipped in the trailer: pull fails' 1 'layer.*(digest|mismatch|damaged|corrupt|gzip|inflate|deflate)' "$LOCUM" pull "$BAD_HOST/small:t"
tap_ok 'no half layer is left' daemon_clean
bad_stop
bad_start "$IMG/gzip" --port "$BAD_PORT" --flip "$BLOB:4"
says 'gzip, only the header time flipped: the blob digest is wrong' 1 'layer.*digest' "$LOCUM" pull "$BAD_HOST/small:t"
tap_ok 'no half layer is left' daemon_clean
bad_stop
bad_start "$IMG/gzip" --port "$BAD_PORT"
tap_ok 'healed: pull works' tap_limit 30 "$LOCUM" pull "$BAD_HOST/small:t"
tap_ok 'mount of what was pulled' tap_limit 30 "$LOCUM" mount --id gz "$BAD_HOST/small:t" "$MNT"
tap_is 'it is native at once' "$(daemon_field gz phase)" native
tap_ok 'the tree is the reference' "$TREECMP" "$MNT" "$IMG/rootfs" --ignore-dir-times
tap_ok 'umount' "$LOCUM" umount --remove gz
bad_stop

# ---- wrong diffIDs and tables of contents that lie, under right digests ----
tap_ok 'no layer is left' fresh
for kind in gzip zstd zc; do
	badimage damage diffid "$IMG/$kind" "$TAP_DIR/bad"
	bad_start "$TAP_DIR/bad"
	says "$kind, wrong diffID: pull fails" 1 'diffID mismatch' "$LOCUM" pull "$BAD_HOST/small:t"
	# the other layer is right and may stay; the one with the wrong diffID may not
	tap_ok "$kind: no half layer is left" daemon_clean
	tap_ok "$kind: drop" fresh
	bad_stop
	rm -rf "$TAP_DIR/bad"
done

for kind in 'toc-digest many/7' 'toc-mode many/7' 'toc-swap many/7 many/8' 'toc-missing many/7' toc-extra; do
	# shellcheck disable=SC2086
	badimage damage $kind "$IMG/zc" "$TAP_DIR/bad"
	bad_start "$TAP_DIR/bad"
	tap_ok "$kind: mounted" tap_limit 30 "$LOCUM" mount --id lie "$BAD_HOST/small:t" "$MNT"
	says "$kind: the background pull finds it" 1 'layer' "$LOCUM" wait --for native --timeout 20 lie
	tap_is "$kind: failed" "$(daemon_field lie phase)" failed
	tap_like "$kind: with a named reason" "$(daemon_field lie error)" 'many/(7|only-in)|table of contents|TOC|digest'
	tap_ok "$kind: umount" "$LOCUM" umount -l --remove lie
	tap_ok "$kind: nothing is left" daemon_clean
	says "$kind: pull fails too" 1 'layer' "$LOCUM" pull "$BAD_HOST/small:t"
	tap_ok "$kind: drop" fresh
	bad_stop
	rm -rf "$TAP_DIR/bad"
done
# ---- what an earlier daemon left in the blob file has rotted: whoever has it right is asked again ----
rot()
{
	python - "$LOCUM_ROOT/blobs" <<-'END'
		import os, sys
		n = 0
		for name in os.listdir(sys.argv[1]):
		    path = sys.argv[1] + "/" + name
		    if name.isdigit():
		        with open(path, "r+b") as f:
		            f.write(os.urandom(os.path.getsize(path)))
		        n += 1
		assert n
	END
}
tap_ok 'daemon ends' daemon_stop
rm -rf --one-file-system "$LOCUM_ROOT"
bad_start "$IMG/zc"
daemon_start --no-background
tap_ok 'mounted' tap_limit 30 "$LOCUM" mount --id rot "$BAD_HOST/small:t" "$MNT"
tap_ok 'a file, and what came along' same many/7
tap_ok 'daemon ends' daemon_stop
tap_ok 'the blob files rot' rot
daemon_start --no-background
tap_ok 'a file that came along is right' same many/8
tap_ok 'the daemon ends, they rot again' eval 'daemon_stop && rot'
daemon_start --no-background
tap_ok 'the pull is right' tap_limit 30 "$LOCUM" pull "$BAD_HOST/small:t"
tap_ok 'native' tap_limit 30 "$LOCUM" wait --for native --timeout 25 rot
tap_ok 'the tree is the reference' "$TREECMP" "$MNT" "$IMG/rootfs" --ignore-dir-times
tap_ok 'umount' "$LOCUM" umount --remove rot
bad_stop

# ---- an image that is wrong under a right digest is no mirror's lie ----
badimage damage diffid "$IMG/gzip" "$TAP_DIR/bad"
set -- $(badimage layer "$TAP_DIR/bad" -1)
bad_start "$TAP_DIR/bad" --log "$TAP_DIR/asked"
mkdir -p "$TAP_DIR/certs.d/127.0.0.2:$BAD_PORT"
printf 'server = "http://%s"\n[host."http://localhost:%s"]\n' "$BAD_HOST" "$BAD_PORT" >"$TAP_DIR/certs.d/127.0.0.2:$BAD_PORT/hosts.toml"
tap_ok 'the daemon ends' daemon_stop
tap_ok 'and begins with a mirror' daemon_start --hosts-dir "$TAP_DIR/certs.d"
says 'wrong diffID by a mirror: pull fails' 1 'diffID mismatch' "$LOCUM" pull "127.0.0.2:$BAD_PORT/small:t"
tap_is 'the layer came once' "$(grep -c "^GET .*/blobs/$1 " "$TAP_DIR/asked")" 1
tap_is 'the mirror has served it, and has not failed' \
	"$("$LOCUM" registries --json | jq -r '.[].hosts[] | select(.upstream | not) | "\(.bytes > 0) \(.failed)"')" 'true 0'
tap_ok 'drop' fresh
bad_stop

tap_ok 'what was removed is gone' daemon_swept
tap_ok 'the daemon ends well' daemon_stop
tap_end
