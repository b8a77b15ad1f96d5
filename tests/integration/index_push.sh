#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# locum index push puts tables of contents beside an image, and another host's mount finds and uses them.
# Usage: index_push.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin index_push 300 "${1:-}"

# Another host: nothing of this one's store is there. [OPTION...]: of its daemon
other_host()
{
	if [ -n "$DAEMON_PID" ]; then
		tap_ok 'the daemon ends in order' daemon_stop
	fi
	rm -rf --one-file-system "$LOCUM_ROOT" "$LOCUM_RUN"
	daemon_start --no-background "$@" || exit 1
}

# NAME [OPTION...]: lazy and right all the way
lazy()
{
	name=$1
	shift
	tap_ok "$name: mount" "$LOCUM" mount "$@" "$IT_REF" "$M"
	tap_is "$name: lazy" "$(daemon_field "$M" phase)" lazy
	tap_ok "$name: as umoci unpacks it" tap_limit 100 "$TREECMP" "$IT_TREE" "$M"
	tap_ok "$name: the rest is pulled" tap_limit 100 "$LOCUM" pull "$@" "$IT_REF"
	tap_ok "$name: native" it_wait "$M" native 30
	tap_is "$name: no error" "$(daemon_field "$M" error)" ''
	tap_ok "$name: umount" "$LOCUM" umount "$M"
}

# NAME [OPTION...]: whole before it is there
whole()
{
	name=$1
	shift
	tap_ok "$name: mount" tap_limit 100 "$LOCUM" mount "$@" "$IT_REF" "$M"
	tap_is "$name: not lazy" "$(daemon_field "$M" phase)" native
	tap_ok "$name: umount" "$LOCUM" umount "$M"
}

push()
{
	tap_ok "$1: push" tap_limit 200 "$LOCUM" index push --json "$IT_REF"
	cp "$TAP_DIR/out" "$TAP_DIR/pushed"
}

# FILTER: of what push said
pushed()
{
	jq -r "$1" "$TAP_DIR/pushed"
}

upload()
{
	# IMAGE KIND
	it_image "$1" uncompressed && it_reference && it_image "$1" "$2" || exit 1
	IT_REF=$REGISTRY_HOST/$1-$(printf %s "$2" | tr : -):t
	images_skopeo copy -q --dest-tls-verify=false "oci:$IT_OCI:t" "docker://$IT_REF" || exit 1
}

blob()
{
	curl -sf "http://$REGISTRY_HOST/v2/$1/blobs/$2"
}

# ---- gzip: SOCI ----

registry_start "$TAP_DIR/reg" || exit 1
tap_cleanup registry_stop
backend=$REGISTRY_HOST
upload python gzip
other_host
push gzip
tap_is 'gzip: one index, SOCI of version 2' "$(pushed '[.indexes[].type] | tostring')" '["application/vnd.amazon.soci.index.v2+json"]'
tap_is 'gzip: a zTOC for every layer' "$(pushed '.indexes[0].layers')" "$(jq '.layers | length' "$IT_OCI/blobs/sha256/$(jq -r '.manifests[0].digest' "$IT_OCI/index.json" | cut -d: -f2)")"
tap_is 'gzip: listed by a tag, docker-registry has no referrers' "$(pushed '.indexes[0].listed')" tag
index=$(pushed '.indexes[0].digest')
tap_ok 'gzip: the index is there' curl -sf -o "$TAP_DIR/index.json" -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
	"http://$REGISTRY_HOST/v2/python-gzip/manifests/$index"
n=0
while read -r ztoc layer; do
	n=$((n + 1))
	blob python-gzip "$ztoc" >"$TAP_DIR/ztoc" && blob python-gzip "$layer" >"$TAP_DIR/layer"
	tap_ok "gzip: zTOC $n is what SOCI's reader expects" python "$LCM_LIB/ztocread.py" "$TAP_DIR/ztoc" "$TAP_DIR/layer"
	tap_is "gzip: zTOC $n has every entry of the tar" "$(wc -l <"$TAP_DIR/out" | tr -d ' ')" \
		"$(tar -tzf "$TAP_DIR/layer" | wc -l | tr -d ' ')"
