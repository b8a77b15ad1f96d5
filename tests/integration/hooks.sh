#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# OCI hooks: a container's id, process and cgroup at its mount; an image by annotation; what goes when it ends.
# Usage: hooks.sh BUILDDIR [RUNTIME...]
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin hooks 150 "${1:-}"
build=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- crun runc
HOOK=$build/locum-hook

# ROOT ANNOTATIONS HOOK-OPTIONS COMMAND: a bundle in $B
bundle()
{
	rm -rf "$B" "$TAP_DIR/crun.err"
	mkdir -p "$B/rootfs"
	(cd "$B" && runc spec) || return 1
	jq --arg root "$1" --argjson notes "$2" --argjson more "$3" --arg command "$4" --arg hook "$HOOK" --arg run "$LOCUM_RUN" --arg vol "$TAP_DIR/vol" --arg said "$TAP_DIR/crun.err" '
		def hook($stage): [{path: $hook, args: (["locum-hook", "--run", $run] + $more + [$stage])}];
		.process.terminal = false | .process.args = ["/bin/sh", "-c", $command] | .root = {path: $root, readonly: false}
		| .annotations = ($notes + {"run.oci.hooks.stderr": $said}) | .linux.namespaces |= map(select(.type != "network"))
		| .mounts += [{destination: "/made/here", type: "bind", source: $vol, options: ["bind"]},
			{destination: "/etc/one-file", type: "bind", source: ($vol + "/file"), options: ["bind"]}]
		| .hooks = {createRuntime: hook("createRuntime"), poststart: hook("poststart"), poststop: hook("poststop")}' "$B/config.json" >"$B/new" &&
		mv "$B/new" "$B/config.json"
}

run_bundle()
{
	own_cgroups 60 "$runtime" run --bundle "${by:-$B}" "$@" \
		>"$TAP_DIR/c.out" 2>"$TAP_DIR/c.err" </dev/null
}

container()
{
	"$LOCUM" status --json | jq -c ".[] | select(.containers) | .containers[0] | $1"
}

wait_for_file()
{
	tap_until 30 test -e "$1"
}

# One that has its image by annotation alone: its bundle's root is an empty directory.
by_annotation()
{
	bundle rootfs "{\"org.locum.image\": \"$IT_REF\", \"org.locum.deadline\": \"77\", \"org.locum.at-deadline\": \"freeze\", \"org.locum.meter.weight\": \"77\", \"org.locum.meter.limits\": \"written_bytes=400M\"}" '[]' \
		'python3 -c "print(40 + 2)"; mountpoint -q /proc && echo proc; cat /made/here/file /etc/one-file; echo x >/written; : >/made/here/up; until test -e /made/here/go; do sleep 0.05; done'
	run_bundle "a-$runtime+1" &
	waiter=$!
	tap_ok "$runtime: it starts" wait_for_file "$TAP_DIR/vol/up"
	tap_ok "$runtime: poststart is known" tap_until 10 sh -c "$LOCUM status --json | jq -e '.[0].containers[0].started_ms > 0'"
	tap_is "$runtime: its id" "$(container .id)" "\"a-$runtime+1\""
	pid=$(container .pid)
	tap_ok "$runtime: its process" grep -q 'until test' "/proc/$pid/cmdline"
	tap_ok "$runtime: its cgroup" grep -q ":$(container .cgroup | tr -d '"')\$" "/proc/$pid/cgroup"
	tap_is "$runtime: what the runtime had mounted is there once" "$(awk '{print $5}' "/proc/$pid/mountinfo" | grep -cx '/proc\|/dev\|/made/here\|/etc/one-file')" 4
	tap_is "$runtime: nothing of it is on the host" "$(grep -c "$LOCUM_RUN/m/.*/\(proc\|made\)" /proc/self/mountinfo)" 0
	mount=$("$LOCUM" status --json | jq -r '.[0].id')
	tap_is "$runtime: what its annotations say of a deadline" "$(daemon_field "$mount" deadline_ms)/$(daemon_field "$mount" at_deadline)" 77000/freeze
	tap_ok "$runtime: the daemon is replaced" again
	tap_is "$runtime: the next one knows the container" "$(container '.id + " \(.pid)"')" "\"a-$runtime+1 $pid\""
	tap_is "$runtime: what it may use is as its annotations say" "$("$LOCUM" status --json "$mount" | jq -r '.meter | "\(.weight) \(.regulation.limits[0].threshold)"')" '77 419430400'
	tap_ok "$runtime: it becomes native under it" it_wait "$mount" native 60
	tap_ok "$runtime: its cgroup has of that what can be, or a reason" tap_until 20 sh -c '"$1" status --json "$2" | jq -e ".containers[0].io | .read_bytes or .why"' sh "$LOCUM" "$mount"
	printf '{"id": "a-%s+1", "status": "stopped", "bundle": "/of/another"}' "$runtime" | tap_limit 20 "$HOOK" --policy refuse poststop
	tap_is "$runtime: the end of another runtime's container of that id" $? 0
	tap_is "$runtime: is not this one's" "$("$LOCUM" status --json | jq length)" 1
	: >"$TAP_DIR/vol/go"
	wait "$waiter"
	tap_is "$runtime: it ends" $? 0
	tap_is "$runtime: it saw its image, its volumes, its /proc" "$(cat "$TAP_DIR/c.out")" '42
proc
v
v'
	tap_is "$runtime: poststop takes the mount away" "$("$LOCUM" status --json | jq length)" 0
	tap_is "$runtime: the bundle's own root is untouched" "$(find "$B/rootfs" -name written)" ''
}

