#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Classes of mounts, the policy file that is read again live, and what the next daemon knows of all that.
# Usage: classes.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin classes 100 "${1:-}"
python "$LCM_LIB/quiet.py" "$TAP_DIR/oci" 12 && bad_start "$TAP_DIR/oci" || exit 1
IT_REF=$BAD_HOST/x:t
mkdir "$TAP_DIR/m2" "$TAP_DIR/m3"
POLICY=$TAP_DIR/meter.json

policy()
{
	printf '%s\n' "$1" >"$POLICY.new" && mv "$POLICY.new" "$POLICY"
}

# ID FILTER
meter()
{
	"$LOCUM" meter show --json "$1" | jq -r ".[0].meter | $2"
}

class()
{
	curl -s --unix-socket "$LOCUM_RUN/locum.sock" http://locum/v1/meter | jq -r ".classes[] | select(.class == \"$1\") | $2"
}

held()
{
	[ "$(meter "$1" .regulation.state)" = held ]
}

# ---- the file ----
says 'a policy that is not there' 1 'meter.json: No such file' "$LOCUM" daemon --meter-policy "$POLICY"
policy '{"classes": {"gold": {"weight": 0}}}'
says 'one with no right weight' 1 'meter.json: class gold: weight 0: 1 to 10000' "$LOCUM" daemon --meter-policy "$POLICY"
policy '{"classes": {"gold": {"wait": 1}}}'
says 'one that says what there is not' 1 'class gold: there is no .wait' "$LOCUM" daemon --meter-policy "$POLICY"
policy '{"classes": ['
says 'one that is no JSON' 1 'meter.json' "$LOCUM" daemon --meter-policy "$POLICY"
policy '{"classes": {"gold": {"weight": 400}, "batch": {"weight": 50, "limits": [{"resource": "requests", "threshold": 3, "interval_ms": 60000}]}}}'
daemon_start --no-background --meter-policy "$POLICY" || exit 1
tap_ok 'a mount' "$LOCUM" mount --id a "$IT_REF" "$M"
tap_ok 'another' "$LOCUM" mount --id b --weight 70 "$IT_REF" "$TAP_DIR/m2"
tap_ok 'and one that is in a class from the first' curl -sf --unix-socket "$LOCUM_RUN/locum.sock" \
	-d "{\"image\":\"$IT_REF\",\"id\":\"c\",\"target\":\"$TAP_DIR/m3\",\"meter\":{\"class\":\"gold\"}}" http://locum/v1/mounts
tap_ok 'it is there' it_wait c ready 30
tap_is 'has its weight' "$(meter c '.weight, .regulation.class' | paste -sd' ')" '400 gold'
tap_ok 'a class is given live' "$LOCUM" meter set a --class batch
tap_ok 'to one with a weight of its own, too' "$LOCUM" meter set b --class batch
tap_is 'that one keeps it' "$(meter a .weight) $(meter b .weight)" '50 70'
tap_like 'metrics have the class' "$(curl -s --unix-socket "$LOCUM_RUN/locum.sock" http://locum/metrics)" '^locum_mount_weight\{id="a",image="[^"]*",class="batch"\} 50$'
tap_like 'meter show has classes' "$("$LOCUM" meter show)" '^class batch +weight 50 +0 requests of 2 mounts'

# ---- limits of a class are of all its mounts together ----
tap_ok 'as much as it may' cat "$M/f0" "$M/f1" "$TAP_DIR/m2/f2"
tap_is 'is not regulated' "$(meter a .regulation.state) $(meter b .regulation.state)" 'admitted admitted'
tap_ok 'one more completes' cat "$TAP_DIR/m2/f3"
tap_is 'and all of the class are held' "$(meter a .regulation.state) $(meter b .regulation.state) $(class batch .state)" 'held held held'
tap_is 'each was charged its own' "$(meter a .demand.requests) $(meter b .demand.requests) $(class batch .requests)" '2 2 4'
tap_ok 'one of another class is not' cat "$TAP_DIR/m3/f4"
cat "$M/f5" >/dev/null &
reader=$!
tap_ok 'a request waits' tap_until 20 daemon_is a waiters 1

