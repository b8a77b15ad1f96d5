#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# reboot.sh BUILDDIR - a host with 30 mounts is rebooted: every process is killed, every mount and all of /run is gone,
# the boot id is another one, and there is no network. What is here runs again; what is not is one mount's trouble.
# Then mounts that are offline by their own will.
set -u
# The boot id is replaced in a mount namespace of this case's own.
[ -n "${REBOOT_NS-}" ] || REBOOT_NS=1 exec unshare -m --propagation private "$0" "$@"
srcdir=${srcdir:-$(dirname "$0")/../..}
LCM_LIB=$srcdir/tests/lib
. "$LCM_LIB/itest.sh"

it_begin reboot 280 "${1:?usage: reboot.sh BUILDDIR}"
COMPLETE=21 # of 30; the others are partly here, or in trouble
LOG=$TAP_DIR/requests

new_boot()
{
	cat /proc/sys/kernel/random/uuid >"$TAP_DIR/boot_id"
}

new_boot
mount --bind "$TAP_DIR/boot_id" /proc/sys/kernel/random/boot_id || tap_skip_all 'the boot id cannot be replaced'

# SRC PREFIX N: tags PREFIX1 to PREFIXN of $TAP_DIR/oci are the image SRC and one layer more, with /variant.
variants()
{
	python - "$1" "$TAP_DIR/oci" "$2" "$3" <<'END'
import gzip, hashlib, io, json, os, shutil, sys, tarfile
src, out, prefix, count = sys.argv[1:]
blobs = out + "/blobs/sha256/"
if not os.path.isdir(blobs):
    os.makedirs(blobs)
    shutil.copy(src + "/oci-layout", out)
for name in os.listdir(src + "/blobs/sha256"):
    shutil.copy(src + "/blobs/sha256/" + name, blobs)
def put(data):
    digest = hashlib.sha256(data).hexdigest()
    with open(blobs + digest, "wb") as f:
        f.write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}
def get(d):
    return json.load(open(blobs + d["digest"][7:]))
base = json.load(open(src + "/index.json"))["manifests"][0]
path = out + "/index.json"
index = json.load(open(path)) if os.path.exists(path) else {"schemaVersion": 2, "manifests": []}
for i in range(1, int(count) + 1):
    tag, tar = "%s%d" % (prefix, i), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as t:
        info = tarfile.TarInfo("variant")
        info.size = len(tag) + 1
        t.addfile(info, io.BytesIO(tag.encode() + b"\n"))
    plain = tar.getvalue()
    m = get(base)
    c = get(m["config"])
    c["rootfs"]["diff_ids"].append("sha256:" + hashlib.sha256(plain).hexdigest())
    m["config"].update(put(json.dumps(c).encode()))
    m["layers"].append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **put(gzip.compress(plain))})
    index["manifests"].append({"mediaType": base["mediaType"], **put(json.dumps(m).encode()),
                               "annotations": {"org.opencontainers.image.ref.name": tag}})
json.dump(index, open(path, "w"))
END
}

mount_one()
{
	mkdir -p "$M/$1" && mount_tag=$2 && shift 2 && tap_limit 60 "$LOCUM" mount --deadline 2 "$@" "$BAD_HOST/x:$mount_tag" "$M/$mount_tag" >/dev/null
}

# What may be lost with the machine's power is lost.
reboot()
{
	for reboot_pid in $(daemon_holder) $(daemon_pids); do
		kill -KILL "$reboot_pid"
		tap_until 10 tap_gone "$reboot_pid"
	done
	wait "$DAEMON_PID" 2>/dev/null
	tap_unmount
	[ -z "$(daemon_mounts)" ] && rm -rf --one-file-system "$LOCUM_RUN" && new_boot
}

# No registry can be reached from there.
start_without_network()
{
	unshare -n "$LOCUM" daemon "$@" >>"$TAP_DIR/daemon.log" 2>&1 </dev/null &
	DAEMON_PID=$!
	tap_until 20 daemon_answers
}

requests()
{
	curl -sf --unix-socket "$LOCUM_RUN/locum.sock" http://locum/v1/daemon | jq .registry.requests
}

# STATE ID...: all of them get there
all_are()
{
	are_state=$1
	shift
	for are_id; do
		it_wait "$are_id" "$are_state" 30 || {
			"$LOCUM" status "$are_id" >&2
			return 1
		}
	done
}

