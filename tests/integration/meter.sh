#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What each mount is charged: what it used, no more, and nobody else; a greedy one does not hold the others up.
# Usage: meter.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin meter 150 "${1:-}"
STALL=$TAP_DIR/stall

# ID FILTER: of its meter
meter()
{
	"$LOCUM" meter show --json "$1" | jq -r ".[0].meter | $2"
}

demanded()
{
	curl -s --unix-socket "$LOCUM_RUN/locum.sock" http://locum/v1/daemon | jq .demand_bytes
}

# ---- charges ----
it_image nasty-small zstd:chunked && it_serve && daemon_start --no-background || exit 1
mkdir "$TAP_DIR/m2"
tap_ok 'a mount' "$LOCUM" mount --id a "$IT_REF" "$M"
tap_ok 'another of the same image' "$LOCUM" mount --id b --weight 300 "$IT_REF" "$TAP_DIR/m2"
tap_is 'weights' "$(meter a .weight)/$(meter b .weight)" 100/300
before=$(demanded)
find "$M" -type f -links 1 -size -64k ! -size 0 | head -n 40 | tr '\n' '\0' | xargs -0 cat >"$TAP_DIR/cat"
got=$(meter a .demand.fetched_bytes)
tap_is 'what was fetched is charged to the byte' "$got" "$(($(demanded) - before))"
tap_ok 'so is what was written' [ "$(meter a .demand.written_bytes)" -ge "$(wc -c <"$TAP_DIR/cat")" ]
tap_ok 'and decoded' [ "$(meter a .demand.decoded_bytes)" -gt 0 ]
tap_is 'each request once' "$(meter a .demand.requests)" "$(daemon_field a demand_fetches)"
tap_is 'to nobody else' "$(meter b '.demand | [.requests, .fetched_bytes, .written_bytes, .decode_ms] | add')" 0
"$LOCUM" why --json a >"$TAP_DIR/why"
tap_ok 'why names files, the slowest first' jq -e '(.slowest | length) == 10 and ([.slowest[] | .queue_ms + .network_ms + .decode_ms + .disk_ms] | . == (sort | reverse)) and all(.slowest[]; .path | length > 0)' "$TAP_DIR/why"
tap_like 'also in words' "$("$LOCUM" why a)" 'turn ms +network +decoder +disk +file'
tap_like 'meter show in words' "$("$LOCUM" meter show)" '^a  *weight 100 .* fetched'
tap_ok 'a weight is changed live' "$LOCUM" meter set a --weight 50
tap_is 'and is what it says' "$(meter a .weight)" 50
says 'not to nothing' 1 'weight 0: 1 to 10000 is expected' "$LOCUM" meter set a --weight 0
says 'nor of no mount' 1 'no mount "c"' "$LOCUM" meter set c --weight 5
says 'a mount with no right weight' 1 'weight is one from 1 to 10000' "$LOCUM" mount --weight 10001 "$IT_REF"
(cd "$TAP_DIR" && exec "$LOCUM" status --watch ./m) >/dev/null 2>&1 &
watcher=$!
sleep 1.5
switches=$(sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' "/proc/$watcher/status")
tap_kill "$watcher"
tap_diag "a watcher was woken $switches times"
tap_ok 'status --watch of a directory by its relative name waits' [ "$switches" -lt 200 ]
tap_ok 'metrics have it' sh -c 'curl -s --unix-socket "$1" http://locum/metrics | grep -q "^locum_mount_meter_fetched_bytes_total{id=\"a\",image=\"[^\"]*\"} $2\$"' sh "$LOCUM_RUN/locum.sock" "$got"
tap_ok 'the rest is pulled' tap_limit 60 "$LOCUM" pull "$IT_REF"
tap_ok 'and is background, in equal parts' [ "$(meter a .background.fetched_bytes)" -gt 0 -a "$(meter a .background.fetched_bytes)" -le "$(($(meter b .background.fetched_bytes) + 4))" ]
tap_ok 'umount' "$LOCUM" umount --remove a
tap_ok 'umount' "$LOCUM" umount --remove b
bad_stop
daemon_stop
rm -rf --one-file-system "$LOCUM_ROOT"

# ---- limits: one passed holds, two reject ----
it_serve && daemon_start --no-background || exit 1
tap_ok 'a mount' "$LOCUM" mount --id a "$IT_REF" "$M"
find "$M" -type f -links 1 -size -64k ! -size 0 ! -path '*/deep/*' >"$TAP_DIR/files"
nth()
{
	sed -n "$1p" "$TAP_DIR/files"
}
state()
{
	meter a .regulation.state
}
is_state()
{
	[ "$(state)" = "$1" ]
}
# windows lie at multiples of their length: all of this is in one
while [ $(($(cut -d. -f1 /proc/uptime) % 60)) -ge 50 ]; do sleep 0.1; done
tap_ok 'three requests in a minute' "$LOCUM" meter set a --limit requests=3/60000
tap_is 'admitted' "$(state)" admitted
for i in 2 3 4; do cat "$(nth $i)" >/dev/null; done
tap_is 'as many as the threshold are admitted' "$(state)" admitted
cat "$(nth 5)" >/dev/null
tap_is 'one more completes, and holds what comes' "$(state)" held
requests=$(meter a .demand.requests)
cat "$(nth 6)" >"$TAP_DIR/held" &
held=$!
cat "$(nth 7)" >/dev/null 2>&1 &
doomed=$!
tap_ok 'additional ones wait' tap_until 10 daemon_is a waiters 2
tap_is 'and nothing is fetched for them' "$(meter a .demand.requests)" "$requests"
tap_ok 'a directory is read as ever' ls "$M/many"
tap_ok 'so is what is here' cat "$(nth 2)"
kill -KILL "$doomed"
tap_ok 'one that is held can be killed' tap_until 2 tap_gone "$doomed"
wait "$doomed" 2>/dev/null
tap_ok 'four requests in a minute, live' "$LOCUM" meter set a --limit requests=4/60000
tap_ok 'admit the other one' tap_until 5 tap_gone "$held"
wait "$held"
tap_ok 'which is right' [ -s "$TAP_DIR/held" ]
tap_is 'and is one too many' "$(state)" held
tap_ok 'none in 1 s' "$LOCUM" meter set a --limit requests=0/1000
cat "$(nth 8)" >/dev/null
cat "$(nth 11)" >"$TAP_DIR/held" &
held=$!
tap_ok 'readmitted when the interval rolls over' tap_until 5 tap_gone "$held"
wait "$held"
tap_ok 'and right' [ -s "$TAP_DIR/held" ]
tap_ok 'two limits that nothing keeps' "$LOCUM" meter set a --limit requests=0/60000 --limit written_bytes=0/60000 --readmit time=60000 --reject EIO
cat "$(nth 12)" >/dev/null 2>&1
tap_is 'reject' "$(state)" rejected
tap_like 'with the error that was set' "$(cat "$(nth 9)" 2>&1)" 'Input/output error'
tap_ok 'counted' [ "$(daemon_field a gate.rejected)" -ge 1 ]
tap_ok 'what is here is read as ever' cat "$(nth 2)"
tap_ok 'no limits any more' "$LOCUM" meter set a --no-limits
tap_is 'admitted at once' "$(state)" admitted
tap_ok 'and read' cat "$(nth 9)"
tap_ok 'until others have had two' "$LOCUM" meter set a --limit requests=0/10 --readmit others=2
cat "$(nth 10)" >/dev/null
tap_is 'held' "$(state)" held
tap_ok 'another mount' "$LOCUM" mount --id b "$IT_REF" "$TAP_DIR/m2"
for i in 40 60 80 100; do cat "$TAP_DIR/m2$(nth $i | sed "s|^$M||")" >/dev/null; done
tap_ok 'readmitted' tap_until 2 is_state admitted
says 'no such resource' 1 'limits: at most 8 of resource' "$LOCUM" meter set a --limit cpu=1
says 'no such time' 1 'interval_ms \(10 to 60000\)' "$LOCUM" meter set a --limit requests=1/70000
says 'what is no time' 2 'RESOURCE=N/MS is expected' "$LOCUM" meter set a --limit requests=1/soon
for option in '--weight 5' '--limit requests=1' --no-limits '--readmit rollover' '--reject EIO'; do
	# shellcheck disable=SC2086
	says "show sets nothing: $option" 2 'meter: .*--weight, .* go with set' "$LOCUM" meter show a $option
done
for option in --json --watch; do
	says "set shows nothing: $option" 2 'meter: --watch and --json go with show' "$LOCUM" meter set a --weight 5 $option
done
tap_is 'and nothing was set' "$(meter a .weight)" 100
tap_ok 'umount' "$LOCUM" umount --remove a
tap_ok 'umount' "$LOCUM" umount --remove b
bad_stop
daemon_stop
rm -rf --one-file-system "$LOCUM_ROOT"

# ---- two wait for one file ----
IMG=$TAP_DIR/img
small_image "$IMG" || exit 1
# shellcheck disable=SC2046
set -- $(python "$LCM_LIB/badimage.py" layer "$IMG/zc" 0)
bad_start "$IMG/zc" --stall "$STALL" --stall-only "$1:$(python "$LCM_LIB/badimage.py" toc "$IMG/zc" 0)" && daemon_start --no-background || exit 1
touch "$STALL"
"$LOCUM" mount --id a "$BAD_HOST/small:t" "$M" >/dev/null && "$LOCUM" mount --id b "$BAD_HOST/small:t" "$TAP_DIR/m2" >/dev/null || exit 1
for f in $(cd "$IMG/rootfs/many" && ls | head -n 40); do
	cat "$M/many/$f" >/dev/null 2>&1 &
	readers="${readers:-} $!"
	cat "$TAP_DIR/m2/many/$f" >/dev/null 2>&1 &
	readers="$readers $!"
done
# some of the files are of the other layer, which is not held
tap_ok 'both wait' tap_until 20 sh -c "[ \"\$($LOCUM status --json | jq '[.[].waiters] | add')\" -ge 70 ]"
rm "$STALL"
# shellcheck disable=SC2086
wait $readers
total=$(curl -s --unix-socket "$LOCUM_RUN/locum.sock" http://locum/v1/mounts | jq '[.mounts[].meter.demand.written_bytes] | add')
# shellcheck disable=SC2046
once=$(cd "$IMG/rootfs/many" && cat $(ls | head -n 40) | wc -c)
tap_ok 'what both waited for is charged once' [ "$total" -le "$once" ]
tap_ok 'to both' [ "$(meter a .demand.written_bytes)" -gt 0 -a "$(meter b .demand.written_bytes)" -gt 0 ]
tap_ok 'umount' "$LOCUM" umount --remove a
tap_ok 'umount' "$LOCUM" umount --remove b
bad_stop
daemon_stop
rm -rf --one-file-system "$LOCUM_ROOT"

# ---- a greedy neighbour ----
it_image python zstd:chunked && it_serve --delay-ms 20 || exit 1
greedy=$IT_REF
it_image nasty-small zstd:chunked || exit 1
"$LOCUM" serve "$IT_OCI" >"$TAP_DIR/serve" 2>&1 &
tap_cleanup "tap_kill $!"
tap_until 10 grep -q http:// "$TAP_DIR/serve"
modest=$(sed -n 's|.*http://\([^ /]*\).*|\1|p' "$TAP_DIR/serve" | head -n 1)/modest:t
daemon_start --no-background || exit 1
"$LOCUM" mount --id greedy "$greedy" "$M" >/dev/null && "$LOCUM" mount --id modest "$modest" "$TAP_DIR/m2" >/dev/null || exit 1
tap_ok 'it asks all the time' python "$LCM_LIB/neighbours.py" "$M" "$TAP_DIR/m2" 48 25 0
read -r median _ most _ <"$TAP_DIR/out"
wait_greedy=$(meter greedy '.demand.queue_ms / .demand.requests')
wait_modest=$(meter modest '.demand.queue_ms / .demand.requests')
tap_diag "48 readers beside: the modest one's opens took $median ms (median), $most at most; a turn came after $wait_modest ms (greedy: $wait_greedy)"
tap_ok 'the greedy one waits for its turns' awk "BEGIN { exit !($wait_greedy > 1) }"
tap_ok 'the modest one hardly does' awk "BEGIN { exit !($wait_modest * 5 < $wait_greedy) }"
tap_ok 'umount' "$LOCUM" umount --remove greedy
tap_ok 'umount' "$LOCUM" umount --remove modest
it_end
tap_end
