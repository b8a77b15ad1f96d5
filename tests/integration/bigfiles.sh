#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Big files are read by range while lazy; one that stays mapped keeps its inode on the gate and nothing else.
# Usage: bigfiles.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin bigfiles 400 "${1:-}"

gate()
{
	"$LOCUM" status --json "$M" | sed -n "s/^ *\"$1\": \([0-9]*\),*\$/\1/p" | tail -n 1
}

# IMAGE: one layer with incompressible and sparse data, and an executable of 5 MB that sleeps
make_image()
{
	python - "$TAP_DIR/tree" <<-'END'
		import os, random, sys
		top = sys.argv[1]
		for d in ("bin", "data", "dev", "proc", "sys"):
		    os.makedirs(top + "/" + d)
		with open(top + "/data/big", "wb") as f:
		    r = random.Random(7)
		    for _ in range(70):
		        f.write(r.randbytes(1000000))
		with open(top + "/data/holes", "wb") as f:
		    f.truncate(4402341478)
		    for off, data in ((0, b"first"), ((1 << 32) - 4, b"across 4 GiB"), (4402341470, b"the end!")):
		        f.seek(off)
		        f.write(data)
		with open("/bin/sleep", "rb") as f:
		    sleep = f.read()
		with open(top + "/bin/sleeper", "wb") as f:
		    f.write(sleep + random.Random(8).randbytes(5000000))
		os.chmod(top + "/bin/sleeper", 0o755)
		for i in range(200):
		    with open(top + "/data/small-%d" % i, "w") as f:
		        f.write("small %d\n" % i * 20)
	END
	tar -C "$TAP_DIR/tree" -b1 -cf "$TAP_DIR/layer.tar" --format=posix --owner=0 --group=0 --numeric-owner \
		--pax-option='delete=atime,delete=ctime' --mtime=@1600000000 --sort=name . || return 1
	umoci init --layout "$TAP_DIR/oci" && umoci new --image "$TAP_DIR/oci:t" &&
		umoci raw add-layer --image "$TAP_DIR/oci:t" "$TAP_DIR/layer.tar" || return 1
	rm "$TAP_DIR/layer.tar"
	IMAGES_CACHE='' image_copy "oci:$TAP_DIR/oci:t" zstd:chunked "oci:$1.new:t" && mv -T "$1.new" "$1"
	mkdir -p "$1.tree" && cp --sparse=always "$TAP_DIR/tree/data/big" "$TAP_DIR/tree/data/holes" "$1.tree/"
}

ranges()
{
	# FILE REFERENCE OFFSET...: 100 kB at each are the same
	python - "$@" <<-'END'
		import os, sys
		a, b = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_RDONLY)
		assert os.fstat(a).st_size == os.fstat(b).st_size
		for off in map(int, sys.argv[3:]):
		    x, y = os.pread(a, 100000, off), os.pread(b, 100000, off)
		    assert x == y and y, (off, len(x), len(y))
	END
}

cache=${IT_CACHE:-/var/cache/locum-quickstart/itest}
mkdir -p "$cache"
IT_OCI=$cache/big-2
[ -d "$IT_OCI" ] || make_image "$IT_OCI" || exit 1
big=$IT_OCI.tree/big
holes=$IT_OCI.tree/holes
it_serve && daemon_start --no-background || exit 1
tap_ok 'mount' "$LOCUM" mount --big-exec 1M "$IT_REF" "$M"

size=$(stat -c %s "$big")
tap_is 'size of the big file' "$(stat -c %s "$M/data/big")" "$size"
tap_ok 'random ranges of it are right' ranges "$M/data/big" "$big" 0 35000000 69900000 12345678 50000001
tap_ok 'they were READs of the gate' [ "$(gate reads)" -gt 0 ]
bytes=$(daemon_field "$M" demand_bytes)
tap_diag "$bytes bytes fetched of $size, $(gate reads) reads"
tap_ok 'much less than the file was fetched' [ "$bytes" -lt $((size / 3)) ]
tap_is 'size of the file of 4.1 GiB' "$(stat -c %s "$M/data/holes")" 4402341478
tap_ok 'ranges of it are right' ranges "$M/data/holes" "$holes" 0 1000000000 4294900000 4294967290 4402341000
tap_is 'lazy' "$(daemon_field "$M" phase)" lazy

"$M/bin/sleeper" 300 &
sleeper=$!
tap_cleanup 'kill -KILL $sleeper 2>/dev/null'
tap_until 5 grep -q sleeper "/proc/$sleeper/maps"
tap_ok 'the big executable is bound' tap_until 5 [ "$(daemon_field "$M" bound_inodes)" -ge 1 ]
tap_ok 'the rest is pulled' it_rest 60
tap_ok 'draining' tap_until 20 daemon_is "$M" phase draining
tap_is 'all files are local' "$(daemon_field "$M" files_local)" "$(daemon_field "$M" files_total)"
tap_ok 'only the executable is left on the gate' tap_until 20 daemon_is "$M" bound_inodes 1
text=$("$LOCUM" status "$M")
tap_like 'status names the file' "$text" '/bin/sleeper'
tap_like 'status names the holder' "$text" "held by.* $sleeper sleeper"
tap_is 'no FUSE mount is seen' "$(it_fuse)" ''
tap_ok 'the whole file is right now' cmp "$M/data/big" "$big"
tap_is 'still draining' "$(daemon_field "$M" phase)" draining
tap_ok 'the process runs' kill -0 "$sleeper"
reads=$(gate reads)
tap_ok 'reading on asks the gate nothing' cmp "$M/data/big" "$big"
tap_is 'reads did not grow' "$(gate reads)" "$reads"
kill "$sleeper"
wait "$sleeper" 2>/dev/null
tap_ok 'native when it has ended' it_wait "$M" native 40
tap_is 'no bound inode' "$(daemon_field "$M" bound_inodes)" 0

daemon_kill
tap_ok 'without the daemon: the big file is right' cmp "$M/data/big" "$big"
tap_ok 'without the daemon: a small file is right' grep -q 'small 199' "$M/data/small-199"
tap_ok 'without the daemon: the executable runs' "$M/bin/sleeper" 0
daemon_start --no-background || exit 1
tap_ok 'a new daemon knows it as native' it_wait "$M" native 20
tap_ok 'umount' "$LOCUM" umount "$M"
it_end
tap_end