all_run()
{
	for run_id; do
		[ "$(chroot "$M/$run_id" /bin/sh -c 'read -r line </variant && echo "$line"')" = "$run_id" ] || return 1
	done
}

# ID IMG: its writes are there, and all else is the image
is_right()
{
	[ "$(cat "$M/$1/written")" = "by $1" ] && [ "$(cat "$M/$1/variant")" = "$1" ] &&
		rm "$M/$1/written" "$M/$1/variant" && "$TREECMP" "$M/$1" "$2/rootfs" --ignore-dir-times &&
		echo "$1" >"$M/$1/variant" && echo "by $1" >"$M/$1/written"
}

# IMG ID...
all_are_right()
{
	right_img=$1
	shift
	for right_id; do
		is_right "$right_id" "$right_img" || {
			echo "$right_id differs" >&2
			return 1
		}
	done
}

# FROM ID...: these files, from the first on, and others
read_from()
{
	from=$1
	shift
	for again_id; do
		for again_i in $(seq "$from" 8); do
			cmp "$M/$again_id/many/$again_i" "$IMG/rootfs/many/$again_i" || return 1
		done
		cmp "$M/$again_id/data/medium" "$IMG/rootfs/data/medium" && [ "$(cat "$M/$again_id/variant")" = "$again_id" ] || return 1
	done
}

