#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# containerd starts containers by locum-containerd: lazily, as if it had unpacked the image itself, whatever is restarted.
# Debian 12's containerd first, then that of Debian testing.
# Usage: containerd.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
# shellcheck source=tests/lib/containerd.sh
. "${0%/*}/../lib/containerd.sh"
it_begin containerd 320 "${1:-}"
ctd_begin "${1:-}"

# SNAPSHOTTER DIR: a view of the image is mounted there (ctr 1.6 has its own idea of the snapshotter in `images mount`)
view()
{
	mkdir -p "$2" && ctd_snapshot "$1" view "view-$1" "$(ctd_top "$1")" &&
		ctd snapshots --snapshotter "$1" mounts "$2" "view-$1" >"$TAP_DIR/mount.sh" && sh "$TAP_DIR/mount.sh"
}

# SNAPSHOTTER DIR
unview()
{
	umount "$2" && ctd snapshots --snapshotter "$1" rm "view-$1"
}

# NAME: a remote image's tree is the one that umoci unpacks
same_tree()
{
	tap_ok "$1: a view is mounted" view locum "$TAP_DIR/view"
	tap_ok "$1: its tree is umoci's" tap_limit 60 "$TREECMP" "$IT_TREE" "$TAP_DIR/view"
	tap_ok "$1: it is unmounted and removed" unview locum "$TAP_DIR/view"
}

# ID: what it says, in one line
hello()
{
	tap_ok "$1: runs" ctd_run --rm --snapshotter locum "$IT_REF" "$1"
	tap_like "$1: says hello" "$(cat "$TAP_DIR/out")" '^hello from python 3'
}

snapshots()
{
	ctd snapshots --snapshotter locum ls | tail -n +2
}

lazy_start()
{
	it_serve --log "$TAP_DIR/gets" && daemon_start --verbose --no-background && ctd_start_locum && ctd_start || exit 1
	: >"$TAP_DIR/gets"
	tap_ok "$V: pull" ctd_pull "$IT_REF"
	tap_is "$V: three remote layers" "$(snapshots | grep -c 'Committed')" 3
	tap_is "$V: no layer was downloaded" "$(grep -c 'blobs.*20[06] .* [0-9]\{6,\}$' "$TAP_DIR/gets")" 0
	hello first
	tap_ok "$V: a container stays" ctd_run -d --snapshotter locum "$IT_REF" stays sleep 600
	id=$("$LOCUM" status --json | python -c 'import json,sys; print([m["id"] for m in json.load(sys.stdin) if m["id"].startswith("snap-")][0])')
	tap_is "$V: it is lazy" "$(daemon_field "$id" phase)" lazy
	tap_ok "$V: little of the image is here" [ "$(daemon_field "$id" files_local)" -lt $(($(daemon_field "$id" files_total) / 4)) ]
	same_tree "$V: lazy"
	tap_fails "$V: no label chooses a unit, if that was not allowed" 1 ctd_unit_run no locum.unit=web true
	tap_like "$V: and why" "$(cat "$TAP_DIR/err")" 'locum-containerd --units allows it'
}

# FILE: each blob of an image that was exported is what its name says, and the image's layers are among them
blobs_are_whole()
{
	rm -rf "$TAP_DIR/exported"
	mkdir "$TAP_DIR/exported" && tar -C "$TAP_DIR/exported" -xf "$1" &&
		(cd "$TAP_DIR/exported/blobs/sha256" && for f in *; do echo "$f  $f"; done | sha256sum -c --quiet) || return 1
	for blob in "$IT_OCI"/blobs/sha256/*; do
		cmp "$blob" "$TAP_DIR/exported/blobs/sha256/${blob##*/}" || return 1
	done
}

is_written()
{
	ctd content active | grep -q "^locum-$1"
}

# A layer that somebody else is writing into containerd's content store
written_by_another()
{
	another=$(jq -r '.layers[0].digest' "$IT_OCI/blobs/sha256/$(jq -r '.manifests[0].digest' "$IT_OCI/index.json" | cut -d: -f2)")
	mkfifo "$TAP_DIR/fifo"
	ctd content ingest --expected-digest "$another" "locum-$another" <"$TAP_DIR/fifo" >"$TAP_DIR/ingest" 2>&1 &
	ingest=$!
	exec 5>"$TAP_DIR/fifo"
	printf x >&5
	tap_ok "$V: another is writing a layer" tap_until 20 is_written "$another"
	tap_fails "$V: fetch does not" 1 ctd_fetch_content "$IT_REF"
	tap_like "$V: fetch: says why" "$(cat "$TAP_DIR/err")" 'not written \(by another fetch now'
	tap_ok "$V: and takes nothing from him" is_written "$another"
	exec 5>&-
	wait "$ingest"
	tap_like "$V: whose layer it then is not" "$(cat "$TAP_DIR/ingest")" 'unexpected commit digest'
	rm -f "$TAP_DIR/fifo"
}

