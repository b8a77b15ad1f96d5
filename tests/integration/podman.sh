#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# podman runs a container on a root file system whose image is not here yet.
# Usage: podman.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin podman 150 "${1:-}"

# shellcheck source=tests/lib/podman.sh
. "${0%/*}/../lib/podman.sh"

it_image python zstd:chunked && it_serve && daemon_start --no-background || exit 1
tap_diag "$(podman --version)"
tap_ok 'mount without a directory' "$LOCUM" mount "$IT_REF"
dir=$(cat "$TAP_DIR/out")
tap_is 'prints the one that was made' "$dir" "$LOCUM_RUN/m/$(daemon_field "$dir" id)"
tap_is 'lazy' "$(daemon_field "$dir" phase)" lazy
tap_ok 'podman runs a container on it' podman_run --rm --rootfs "$dir" python3 -c 'print(6 * 7)'
tap_is 'right' "$(tail -n 1 "$TAP_DIR/out")" 42
tap_is 'still lazy' "$(daemon_field "$dir" phase)" lazy
tap_ok 'little of the image is here' [ "$(daemon_field "$dir" files_local)" -lt $(($(daemon_field "$dir" files_total) / 4)) ]
tap_ok 'what it writes stays' podman_run --rm --rootfs "$dir" sh -c 'echo mine >/root/file'
tap_is 'in the mount' "$(cat "$dir/root/file")" mine
tap_ok 'the rest is pulled' it_rest 60
tap_ok 'native' it_wait "$dir" native 30
tap_ok 'podman runs another' podman_run --rm --rootfs "$dir" cat /root/file
tap_ok 'umount' "$LOCUM" umount "$dir"
tap_ok 'takes the directory with it' test ! -e "$dir"
tap_fails 'no image is no mount' 2 "$LOCUM" mount
tap_ok 'drop' "$LOCUM" drop-cache --all

# ---- an additional image store: `podman run IMAGE`, before the image is here ----
STORE=$LOCUM_RUN/image-store
printf '[storage.options]\nadditionalimagestores = ["%s"]\n' "$STORE" >>"$TAP_DIR/storage.conf"
tap_is 'an empty store lists nothing' "$("$LOCUM" image-store list)" ''
tap_ok 'and podman takes it' podman_do images
tap_ok 'an image is added' "$LOCUM" image-store add "$IT_REF"
tap_like 'it is listed' "$("$LOCUM" image-store list)" "^$IT_REF  *[0-9a-f]{12}\$"
tap_ok 'added again, nothing changes' "$LOCUM" image-store add "$IT_REF"
tap_is 'one mount' "$("$LOCUM" status --json | jq length)" 1
layer=$("$LOCUM" status --json | jq -r '.[0].target')
tap_like 'podman images shows it' "$(podman_do images --format '{{.Repository}}:{{.Tag}} {{.ReadOnly}}')" "^$IT_REF true\$"
tap_like 'podman run IMAGE, by its config' "$(podman_do run --rm --network none "$IT_REF")" '^hello from python 3'
tap_is 'user, variables and directory are the image'\''s' "$(podman_do run --rm --network none "$IT_REF" sh -c 'echo "$(id -u):$(pwd):$APP"')" 1000:/app:tour
tap_is 'it is still lazy' "$(daemon_field "$layer" phase)" lazy
tap_ok 'little of it is here' [ "$(daemon_field "$layer" files_local)" -lt $(($(daemon_field "$layer" files_total) / 4)) ]
mkdir -p "$TAP_DIR/v"
podman_do run --rm --network none --user 0 -v "$TAP_DIR/v:/v" "$IT_REF" sh -c ': >/v/up; echo x >/usr/local/x; until test -e /v/go; do sleep 0.05; done; cat /usr/local/x; python3 -c "print(6 * 7)"' >"$TAP_DIR/long" 2>"$TAP_DIR/long.err" &
long=$!
tap_ok 'a container runs on it' tap_until 30 test -e "$TAP_DIR/v/up"
says 'which keeps it in the store' 1 'containers run on it; end them first' "$LOCUM" image-store remove "$IT_REF"
tap_ok 'the rest is pulled' it_rest 60
tap_ok 'native, under the container' it_wait "$layer" native 30
: >"$TAP_DIR/v/go"
wait "$long"
tap_is 'the container ends' $? 0
tap_is 'and was right' "$(cat "$TAP_DIR/long")" 'x
42'
tap_like 'podman runs another on what is native now' "$(podman_do run --rm --network none "$IT_REF")" '^hello from python 3'
tap_ok 'removed' "$LOCUM" image-store remove "$IT_REF"
tap_is 'podman does not see it any more' "$(podman_do images --quiet)" ''
tap_is 'nothing of it is left' "$(find "$STORE" -mindepth 2 ! -name '*.lock' ! -name '*.json' ! -name l)" ''
says 'what is not there cannot be removed' 1 'is not in the store' "$LOCUM" image-store remove "$IT_REF"
says 'an image that no registry has' 1 'x:none is not in the registry' "$LOCUM" image-store add "$BAD_HOST/x:none"
tap_is 'leaves nothing' "$(find "$STORE" -mindepth 2 ! -name '*.lock' ! -name '*.json' ! -name l)" ''
adders=
for i in 1 2 3 4; do
	"$LOCUM" image-store add "$IT_REF" 2>>"$TAP_DIR/parallel" &
	adders="$adders $!"