# What was pulled is complete once it is synced. The daemon keeps its database locked: a copy is read.
all_synced()
{
	rm -rf "$TAP_DIR/db" && mkdir "$TAP_DIR/db" && cp "$LOCUM_ROOT"/locum.db* "$TAP_DIR/db/" && rm -f "$TAP_DIR"/db/*-shm &&
		python -c 'import sqlite3, sys
sys.exit(sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM layers WHERE state = 2").fetchone()[0])' "$TAP_DIR/db/locum.db"
}

error_of()
{
	daemon_field "$1" error
}

names()
{
	seq -f "$1%g" 1 "$2" | tr '\n' ' '
}

IMG=$TAP_DIR/img
OTHER=$TAP_DIR/other
tap_ok 'an image' small_image "$IMG"
tap_ok 'another one' small_image "$OTHER"
tap_ok 'variants of it, for whole pulls' variants "$IMG/gzip" whole "$COMPLETE"
tap_ok 'lazy ones' variants "$IMG/zc" part 4
tap_ok 'one to be damaged' variants "$OTHER/zc" torn 2
tap_ok 'and more' variants "$OTHER/gzip" more 5
bad_start "$TAP_DIR/oci" --log "$LOG"
daemon_start --no-background
tap_ok 'a pool of storage units' it_pool main xfs 600M

# ---- 30 mounts ----
whole=$(names whole "$COMPLETE")
part=$(names part 4)
made=0
for id in $whole; do
	set -- --id "$id"
	[ "$id" != whole1 ] || set -- --id "$id" --unit new --unit-size 320M
	mount_one "$id" "$id" --full "$@" && echo "by $id" >"$M/$id/written" && made=$((made + 1))
done
for id in $part; do
	mount_one "$id" "$id" --id "$id" && read_from 1 "$id" && echo "by $id" >"$M/$id/written" && made=$((made + 1))
done
tap_is 'whole and lazy ones are mounted' "$made" $((COMPLETE + 4))
tap_is 'the lazy ones are lazy' "$(for id in $part; do daemon_field "$id" phase; done | sort -u)" lazy
tap_ok 'one whose table of contents will be damaged' mount_one torn1 torn1 --id torn1
tap_ok 'one whose directory somebody will take' mount_one more1 more1 --id more1 --full
tap_ok 'one whose directory will be gone' mount_one more2 more2 --id more2 --full
tap_ok 'one of whose layers will be lost' mount_one more5 more5 --id more5 --full
tap_ok 'one without a name, below the run directory' test -d "$(OWN=$("$LOCUM" mount --full "$BAD_HOST/x:more3") && echo "$OWN" >"$TAP_DIR/own" && echo "$OWN")"
OWN=$(cat "$TAP_DIR/own")
for id in torn1 more1 more2 more5; do
	echo "by $id" >"$M/$id/written"
done
echo 'by nobody' >"$OWN/written"
tap_is '30 are mounted' "$("$LOCUM" status --json | jq '[.[] | select(.kind == "mount")] | length')" 30
tap_ok 'one of another client, which makes its own again' curl -sf --unix-socket "$LOCUM_RUN/locum.sock" http://locum/v1/mounts \
	-d "{\"image\": \"$BAD_HOST/x:more4\", \"id\": \"client\", \"full\": true}"
tap_ok 'it is mounted' it_wait client ready 20

# ---- the reboot ----
# In real/ a layer that is partly here has what was read of it only.
for layer in "$LOCUM_ROOT"/real/*; do
	[ ! -e "$layer/many/2" ] || [ -e "$layer/many/200" ] || break
done
tap_ok 'what a power cut does: a file is short, one has other bytes, one other attributes' sh -c \
	': >"$1/2" && printf X | dd of="$1/3" bs=1 conv=notrunc && chmod 0600 "$1/4"' sh "$layer/many"
tap_ok 'what was pulled is on the disk' tap_until 60 all_synced
tap_ok 'everything is killed and unmounted' reboot
python - "$LOCUM_ROOT" "$(python "$LCM_LIB/badimage.py" layer "$OTHER/zc" 0 | cut -d' ' -f1)" <<'END'
import os, shutil, sqlite3, sys
db = sqlite3.connect(sys.argv[1] + "/locum.db")
digest = bytes.fromhex(sys.argv[2].split(":")[-1])
for (id,) in db.execute("SELECT id FROM layers WHERE blob = ?", (digest,)).fetchall():
    with open("%s/toc/%d" % (sys.argv[1], id), "r+b") as f:
        f.seek(300)
        f.write(b"\0" * 64)
(id,) = db.execute("SELECT layer FROM mount_layers WHERE mount = 'more5' ORDER BY pos DESC LIMIT 1").fetchone()
shutil.rmtree("%s/real/%d" % (sys.argv[1], id))
os.unlink("%s/toc/%d" % (sys.argv[1], id))
db.close()
END
mount -t tmpfs tmpfs "$M/more1"
rmdir "$M/more2"
mount -o loop "$TAP_DIR/main.img" "$TAP_DIR/pool/main"
: >"$LOG"
start_ms=$(now_ms)
tap_ok 'the next daemon, without a network' start_without_network --no-background
# shellcheck disable=SC2086
tap_ok 'all complete ones are native' all_are native $whole
# shellcheck disable=SC2086
tap_ok 'and run a program' all_run $whole
tap_diag "all $COMPLETE complete ones ran again after $(($(now_ms) - start_ms)) ms"
# shellcheck disable=SC2086
tap_ok 'the partly local ones are lazy' all_are ready $part
# shellcheck disable=SC2086
tap_ok 'all that was written is there, and the trees are right' all_are_right "$IMG" $whole
tap_is 'in a unit, too' "$(it_unit whole1 mount)" whole1
tap_ok 'below the run directory, too' test "$(cat "$OWN/written")" = 'by nobody'
# shellcheck disable=SC2086
tap_ok 'what was read of the partly local ones can be read' read_from 4 $part
tap_is 'nobody has asked for anything' "$(requests) $(wc -l <"$LOG")" '0 0'
# shellcheck disable=SC2086
tap_is 'the partly local ones have what was written' "$(for id in $part; do cat "$M/$id/written"; done)" "$(printf 'by %s\n' $part)"
tap_is 'the damaged one failed' "$(daemon_field torn1 phase)" failed
tap_like 'it says why and what to do' "$(error_of torn1)" 'layer sha256:[0-9a-f]* is not whole.*locum pull'
tap_like 'so does the one that has lost a layer' "$(daemon_field more5 phase) $(error_of more5)" '^failed layer [0-9]* is not whole.*locum pull .*/x:more5 fetches it'
tap_like 'so does the one whose directory is taken' "$(daemon_field more1 phase) $(error_of more1)" "^failed $M/more1 "
tap_like 'and the one whose directory is gone' "$(daemon_field more2 phase) $(error_of more2)" "^failed .*$M/more2"
tap_fails 'what another client had mounted is left to it' 1 "$LOCUM" status client
tap_ok 'and what was written there is gone' test ! -e "$LOCUM_ROOT/containers/client"
for id in torn1 more1 more2 more5; do
	tap_is "what was written in $id is kept" "$(cat "$LOCUM_ROOT/containers/$id/upper/written")" "by $id"
done

tap_is 'a file with other attributes has the right ones' "$(stat -c %a "$M/part1/many/4")" "$(stat -c %a "$IMG/rootfs/many/4")"

# ---- whoever mounts it at each boot gets what is there ----
tap_ok 'a mount of the same image there, by its id' mount_one whole4 whole4 --id whole4
tap_is 'is the one that was made again' "$(cat "$M/whole4/written")" 'by whole4'
says 'once' 1 'whole4 is in use' "$LOCUM" mount --id whole4 "$BAD_HOST/x:whole4" "$M/whole4"
tap_is 'by its directory alone, too' "$("$LOCUM" mount "$BAD_HOST/x:whole5" "$M/whole5")" whole5
says 'another image is another mount' 1 'whole6 is in use' "$LOCUM" mount --id whole6 "$BAD_HOST/x:whole7" "$M/whole6"
says 'and so is one of the newest image' 1 'whole6 is in use' "$LOCUM" mount --id whole6 --pull always "$BAD_HOST/x:whole6" "$M/whole6"
umount "$M/more1"
tap_ok 'one that had failed makes way' mount_one more1 more1 --id more1
tap_is 'with what was written' "$(cat "$M/more1/written")" 'by more1'
tap_is 'nobody has asked for that' "$(requests)" 0

# ---- only what is missing asks, and what was torn is missing ----
tap_ok 'a lazy image is mounted anew' "$LOCUM" umount part4
tap_ok 'without a request' mount_one part4 part4 --id part4
tap_is 'still nobody has asked' "$(requests)" 0
for i in 2 3 100; do
	start_ms=$(now_ms)
	tap_fails "file $i is missing" 1 cat "$M/part1/many/$i"
	tap_ok 'its reader waits as long as the mount was told' test $(($(now_ms) - start_ms)) -lt 500000
done
tap_ok 'now the registry was asked' test "$(requests)" -gt 0

# ---- the next daemon has a network, and the troubles are over ----
tap_ok 'the daemon ends' daemon_stop
mkdir "$M/more2"
daemon_start --no-background
tap_is 'the mount of a lazy one was left alone' "$(daemon_field part1 phase)" lazy
for i in 2 3 100; do
	tap_ok "file $i is there" cmp "$M/part1/many/$i" "$IMG/rootfs/many/$i"
done
tap_ok 'the one whose directory is there again is mounted' all_are native more1 more2
tap_ok 'with what was written' all_are_right "$OTHER" more1 more2
tap_is 'the damaged one still fails' "$(daemon_field torn1 phase)" failed
tap_ok 'it is given up, what was written kept' "$LOCUM" umount --keep torn1
tap_ok 'and mounted anew' mount_one torn1 torn1 --id torn1
tap_ok 'with what was written, and the registry brings its image' all_are_right "$OTHER" torn1
tap_ok 'the lost layer is pulled' "$LOCUM" pull "$BAD_HOST/x:more5"
tap_ok 'the daemon ends' daemon_stop
daemon_start --no-background
tap_ok 'the next one mounts what had lost it' all_are native more5
tap_ok 'with what was written' all_are_right "$OTHER" more5
tap_ok 'a pull' "$LOCUM" pull "$BAD_HOST/x:part1"
# shellcheck disable=SC2086
tap_ok 'makes the lazy ones native' all_are native $part
tap_ok 'the trees are right' all_are_right "$IMG" part1 part2

# ---- whoever unmounts it in the same boot does not want it back ----
umount "$M/whole2"
daemon_kill
umount "$M/whole3"
daemon_start --no-background
tap_fails 'unmounted under a daemon: it is gone' 1 "$LOCUM" status whole2
tap_fails 'unmounted without one: it is gone' 1 "$LOCUM" status whole3
tap_is 'what was written with a name is kept' "$(cat "$LOCUM_ROOT/containers/whole3/upper/written")" 'by whole3'

# ---- a daemon that is killed while it mounts all again ----
tap_until 60 all_synced
tap_ok 'a second reboot' reboot
mount -o loop "$TAP_DIR/main.img" "$TAP_DIR/pool/main"
again="more1 more2 more5 torn1 $part $(names whole "$COMPLETE" | sed 's/whole[23] //g')"
kills=0
between=0
for n in 500 800 1100 1400 1700 2000 2300 2600; do
	LCM_FAULT_NTH=$n LCM_FAULT_ERRNO=0 unshare -n "$LOCUM" daemon --no-background >>"$TAP_DIR/daemon.log" 2>&1 </dev/null &
	DAEMON_PID=$!
	tap_until 10 tap_gone "$DAEMON_PID" && kills=$((kills + 1))
	kill -KILL "$DAEMON_PID" 2>/dev/null
	wait "$DAEMON_PID" 2>/dev/null
	n=$(daemon_mounts | grep -c "^$M/")
	[ "$n" = 0 ] || [ "$n" -ge 20 ] || between=$((between + 1))
	tap_diag "$n mounts were there when a daemon was killed"
done
if grep -q LCM_FAULTS "$(dirname "$LOCUM")/Makefile"; then
	tap_ok 'some were killed while they mounted' test "$kills" -ge 3 -a "$between" -ge 1
else
	tap_skip 'some were killed while they mounted' 'built without --enable-faults'
fi
tap_ok 'the next one' start_without_network --no-background
# shellcheck disable=SC2086
tap_ok 'all run again' all_are ready $again
# shellcheck disable=SC2086
tap_is 'nothing that was written is lost' "$(for id in $again; do cat "$M/$id/written"; done)" "$(printf 'by %s\n' $again)"
tap_is 'without a name, too' "$(cat "$OWN/written")" 'by nobody'
tap_is 'nobody has asked' "$(requests)" 0
tap_ok 'the daemon ends' daemon_stop
daemon_start --no-background

# ---- offline ----
: >"$LOG"
off()
{
	mkdir -p "$M/off" && tap_limit 30 "$LOCUM" mount --id off --offline "$@" "$M/off"
}

tap_ok 'offline: a whole image' off "$BAD_HOST/x:part1"
tap_is 'is native' "$(daemon_field off phase) $(daemon_field off offline)" 'native true'
tap_ok 'umount' "$LOCUM" umount --remove off
says 'an image that is not known' 1 'x:torn2 is not in the store \(locum pull' "$LOCUM" mount --id off --offline "$BAD_HOST/x:torn2" "$M/off"
tap_ok 'an image whose layers' sh -c '"$1" umount --remove torn1 && "$1" umount --remove more1 && "$1" umount --remove more2 && "$1" umount --remove more5 && "$1" umount "$2"' sh "$LOCUM" "$OWN"
tap_ok 'are not here' "$LOCUM" drop-cache --all "$BAD_HOST/x:torn1"
says 'is named, and what to do' 1 'layer sha256:[0-9a-f]{64} is not whole.*locum pull .*/x:torn1 fetches it' "$LOCUM" mount --id off --offline "$BAD_HOST/x:torn1" "$M/off"
says '--pull asks' 1 'offline: pull asks a registry' "$LOCUM" mount --id off --offline --pull always "$BAD_HOST/x:part1" "$M/off"
says '--platform asks' 1 'offline: platform asks a registry' "$LOCUM" mount --id off --offline --platform linux/arm64 "$BAD_HOST/x:part1" "$M/off"
says '--index asks' 1 'offline: index asks a registry' "$LOCUM" mount --id off --offline --index referrers "$BAD_HOST/x:part1" "$M/off"
tap_ok '--pull never says the same' sh -c '"$1" mount --id off --offline --pull never "$2" "$3" && "$1" umount --remove off' sh "$LOCUM" "$BAD_HOST/x:part1" "$M/off"
tap_is 'nobody was asked for all that' "$(wc -l <"$LOG")" 0
tap_ok 'an image is mounted lazily' mount_one torn1 torn1 --id torn1
tap_ok 'a file of it' cmp "$M/torn1/many/7" "$OTHER/rootfs/many/7"
tap_ok 'it goes' "$LOCUM" umount --remove torn1
tap_ok 'the daemon ends' daemon_stop
daemon_start
: >"$LOG"
tap_ok 'offline: an image that is partly here, with a daemon that pulls' off "$BAD_HOST/x:torn1"
tap_is 'is lazy' "$(daemon_field off phase)" lazy
tap_ok 'a file that is here' cmp "$M/off/many/7" "$OTHER/rootfs/many/7"
start_ms=$(now_ms)
tap_fails 'one that is missing' 1 cat "$M/off/many/100"
tap_like 'gives EIO' "$(cat "$TAP_DIR/err")" 'Input/output error'
tap_ok 'at once' test $(($(now_ms) - start_ms)) -lt 50000
tap_fails 'a big one, too' 1 cat "$M/off/data/big"
tap_like 'status says why' "$("$LOCUM" status off)" 'error: /data/big is not here, and the mount is offline.*locum pull'
tap_like 'so does why' "$("$LOCUM" why off)" 'error: /data/big is not here'
says 'a whole one is not to be had' 1 'is not whole, and the mount is offline' "$LOCUM" mount --offline --full "$BAD_HOST/x:torn1"
tap_ok 'the next daemon' daemon_stop
daemon_start
tap_fails 'knows that it is offline' 1 cat "$M/off/many/101"
tap_until 60 all_synced
tap_ok 'a third reboot' reboot
mount -o loop "$TAP_DIR/main.img" "$TAP_DIR/pool/main"
tap_is 'a verb that starts the daemon finds all there' "$("$LOCUM" status --json | jq -r '.[].phase' | sort -u | tr '\n' ' ')" 'lazy native '
"$LOCUM" daemon --stop
daemon_start
tap_ok 'it is mounted again' all_are ready off
tap_fails 'and offline' 1 cat "$M/off/many/101"
tap_ok 'what was here is still here' cmp "$M/off/many/7" "$OTHER/rootfs/many/7"
tap_is 'nobody was asked by it' "$(grep -c "$(python "$LCM_LIB/badimage.py" layer "$OTHER/zc" 0 | cut -d' ' -f1)" "$LOG")" 0
tap_ok 'a pull of the image' "$LOCUM" pull "$BAD_HOST/x:torn1"
tap_ok 'is for it, too' all_are native off
tap_is 'it has no trouble any more' "$(error_of off)" ''
tap_ok 'and the missing file is there' cmp "$M/off/many/101" "$OTHER/rootfs/many/101"

# ---- a layer that the disk has lost ----
whole()
{
	"$LOCUM" verify "$BAD_HOST/x:torn1" >/dev/null 2>&1
}
tap_ok 'what is stored is whole' tap_until 60 whole
lost=$LOCUM_ROOT/real/$("$LOCUM" verify --json "$BAD_HOST/x:torn1" | jq -rs 'max_by(.entries).layer')/many/101
printf lost | dd of="$lost" conv=notrunc status=none
tap_ok 'it is damaged, and fetched again' "$LOCUM" verify --repair "$BAD_HOST/x:torn1"
tap_is 'the mount has the damaged one' "$(head -c4 "$M/off/many/101")" lost
tap_until 60 whole
tap_ok 'a fourth reboot' reboot
mount -o loop "$TAP_DIR/main.img" "$TAP_DIR/pool/main"
daemon_start
tap_ok 'it is mounted again' all_are native off
tap_ok 'on the sound one' cmp "$M/off/many/101" "$OTHER/rootfs/many/101"
tap_ok 'the damaged one goes' "$LOCUM" gc --to 0
tap_fails 'and is gone' 1 test -e "$lost"
lost=$LOCUM_ROOT/real/$("$LOCUM" verify --json "$BAD_HOST/x:torn1" | jq -rs 'max_by(.entries).layer')/many/101
printf lost | dd of="$lost" conv=notrunc status=none
bad_stop
says 'one that cannot be fetched again' 1 'verify: .*refused the connection' "$LOCUM" verify --repair "$BAD_HOST/x:torn1"
tap_ok 'a fifth reboot' reboot
mount -o loop "$TAP_DIR/main.img" "$TAP_DIR/pool/main"
daemon_start
tap_ok 'its mount fails' tap_until 30 daemon_is off phase failed
tap_like 'by name' "$(error_of off)" 'layer [0-9]* is damaged \(locum pull .*/x:torn1 fetches it again\)'

# ---- the end ----
for id in $("$LOCUM" status --json | jq -r '.[].id'); do
	"$LOCUM" umount --remove "$id" || tap_result 'not ok' "umount $id"
done
rm -rf "$LOCUM_ROOT/containers/whole2" "$LOCUM_ROOT/containers/whole3"
tap_ok 'the unit is free' "$LOCUM" unit delete whole1
tap_ok 'and the pool empty' it_no_pool main
it_end
tap_end
