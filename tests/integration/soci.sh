#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# An image with a SOCI index (version 2) is lazy unconverted, and right; what its zTOC gets wrong is found by name.
# Usage: soci.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin soci 300 "${1:-}"

# IMAGE KIND ARGS: IT_OCI is a copy with an index
index()
{
	it_image "$1" uncompressed && it_reference || exit 1
	it_image "$1" "$2" || exit 1
	tree=$1
	kind=$2
	shift 2
	rm -rf "$TAP_DIR/oci"
	cp -a "$IT_OCI" "$TAP_DIR/oci"
	IT_OCI=$TAP_DIR/oci
	python "$LCM_LIB/ztoc.py" index "$IT_OCI" v2 "$@" >"$TAP_DIR/index.out" 2>&1 || {
		cat "$TAP_DIR/index.out" >&2
		exit 1
	}
}

same()
{
	tap_ok "$1" tap_limit 100 "$TREECMP" "$IT_TREE" "$M"
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

lazy()
{
	begin
	tap_ok "$1: mount" "$LOCUM" mount --deadline 300 "$IT_REF" "$M"
	tap_is "$1: lazy" "$(daemon_field "$M" phase)" lazy
	same "$1: while lazy, as umoci unpacks it"
	tap_ok "$1: the rest is pulled" it_rest 100
	tap_ok "$1: native" it_wait "$M" native 30
	same "$1: after native"
	tap_is "$1: no error" "$(daemon_field "$M" error)" ''
	tap_ok "$1: umount" "$LOCUM" umount "$M"
	end
}

for what in 'nasty gzip' 'nasty uncompressed' 'python gzip'; do
	# shellcheck disable=SC2086
	index $what
	lazy "$what"
done

# NAME REASON: lazy first, then the pull finds out
liar()
{
	begin
	tap_ok "$1: mount" "$LOCUM" mount "$IT_REF" "$M"
	[ -z "$twin" ] || cat "$M/$twin" >"$TAP_DIR/read"
	says "$1: the pull finds it" 1 "$2" "$LOCUM" pull "$IT_REF"
	tap_is "$1: the mount has failed" "$(daemon_field "$M" phase)" failed
	tap_like "$1: and says why" "$(daemon_field "$M" error)" "$2"
	tap_ok "$1: umount" "$LOCUM" umount "$M"
	end
}

twin=
index python gzip --mode etc/passwd
liar 'another mode' 'TOC and layer disagree: etc/passwd: mode'
index python gzip --digest
liar "another digest of a span" 'are not those that the index has the digest of'
# A file of which the container gets the bytes of another, of the same size and in the same layer.
twin=$(python - "$IT_TREE" <<'END'
import collections, os, sys
by = collections.defaultdict(set)
for d, _, names in os.walk(sys.argv[1] + "/usr/share"):
    for n in names:
        p = os.path.join(d, n)
        st = os.lstat(p)
        if os.path.isfile(p) and not os.path.islink(p) and st.st_size > 2000:
            by[st.st_size, st.st_mode].add((open(p, "rb").read(), p))
pairs = [sorted(p for _, p in v) for v in by.values() if len(v) == 2 and len({c for c, _ in v}) == 2]
print(min(pairs)[0][len(sys.argv[1]) + 1:])
END
)
index python gzip --lie "$twin"
liar "another file's bytes" 'TOC and layer disagree: .*'
twin=

# A part of a big file is read, then the pull brings all of it: what was read is compared. Here nothing lies, so the test
# changes a byte in the daemon's partial file.
partial()
{
	for fd in "/proc/$DAEMON_PID/fd"/*; do
		[ "$(stat -Lc '%F %s' "$fd" 2>/dev/null)" = "regular file $(stat -c %s "$IT_TREE/$big")" ] && echo "$fd"
	done
}

for change in no yes; do
	index nasty gzip
	big=$(find "$IT_TREE" -xdev -type f -size +20M -printf '%s %P\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
	begin
	tap_ok 'a big file: mount' "$LOCUM" mount "$IT_REF" "$M"
	head -c 100000 "$M/$big" >"$TAP_DIR/read"
	tap_ok 'a big file: the bytes read are right' cmp -n 100000 "$TAP_DIR/read" "$IT_TREE/$big"
	[ $change = no ] || printf X | dd of="$(partial)" bs=1 seek=1000 conv=notrunc 2>"$TAP_DIR/dd"
	"$LOCUM" pull "$IT_REF" >"$TAP_DIR/pull" 2>&1
	if [ $change = yes ]; then
		tap_ok 'a changed part: the mount fails' tap_until 20 daemon_is "$M" phase failed
		tap_like 'a changed part: and says why' "$(daemon_field "$M" error)" "TOC and layer disagree: $big: what its table"
	else
		tap_ok 'a big file: native' it_wait "$M" native 30
		tap_is 'a big file: no error' "$(daemon_field "$M" error)" ''
	fi
	tap_ok 'a big file: umount' "$LOCUM" umount "$M"
	end
done

# The same for a file that demand has placed.
index python gzip
begin
tap_ok 'a changed file: mount' "$LOCUM" mount "$IT_REF" "$M"
tap_ok 'a changed file: its bytes are right at first' cmp "$M/etc/bash.bashrc" "$IT_TREE/etc/bash.bashrc"
printf X | dd of="$(ls "$LOCUM_ROOT"/real/*/etc/bash.bashrc)" bs=1 seek=10 conv=notrunc 2>"$TAP_DIR/dd"
says 'a changed file: the pull finds it' 1 'TOC and layer disagree: etc/bash.bashrc: what its table of contents gave' "$LOCUM" pull "$IT_REF"
tap_is 'a changed file: the mount has failed' "$(daemon_field "$M" phase)" failed
tap_ok 'a changed file: umount' "$LOCUM" umount "$M"
end

# The index is gone from the registry: an offer, not a condition.
digest=$(python - "$IT_OCI" <<'END'
import json, sys
oci = sys.argv[1]
index = json.load(open(oci + "/index.json"))
m = json.load(open("%s/blobs/%s" % (oci, index["manifests"][0]["digest"].replace(":", "/"))))
print(m["annotations"]["com.amazon.soci.index-digest"])
END
)
rm "$IT_OCI/blobs/sha256/${digest#sha256:}"
begin
tap_ok 'without its index: mount' tap_limit 200 "$LOCUM" mount "$IT_REF" "$M"
tap_is 'without its index: native at once' "$(daemon_field "$M" phase)" native
tap_ok 'without its index: umount' "$LOCUM" umount "$M"
end
tap_end