again()
{
	daemon_stop && daemon_start
}

# A mount made by hand is found by what the container's root is on, and stays.
by_mount()
{
	"$LOCUM" mount --id mine "$IT_REF" "$M" || return 1
	bundle "$M" '{}' '["--policy", "refuse"]' ': >/made/here/up; until test -e /made/here/go; do sleep 0.05; done'
	rm -f "$TAP_DIR/vol/go" "$TAP_DIR/vol/up"
	run_bundle "m-$runtime" &
	waiter=$!
	tap_ok "$runtime: one on a mount starts" wait_for_file "$TAP_DIR/vol/up"
	tap_ok "$runtime: it is tied to it" tap_until 10 sh -c "$LOCUM status --json mine | jq -e '.containers[0] | .id == \"m-$runtime\" and .started_ms > 0'"
	tap_like "$runtime: status says so" "$("$LOCUM" status mine)" "container m-$runtime"
	: >"$TAP_DIR/vol/go"
	wait "$waiter"
	tap_is "$runtime: it ends" $? 0
	tap_is "$runtime: the tie is gone, the mount stays" "$("$LOCUM" status --json mine | jq -r '.phase + (.containers | tostring)' | sed s/lazy/native/)" nativenull
	tap_ok "$runtime: umount" "$LOCUM" umount --remove mine
}

# Mounts have the names that the kernel gives them, not the way that led there.
by_link()
{
	bundle rootfs "{\"org.locum.image\": \"$IT_REF\"}" '["--policy", "refuse"]' 'mountpoint -q /proc && echo proc; cat /made/here/file /etc/one-file'
	ln -sfn b "$TAP_DIR/link"
	by=$TAP_DIR/link
	tap_ok "$runtime: by a link to its bundle" run_bundle "l-$runtime"
	by=
	tap_is "$runtime: everything is mounted in it" "$(cat "$TAP_DIR/c.out")" 'proc
v
v'
	tap_is "$runtime: and gone" "$("$LOCUM" status --json | jq length)" 0
}

# UNIT SIZE POOL: annotations, empty ones left out
with_unit()
{
	jq -n -c --arg image "$IT_REF" --arg unit "$1" --arg size "$2" --arg pool "$3" '{"org.locum.image": $image, "org.locum.unit": $unit,
		"org.locum.unit.size": $size, "org.locum.unit.pool": $pool} | with_entries(select(.value != ""))'
}

# TEXT ERE UNIT SIZE POOL: whatever the policy, the container does not start
unit_refused()
{
	bundle rootfs "$(with_unit "$3" "$4" "$5")" '[]' 'echo in'
	mkdir -p "$B/rootfs/bin" && cp "$TAP_DIR/busybox" "$B/rootfs/bin/sh"
	run_bundle "ur-$runtime"
	tap_ok "$runtime: unit: $1: does not start" [ $? -ne 0 ]
	tap_is "$runtime: unit: $1: nothing has run" "$(cat "$TAP_DIR/c.out")" ''
	tap_like "$runtime: unit: $1: why" "$(cat "$TAP_DIR/c.err" "$TAP_DIR/crun.err" 2>/dev/null)" "$2"
	tap_is "$runtime: unit: $1: nothing is left" "$("$LOCUM" status --json | jq length)" 0
}

