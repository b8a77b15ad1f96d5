#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# podman pulls and runs images whose layers stay with locum: an additional layer store.
# Usage: layer_store.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin layer_store 150 "${1:-}"
# shellcheck source=tests/lib/podman.sh
. "${0%/*}/../lib/podman.sh"

STORE=$LOCUM_RUN/layer-store
printf '[storage.options]\nadditionallayerstores = ["%s:ref"]\n' "$STORE" >>"$TAP_DIR/storage.conf"

store_start()
{
	"$LOCUM" layer-store --verbose >>"$TAP_DIR/store.log" 2>&1 </dev/null &
	STORE_PID=$!
	tap_until 20 mountpoint -q "$STORE"
}

store_end()
{
	[ -z "$STORE_PID" ] || tap_kill "$STORE_PID"
	STORE_PID=
	for at in "$STORE" "$LOCUM_RUN"; do
		umount -l "$at" 2>/dev/null || :
	done
}

# Blobs of layers that were sent whole
downloads()
{
	grep -c 'blobs.* 200 .* [0-9]\{6,\}$' "$TAP_DIR/gets"
}

mounts()
{
	"$LOCUM" status --json | jq -r "[.[] | select(.id | startswith(\"layer-\"))] | $1"
}

no_mounts()
{
	[ "$(mounts length)" = 0 ]
}

# NAME PODMAN: the image's tree as podman has it mounted; directories that a layer does not list have no time of their own
same_tree()
{
	tap_is "$1: its tree is umoci's" "$(own_cgroups 60 sh -c 'at=$(podman image mount "$1") && "$2" "$3" "$at"
		podman image umount "$1" >/dev/null' sh "$IT_REF" "$TREECMP" "$IT_TREE" 2>&1 | grep -v ': mtime [0-9.]* / 0.000000000$\|differences$')" ''
}

pulled_lazily()
{
	: >"$TAP_DIR/gets"
	tap_ok "$1: pull" "$2" pull --tls-verify=false "$IT_REF"
	tap_is "$1: no layer was downloaded" "$(downloads)" 0
	tap_is "$1: three are mounted, lazily" "$(mounts 'map(.phase) | join(" ")')" 'lazy lazy lazy'
}

manifest()
{
	echo "$IT_OCI/blobs/sha256/$(jq -r '.manifests[0].digest' "$IT_OCI/index.json" | cut -d: -f2)"
}

STORE_PID=
tap_cleanup store_end
# What the daemon mounts is seen by who has podman's mounts already, as where systemd runs
mkdir -p "$LOCUM_RUN" && mount --bind "$LOCUM_RUN" "$LOCUM_RUN" && mount --make-private "$LOCUM_RUN" && mount --make-shared "$LOCUM_RUN" || exit 1
it_image python uncompressed && it_reference && it_image python zstd:chunked || exit 1
IT_TREE=$(ls -d "${IT_OCI%-zstd-chunked}-uncompressed.unpacked/rootfs")
it_serve --log "$TAP_DIR/gets" && daemon_start --no-background || exit 1
store_start
tap_diag "$(podman --version)"
pulled_lazily 4.3 podman_do
tap_like 'podman knows its size' "$(podman_do images --format '{{.Size}}')" '^1[56][0-9] MB$'
tap_like 'it runs' "$(podman_run --rm "$IT_REF")" '^hello from python 3'
tap_is 'still lazy' "$(mounts 'map(.phase) | join(" ")')" 'lazy lazy lazy'
tap_ok 'little of it is here' [ "$(mounts 'map(.files_local) | add')" -lt $(($(mounts 'map(.files_total) | add') / 4)) ]
same_tree lazy
mkdir -p "$TAP_DIR/v"
podman_run --rm --user 0 -v "$TAP_DIR/v:/v" "$IT_REF" sh -c ': >/v/up; echo x >/usr/local/x; until test -e /v/go; do sleep 0.05; done; cat /usr/local/x; python3 -c "import json; print(6 * 7)"' >"$TAP_DIR/long" 2>"$TAP_DIR/long.err" &
long=$!
tap_ok 'a container runs' tap_until 30 test -e "$TAP_DIR/v/up"
kill -KILL "$STORE_PID"
wait "$STORE_PID" 2>/dev/null
tap_fails 'the store is killed' 2 ls "$STORE"
store_start
tap_ok 'another one takes its place' podman_run --rm "$IT_REF" true
tap_ok 'the image is pulled again' podman_do pull --tls-verify=false "$IT_REF"
tap_is 'which ends no mount that others use' "$(mounts 'map(.phase) | join(" ")')" 'lazy lazy lazy'
tap_is 'the store is for root alone' "$(stat -c %a "$STORE") $(findmnt -n -o OPTIONS "$STORE" | grep -c allow_other)" '700 0'
tap_ok 'names that many guess' python -c 'import base64, os, sys
for i in range(5000):
    os.path.exists(os.path.join(sys.argv[1], base64.b64encode(b"h.example/r:%d" % i).decode()))' "$STORE"