# What reads layers in containerd's content store
exported()
{
	written_by_another
	tap_fails "$V: export: no layer is in containerd's content store" 1 ctd images export --platform linux/amd64 "$TAP_DIR/export.tar" "$IT_REF"
	tap_ok "$V: fetch brings them there" ctd_fetch_content "$IT_REF"
	tap_is "$V: all three" "$(grep -c ' fetched$' "$TAP_DIR/out")" 3
	tap_ok "$V: fetched again" ctd_fetch_content "$IT_REF"
	tap_is "$V: they are there" "$(grep -c ' was here$' "$TAP_DIR/out")" 3
	tap_ok "$V: now it is exported" ctd images export --platform linux/amd64 "$TAP_DIR/export.tar" "$IT_REF"
	tap_ok "$V: byte for byte" blobs_are_whole "$TAP_DIR/export.tar"
	tap_is "$V: the container is as lazy as before" "$(daemon_field "$id" phase)" lazy
	tap_fails "$V: fetch: no such image" 1 ctd_fetch_content "$BAD_HOST/x:none"
	tap_like "$V: fetch: says so" "$(cat "$TAP_DIR/err")" "x:none: containerd has no image .* in namespace default"
	rm -rf "$TAP_DIR/exported" "$TAP_DIR/export.tar"
}

# What was written into snapshot work is an image on top of one that was pulled lazily, and goes to another registry.
committed()
{
	ctd_commit work "$REGISTRY_HOST/y:$V" || tap_ok "$V: commit" false
	tap_ok "$V: commit: fetch" ctd_fetch_content "$REGISTRY_HOST/y:$V"
	tap_ok "$V: commit: push" ctd images push --plain-http "$REGISTRY_HOST/y:$V"
	tap_ok "$V: commit: pulled elsewhere" skopeo copy -q --src-tls-verify=false "docker://$REGISTRY_HOST/y:$V" "dir:$TAP_DIR/elsewhere"
	tap_is "$V: commit: it is the same image" "sha256:$(sha256sum <"$TAP_DIR/elsewhere/manifest.json" | cut -d' ' -f1)" "$(ctd_digest "$REGISTRY_HOST/y:$V")"
	tap_is "$V: commit: with what was written on top of three layers" "$(tar -tzf "$TAP_DIR/elsewhere/$(jq -r '.layers[3].digest' "$TAP_DIR/elsewhere/manifest.json" | cut -d: -f2)" | grep -v '/$' | sort | tr '\n' ' ')" 'app/.wh.hello.py mine '
	rm -rf "$TAP_DIR/elsewhere"
	ctd images rm --sync "$REGISTRY_HOST/y:$V" >/dev/null
	ctd content ls -q | xargs -I{} timeout 20 ctr --address "$CTD_SOCK" content label {} containerd.io/gc.root= >/dev/null
}

# ID LABELS COMMAND...: a container with labels for its snapshot, separated by blanks
ctd_unit_run()
{
	unit_id=$1
	unit_labels=
	for unit_label in $2; do
		unit_labels="$unit_labels --snapshotter-label containerd.io/snapshot/$unit_label"
	done
	shift 2
	# shellcheck disable=SC2086
	ctd run -d --snapshotter locum $unit_labels "$IT_REF" "$unit_id" "$@"
}

# TEXT ERE LABELS: no container with these
unit_refused()
{
	tap_fails "$V: unit: $1" 1 ctd_unit_run refused "$3" true
	tap_like "$V: unit: $1: why" "$(cat "$TAP_DIR/err")" "$2"
	ctd snapshots --snapshotter locum rm refused >/dev/null 2>&1
}

# OP DATA: what the daemon itself answers
snapshot_op()
{
	curl -s --max-time 20 --unix-socket "$LOCUM_RUN/locum.sock" -d "$2" "http://locum/v1/snapshots/$1"
}

