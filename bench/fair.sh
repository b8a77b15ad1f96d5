#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A modest container's opens of missing files: alone, and beside one that opens missing files with 64 threads; two images, one registry each,
# answers of both delayed, every open a request. Each round opens OPENS files (300; p99 wants 101 at least); prints medians over the rounds. Status 1 when a
# figure is missing or the greedy one had nothing left to read.
# Usage: bench/fair.sh BUILDDIR [ROUNDS [DELAY-MS [OPENS]]]
set -u
LCM_LIB=${0%/*}/../tests/lib
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../tests/lib/itest.sh"
rounds=${2:-5}
delay=${3:-20}
opens=${4:-300}
it_begin bench-fair 3600 "${1:-}"
mkdir "$TAP_DIR/m2"
for i in 1 2; do
	python "$LCM_LIB/neighbours.py" --image "$TAP_DIR/image$i" 20000 $i || exit 1
done
bad_start "$TAP_DIR/image1" --delay-ms "$delay" || exit 1
greedy=$BAD_HOST/greedy:t
"$BADREGISTRY" "$TAP_DIR/image2" --delay-ms "$delay" >"$TAP_DIR/bad2" 2>&1 &
tap_cleanup "tap_kill $!"
tap_until 10 grep -q '^serving' "$TAP_DIR/bad2" || exit 1
modest=$(sed -n 's|^serving .* on http://||p' "$TAP_DIR/bad2")/modest:t

# THREADS: appends to alone or beside
turn()
{
	daemon_start --no-background || exit 1
	"$LOCUM" mount --id greedy "$greedy" "$M" >/dev/null && "$LOCUM" mount --id modest "$modest" "$TAP_DIR/m2" >/dev/null || exit 1
	python "$LCM_LIB/neighbours.py" "$M" "$TAP_DIR/m2" "$1" "$opens" 5 >>"$TAP_DIR/$2" || exit 1
	"$LOCUM" umount --remove greedy && "$LOCUM" umount --remove modest && daemon_stop
	rm -rf --one-file-system "$LOCUM_ROOT" "$LOCUM_RUN"
}

# FILE FIELD
median()
{
	awk -v f="$2" '{ print $f }' "$TAP_DIR/$1" | sort -n | sed -n "$(((rounds + 1) / 2))p"
}

i=0
while [ $i -lt "$rounds" ]; do
	turn 0 alone
	turn 64 beside
	i=$((i + 1))
done
for f in alone beside; do
	[ "$(awk 'NF == 4 && $2 != "-"' "$TAP_DIR/$f" | wc -l)" = "$rounds" ] || {
		echo "$f: not $rounds lines of median, p99, most and number:" && cat "$TAP_DIR/$f"
		exit 1
	}
	printf '%-7s median %6.1f ms, p99 %6.1f ms, most %6.1f ms of %d opens; the greedy one read %d files\n' $f "$(median $f 1)" "$(median $f 2)" "$(median $f 3)" "$opens" "$(median $f 4)"
done
awk -v a="$(median alone 1)" -v b="$(median beside 1)" -v c="$(median alone 2)" -v d="$(median beside 2)" \
	'BEGIN { printf "beside / alone: median x %.2f, p99 x %.2f\n", b / a, d / c }'
tap_ended=1