tap_ok 'leave room for another' test -d "$STORE/$(printf %s h.example/other | base64)"
tap_is 'and are in nobody'"'"'s way' "$(basename "$(readlink "$STORE/$(printf %s "$IT_REF" | base64)/$(jq -r '.layers[1].digest' "$(manifest)")/diff")" | cut -c1-6)" layer-
tap_fails 'one is enough' 1 "$LOCUM" layer-store
tap_like 'which is said' "$(cat "$TAP_DIR/err")" 'is a mount point already'
tap_ok 'the rest is pulled' it_rest 60
tap_ok 'native' tap_until 30 test "$(mounts 'map(.phase) | join(" ")')" = 'native native native'
: >"$TAP_DIR/v/go"
wait "$long"
tap_is 'the container has seen nothing of all that' "$?/$(tr '\n' ' ' <"$TAP_DIR/long")" '0/x 42 '
same_tree native

# Every blob is there byte for byte.
tap_cleanup registry_stop
registry_start "$TAP_DIR/registry" || exit 1
tap_ok 'push' podman_do push --tls-verify=false "$IT_REF" "docker://$REGISTRY_HOST/y:t"
tap_ok 'it is pulled elsewhere' skopeo copy -q --src-tls-verify=false "docker://$REGISTRY_HOST/y:t" "dir:$TAP_DIR/elsewhere"
tap_is 'with the same config' "$(jq -r .config.digest "$TAP_DIR/elsewhere/manifest.json")" "$(jq -r .config.digest "$(manifest)")"
tap_is 'and the same layers, compressed by podman' "$(for d in $(jq -r '.layers[].digest' "$TAP_DIR/elsewhere/manifest.json"); do gunzip -c <"$TAP_DIR/elsewhere/${d#*:}" | sha256sum; done)" \
	"$(jq -r '.rootfs.diff_ids[]' "$IT_OCI/blobs/sha256/$(jq -r .config.digest "$(manifest)" | cut -d: -f2)" | sed 's/sha256:\(.*\)/\1  -/')"
digest=$(jq -r '.layers[1].digest' "$(manifest)")
tap_ok 'its blob is what the registry has' cmp "$IT_OCI/blobs/sha256/${digest#*:}" "$STORE/$(printf %s "$IT_REF" | base64)/$digest/blob"
tap_ok 'the image is removed' podman_do rmi "$IT_REF"
tap_ok 'and with it the mounts' tap_until 20 no_mounts

# Whiteouts, opaque directories and what replaces what, of layers one by one, under an overlay as podman's
bad_stop
it_image nasty-small uncompressed && it_reference && it_image nasty-small zstd:chunked && bad_start "$IT_OCI" --port "${BAD_HOST#*:}" || exit 1
"$LOCUM" drop-cache --all >/dev/null
lowers=
for digest in $(jq -r '.layers[].digest' "$(manifest)"); do
	id=$(echo "$digest" | cut -c8-20)
	curl -s --unix-socket "$LOCUM_RUN/locum.sock" http://locum/v1/mounts -d "{\"image\": \"$IT_REF\", \"id\": \"$id\", \"layer\": \"$digest\"}" >/dev/null
	"$LOCUM" wait "$id" --for ready >/dev/null
	lowers=$LOCUM_RUN/m/$id${lowers:+:$lowers}
done
mkdir "$TAP_DIR/o"
tap_ok 'nasty layers one by one' mount -t overlay -o "ro,lowerdir=$lowers" overlay "$TAP_DIR/o"
tap_is 'are the tree that umoci unpacks' "$("$TREECMP" "$IT_TREE" "$TAP_DIR/o" 2>&1 | grep -v ': mtime [0-9.]* / 0.000000000$\|xattr user.empty only\|differences$')" ''
umount "$TAP_DIR/o"
# shellcheck disable=SC2046
tap_ok 'they go' sh -c 'locum=$1; shift; for at in "$@"; do "$locum" umount "$at" || exit; done' sh "$LOCUM" $(echo "$lowers" | tr : ' ')
tap_is 'no such layer' "$(curl -s --unix-socket "$LOCUM_RUN/locum.sock" http://locum/v1/mounts -d "{\"image\": \"$IT_REF\", \"layer\": \"sha256:12\"}" | jq -r .error)" \
	'layer: a digest is expected, and neither pull_only, full nor unit'

# What cannot be lazy is podman's to download.
bad_stop
it_image python gzip && bad_start "$IT_OCI" --port "${BAD_HOST#*:}" --log "$TAP_DIR/gets" || exit 1
"$LOCUM" drop-cache --all >/dev/null
: >"$TAP_DIR/gets"
tap_ok 'gzip: pull' podman_do pull --tls-verify=false "$IT_REF"
tap_is 'gzip: podman has downloaded the layers' "$(downloads)" 2
tap_like 'gzip: why' "$(cat "$TAP_DIR/store.log")" 'is not given: the layer has no table of contents'
tap_like 'gzip: it runs' "$(podman_run --rm "$IT_REF")" '^hello from python 3'
tap_ok 'gzip: no mount is left' no_mounts
for name in xyz bm8gcmVm "$(printf %s "$IT_REF" | base64)/sha256:12" "$(printf %s "$IT_REF" | base64)/${digest%?}0/diff"; do
	tap_fails "not there: $name" 1 test -e "$STORE/$name"
done
tap_kill "$STORE_PID"
STORE_PID=
tap_ok 'the store has ended' test -z "$(it_fuse)"
umount -l "$LOCUM_RUN"
it_end
tap_end