# DATA
prepare_says()
{
	snapshot_op prepare "$1" | jq -r .error
}

# A snapshot on top of the image, with a unit of its own, whose removal meets a daemon that is killed
unit_removed_twice()
{
	parent=$(snapshot_op list '{}' | jq '[.infos[] | select(.name | endswith("/new"))][0].parent')
	tap_is "$V: unit: another snapshot" "$(snapshot_op prepare "{\"key\": \"own\", \"parent\": $parent, \"labels\": {\"containerd.io/snapshot/locum.unit\": \"new\",
		\"containerd.io/snapshot/locum.unit.size\": \"64M\", \"containerd.io/snapshot/locum.unit.pool\": \"x\",
		\"containerd.io/snapshot/locum.meter.weight\": \"155\", \"containerd.io/snapshot/locum.meter.class\": \"own\",
		\"containerd.io/snapshot/locum.deadline\": \"7\", \"containerd.io/snapshot/locum.at-deadline\": \"freeze\"}}" | jq -r '.mounts[0].type')" bind
	tap_is "$V: meter: labels give weight and class" "$("$LOCUM" status --json | jq -r '[.[].meter | select(.weight == 155) | .regulation.class] | join(" ")')" own
	tap_is "$V: deadline: labels give it" "$("$LOCUM" status --json | jq -r '[.[] | select(.meter.weight == 155) | .deadline_ms, .at_deadline] | join(" ")')" '7000 freeze'
	tap_like "$V: deadline: nonsense is refused" "$(snapshot_op prepare "{\"key\": \"late\", \"parent\": $parent, \"labels\": {\"containerd.io/snapshot/locum.deadline\": \"soon\"}}" | jq -r .error)" 'locum.deadline "soon": seconds, 0 to '
	tap_ok "$V: deadline: and leaves nothing" snapshot_op remove '{"key": "late"}'
	tap_is "$V: unit: has one" "$("$LOCUM" unit list --json | jq length)" 2
	it_hold_units 2
	snapshot_op remove '{"key": "own"}' >"$TAP_DIR/removed" &
	removing=$!
	tap_until 10 sh -c '! grep -q "$1" /proc/self/mountinfo' sh "$LOCUM_RUN/m/$("$LOCUM" unit list --json | jq -r '.[1].mount')"
	daemon_pid=$(daemon_pids)
	kill -KILL "$daemon_pid" && tap_until 10 tap_gone "$daemon_pid"
	wait "$removing"
	tap_is "$V: unit: the daemon is killed while it removes it" "$(cat "$TAP_DIR/removed")" ''
	wait "$IT_HOLDER"
	tap_until 20 ctd snapshots --snapshotter locum ls >/dev/null
	tap_is "$V: unit: the snapshot is there" "$(snapshot_op stat '{"key": "own"}' | jq -r .info.kind)" active
	tap_is "$V: unit: the next one removes it" "$(snapshot_op remove '{"key": "own"}' | tr -d ' \n')" '{}'
	tap_is "$V: unit: and its unit" "$("$LOCUM" unit list --json | jq length)" 1
}

unit_is_free()
{
	[ "$(it_unit "$1" attached)/$(it_unit "$1" mount)" = null/null ]
}

no_units()
{
	[ "$("$LOCUM" unit list --json | jq length)" = 0 ]
}

unit_restarts()
{
	mount=$(it_unit web mount)
	daemon_pid=$("$LOCUM" status --json >/dev/null && daemon_pids)
	kill -KILL "$daemon_pid" && tap_until 10 tap_gone "$daemon_pid"
	tap_ok "$V: unit: a daemon in place of a killed one" tap_until 20 ctd snapshots --snapshotter locum ls
	tap_is "$V: unit: knows whose it is" "$(daemon_field "$mount" unit_name)" web
	tap_ok "$V: unit: the container goes on" ctd tasks exec --exec-id u1 unit sh -c 'cat /tmp/mine >/tmp/copy'
	ctd tasks kill -s 9 unit >/dev/null
	tap_until 10 ctd_ended unit
	ctd tasks rm unit >/dev/null
	umount "$LOCUM_RUN/m/$mount"
	tap_ok "$V: unit: without its mount, as after a reboot, it is detached" tap_until 10 unit_is_free web
	tap_fails "$V: unit: how much is in it nobody knows then" 1 ctd snapshots --snapshotter locum usage unit
	tap_like "$V: unit: which is said" "$(cat "$TAP_DIR/err")" 'its unit web is not attached'
	tap_ok "$V: unit: the container is started again" ctd tasks start -d unit
	tap_is "$V: unit: with what it wrote" "$(cat "$(it_unit web attached)/upper/tmp/copy")" mine
	ctd tasks kill -s 9 unit >/dev/null
	tap_until 10 ctd_ended unit
	ctd tasks rm unit >/dev/null
}