# Storage units by annotation
units()
{
	"$LOCUM" unit create --pool x --name "web-$runtime" --size 64M >/dev/null || return 1
	rm -f "$TAP_DIR/vol/go" "$TAP_DIR/vol/up"
	bundle rootfs "$(with_unit "web-$runtime" '' '')" '[]' 'echo mine >/mine; : >/made/here/up; until test -e /made/here/go; do sleep 0.05; done'
	run_bundle "u-$runtime" &
	waiter=$!
	tap_ok "$runtime: unit: it starts" wait_for_file "$TAP_DIR/vol/up"
	tap_is "$runtime: unit: what it writes is there" "$(cat "$(it_unit "web-$runtime" attached)/upper/mine")" mine
	mount=$(it_unit "web-$runtime" mount)
	tap_is "$runtime: unit: the container's mount has it" "$(daemon_field "$mount" unit)" "$(it_unit "web-$runtime" id)"
	daemon_kill && daemon_start
	tap_is "$runtime: unit: the next daemon knows" "$(daemon_field "$mount" unit)" "$(it_unit "web-$runtime" id)"
	it_hold_units 2
	: >"$TAP_DIR/vol/go"
	wait "$waiter"
	tap_is "$runtime: unit: it ends" $? 0
	tap_is "$runtime: unit: poststop is over when it is detached" "$(it_unit "web-$runtime" attached)/$(it_unit "web-$runtime" mount)" null/null
	wait "$IT_HOLDER"
	bundle rootfs "$(with_unit "web-$runtime" '' '')" '["--policy", "refuse"]' 'cat /mine'
	tap_ok "$runtime: unit: at once again" run_bundle "u-$runtime"
	tap_is "$runtime: unit: with what it wrote" "$(cat "$TAP_DIR/c.out")" mine
	tap_ok "$runtime: unit: delete" "$LOCUM" unit delete "web-$runtime"
	bundle rootfs "$(with_unit new 64M x)" '[]' 'df -m / | tail -n 1 | { read -r _ size _; test "$size" -lt 65 && echo small; }'
	tap_ok "$runtime: unit: a new one" run_bundle "n-$runtime"
	tap_is "$runtime: unit: of that size" "$(cat "$TAP_DIR/c.out")" small
	tap_is "$runtime: unit: goes with the container" "$("$LOCUM" unit list --json | jq length)" 0
	unit_refused 'none of that name' 'no unit nobody' nobody '' ''
	unit_refused 'a new one without a size' 'a new unit needs a size' new '' ''
	unit_refused 'a size that is none' 'annotation org.locum.unit.size .*much.*: bytes are expected' new much ''
	unit_refused 'no such pool' 'no pool y' new 64M y
	unit_refused 'a size alone' 'org.locum.unit.size and org.locum.unit.pool need org.locum.unit' '' 64M ''
}

# Not ours, or nothing right: the policy decides.
others()
{
	bundle rootfs '{}' '["--policy", "refuse"]' 'echo in'
	mkdir -p "$B/rootfs/bin" && cp "$TAP_DIR/busybox" "$B/rootfs/bin/sh"
	tap_ok "$runtime: a container of others passes" run_bundle "o-$runtime"
	tap_is "$runtime: and runs" "$(cat "$TAP_DIR/c.out")" in
	bundle rootfs "{\"org.locum.image\": \"$BAD_HOST/x:none\"}" '[]' 'echo in'
	mkdir -p "$B/rootfs/bin" && cp "$TAP_DIR/busybox" "$B/rootfs/bin/sh"
	tap_ok "$runtime: allow: an image that is not there" run_bundle "p-$runtime"
	tap_is "$runtime: leaves the bundle's root" "$(cat "$TAP_DIR/c.out")" in
	bundle rootfs "{\"org.locum.image\": \"$BAD_HOST/x:none\"}" '["--policy", "refuse"]' 'echo in'
	run_bundle "q-$runtime"
	tap_ok "$runtime: refuse: it does not start" [ $? -ne 0 ]
	tap_like "$runtime: and says why" "$(cat "$TAP_DIR/c.err" "$TAP_DIR/crun.err" 2>/dev/null)" 'locum: hook: container q-'"$runtime"': image .*/x:none'
	tap_is "$runtime: nothing is left of it" "$("$LOCUM" status --json | jq length)" 0
}

# TEXT STATUS ERE INPUT ARGUMENT...
hook_says()
{
	text=$1
	status=$2
	ere=$3
	input=$4
	shift 4
	got=0
	printf %s "$input" | tap_limit 20 "$HOOK" "$@" >"$TAP_DIR/out" 2>"$TAP_DIR/err" || got=$?
	tap_is "$text: status" "$got" "$status"
	tap_like "$text" "$(cat "$TAP_DIR/err")" "$ere"
}

