#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# eStargz images are lazy, and right; what their tables of contents get wrong is found by name.
# Usage: estargz.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin estargz 200 "${1:-}"

# KIND [PATH]: IT_OCI is the image in that kind of eStargz
convert()
{
	rm -rf "$TAP_DIR/oci"
	python "$LCM_LIB/estargz.py" "$plain" "$TAP_DIR/oci" "$@" || exit 1
	IT_OCI=$TAP_DIR/oci
}

same()
{
	tap_ok "$1" tap_limit 60 "$TREECMP" "$IT_TREE" "$M"
}

begin()
{
	it_serve && daemon_start --no-background || exit 1
}

end()
{
	it_end
	rm -rf "$LOCUM_ROOT" "$LOCUM_RUN"
}

# NAME
lazy()
{
	begin
	tap_ok "$1: mount" "$LOCUM" mount --deadline 300 "$IT_REF" "$M"
	tap_is "$1: lazy" "$(daemon_field "$M" phase)" lazy
	same "$1: while lazy, as umoci unpacks the original"
	tap_is "$1: still lazy" "$(daemon_field "$M" phase)" lazy
	tap_ok "$1: the rest is pulled" it_rest 60
	tap_ok "$1: native" it_wait "$M" native 30
	same "$1: after native"
	tap_is "$1: no error" "$(daemon_field "$M" error)" ''
	tap_ok "$1: umount" "$LOCUM" umount "$M"
	tap_ok "$1: drop-cache" "$LOCUM" drop-cache "$IT_REF"
	tap_ok "$1: mount by the kept table of contents" "$LOCUM" mount --deadline 300 "$IT_REF" "$M"
	same "$1: as before"
	tap_ok "$1: umount" "$LOCUM" umount "$M"
	end
}

# NAME REASON: lazy first, then the pull finds out
liar()
{
	begin
	tap_ok "$1: mount" "$LOCUM" mount "$IT_REF" "$M"
	says "$1: the pull finds it" 1 "$2" "$LOCUM" pull "$IT_REF"
	tap_is "$1: the mount has failed" "$(daemon_field "$M" phase)" failed
	tap_like "$1: and says why" "$(daemon_field "$M" error)" "$2"
	tap_ok "$1: umount" "$LOCUM" umount "$M"
	end
}

for image in nasty python; do
	it_image $image uncompressed && it_reference || exit 1
	plain=$IT_OCI
	convert good
	lazy "$image"
done
small_image "$TAP_DIR/small" 2>"$TAP_DIR/small.log" || exit 1
plain=$TAP_DIR/small/uncompressed
IT_TREE=$TAP_DIR/small/rootfs
convert legacy
lazy 'the footer of stargz'
convert external
lazy 'the tables of contents in an image of their own'
for kind in external-lost external-other; do
	convert $kind
	begin
	tap_ok "$kind: mount, as any gzip layer" tap_limit 100 "$LOCUM" mount "$IT_REF" "$M"
	tap_is "$kind: native at once" "$(daemon_field "$M" phase)" native
	tap_like "$kind: the log says why" "$(cat "$TAP_DIR/daemon.log")" 'x:t-esgztoc, where it is not found: it is pulled whole'
	tap_ok "$kind: umount" "$LOCUM" umount "$M"
	end
done

# ---- the same with tables that are not what their digests say ----
convert external
flips=$(skopeo inspect --raw "oci:$IT_OCI:t-esgztoc" | jq -r '.layers[] | "--flip \(.digest):100"')
# shellcheck disable=SC2086
"$BADREGISTRY" "$IT_OCI" $flips >"$TAP_DIR/liar.out" 2>&1 </dev/null &
liar=$!
tap_cleanup "tap_kill $liar"
tap_ok 'a mirror that lies about tables' tap_until 10 grep -q '^serving' "$TAP_DIR/liar.out"
it_serve
IT_REF=127.0.0.2:$BAD_PORT/x:t
mkdir -p "$TAP_DIR/certs.d/${IT_REF%%/*}"
printf 'server = "http://%s"\n[host."%s"]\n' "$BAD_HOST" "$(sed -n 's|^serving .* on http|http|p' "$TAP_DIR/liar.out")" \
	>"$TAP_DIR/certs.d/${IT_REF%%/*}/hosts.toml"
daemon_start --no-background --hosts-dir "$TAP_DIR/certs.d" || exit 1
tap_ok 'mount' "$LOCUM" mount --deadline 300 "$IT_REF" "$M"
tap_is 'lazy' "$(daemon_field "$M" phase)" lazy
tap_like 'the mirror is blamed' "$("$LOCUM" registries --json | jq -r '.[].hosts[0].last_error')" 'another digest'
same 'right'
tap_ok 'umount' "$LOCUM" umount "$M"
end
# shellcheck disable=SC2086
it_serve $flips && daemon_start --no-background || exit 1
tap_ok 'nobody has them right: mount, as any gzip layer' tap_limit 100 "$LOCUM" mount "$IT_REF" "$M"
tap_is 'native at once' "$(daemon_field "$M" phase)" native
tap_like 'the log says why' "$(cat "$TAP_DIR/daemon.log")" 'table of contents of layer .*: digest is sha256:[0-9a-f]*, the manifest says'
same 'right'
tap_ok 'umount' "$LOCUM" umount "$M"
end
convert mixed
lazy 'the last layer has a table of contents'

convert no-footer
begin
tap_ok 'without a footer: mount, as any gzip layer' tap_limit 100 "$LOCUM" mount "$IT_REF" "$M"
tap_is 'without a footer: native at once' "$(daemon_field "$M" phase)" native
tap_is 'without a footer: what it has for itself is not shown' "$(cd "$M" && ls -d stargz.index.json .no.prefetch.landmark 2>/dev/null)" ''
tap_ok 'without a footer: umount' "$LOCUM" umount "$M"
end

convert digest
begin
says 'another digest: refused' 1 'table of contents: digest is sha256:[0-9a-f]{64}, the manifest says' "$LOCUM" mount "$IT_REF" "$M"
end
convert outside
begin
says 'a footer that points outside: refused' 1 'eStargz footer: .* not within' "$LOCUM" mount "$IT_REF" "$M"
end
convert mode many/7
liar 'another mode' 'TOC and layer disagree: many/7: mode'
tap_end
