#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Many readers of one missing file are one fetch; a thousand missing files at once are all served in bounded memory.
# Usage: crowd.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin crowd 120 "${1:-}"

rss_kb()
{
	sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$DAEMON_PID/status"
}

# MOUNT REFERENCE THREADS-PER-FILE FILES: all threads open at once; bytes are compared
crowd()
{
	python - "$@" <<-'END'
		import hashlib, os, sys, threading
		mount, reference, per, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
		files = []
		for d, subs, names in os.walk(reference + "/usr"):
		    subs.sort()
		    for n in sorted(names):
		        p = os.path.join(d, n)
		        if os.path.isfile(p) and not os.path.islink(p) and 0 < os.path.getsize(p) < 1 << 20:
		            files.append(p[len(reference):])
		names = {os.stat(reference + f).st_ino: f for f in reversed(files)}
		files = sorted(names.values())
		files = [f for f in files if f.endswith(".so") == (per > 1)]
		assert len(files) >= count, len(files)
		files = files[:count]
		want = {f: hashlib.sha256(open(reference + f, "rb").read()).digest() for f in files}
		threading.stack_size(1 << 18)
		start = threading.Barrier(per * count)
		bad = []
		def read(f):
		    start.wait()
		    try:
		        with open(mount + f, "rb") as fd:
		            if hashlib.sha256(fd.read()).digest() != want[f]:
		                bad.append(f)
		    except OSError as e:
		        bad.append("%s: %s" % (f, e))
		threads = [threading.Thread(target=read, args=(f,)) for f in files for _ in range(per)]
		for t in threads: t.start()
		for t in threads: t.join()
		print(len(threads), "readers of", len(files), "files,", len(bad), "wrong")
		for b in bad[:5]: print(b)
		sys.exit(bool(bad))
	END
}

it_image python uncompressed && it_reference && it_image python zstd:chunked || exit 1
IT_TREE=$(ls -d "${IT_OCI%-zstd-chunked}-uncompressed.unpacked/rootfs")
it_serve --delay-ms 20 --log "$TAP_DIR/gets" && daemon_start --no-background || exit 1
tap_ok 'mount' "$LOCUM" mount "$IT_REF" "$M"

: >"$TAP_DIR/gets"
tap_ok '200 threads open one missing file: right bytes' crowd "$M" "$IT_TREE" 200 1
tap_diag "$(cat "$TAP_DIR/out")"
tap_is 'one fetch' "$(daemon_field "$M" demand_fetches)" 1
tap_until 5 test -s "$TAP_DIR/gets"
tap_is 'one request at the registry' "$(wc -l <"$TAP_DIR/gets" | tr -d ' ')" 1
tap_is 'lazy' "$(daemon_field "$M" phase)" lazy

before=$(rss_kb)
tap_ok 'a thousand missing files at once: right bytes' crowd "$M" "$IT_TREE" 1 1000
tap_diag "$(cat "$TAP_DIR/out")"
after=$(rss_kb)
tap_diag "the daemon's memory: $before kB before, $after kB after"
tap_ok 'its memory grew by less than 96 MB' [ $((after - before)) -lt 98304 ]
tap_is 'each was fetched once' "$(daemon_field "$M" demand_fetches)" 1001
tap_ok 'neighbours were fetched together' [ "$(wc -l <"$TAP_DIR/gets")" -lt 900 ]
tap_diag "$(wc -l <"$TAP_DIR/gets") requests at the registry, $("$LOCUM" status --json "$M" | grep waiters_peak)"
tap_is 'nobody waits' "$(daemon_field "$M" waiters)" 0
tap_is 'no error' "$(daemon_field "$M" error)" ''

tap_ok 'umount' "$LOCUM" umount "$M"
it_end
tap_end