hostile()
{
	mkdir -p "$TAP_DIR/hb" && echo '{"root": {"path": "/srv"}}' >"$TAP_DIR/hb/config.json"
	notes="\"bundle\": \"$TAP_DIR/hb\", \"annotations\": {\"org.locum.unit\""
	hook_says 'a unit without an image' 1 'org.locum.unit needs org.locum.image' "{\"id\": \"h\", \"pid\": $$, $notes: \"u\"}}" createRuntime
	hook_says 'a unit with a line feed' 1 'org.locum.unit: too long or with control' "{\"id\": \"h\", \"pid\": $$, $notes: \"u\\n\", \"org.locum.image\": \"x\"}}" createRuntime
	good="{\"id\": \"h\", \"pid\": $$, \"bundle\": \"/b\""
	hook_says 'no state' 1 'locum: hook: container \?: state' '' --policy refuse createRuntime
	hook_says 'allowed, it is only said' 0 'locum: hook: container \?: state' '{' createRuntime
	hook_says 'no bundle' 1 '/b/config.json: No such file' "$good}" --policy refuse createRuntime
	hook_says 'an id that leads elsewhere' 1 'state: id' '{"id": "../../x", "bundle": "/b"}' --policy refuse poststop
	hook_says 'no such stage' 2 'createRuntime, poststart or' "$good}" createContainer
	hook_says 'no daemon' 1 'no daemon answers on /nowhere/locum.sock' "$good}" --run /nowhere --policy refuse poststart
	mkdir -p "$TAP_DIR/hb" && echo '{"root": {"path": "/srv"}}' >"$TAP_DIR/hb/config.json"
	hook_says 'a process in our own mount namespace' 1 "has the host's mounts" \
		"{\"id\": \"h\", \"pid\": $$, \"bundle\": \"$TAP_DIR/hb\", \"annotations\": {\"org.locum.image\": \"$IT_REF\"}}" --policy refuse createRuntime
	tap_is 'nothing is left of all that' "$("$LOCUM" status --json | jq length)" 0
}

# TEXT STATUS ERE ASKED ANSWERS ARGUMENT...: the hook with a daemon that answers so was to ask for ASKED, and no more
hook_asks()
{
	asked=$4
	rm -rf "$TAP_DIR/fake" && mkdir "$TAP_DIR/fake" && : >"$TAP_DIR/fake/log"
	python "$LCM_LIB/hook_daemon.py" "$TAP_DIR/fake/locum.sock" "$TAP_DIR/fake/log" "$5" &
	fake=$!
	tap_until 10 test -e "$TAP_DIR/fake/locum.sock"
	hook_text=$1
	hook_status=$2
	hook_ere=$3
	shift 5
	hook_says "$hook_text" "$hook_status" "$hook_ere" "$@" --run "$TAP_DIR/fake" --policy refuse createRuntime
	tap_is "$hook_text: what it asked for" "$(tr '\n' ',' <"$TAP_DIR/fake/log")" "$asked"
	tap_kill "$fake"
}

answers()
{
	state="{\"id\": \"h\", \"pid\": $$, \"bundle\": \"$TAP_DIR/hb\", \"annotations\": {\"org.locum.image\": \"x\"}}"
	ask='GET /v1/daemon,POST /v1/mounts'
	hook_asks 'an id that does not fit' 1 'no id of a mount, or too long' "$ask,DELETE /v1/containers/h," \
		"{\"POST /v1/mounts\": [202, {\"id\": \"$(printf '%0100d' 0)\"}]}" "$state"
	ready='"GET /v1/mounts/7/wait": [200, {"phase":'
	hook_asks 'no bundle: nothing is undone' 1 '/b/config.json: No such file' '' '{}' "{\"id\": \"h\", \"pid\": $$, \"bundle\": \"/b\", \"annotations\": {\"org.locum.image\": \"x\"}}"
	hook_asks 'an id that is in use: its mount stays' 1 'is on mount 5' "$ask," \
		'{"POST /v1/mounts": [409, {"error": "container h is on mount 5", "code": -17}]}' "$state"
	hook_asks 'a mount that fails is undone' 1 'image x: gone' "$ask,GET /v1/mounts/7/wait,DELETE /v1/containers/h," \
		"{\"POST /v1/mounts\": [202, {\"id\": \"7\"}], $ready \"failed\", \"error\": \"gone\"}]}" "$state"
	hook_asks 'no answer to the mount: it is undone in time of its own' 1 'does not answer' "$ask,DELETE /v1/containers/h," \
		'{"POST /v1/mounts": null}' "$state" --timeout 1
	hook_asks 'no answer to the wait: it is undone in time of its own' 1 'does not answer' "$ask,GET /v1/mounts/7/wait,DELETE /v1/containers/h," \
		'{"POST /v1/mounts": [202, {"id": "7"}], "GET /v1/mounts/7/wait": null}' "$state" --timeout 1
	hook_asks 'no id' 1 'no id of a mount, or too long' "$ask,DELETE /v1/containers/h," '{}' "$state"
}