done <<END
$(jq -r '.layers[] | .digest + " " + .annotations["com.amazon.soci.image-layer-digest"]' "$TAP_DIR/index.json")
END
push 'gzip: again'
tap_is 'gzip: again: the same index' "$(pushed '.indexes[0].digest')" "$index"
other_host
whole 'gzip: referrers are not asked for unless allowed'
other_host
lazy 'gzip: with --index=referrers' --index=referrers
other_host
tap_ok 'gzip: with the digest: mount' "$LOCUM" mount --index="$index" "$IT_REF" "$M"
tap_is 'gzip: with the digest: lazy' "$(daemon_field "$M" phase)" lazy
tap_ok 'gzip: with the digest: umount' "$LOCUM" umount "$M"
other_host
says 'a digest that nobody has' 1 '--index: .*is not in the reg' "$LOCUM" mount --index="sha256:$(printf %064d 7)" "$IT_REF" "$M"
says 'the digest of something else' 1 '--index: index: neither SOCI.s' "$LOCUM" mount --index="$(jq -r '.manifests[0].digest' "$IT_OCI/index.json")" "$IT_REF" "$M"
says 'no digest' 1 'manifest, referrers, none or sha256:' "$LOCUM" mount --index=sha256:12 "$IT_REF" "$M"
says 'no such place' 1 'manifest, referrers, none or sha256:' "$LOCUM" mount --index=everywhere "$IT_REF" "$M"

# ---- zstd: our own type ----

upload nasty zstd
other_host --index referrers
push zstd
tap_is 'zstd: one index, of our type' "$(pushed '[.indexes[].type] | tostring')" '["application/vnd.locum.index.v1+json"]'
other_host --index referrers
lazy 'zstd: the daemon allows referrers'
other_host --index referrers
whole 'zstd: the mount does not want them' --index=none

# ---- all in one image, sparse files among them, on a registry that lists referrers ----

/usr/bin/python3 "$LCM_LIB/refproxy.py" "$backend" >"$TAP_DIR/port" 2>"$TAP_DIR/proxy.log" </dev/null &
proxy=$!
tap_cleanup "tap_kill $proxy"
tap_until 10 test -s "$TAP_DIR/port"
REGISTRY_HOST=127.0.0.1:$(cat "$TAP_DIR/port")
upload nasty gzip
other_host
push 'nasty gzip'
tap_is 'nasty gzip: listed by the registry' "$(pushed '[.indexes[].listed] | unique | tostring')" '["referrers"]'
tap_is 'nasty gzip: no tag for it' "$(curl -s "http://$REGISTRY_HOST/v2/nasty-gzip/tags/list" | jq -r '.tags | tostring')" '["t"]'
other_host
lazy 'nasty gzip: referrers' --index=referrers
upload nasty zstd:chunked
other_host
push 'zstd:chunked'
tap_is 'zstd:chunked: nothing to push' "$(pushed '.indexes | tostring')" '[]'

# ---- SOCI of version 1, made by others: only when allowed, and never believed ----

# ARGS: of ztoc.py
version_1()
{
	it_image python uncompressed && it_reference && it_image python gzip || exit 1
	rm -rf "$TAP_DIR/oci"
	cp -a "$IT_OCI" "$TAP_DIR/oci"
	IT_OCI=$TAP_DIR/oci
	python "$LCM_LIB/ztoc.py" index "$IT_OCI" v1 "$@" >"$TAP_DIR/index.out" 2>&1 || exit 1
	bad_stop
	it_serve || exit 1
}

version_1
other_host
whole 'SOCI v1: not without being allowed'
other_host
lazy 'SOCI v1' --index=referrers
version_1 --mode etc/passwd
other_host
tap_ok 'a lying referrer: mount' "$LOCUM" mount --index=referrers "$IT_REF" "$M"
says 'a lying referrer: the pull finds it' 1 'TOC and layer disagree: etc/passwd: mode' "$LOCUM" pull --index=referrers "$IT_REF"
tap_is 'a lying referrer: the mount has failed' "$(daemon_field "$M" phase)" failed
tap_ok 'a lying referrer: umount' "$LOCUM" umount "$M"
it_end
tap_end