# Containers that write into storage units
units()
{
	it_pool x xfs 600M || {
		tap_skip "$V: units" "no mkfs.xfs (xfsprogs)"
		return
	}
	"$LOCUM" unit create --pool x --name web --size 64M >/dev/null || exit 1
	tap_ok "$V: unit: a container in one" ctd_unit_run unit locum.unit=web sh -c 'echo mine >/tmp/mine; dd if=/dev/zero of=/tmp/big bs=1M count=12 2>/dev/null; : >/tmp/up; exec sleep 600'
	tap_ok "$V: unit: it writes into it" tap_until 20 test -e "$(it_unit web attached)/upper/tmp/up"
	tap_is "$V: unit: and nowhere else" "$(find "$LOCUM_ROOT/snapshots" -name mine)" ''
	tap_ok "$V: unit: usage is what is in it" [ "$(ctd snapshots --snapshotter locum usage -b unit | awk 'NR == 2 { print $2 }')" -ge 12582912 ]
	tap_fails "$V: unit: it becomes no layer" 1 ctd snapshots --snapshotter locum commit layer unit
	tap_like "$V: unit: why" "$(cat "$TAP_DIR/err")" 'in storage unit web, which may go, and a layer may not'
	tap_fails "$V: unit: nor another's" 1 ctd snapshots --snapshotter locum label unit containerd.io/snapshot/locum.unit=other
	tap_like "$V: unit: why not" "$(cat "$TAP_DIR/err")" 'it cannot be changed'
	unit_restarts
	tap_ok "$V: unit: the container is removed" ctd containers rm unit
	tap_ok "$V: unit: its unit is detached" tap_until 20 unit_is_free web
	tap_is "$V: unit: and keeps what was written" "$(cat "$("$LOCUM" unit attach web)/upper/tmp/mine")" mine
	unit_refused 'one that is in use' 'unit web is attached already' locum.unit=web
	"$LOCUM" unit detach web && "$LOCUM" unit delete web
	tap_ok "$V: unit: a new one" ctd_unit_run new 'locum.unit=new locum.unit.size=64M locum.unit.pool=x' sleep 600
	tap_is "$V: unit: is made" "$("$LOCUM" unit list --json | jq -r '.[0].size')" 67108864
	unit_removed_twice
	name=$("$LOCUM" unit list --json | jq -r '.[0].name')
	name=snap-$((${name#snap-} + 3))
	"$LOCUM" unit create --pool x --name "$name" --size 64M >/dev/null
	unit_refused 'a new one is not one that was there' "$name" 'locum.unit=new locum.unit.size=64M locum.unit.pool=x'
	tap_ok "$V: unit: which stays as it was" "$LOCUM" unit delete "$name"
	ctd tasks kill -s 9 new >/dev/null
	tap_until 10 ctd_ended new
	tap_ok "$V: unit: its container is removed" ctd containers rm new
	tap_ok "$V: unit: it goes with that" tap_until 20 no_units
	unit_refused 'a size that is none' 'bytes are expected' 'locum.unit=new locum.unit.size=much'
	unit_refused 'a new one without a size' 'locum.unit=new needs' locum.unit=new
	unit_refused 'a pool alone' 'need containerd.io/snapshot/locum.unit' locum.unit.pool=x
	unit_refused 'no such pool' 'no pool y' 'locum.unit=new locum.unit.size=64M locum.unit.pool=y'
	tap_is "$V: unit: an image's manifest chooses none" "$(prepare_says '{"key": "k", "labels": {"containerd.io/snapshot.ref": "r", "containerd.io/snapshot/locum.unit": "web"}}')" \
		"label containerd.io/snapshot/locum.unit: a layer of an image is in no unit, whatever the image's manifest says"
	tap_like "$V: unit: nor is a mount of containerd's in one" "$(prepare_says '{"key": "k", "labels": {"containerd.io/snapshot/locum.unit": "web"}}')" 'unpacked by containerd, which mounts it itself'
	tap_ok "$V: unit: none is left" no_units
	tap_until 20 it_no_pool x
	tap_is "$V: unit: no pool is left" "$("$LOCUM" unit pool list --json | jq length)" 0
}

restarts()
{
	daemon_kill
	tap_ok "$V: locum-containerd starts a daemon in place of a killed one" ctd snapshots --snapshotter locum ls
	tap_ok "$V: its container goes on" ctd tasks exec --exec-id e1 stays python3 -c 'import json, decimal; print(decimal.Decimal(1))'
	ctd_stop_locum
	tap_fails "$V: without locum-containerd containerd says so" 1 ctd snapshots --snapshotter locum ls
	tap_like "$V: and names the socket" "$(cat "$TAP_DIR/err")" 'containerd.sock'
	ctd_start_locum --units
	ctd_stop
	ctd_start || exit 1
	tap_ok "$V: the container goes on after both" ctd tasks exec --exec-id e2 stays cat /app/hello.py
	hello after
	tap_ok "$V: now all is pulled" tap_limit 60 "$LOCUM" pull "${IT_REF%:t}@$(ctd_digest "$IT_REF")"
	tap_ok "$V: the container's mount is native" it_wait "$id" native 30
	tap_is "$V: no FUSE mount is left" "$(it_fuse)" ''
	tap_ok "$V: the container goes on natively" ctd tasks exec --exec-id e3 stays cat /etc/os-release
	same_tree "$V: native"
	tap_is "$V: an unpacked layer has its size" "$(ctd snapshots --snapshotter locum usage | awk 'NR > 1 && $3 < 100 { print "bad", $0 }')" ''
}

# What containerd commits on top of a remote layer: a layer like any other
mixed()
{
	tap_ok "$V: a snapshot on top of the image" ctd_snapshot locum prepare work "$(ctd_top locum)"
	ctd snapshots --snapshotter locum mounts "$TAP_DIR/view" work >"$TAP_DIR/mount.sh"
	tap_ok "$V: is mounted" sh "$TAP_DIR/mount.sh"
	echo mine >"$TAP_DIR/view/mine"
	rm -f "$TAP_DIR/view/app/hello.py"
	umount "$TAP_DIR/view"
	committed
	tap_ok "$V: is committed" ctd_snapshot locum commit layer4 work
	tap_ok "$V: and has a child" ctd_snapshot locum prepare child layer4
	ctd snapshots --snapshotter locum mounts "$TAP_DIR/view" child >"$TAP_DIR/mount.sh"
	tap_ok "$V: which is mounted" sh "$TAP_DIR/mount.sh"
	tap_is "$V: it has the new file" "$(cat "$TAP_DIR/view/mine")" mine
	tap_is "$V: not the removed one" "$(ls "$TAP_DIR/view/app")" tour.py
	tap_is "$V: and the image's" "$(sed -n 's/^ID=//p' "$TAP_DIR/view/etc/os-release")" debian
	umount "$TAP_DIR/view"
	tap_fails "$V: a parent stays" 1 ctd snapshots --snapshotter locum rm layer4
	tap_ok "$V: the child goes" ctd snapshots --snapshotter locum rm child
	tap_ok "$V: then the parent" ctd snapshots --snapshotter locum rm layer4
}

crowd()
{
	rm -f "$TAP_DIR"/pulled.*
	n=0
	while [ $n -lt 20 ]; do
		n=$((n + 1))
		(CTD_NS=ns$((n % 2)) ctd_pull "$IT_REF" >"$TAP_DIR/pull.$n" 2>&1
			echo $? >"$TAP_DIR/pulled.$n") &
	done
	for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		tap_until 60 test -s "$TAP_DIR/pulled.$n"
	done
	tap_is "$V: 20 pulls at once in two namespaces" "$(cat "$TAP_DIR"/pulled.* | sort | uniq -c | tr -s ' ')" ' 20 0'
	tap_ok "$V: a container of one of them" ctd -n ns1 run --rm --snapshotter locum "$IT_REF" other
	for ns in ns0 ns1; do
		ctd -n $ns images rm --sync "$IT_REF" >/dev/null
	done
}

gone()
{
	ctd tasks kill -s 9 stays >/dev/null
	tap_until 10 ctd_ended stays
	tap_ok "$V: the container is removed" ctd containers rm stays
	tap_ok "$V: the image is removed" ctd images rm --sync "$IT_REF"
	tap_until 20 ctd_no_snapshots
	tap_is "$V: no snapshot is left" "$(snapshots)" ''
	tap_until 20 ctd_no_layers
	tap_is "$V: no layer is left" "$(ctd_layers)" ''
	tap_is "$V: no mount is left" "$("$LOCUM" status)" ''
}

# A pull that says nothing of images: containerd unpacks, overlayfs is all there is
ordinary()
{
	tap_ok "$V: pull without labels" ctd_pull_plain "$IT_REF"
	tap_ok "$V: pull for overlayfs" ctd_pull_plain "$IT_REF" overlayfs
	tap_ok "$V: a view of that" view overlayfs "$TAP_DIR/theirs"
	view locum "$TAP_DIR/view"
	# Directories get the time of the unpacking, and some of its whiteouts are names that cannot be looked at.
	tap_is "$V: the tree is that of containerd's own overlayfs snapshotter" \
		"$("$TREECMP" "$TAP_DIR/theirs" "$TAP_DIR/view" 2>/dev/null | grep -v ': mtime \|differences$' | head -n 5)" ''
	tap_is "$V: by an overlay of layers that containerd unpacked" "$(findmnt -n -o FSTYPE,SOURCE "$TAP_DIR/view")" 'overlay overlay'
	unview overlayfs "$TAP_DIR/theirs"
	unview locum "$TAP_DIR/view"
	hello plain
	tap_is "$V: locum has mounted nothing" "$("$LOCUM" status)" ''
	tap_ok "$V: pulled lazily on top of what is here" ctd_pull "$IT_REF"
	ctd images rm --sync "$IT_REF" >/dev/null
	tap_until 20 ctd_no_snapshots
}

# PATH DATA: one HTTP/2 request as gRPC; prints its status
grpc_status()
{
	printf '%b' "$2" >"$TAP_DIR/message"
	curl -s --max-time 20 --http2-prior-knowledge --unix-socket "$LOCUM_RUN/containerd.sock" -H 'content-type: application/grpc' -D - \
		-o "$TAP_DIR/answer" --data-binary "@$TAP_DIR/message" "http://locum$1" | tr -d '\r' | sed -n 's/^grpc-status: //p'
}

# Whatever comes in by the socket, the next call is answered.
hostile()
{
	s=/containerd.services.snapshots.v1.Snapshots
	tap_is "$V: a call as containerd makes it: not found" "$(grpc_status $s/Stat '\0\0\0\0\03\022\01x')" 5
	tap_is "$V: no name" "$(grpc_status $s/Prepare '\0\0\0\0\0')" 3
	tap_is "$V: an unknown method" "$(grpc_status $s/Nothing '\0\0\0\0\0')" 12
	tap_is "$V: another service" "$(grpc_status /x.Y/Stat '\0\0\0\0\0')" 12
	tap_is "$V: compressed" "$(grpc_status $s/Stat '\01\0\0\0\0')" 12
	tap_is "$V: another length" "$(grpc_status $s/Stat '\0\0\0\0\09')" 12
	tap_is "$V: no message" "$(grpc_status $s/Stat '\0\0')" 12
	tap_is "$V: no protobuf" "$(grpc_status $s/Stat '\0\0\0\0\03\022\0177x')" 3
	tap_is "$V: no UTF-8" "$(grpc_status $s/Stat '\0\0\0\0\03\022\01\0377')" 3
	tap_is "$V: a parent that is not there" "$(grpc_status $s/Prepare '\0\0\0\0\06\022\01x\032\01y')" 5
	python - "$LOCUM_RUN/containerd.sock" <<-'END'
		import os, random, socket, sys
		r = random.Random(1)
		preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
		for i in range(300):
		    s = socket.socket(socket.AF_UNIX)
		    s.connect(sys.argv[1])
		    try:
		        s.sendall((preface if i % 3 else b"") + (b"\0\0\0\4\0\0\0\0\0" if i % 2 else b"") + r.randbytes(r.randrange(400)))
		        if i % 5 == 0:
		            s.shutdown(socket.SHUT_WR)
		    except OSError:
		        pass
		    s.close()
		big = socket.socket(socket.AF_UNIX)
		big.connect(sys.argv[1])
		big.sendall(preface + b"\0\0\0\4\0\0\0\0\0" + b"\xff\xff\xff\0\0\0\0\0\1" + b"x" * 100000)
	END
	python -c 'import sys; sys.stdout.buffer.write(b"\0\0\x50\0\0" + b"x" * 0x500000)' >"$TAP_DIR/big"
	tap_is "$V: a message of 5 MiB" "$(curl -s --max-time 20 --http2-prior-knowledge --unix-socket "$LOCUM_RUN/containerd.sock" \
		-H 'content-type: application/grpc' -D - --data-binary "@$TAP_DIR/big" http://locum$s/Stat | tr -d '\r' | sed -n 's/^grpc-status: //p')" 8
	tap_ok "$V: afterwards containerd is served" ctd snapshots --snapshotter locum ls
}

# What locum cannot mount is an error of the container's start, with its reason, and leaves nothing
broken()
{
	bad_stop
	tap_until 30 ctd_no_layers
	tap_is "$V: broken: no layer is here" "$(ctd_layers)" ''
	layer=$(python - "$IT_OCI" <<-'END'
		import json, sys
		blob = lambda d: json.load(open(sys.argv[1] + "/blobs/" + d.replace(":", "/")))
		m = blob(json.load(open(sys.argv[1] + "/index.json"))["manifests"][0]["digest"])
		print(m["layers"][1]["digest"])
	END
	)
	it_serve --status "$layer:403" || exit 1
	tap_ok "$V: broken: pull" ctd_pull "$IT_REF"
	tap_fails "$V: broken: no container" 1 ctd run --rm --snapshotter locum "$IT_REF" broken
	tap_like "$V: broken: why" "$(cat "$TAP_DIR/err")" 'refuses access to x .status 403'
	tap_until 10 ctd_no_mounts
	tap_is "$V: broken: no mount is left" "$("$LOCUM" status)" ''
	bad_stop
	it_serve --port "${BAD_HOST#*:}" || exit 1
	hello healed
	ctd images rm --sync "$IT_REF" >/dev/null
	tap_until 20 ctd_no_snapshots
}

# Layers without tables of contents are pulled whole, before the container starts.
gzip_image()
{
	bad_stop
	zc=$IT_OCI
	it_image python gzip && it_serve || exit 1
	tap_ok "$V: gzip: pull" ctd_pull "$IT_REF"
	hello gzip
	same_tree "$V: gzip"
	ctd images rm --sync "$IT_REF" >/dev/null
	tap_until 20 ctd_no_snapshots
	IT_OCI=$zc
}

# docker-registry with a password; the image is in it
secret_registry()
{
	mkdir -p "$TAP_DIR/secret" && htpasswd -Bbc "$TAP_DIR/secret/htpasswd" user 'pass:word/1' 2>/dev/null || return 1
	cat >"$TAP_DIR/secret/config.yml" <<-END
		version: 0.1
		log: {level: info}
		storage: {filesystem: {rootdirectory: $TAP_DIR/secret/data}}
		http: {addr: '127.0.0.1:0'}
		auth: {htpasswd: {realm: locum, path: $TAP_DIR/secret/htpasswd}}
	END
	OTEL_TRACES_EXPORTER=none docker-registry serve "$TAP_DIR/secret/config.yml" >"$TAP_DIR/secret/log" 2>&1 </dev/null &
	tap_cleanup "tap_kill $!"
	tap_until 15 grep -q 'listening on 127' "$TAP_DIR/secret/log" || return 1
	SECRET_HOST=$(sed -n 's/.*listening on \(127\.0\.0\.1:[0-9]*\).*/\1/p' "$TAP_DIR/secret/log")
	skopeo copy -q --dest-tls-verify=false --dest-creds 'user:pass:word/1' "oci:$IT_OCI:t" "docker://$SECRET_HOST/z:t"
}

# Pull secrets, which only the kubelet's call has
secrets()
{
	tap_is "$V: secrets: containerd's answers come through" "$(grpc_status /runtime.v1.ImageService/ListImages '\0\0\0\0\0')/$(grpc_status /runtime.v1.ImageService/Nothing '\0\0\0\0\0')" 0/12
	tap_like "$V: secrets: none, and containerd is refused" "$(ctd_cri_pull "$SECRET_HOST/z:t" "$LOCUM_RUN/containerd.sock")" '^[1-9]'
	tap_like "$V: secrets: nor with a wrong one" "$(ctd_cri_pull "$SECRET_HOST/z:t" "$LOCUM_RUN/containerd.sock" user wrong)" '^[1-9]'
	tap_is "$V: secrets: which is not kept" "$(jq -c .auths "$LOCUM_RUN/cri-auth.json")" '{}'
	tap_is "$V: secrets: pulled with the right one" "$(ctd_cri_pull "$SECRET_HOST/z:t" "$LOCUM_RUN/containerd.sock" user 'pass:word/1')" 0
	tap_is "$V: secrets: kept for root alone" "$(stat -c %a "$LOCUM_RUN/cri-auth.json") $(jq -c '.auths | keys' "$LOCUM_RUN/cri-auth.json")" "600 [\"$SECRET_HOST/z\"]"
	tap_is "$V: secrets: containerd has downloaded no layer" "$(ctd -n k8s.io content ls | awk '$2 ~ /[MG]B|MiB|GiB/')" ''
	tap_like "$V: secrets: another's wrong one" "$(ctd_cri_pull "$SECRET_HOST/z:t" "$LOCUM_RUN/containerd.sock" user wrong)" '^[1-9]'
	tap_is "$V: secrets: does not take its place" "$(jq -r '.auths[].auth' "$LOCUM_RUN/cri-auth.json" | base64 -d)" user:pass:word/1
	daemon_kill
	tap_like "$V: secrets: a container, after another daemon has started" "$(ctd -n k8s.io run --rm --snapshotter locum "$SECRET_HOST/z:t" pod2 2>&1)" '^hello from python 3'
}

# The labels that Kubernetes' images come with
kubernetes()
{
	ctd_stop
	ctd_stop_locum
	ctd_start_locum --units --cri --containerd "$CTD_SOCK"
	ctd_start cri || exit 1
	tap_is "$V: CRI: pull" "$(ctd_cri_pull "$IT_REF")" 0
	tap_is "$V: CRI: containerd has downloaded no layer" "$(ctd -n k8s.io content ls | awk '$2 ~ /[MG]B|MiB|GiB/')" ''
	tap_like "$V: CRI: a container" "$(ctd -n k8s.io run --rm --snapshotter locum "$IT_REF" pod 2>&1)" '^hello from python 3'
	secrets
	ctd -n k8s.io images ls -q | xargs -n 1 timeout 60 ctr --address "$CTD_SOCK" -n k8s.io images rm --sync >/dev/null 2>&1
	tap_until 20 ctd_no_snapshots
}

refused()
{
	bad_stop
	tap_fails "$V: no registry: containerd says so" 1 ctd_pull "$IT_REF"
	tap_like "$V: and why" "$(cat "$TAP_DIR/err" "$TAP_DIR/out")" 'connect: connection refused'
}

# The configuration that packaging/kubernetes installs is one that this containerd takes.
packaged()
{
	[ "$V" = testing ] || return 0
	python "$LCM_LIB/k8s.py" --extract ConfigMap locum containerd.toml "$LCM_LIB/../../packaging/kubernetes/locum.yaml" >"$TAP_DIR/packaged.toml"
	PATH=$CTD_PATH containerd --config "$TAP_DIR/packaged.toml" config dump >"$TAP_DIR/dumped.toml" 2>"$TAP_DIR/dumped.err"
	tap_is "$V: the packaged configuration is understood" "$(tr -d " '" <"$TAP_DIR/dumped.toml" | grep -c '^snapshotter=locum$\|^address=/run/locum/containerd.sock$\|^\[proxy_plugins.locum\]$')" 5
}

# What does not depend on containerd's version
once()
{
	[ "$V" = 1.6 ] || return 0
	broken
	gzip_image
	hostile
}

it_image python uncompressed && it_reference && it_image python zstd:chunked || exit 1
tap_cleanup registry_stop
registry_start "$TAP_DIR/registry" && secret_registry || exit 1
IT_TREE=$(ls -d "${IT_OCI%-zstd-chunked}-uncompressed.unpacked/rootfs")
for V in 1.6 testing; do
	ctd_version $V || exit 1
	tap_diag "$(ctd --version)"
	lazy_start
	exported
	restarts
	mixed
	units
	crowd
	gone
	kubernetes
	ordinary
	packaged
	once
	refused
	ctd_stop
	ctd_stop_locum
	tap_ok "$V: the daemon ends" "$LOCUM" daemon --stop
	tap_until 20 ctd_no_daemon
	tap_is "$V: no mount, container or temporary file is left" "$(daemon_leftovers)" ''
	tap_ok "$V: no sanitizer has spoken" daemon_sane
	rm -rf "$LOCUM_ROOT" "$LOCUM_RUN"
done
tap_end
