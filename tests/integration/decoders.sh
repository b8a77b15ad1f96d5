#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# While 20 images are mounted one decoder is killed, stopped, or made to lie: its image fails by name, the others are right.
# Usage: decoders.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin decoders 200 "${1:-}"
COUNT=20

# The decoders that have been given a layer: 4 MiB of plain bytes and more, which no document has.
bound()
{
	for p in $(pgrep -P "$DAEMON_PID" -x locum-decode); do
		python - "$p" <<-'END'
			import sys
			try:
			    with open("/proc/%s/maps" % sys.argv[1]) as f:
			        at = [l.split()[0].split("-") for l in f if "locum-out" in l]
			except OSError:
			    at = []
			if any(int(b, 16) - int(a, 16) > 4 << 20 for a, b in at):
			    print(sys.argv[1])
		END
	done
}

two_bound()
{
	[ "$(bound | wc -l)" -ge 2 ]
}

# Nonsense into what it has for the daemon: every position, and the first record.
corrupt()
{
	python - "$1" <<-'END'
		import sys
		pid = sys.argv[1]
		with open("/proc/%s/maps" % pid) as f:
		    at = [int(l.split("-")[0], 16) for l in f if "locum-out" in l][0]
		with open("/proc/%s/mem" % pid, "r+b", buffering=0) as f:
		    f.seek(at)
		    f.write(b"\xa5" * 64)
		    f.seek(at + 4096)
		    f.write(b"\x5a" * 4096)
	END
}

mount_all()
{
	i=0
	while [ $i -lt $COUNT ]; do
		mkdir -p "$M/$i"
		"$LOCUM" mount --id "m$i" "$BAD_HOST/x:i$i" "$M/$i" >"$TAP_DIR/mount.$i" 2>&1 &
		echo $! >"$TAP_DIR/pid.$i"
		i=$((i + 1))
	done
}

# NAME, what the failure says, what is done to a decoder
one()
{
	name=$1
	says=$2
	shift 2
	daemon_start || exit 1
	: >"$TAP_DIR/stall"
	mount_all
	tap_ok "$name: decoders are at work" tap_until 30 two_bound
	victim=$(bound | sed -n 1p)
	"$@" "$victim" || tap_diag "$* $victim: $?"
	rm "$TAP_DIR/stall"
	i=0
	good=0
	equal=0
	failed=
	while [ $i -lt $COUNT ]; do
		if wait "$(cat "$TAP_DIR/pid.$i")"; then
			good=$((good + 1))
			"$TREECMP" "$TAP_DIR/images/trees/$i" "$M/$i" >"$TAP_DIR/cmp" 2>&1 && equal=$((equal + 1))
			"$LOCUM" umount "m$i" >/dev/null || tap_diag "umount m$i: $?"
		else
			failed="$failed $(cat "$TAP_DIR/mount.$i")"
		fi
		i=$((i + 1))
	done
	tap_is "$name: all but one are mounted" "$good" $((COUNT - 1))
	tap_is "$name: their trees are equal" "$equal" $((COUNT - 1))
	tap_like "$name: the other is named, with the reason" "$failed" "layer sha256:[0-9a-f]{64} .*$says"
	tap_ok "$name: the victim has gone" tap_until 10 tap_gone "$victim"
	tap_ok "$name: the failed image can be mounted now" "$LOCUM" mount --id again "$BAD_HOST/x:i0" "$M/0"
	tap_ok "$name: and is right" "$TREECMP" "$TAP_DIR/images/trees/0" "$M/0"
	tap_ok "$name: umount" "$LOCUM" umount again
	tap_ok "$name: the daemon ends in order" daemon_stop
	tap_is "$name: no decoder is left" "$(pgrep -f "^locum-decode 19" -P 1)" ''
	rm -rf "$LOCUM_ROOT" "$LOCUM_RUN"
}

stop()
{
	kill -STOP "$1"
}

segv()
{
	kill -SEGV "$1"
}

python "$LCM_LIB/manyimages.py" "$TAP_DIR/images" $COUNT >"$TAP_DIR/layers" || exit 1
# shellcheck disable=SC2046
bad_start "$TAP_DIR/images/oci" --stall "$TAP_DIR/stall" $(sed 's/.*/--stall-only &:1000000000/' "$TAP_DIR/layers") || exit 1
one SEGV 'its decoder (died of signal 11|ended)' segv
one corrupted 'its decoder returned malformed results' corrupt
one STOP 'its decoder hung' stop

# ---- with a mirror: elsewhere the bytes may do no harm, and it may not have been the bytes ----
one_bound()
{
	[ "$(bound | wc -l)" -ge 1 ]
}
mkdir -p "$TAP_DIR/certs.d/127.0.0.2:$BAD_PORT"
printf 'server = "http://%s"\n[host."http://localhost:%s"]\n' "$BAD_HOST" "$BAD_PORT" >"$TAP_DIR/certs.d/127.0.0.2:$BAD_PORT/hosts.toml"
daemon_start --hosts-dir "$TAP_DIR/certs.d" || exit 1
: >"$TAP_DIR/stall"
"$LOCUM" mount --id mirror "127.0.0.2:$BAD_PORT/x:i0" "$M/0" >"$TAP_DIR/mount.0" 2>&1 &
pid=$!
tap_ok 'a mirror: a decoder is at work' tap_until 30 one_bound
kill -SEGV "$(bound | sed -n 1p)"
rm "$TAP_DIR/stall"
tap_ok 'a mirror: the image is mounted' wait "$pid"
tap_ok 'a mirror: and is right' "$TREECMP" "$TAP_DIR/images/trees/0" "$M/0"
tap_like 'a mirror: it is not asked for that again' "$(cat "$TAP_DIR/daemon.log")" "mirror=localhost:$BAD_PORT it sent bytes of a blob on which a decoder broke"
tap_is 'a mirror: it has not failed' "$("$LOCUM" registries --json | jq -r '.[].hosts[] | select(.upstream | not) | .failed')" 0
tap_ok 'a mirror: umount' "$LOCUM" umount mirror
tap_ok 'a mirror: the daemon ends in order' daemon_stop
bad_stop
tap_end
