#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every format, as others' tools make it, by every way to a registry: lazy and whole, the tree is the right one.
# Usage: matrix.sh BUILDDIR [WAY...]; MATRIX_IMAGE=python is the same with the python image, which takes too long for CI
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
# shellcheck source=tests/lib/ways.sh
. "$LCM_LIB/ways.sh"
image=${MATRIX_IMAGE:-nasty-small}
seconds=600
[ "$image" = nasty-small ] || seconds=3600
it_begin matrix $seconds "${1:-}"
shift
for tool in containerd ctr-remote nginx htpasswd openssl docker-registry; do
	PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null || tap_skip_all "$tool is not installed"
done
PATH=$PATH:/usr/sbin
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(ways_list)

# ---- the images: skopeo's, and ctr-remote's ----

# What each really is, by umoci, without what eStargz adds for itself.
reference()
{
	# TAG
	image_copy "docker://$WAYS_OPEN/x:$1" uncompressed "oci:$TAP_DIR/ref-$1:t" && reference_unpack "$TAP_DIR/ref-$1:t" "$TAP_DIR/u-$1" || return 1
	root=$TAP_DIR/u-$1/rootfs
	touch -r "$root" "$TAP_DIR/time" && rm -rf "$TAP_DIR/ref-$1" "$root/stargz.index.json" "$root/.prefetch.landmark" \
		"$root/.no.prefetch.landmark" && touch -r "$TAP_DIR/time" "$root"
}

containerd_start()
{
	mkdir -p "$TAP_DIR/cd"
	printf 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' >"$TAP_DIR/cd/config.toml"
	containerd --config "$TAP_DIR/cd/config.toml" --root "$TAP_DIR/cd/root" --state "$TAP_DIR/cd/state" \
		--address "$TAP_DIR/cd/sock" >"$TAP_DIR/cd/log" 2>&1 </dev/null &
	tap_cleanup "tap_kill $!"
	tap_until 30 ctr -a "$TAP_DIR/cd/sock" version
}

converted()
{
	# TAG FLAG...
	to=$WAYS_OPEN/x:$1
	shift
	ctr-remote -a "$TAP_DIR/cd/sock" images convert --oci "$@" "$WAYS_OPEN/x:gzip" "$to" &&
		ctr -a "$TAP_DIR/cd/sock" images push --plain-http "$to"
}

push_all()
{
	for kind in gzip zstd uncompressed zstd:chunked; do
		it_image "$image" "$kind" &&
			images_skopeo copy -q --dest-tls-verify=false "oci:$IT_OCI:t" "docker://$WAYS_OPEN/x:$(printf %s "$kind" | tr : -)" || return 1
	done
	containerd_start && ctr -a "$TAP_DIR/cd/sock" images pull --plain-http "$WAYS_OPEN/x:gzip" &&
		converted estargz --estargz && converted stargz-zstd --zstdchunked || return 1
	daemon_start && "$LOCUM" index push "$WAYS_OPEN/x:gzip" && daemon_stop && fresh
}

# ---- a cell ----

# Each cell begins with nothing. Its state is in memory: ext4 is slow to make files where many have just been removed.
fresh()
{
	rm -rf --one-file-system "$LOCUM_RUN" "$TAP_DIR/state/root"
}

# Where tables of contents say less than the tar: skopeo 1.9 leaves xattrs without a value out, stargz rounds times.
same()
{
	case $tag in
	zstd-chunked) loose=--no-empty-xattrs ;;
	*stargz*) loose=--rounded-times ;;
	*) loose= ;;
	esac
	tap_ok "$1" tap_limit 60 "$TREECMP" "$TAP_DIR/u-$tag/rootfs" "$M" $loose
}

# CELL [OPTION...]
lazy()
{
	cell=$1
	shift
	tap_ok "$cell: mount" "$LOCUM" mount "$@" "$IT_REF" "$M"
	tap_is "$cell: lazy" "$(daemon_field "$M" phase)" lazy
	same "$cell: while lazy"
	tap_ok "$cell: the rest is pulled" tap_limit 60 "$LOCUM" pull "$@" "$IT_REF"
	tap_ok "$cell: native" it_wait "$M" native 30
	same "$cell: native"
	tap_is "$cell: no error" "$(daemon_field "$M" error)" ''
	tap_ok "$cell: umount" "$LOCUM" umount "$M"
}

# CELL
whole()
{
	tap_ok "$1: mount" tap_limit 60 "$LOCUM" mount "$IT_REF" "$M"
	tap_is "$1: native at once" "$(daemon_field "$M" phase)" native
	same "$1: whole"
	tap_ok "$1: umount" "$LOCUM" umount "$M"
}

cell()
{
	# WAY FORMAT
	tag=$2
	[ "$2" != soci ] || tag=gzip
	IT_REF=$WAY_HOST/x:$tag
	# shellcheck disable=SC2086
	daemon_start --no-background $WAY_OPTIONS || exit 1
	case $2 in
	gzip | zstd | uncompressed)
		whole "$1 $2"
		tap_ok "$1 $2: drop-cache" "$LOCUM" drop-cache "$IT_REF"
		lazy "$1 $2, indexed"
		;;
	soci) lazy "$1 $2" --index=referrers ;;
	*)
		lazy "$1 $2"
		whole "$1 $2, on the plain layout"
		;;
	esac
	tap_ok "$1 $2: the daemon ends in order" daemon_stop
	fresh
}

LOCUM_ROOT=$TAP_DIR/state/root
mkdir "$TAP_DIR/state" && mount -t tmpfs -o mode=0700,size=2g tmpfs "$TAP_DIR/state" || exit 1
tap_cleanup "umount -l $TAP_DIR/state"
ways_begin "$TAP_DIR/ways" 2>"$TAP_DIR/ways.log" || exit 1
tap_ok 'seven formats, made by skopeo, ctr-remote and locum index push' push_all
formats='gzip zstd uncompressed zstd-chunked estargz stargz-zstd'
for tag in $formats; do
	tap_ok "what $tag is" reference "$tag"
done
for way; do
	tap_ok "$way" ways_start "$way"
	for format in $formats soci; do
		cell "$way" "$format"
	done
done
tap_is 'no mount, container or temporary file is left' "$(daemon_leftovers | grep -v '^half layer')" ''
tap_end
