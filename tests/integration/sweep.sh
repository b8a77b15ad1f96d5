#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# sweep.sh BUILDDIR [POINTS [SEED [MODES]]] - whole runs (mount, read, pull, native) with a fault in each: SIGKILL at any call, ENOSPC and EIO at
# any write, a disk of any size; tests/lib/sweep.py says what must hold. POINTS of each (a number, "all", FROM-TO/STEP), chosen by SEED.
# Needs a build with --enable-faults.
set -u
srcdir=${srcdir:-$(dirname "$0")/../..}
LCM_LIB=$srcdir/tests/lib
. "$LCM_LIB/tap.sh"
. "$LCM_LIB/images.sh"
. "$LCM_LIB/daemon.sh"

tap_begin sweep 86400
daemon_begin "${1:?usage: sweep.sh BUILDDIR [POINTS [SEED [MODES]]]}"
points=${2:-3}
seed=${3:-$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')}
grep -q LCM_FAULTS "$1/Makefile" || tap_skip_all 'built without --enable-faults'
images_need umoci skopeo tar || tap_skip_all 'images cannot be made'
IMG=$TAP_DIR/img
# without a disk: thousands of syncs cost nothing
WORK=$(mktemp -d /dev/shm/locum-sweep.XXXXXX) || exit 1
tap_cleanup 'umount -l "$WORK/root" 2>/dev/null; rm -rf --one-file-system "$WORK"'

# As few files as show everything: small ones, one of some chunks, links, two layers, a whiteout.
tiny_image()
{
	mkdir -p "$IMG/work/base/d" "$IMG/work/top/d" || return 1
	for i in 1 2 3 4 5 6; do
		printf 'file %d\n' "$i" >"$IMG/work/base/d/$i"
	done
	ln "$IMG/work/base/d/1" "$IMG/work/base/d/1.link" && ln -s 2 "$IMG/work/base/d/2.link" || return 1
	head -c 1500000 /dev/urandom >"$IMG/work/base/big" && head -c 200000 /dev/urandom >"$IMG/work/top/medium" || return 1
	: >"$IMG/work/top/d/.wh.6"
	for layer in base top; do
		tar -C "$IMG/work/$layer" -b 1 -cf "$IMG/work/$layer.tar" --format=posix --sort=name --numeric-owner . || return 1
	done
	small_pack "$IMG" && image_copy "oci:$IMG/gzip:t" uncompressed "oci:$IMG/uncompressed:t" &&
		image_copy "oci:$IMG/uncompressed:t" zstd:chunked "oci:$IMG/zc:t" && reference_unpack "$IMG/gzip:t" "$IMG/unpacked"
}

tap_ok 'a tiny image' tiny_image
bad_start "$IMG/zc"
for mode in ${4:-kill ENOSPC EIO full}; do
	tap_ok "$mode at $points points of whole runs" python "$LCM_LIB/sweep.py" "$LOCUM" "$WORK" "$BAD_HOST/tiny:t" "$IMG/unpacked/rootfs" \
		"$mode" "$points" "$seed"
	tap_diag "$(cat "$TAP_DIR/out")"
done
tap_end