done
# shellcheck disable=SC2086
wait $adders
tap_is 'added by four at once: one of them' "$("$LOCUM" status --json | jq length)/$(jq length "$STORE/overlay-images/images.json")/$(jq length "$STORE/overlay-layers/layers.json")" 1/1/1
tap_is 'none of them failed' "$(cat "$TAP_DIR/parallel")" ''
tap_like 'and it runs' "$(podman_do run --rm --network none "$IT_REF")" '^hello from python 3'
python=$IT_OCI
bad_stop
it_image nasty-small zstd:chunked && bad_start "$IT_OCI" --port "$BAD_PORT" || exit 1
tap_ok 'another image by its name' "$LOCUM" image-store --pull always add "$IT_REF"
tap_is 'the name is its own, the first one is listed without' "$("$LOCUM" image-store list | cut -d' ' -f1)" "<none>
$IT_REF"
tap_ok 'and can be removed by its id' "$LOCUM" image-store remove "$("$LOCUM" image-store list | sed -n '1s/.* //p')"
tap_like 'the other one stays' "$("$LOCUM" image-store list)" "^$IT_REF  *[0-9a-f]{12}\$"
bad_stop
IT_OCI=$python
bad_start "$IT_OCI" --port "$BAD_PORT" || exit 1
tap_ok 'removed' "$LOCUM" image-store remove "$IT_REF"

# ---- podman 5 ----
podman5_root || exit 1
sed "s|/graph|/graph5|" "$TAP_DIR/storage.conf" >"$TAP_DIR/storage5.conf"
tap_ok 'drop' "$LOCUM" drop-cache --all
tap_diag "$(podman5 --version)"
tap_ok 'an image is added' "$LOCUM" image-store add "$IT_REF"
layer=$("$LOCUM" status --json | jq -r '.[0].target')
tap_like 'podman 5 shows it' "$(podman5 images --format '{{.Repository}}:{{.Tag}} {{.ReadOnly}}')" "^$IT_REF true\$"
tap_like 'and runs it' "$(podman5 run --rm --network none --cgroups=disabled "$IT_REF")" '^hello from python 3'
tap_is 'while it is lazy' "$(daemon_field "$layer" phase)" lazy
tap_ok 'the rest is pulled' it_rest 60
tap_ok 'native' it_wait "$layer" native 30
tap_like 'podman 5 runs another on what is native now' "$(podman5 run --rm --network none --cgroups=disabled "$IT_REF")" '^hello from python 3'
tap_ok 'removed' "$LOCUM" image-store remove "$IT_REF"
echo '{' >"$STORE/overlay-images/images.json"
says 'a damaged store' 1 'overlay-images/images.json is not a list' "$LOCUM" image-store list
it_end
tap_end
