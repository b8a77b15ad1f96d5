#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A table of contents of a million entries is mounted, and costs the daemon little memory of its own.
# Usage: million.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin million 200 "${1:-}"
COUNT=1000000

# Memory that is not page cache: KEY of the daemon's status, in kB.
kb()
{
	sed -n "s/^$1:[[:space:]]*\([0-9]*\) kB/\1/p" "/proc/$DAEMON_PID/status"
}

tap_ok 'the image' python "$LCM_LIB/million.py" "$TAP_DIR/oci" $COUNT
tap_diag "entries, bytes of JSON, compressed: $(cat "$TAP_DIR/out")"
IT_OCI=$TAP_DIR/oci
it_serve && daemon_start --no-background || exit 1
before=$(kb RssAnon)
began=$(now_ms)
tap_ok 'mount' "$LOCUM" mount --deadline 100 "$IT_REF" "$M"
tap_diag "mounted after $(($(now_ms) - began)) ms"
tap_is 'lazy' "$(daemon_field "$M" phase)" lazy
tap_is 'a directory in the middle' "$(ls "$M/d500" | wc -l | tr -d ' ')" 1000
tap_is 'the last file' "$(stat -c %s "$M/d999/f999999")" 0
tap_is 'the one with content' "$(cat "$M/d0/f0")" locum
after=$(kb RssAnon)
tap_diag "anonymous memory of the daemon: $before kB before, $after kB after, $(kb RssFile) kB of files mapped; at most $(kb VmHWM) kB with those"
if "$LOCUM" --version >/dev/null && ! grep -qa __asan_init "$LOCUM"; then
	tap_ok 'it grew by less than 64 MiB' [ $((after - before)) -lt 65536 ]
else
	tap_diag 'a sanitizer keeps what is freed: growth is not judged'
fi
tap_ok 'umount' "$LOCUM" umount "$M"
it_end
tap_end