# ---- changed live ----
policy '{"classes": {"gold": {"weight": 401}, "batch": {"weight": 51, "limits": [{"resource": "requests", "threshold": 4, "interval_ms": 60000}]}}}'
tap_ok 'the file is read again' "$LOCUM" meter reload
tap_ok 'and who waited is served' wait $reader
tap_is 'with what was used before' "$(class batch .requests) $(class batch .state)" '5 held'
tap_is 'weights, too' "$(meter a .weight) $(meter b .weight) $(meter c .weight)" '51 70 401'
policy '{"classes": {"gold": {"weight": 10001}}}'
says 'a bad one' 1 'class gold: weight 10001' "$LOCUM" meter reload
tap_is 'changes nothing' "$(meter c .weight)" 401
policy '{"classes": {"batch": {"weight": 52}}}'
kill -HUP "$DAEMON_PID"
tap_ok 'SIGHUP does it as well' tap_until 10 sh -c '[ "$("$1" meter show --json a | jq ".[0].meter.weight")" = 52 ]' sh "$LOCUM"
tap_is 'a class that is gone has no weight' "$(meter c .weight) $(meter c .regulation.class)" '100 gold'
tap_is 'one without limits holds nobody' "$(meter a .regulation.state)" admitted
tap_ok 'a class is changed by hand' "$LOCUM" meter set --class batch --weight 60 --limit decode_ms=9000
tap_is 'as its mounts are' "$(meter a .weight) $(class batch '.limits[0].resource')" '60 decode_ms'
says 'not by nonsense' 1 'weight 0' "$LOCUM" meter set --class batch --weight 0
says 'nor under such a name' 1 'letters, digits' "$LOCUM" meter set --class 'a b' --weight 5
says 'nor nothing' 2 'a mount or a class' "$LOCUM" meter set --weight 5

code=$(curl -s -o "$TAP_DIR/refused" -w '%{http_code}' --unix-socket "$LOCUM_RUN/locum.sock" \
	-d "{\"id\":\"../k\",\"mount\":\"c\",\"pid\":$$,\"meter\":{\"class\":\"batch\",\"weight\":34}}" http://locum/v1/containers)
tap_is 'a container that is refused' "$code $(jq -r .error "$TAP_DIR/refused" | cut -c1-13)" '400 container id:'
tap_is 'changes nothing of the mount' "$(meter c '.weight, .regulation.class' | paste -sd' ')" '100 gold'
tap_ok 'a container brings its own' curl -sf --unix-socket "$LOCUM_RUN/locum.sock" \
	-d "{\"id\":\"k\",\"mount\":\"c\",\"pid\":$$,\"meter\":{\"class\":\"gold\",\"weight\":33}}" http://locum/v1/containers
tap_is 'for its mount' "$(meter c '.weight, .regulation.class' | paste -sd' ')" '33 gold'

# ---- the next daemon ----
tap_ok 'a limit of its own' "$LOCUM" meter set b --limit requests=1000/500 --reject EIO
tap_ok 'out of the class' "$LOCUM" meter set c --class ''
tap_is 'of which nothing was said: it goes with its last mount' "$(class gold .class)" ''
tap_is 'another one stays' "$(class batch .class)" batch
tap_ok 'a pull with a weight' curl -sf --unix-socket "$LOCUM_RUN/locum.sock" \
	-d "{\"image\":\"$IT_REF\",\"pull_only\":true,\"weight\":7}" -o "$TAP_DIR/pull" http://locum/v1/mounts
id=$(jq -re .id "$TAP_DIR/pull")
tap_ok 'which is not kept for the next daemon' [ -n "$id" -a ! -e "$LOCUM_ROOT/meter/$id.json" ]
daemon_stop
daemon_start --no-background --meter-policy "$POLICY" || exit 1
tap_is 'the next daemon knows classes' "$(meter a '.weight, .regulation.class' | paste -sd' ')" '52 batch'
tap_is 'weights, limits and what they do' "$(meter b '.weight, (.regulation | .limits[0].threshold, .limits[0].interval_ms, .reject)' | paste -sd' ')" '70 1000 500 EIO'
tap_is 'and who is in none' "$(meter c '.weight, .regulation.class' | paste -sd' ')" '33 null'
tap_ok 'umount' "$LOCUM" umount --remove a
tap_ok 'umount' "$LOCUM" umount --remove b
tap_ok 'umount' "$LOCUM" umount --remove c
tap_is 'nothing is kept of them' "$(ls "$LOCUM_ROOT/meter")" ''
it_end
tap_end
