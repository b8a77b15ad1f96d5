#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Everything at once, at random, for a while: mounts, readers, killed daemons, registries in trouble, gc.
# Usage: soak.sh BUILDDIR [SECONDS [SEED]]
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
length=${2:-30}
seed=${3:-$(date +%s)}
it_begin soak "$((length + 240))" "${1:-}"
IMG=$TAP_DIR/img

# LAYOUT: "HOST=COMMAND", on a port that is free now
registry()
{
	bad_start "$IMG/$1" >&2 || return 1
	bad_stop
	printf '%s=["%s","%s","--port","%s","--stall","%s"]' "$BAD_HOST" "$BADREGISTRY" "$IMG/$1" "$BAD_PORT" "$TAP_DIR/soak/stall"
}

# Descriptors of a daemon that does nothing. Not its sockets: libcurl keeps connections, also to registries that are gone.
fds()
{
	find "/proc/$(daemon_pids | head -n1)/fd" -type l -printf '%l\n' | grep -v '^socket:' | sort
}

as_before()
{
	[ "$(fds | wc -l)" -le "$1" ] || {
		fds >&2
		return 1
	}
}

ended()
{
	[ -z "$(daemon_pids)" ]
}

tap_ok 'a small image' small_image "$IMG"
mkdir "$TAP_DIR/soak" && ln -s "$IMG/rootfs" "$TAP_DIR/soak/rootfs"
tap_ok 'a daemon' "$LOCUM" images
before=$(fds | wc -l)
one=$(registry zc)
two=$(registry gzip)
three=$(registry zstd)
tap_ok "$length seconds, seed $seed" /usr/bin/python3 "$LCM_LIB/soak.py" "$LOCUM" "$length" "$seed" "$TAP_DIR/soak" "$one" "$two" "$three"
grep '^#' "$TAP_DIR/out"
tap_is 'no mount is left' "$("$LOCUM" status --json | jq length)" 0
tap_ok 'what is stored is what it was' sh -c '"$1" verify --json | jq -es "all(.state == \"whole\" or .state == \"partial\")"' sh "$LOCUM"
tap_ok 'gc of everything' "$LOCUM" gc --to 0
tap_ok 'its space comes back' daemon_swept
tap_ok 'nor a descriptor' tap_until 30 as_before "$before"
curl -s --unix-socket "$LOCUM_RUN/locum.sock" -X POST http://locum/v1/daemon/stop >/dev/null
tap_ok 'the daemon ends' tap_until 20 ended
tap_ok 'sanitizers are silent' daemon_sane
tap_is 'no mount, container or temporary file is left' "$(daemon_leftovers | grep -v '^half layer')" ''
tap_end