# Links in the container's namespace are the container's.
link_of_others()
{
	mkdir -p "$TAP_DIR/lb" "$TAP_DIR/inner"
	ln -sfn "$TAP_DIR/inner" "$TAP_DIR/root-link"
	echo "{\"root\": {\"path\": \"$TAP_DIR/root-link\"}}" >"$TAP_DIR/lb/config.json"
	"$LOCUM" mount --id linked "$IT_REF" "$M" || return 1
	unshare -m --propagation private sh -c 'mount --bind "$1" "$2" && : >"$3" && exec sleep 60' sh "$M" "$TAP_DIR/inner" "$TAP_DIR/bound" &
	other=$!
	tap_until 10 test -e "$TAP_DIR/bound"
	hook_says 'a root by a link' 0 '^$' "{\"id\": \"linked-1\", \"pid\": $other, \"bundle\": \"$TAP_DIR/lb\"}" --policy refuse createRuntime
	tap_is 'a root by a link: is tied' "$("$LOCUM" status --json linked | jq -r '.containers[0].id')" linked-1
	tap_kill "$other"
	tap_ok 'a root by a link: umount' "$LOCUM" umount --remove linked
}

podman_hooks()
{
	command -v podman >/dev/null || {
		tap_skip podman 'is not installed'
		return
	}
	mkdir -p "$TAP_DIR/hooks.d"
	for stage in createRuntime poststart poststop; do
		jq -n --arg hook "$HOOK" --arg run "$LOCUM_RUN" --arg stage $stage '{version: "1.0.0", stages: [$stage],
			hook: {path: $hook, args: ["locum-hook", "--run", $run, "--policy", "refuse", $stage]}, when: {annotations: {"^org\\.locum\\.image$": "."}}}' \
			>"$TAP_DIR/hooks.d/locum-$stage.json"
	done
	mkdir -p "$TAP_DIR/empty"
	mkdir "$TAP_DIR/home" && printf '[containers]\ndefault_ulimits = []\n' >"$TAP_DIR/home/containers.conf"
	got=$(own_cgroups 60 env "CONTAINERS_CONF=$TAP_DIR/home/containers.conf" podman --cgroup-manager=cgroupfs --events-backend=none \
		--root "$TAP_DIR/pr" --runroot "$TAP_DIR/prr" --storage-driver vfs --hooks-dir "$TAP_DIR/hooks.d" \
		run --rm --network none --annotation "org.locum.image=$IT_REF" --rootfs "$TAP_DIR/empty" /bin/sh -c 'python3 -c "print(6 * 7)"' 2>"$TAP_DIR/err")
	tap_is 'podman: run --annotation org.locum.image=, by hooks.d' "$got" 42
	tap_diag "$(head -n 5 "$TAP_DIR/err")"
	tap_is 'podman: nothing is mounted after it' "$("$LOCUM" status --json | jq length)" 0
}

B=$TAP_DIR/b
mkdir "$TAP_DIR/vol" && echo v >"$TAP_DIR/vol/file"
it_image python zstd:chunked && it_serve && daemon_start || exit 1
pool=
! it_pool x xfs 600M || pool=x
cp "$(command -v busybox)" "$TAP_DIR/busybox"
for runtime; do
	command -v "$runtime" >/dev/null || {
		tap_skip "$runtime" 'not installed'
		continue
	}
	rm -f "$TAP_DIR/vol/go" "$TAP_DIR/vol/up"
	by_annotation
	by_mount
	by_link
	others
	if [ "$pool" ]; then
		units
	else
		tap_skip "$runtime: units" 'no mkfs.xfs (xfsprogs)'
	fi
done
[ ! "$pool" ] || tap_ok 'no unit is left' it_no_pool x
podman_hooks
hostile
answers
link_of_others
tap_is 'no tie is left' "$(ls "$LOCUM_RUN/c")" ''
it_end
tap_end
