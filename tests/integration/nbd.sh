#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Virtual disks of units by NBD: QEMU and libnbd, who gets what, TLS, clients and servers that misbehave.
# Usage: nbd.sh BUILDDIR
set -u
here=${0%/*}/../lib
# shellcheck source=tests/lib/tap.sh
. "$here/tap.sh"
build=$(cd "${1:?usage: nbd.sh BUILDDIR}" && pwd)
tap_begin nbd 400
[ "$(id -u)" = 0 ] || tap_skip_all 'needs root'
plugin=$build/nbdkit-locum-plugin.so
[ -e "$plugin" ] || tap_skip_all 'built without nbdkit-plugin.h'
for tool in nbdkit nbdinfo qemu-io qemu-img strace openssl; do
	command -v $tool >/dev/null || tap_skip_all "no $tool"
done
python=/usr/bin/python3
evil=$here/nbdevil.py
LOCUM=$build/locum
LOCUM_ROOT=$TAP_DIR/root
LOCUM_RUN=$TAP_DIR/run
export LOCUM_ROOT LOCUM_RUN
size=67108864

# nbdkit is not built with sanitizers, so that theirs must come first; it loses some memory of its own with clients that
# leave, and with the sanitizer does not always end by itself.
preload=
end=TERM
asan=$(ldd "$plugin" | awk '/lib(a|ub)san/ { print $3 }' | tr '\n' ':')
if [ -n "$asan" ]; then
	preload=LD_PRELOAD=$asan
	end=KILL
	ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0
	export ASAN_OPTIONS
fi

# NAME OPTION...: a server, by nbdkit -f; SOCK its socket, PID it, its words are in NAME.log
serve()
{
	SOCK=$TAP_DIR/$1.sock
	LOG=$TAP_DIR/$1.log
	pidfile=$TAP_DIR/pids/$1
	rm -f "$SOCK" "$pidfile"
	shift
	# shellcheck disable=SC2086
	env $preload $NS ${FAULT:-} nbdkit -f -P "$pidfile" "$plugin" root="$LOCUM_ROOT" run="$LOCUM_RUN" "$@" 2>"$LOG" &
	job=$!
	tap_cleanup "kill -KILL $job 2>/dev/null"
	serving
}
NS=

serving()
{
	tap_until 10 serve_known
	[ -s "$pidfile" ] && PID=$(cat "$pidfile") && return
	kill -KILL "$job" 2>/dev/null
	wait "$job"
}

serve_known()
{
	[ -s "$pidfile" ] || tap_gone "$job" || grep -q '^nbdkit: error' "$LOG"
}

on_socket()
{
	name=$1
	shift
	serve "$name" -U "$TAP_DIR/$name.sock" "$@"
}

stop()
{
	kill -$end "$PID"
	tap_until 10 tap_gone "$job" || kill -KILL "$job"
	wait "$job"
	status=$?
	[ $end = KILL ] || [ $status = 0 ]
}

uri()
{
	echo "nbd+unix:///${1-disk}?socket=$SOCK"
}

io()
{
	io_uri=$(uri)
	for io_cmd in "$@"; do
		set -- "$@" -c "$io_cmd"
		shift
	done
	tap_limit 60 qemu-io -f raw "$@" "$io_uri"
}

lib()
{
	tap_limit 60 $python -c "
import nbd, errno, os, sys
h = nbd.NBD()
h.add_meta_context('base:allocation')
$1" "$(uri)"
}

# NAME OWNER: a unit with a disk, attached; AT is where
unit()
{
	"$LOCUM" unit create --name "$1" --owner "$2" --size 400M >/dev/null && AT=$("$LOCUM" unit attach "$1") &&
		truncate -s $size "$AT/disk"
}

ann=aaaaaaaa-0000-4000-8000-000000000001
bob=bbbbbbbb-0000-4000-8000-000000000002
mkdir "$TAP_DIR/pool"
mkdir -m 1777 "$TAP_DIR/pids"
chmod 711 "$TAP_DIR"
tap_ok 'a pool' "$LOCUM" unit pool add p "$TAP_DIR/pool" --backend image || exit 1
tap_cleanup 'for u in ann bob; do "$LOCUM" unit detach $u; done >/dev/null 2>&1'
unit ann $ann || exit 1
A=$AT
unit bob $bob || exit 1
B=$AT
bobs=${B##*/}
head -c 4096 /dev/urandom >"$A/nvram"
echo '{"secret": 1}' >"$A/config.json"
printf 'SECRET of bob' | dd of="$B/disk" conv=notrunc status=none
others()
{
	cat "$A/nvram" "$A/config.json" "$B/disk" | sha256sum
}
others=$(others)

tap_diag 'QEMU'
tap_ok 'a server of one owner' on_socket ann owner=$ann
tap_ok 'QEMU writes, and reads what it wrote' io 'write -P 0x5a 1M 3M' 'read -P 0x5a 1M 3M' 'read -P 0 0 1M' 'read -P 0 4M 1M'
tap_ok 'not aligned to anything' io 'write -P 7 1234567 12345' 'read -P 7 1234567 12345' 'read -P 0x5a 1234000 567'
tap_ok 'with FUA, and flush' io 'write -f -P 8 8M 64k' 'flush' 'read -P 8 8M 64k'
before=$(stat -c %b "$A/disk")
tap_ok 'discard' io 'discard 2M 1M' 'read -P 0 2M 1M' 'read -P 0x5a 3M 64k'
tap_is 'gives its space back' $((before - $(stat -c %b "$A/disk"))) 2048
tap_ok 'zeros with their space, and without' io 'write -z 3M 512k' 'write -z -u 3584k 512k' 'read -P 0 3M 1M'
tap_is 'the space of the one is still there' $((before - $(stat -c %b "$A/disk"))) 3072
tap_ok 'many at once' io 'aio_write -P 1 16M 1M' 'aio_write -P 2 17M 1M' 'aio_write -P 3 18M 1M' 'aio_write -P 4 19M 1M' \
	'aio_flush' 'read -P 1 16M 1M' 'read -P 2 17M 1M' 'read -P 3 18M 1M' 'read -P 4 19M 1M'
$python -c "
import random, sys
r = random.Random(1)
sys.stdout.buffer.write(r.randbytes(5000000) + bytes(8000000) + r.randbytes(3000000))" >"$TAP_DIR/image"
truncate -s $size "$TAP_DIR/image"
tap_ok 'a whole image in' qemu-img convert -n -f raw -O raw "$TAP_DIR/image" "$(uri)"
tap_ok 'and it is the same' qemu-img compare -f raw -F raw "$TAP_DIR/image" "$(uri)"
tap_ok 'on the host too' cmp "$TAP_DIR/image" "$A/disk"

tap_diag 'libnbd'
tap_like 'nbdinfo: structured replies' "$(nbdinfo "$(uri)" 2>&1)" 'structured packets'
tap_is 'one export, and which' "$(nbdinfo --list --json "$(uri '')" | jq -r '.exports[] | ."export-name", ."export-size"' | tr '\n' ' ')" "disk $size "
tap_is 'holes are told' "$(nbdinfo --map --totals --json "$(uri)" | jq -c '[.[] | select(.type == 0) | .size]')" \
	"[$(nbdinfo --map --json "nbd+unix:///?socket=$SOCK" | jq '[.[] | select(.type == 0) | .length] | add')]"
tap_ok 'data, hole, data by structured reads and block status' lib '
h.connect_uri(sys.argv[1])
assert h.get_structured_replies_negotiated() and h.can_multi_conn() and h.can_fua() and h.can_trim() and h.can_zero()
h.zero(1 << 20, 30 << 20)
h.pwrite(b"x" * 65536, 30 << 20, nbd.CMD_FLAG_FUA)
entries = []
h.block_status(1 << 20, 30 << 20, lambda ctx, off, e, err: entries.extend(e))
assert sum(entries[::2]) == 1 << 20 and entries[:2] == [65536, 0] and entries[3] == 3, entries
got = bytearray(1 << 20)
def chunk(data, off, status, err):
    got[off - (30 << 20):off - (30 << 20) + len(data)] = data
h.pread_structured(1 << 20, 30 << 20, chunk)
assert got == b"x" * 65536 + bytes((1 << 20) - 65536)
h.cache(1 << 20, 0)
h.trim(65536, 30 << 20, nbd.CMD_FLAG_FUA)
assert h.pread(65536, 30 << 20) == bytes(65536)
h.shutdown()'
tap_ok 'two connections are one disk' lib '
g = nbd.NBD()
h.connect_uri(sys.argv[1])
g.connect_uri(sys.argv[1])
h.pwrite(b"from h", 40 << 20)
assert g.pread(6, 40 << 20) == b"from h"
g.flush()'
truncate -s 80M "$A/disk"
tap_is 'a disk that grew is larger for the next' "$(nbdinfo --size "$(uri)")" 83886080
truncate -s $size "$A/disk"
"$LOCUM" unit detach ann >/dev/null 2>&1
tap_is 'a unit that is served stays' $? 1
tap_ok 'the server ends' stop

tap_diag 'with no privileges'
tap_ok 'a server of nobody' on_socket nobody owner=$ann -u nobody -g nogroup
tap_is 'it is' "$(awk '/^Uid/ { print $2 $3 $4 }' "/proc/$PID/status")" "$(id -u nobody)$(id -u nobody)$(id -u nobody)"
tap_ok 'serves' io 'write -P 9 0 64k' 'read -P 9 0 64k' 'discard 0 64k' flush
stop

tap_diag 'refused'
tap_fails 'an owner without a unit' 1 on_socket none owner=12345678-0000-4000-8000-000000000003
tap_fails "an owner who is called as another's unit" 1 on_socket none owner="$bobs"
tap_like 'for the unit says whose it is' "$(cat "$LOG")" "not that of $bobs"
tap_fails 'an owner who is none' 1 on_socket none owner=ann
tap_fails 'no owner' 1 on_socket none
# Every call that could reach a unit, by file.
trace=$TAP_DIR/trace
NS="strace -f -y -qq -o $trace -e trace=open,openat,openat2,read,pread64,preadv,preadv2,write,pwrite64,pwritev,pwritev2,fallocate,ftruncate,fsync,fdatasync,lseek,readahead,fadvise64,copy_file_range,sendfile,splice,mmap"
asked()
{
	grep "<$LOCUM_RUN/u/" "$trace" | sed 's/^[0-9]* *//; s/(.*//' | tr '\n' ' '
}
tap_ok 'a server that is looked at' on_socket traced owner=$ann
tap_ok 'does what is allowed' io 'write -P 5 0 4k' 'read -P 5 0 4k' 'discard 0 4k' 'write -z 0 4k' flush
first=$(asked)
tap_like 'which is seen' "$first" '^openat openat2 pwritev2 pread64 fallocate fallocate (fdatasync )+$'
tap_ok "another's unit, state, and names that are none" $python "$evil" names "$SOCK" "$bobs" "$bobs/disk" "../$bobs/disk" \
	$bob $bob/disk nvram config.json console.log memory state .locum-unit ../disk /disk disk/ Disk ' disk' "$B/disk"
tap_like 'beyond the end, beyond 64 bits, what is no request' "$($python "$evil" refused "$SOCK" $size 2>&1)" '^[0-9]+ requests refused'
tap_ok 'libnbd, told to be quiet about it' lib '
h.set_strict_mode(0)
h.connect_uri(sys.argv[1])
def refused(f, *a):
    try:
        f(*a)
    except nbd.Error as e:
        return e.errno
size = h.get_size()
assert refused(h.pread, 512, size) == "EINVAL"
assert refused(h.pread, 512, size - 1) == "EINVAL"
assert refused(h.pwrite, b"x" * 512, size - 1) == "ENOSPC"
assert refused(h.pwrite, b"x" * 512, 2**64 - 1) == "ENOSPC"
assert refused(h.zero, 512, 2**64 - 1) == "ENOSPC"
assert refused(h.trim, 2**32 - 1, 2**64 - 1)
assert refused(h.cache, 512, 2**63) == "EINVAL"
assert refused(h.block_status, 512, 2**64 - 100, lambda *a: 0) == "EINVAL"
assert h.pread(1, size - 1) == b"\0"'
# The flush and the read are of clients that show that they are still served.
tap_is 'and none of them reached the unit' "$(asked)" "${first}fdatasync pread64 "
stop
NS=
tap_ok 'a server that nobody may write to' on_socket ro -r owner=$ann
tap_ok 'is read' qemu-io -r -f raw -c 'read 0 4k' "$(uri)"
tap_ok 'and not written' lib '
h.set_strict_mode(0)
h.connect_uri(sys.argv[1])
assert h.is_read_only()
for f in lambda: h.pwrite(b"x", 0), lambda: h.zero(1, 0), lambda: h.trim(1, 0):
    try:
        f()
        sys.exit(1)
    except nbd.Error as e:
        assert e.errno == "EPERM"'
stop
tap_ok "the host's side" on_socket host owner=$ann side=host
tap_is 'has state too' "$(nbdinfo --list --json "$(uri '')" | jq -r '.exports[]."export-name"' | tr '\n' ' ')" 'disk nvram config.json '
tap_ok 'reads and writes it' lib '
h.connect_uri(sys.argv[1].replace("///disk", "///nvram"))
assert h.get_size() == 4096
data = h.pread(4096, 0)
h.pwrite(data, 0)'
tap_ok 'but no configuration' lib '
h.set_strict_mode(0)
h.connect_uri(sys.argv[1].replace("///disk", "///config.json"))
assert h.is_read_only()
assert b"secret" in h.pread(h.get_size(), 0)'
stop

tap_diag 'TLS'
# WHO: an authority, and what it says of a server and of a client
certificates()
(
	mkdir -p "$TAP_DIR/$1/server" "$TAP_DIR/$1/client" && cd "$TAP_DIR/$1" || exit 1
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -days 2 -keyout ca-key.pem -out ca-cert.pem
	for side in server client; do
		openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1's $side" -keyout "$side/$side-key.pem" -out csr.pem
		printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=%sAuth\nbasicConstraints=CA:FALSE\n' "$side" >ext
		openssl x509 -req -in csr.pem -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile ext -out "$side/$side-cert.pem"
		cp ca-cert.pem "$side/"
	done
)
tap_ok "ann's certificates" certificates ann
tap_ok "bob's" certificates bob
unshare -n sleep 1000 &
netns=$!
tap_cleanup "kill $netns"
# not the host's
own_network()
{
	[ "$(readlink /proc/$netns/ns/net)" != "$(readlink /proc/self/ns/net)" ] && nsenter -t $netns -n ip link set lo up
}
tap_ok 'a network of our own' tap_until 5 own_network
NS="nsenter -t $netns -n"
tap_ok 'a server with TLS, for other hosts' serve tls -i 127.0.0.1 -p 10809 --tls=require --tls-certificates="$TAP_DIR/ann/server" \
	--tls-verify-peer owner=$ann
# DIR: QEMU with the certificate in it
qemu_tls()
{
	dir=$1
	shift
	tap_limit 30 $NS qemu-io --object tls-creds-x509,id=t,endpoint=client,dir="$dir" --image-opts \
		"driver=nbd,server.type=inet,server.host=127.0.0.1,server.port=10809,export=disk,tls-creds=t" "$@"
}
tap_ok 'QEMU with a certificate' qemu_tls "$TAP_DIR/ann/client" -c 'write -P 0x66 0 1M' -c 'read -P 0x66 0 1M' -c flush
tap_ok 'libnbd with a certificate' $NS nbdinfo "nbds://127.0.0.1/disk?tls-certificates=$TAP_DIR/ann/client"
tap_like 'it is encrypted' "$(cat "$TAP_DIR/out")" 'with TLS'
tap_fails 'nobody without TLS' 1 $NS nbdinfo nbd://127.0.0.1/disk
mkdir "$TAP_DIR/stranger"
cp "$TAP_DIR/ann/ca-cert.pem" "$TAP_DIR/stranger/"
tap_fails 'nobody without a certificate' 1 $NS nbdinfo "nbds://127.0.0.1/disk?tls-certificates=$TAP_DIR/stranger"
cp "$TAP_DIR/bob/client"/client-* "$TAP_DIR/stranger/"
tap_fails "nobody with bob's" 1 $NS nbdinfo "nbds://127.0.0.1/disk?tls-certificates=$TAP_DIR/stranger"
tap_fails 'QEMU neither' 1 qemu_tls "$TAP_DIR/stranger" -c 'read 0 4k'
tap_fails 'a client that trusts bob only does not talk to it' 1 $NS nbdinfo "nbds://127.0.0.1/disk?tls-certificates=$TAP_DIR/bob/client"
tap_ok 'the right one is still served' qemu_tls "$TAP_DIR/ann/client" -c 'read -P 0x66 0 1M'
stop
NS=

tap_diag 'clients that misbehave'
# With several threads for a connection nbdkit 1.32.5 aborts when a client leaves with requests under way.
tap_ok 'a server for them' on_socket evil --threads=1 owner=$ann
tap_like 'broken in many ways' "$($python "$evil" broken "$SOCK" 2>&1)" 'next was served'
tap_like 'random' "$(tap_limit 100 $python "$evil" fuzz "$SOCK" 300 1 2>&1)" 'next was served'
tap_like 'not the same' "$(tap_limit 100 $python "$evil" fuzz "$SOCK" 200 "$$" 2>&1)" 'next was served'
tap_ok 'it is the same server still' kill -0 "$PID"
tap_is 'the sanitizers say nothing' "$(grep -c 'ERROR: AddressSanitizer\|runtime error:' "$LOG")" 0
stop
died=0
# With threads: it lives, or ends by that assertion and by nothing else.
threads()
{
	for seed in 1 2 3 4 5; do
		on_socket threads owner=$ann || return 1
		tap_limit 60 $python "$evil" fuzz "$SOCK" 50 $seed
		if ! tap_gone "$PID"; then
			$python "$evil" refused "$SOCK" $size || return 1
			stop
		elif grep -q 'raw_send_socket: Assertion' "$LOG"; then
			died=$((died + 1))
			wait "$job"
		else
			return 1
		fi
		! grep 'ERROR: AddressSanitizer\|runtime error:' "$LOG" || return 1
	done
}
tap_ok 'servers with threads, one after another' threads
tap_diag "$died of 5 died of nbdkit's assertion"
tap_is "state and another's unit are as they were" "$(others)" "$others"

tap_diag 'servers that die'
# N numbers are written, each with FUA, from 48M on; prints how many were acknowledged
writer='
h.connect_uri(sys.argv[1])
n = 0
try:
    while n < 4000:
        h.pwrite(n.to_bytes(4, "big") * 1024, (48 << 20) + 4096 * n, nbd.CMD_FLAG_FUA)
        n += 1
except nbd.Error:
    pass
print(n)'
on_socket dies owner=$ann
lib "$writer" >"$TAP_DIR/acked" &
writing=$!
sleep 1
kill -KILL "$PID"
wait $writing
wait "$job"
acked=$(cat "$TAP_DIR/acked")
tap_ok "killed after $acked writes" [ "${acked:-0}" -gt 0 ]
tap_ok 'the next server' on_socket dies owner=$ann
tap_ok 'has all that was acknowledged' lib "
h.connect_uri(sys.argv[1])
for n in range($acked):
    assert h.pread(4096, (48 << 20) + 4096 * n) == n.to_bytes(4, 'big') * 1024, n"
stop
if grep -q '^#define LCM_FAULTS 1' "$build/config.h"; then
	session='
h.connect_uri(sys.argv[1])
for f in (lambda: h.pwrite(b"y" * 4096, 0), lambda: h.pwrite(b"y" * 4096, 0, nbd.CMD_FLAG_FUA), lambda: h.pread(4096, 0),
          lambda: h.zero(4096, 0, nbd.CMD_FLAG_FUA), lambda: h.trim(4096, 0), h.flush, lambda: h.cache(4096, 0),
          lambda: h.block_status(65536, 0, lambda *a: 0)):
    try:
        f()
    except nbd.Error as e:
        if e.errno != "EIO" and not h.aio_is_ready():
            sys.exit(3)
        bad = 1
sys.exit(4 if "bad" in globals() else 0)'
	# ERRNO: each call of the server in turn fails so (0: it is killed); it ends or goes on
	sweep()
	{
		n=0
		wrong=
		while :; do
			n=$((n + 1))
			FAULT="LCM_FAULT_NTH=$n LCM_FAULT_ERRNO=$1"
			if on_socket fault owner=$ann; then
				lib "$session" >/dev/null 2>&1
				said=$?
				[ "$1" = 0 ] || [ $said = 0 ] || { lib 'h.connect_uri(sys.argv[1]); h.flush()' && kill -0 "$PID"; } ||
					wrong="$wrong $n"
				kill -KILL "$PID" 2>/dev/null
				wait "$job"
				[ $said != 0 ] || break
			fi
		done
		FAULT=
		[ -z "$wrong" ] && [ $n -gt 10 ]
	}
	tap_ok 'a call that fails is an error for who asked' sweep 5
	tap_diag "$n calls"
	tap_ok 'a server that is killed at any call' sweep 0
	tap_diag "$n calls"
fi
tap_ok 'the next one serves' on_socket after owner=$ann
tap_ok 'all of it' io 'write -P 0x77 0 64k' 'read -P 0x77 0 64k' 'read -P 0 44M 64k' flush
stop
tap_is "state and another's unit are as they were" "$(others)" "$others"
tap_ok 'ann detaches' "$LOCUM" unit detach ann
tap_ok 'and bob' "$LOCUM" unit detach bob
tap_ok 'the units are in order' "$LOCUM" unit check --deep
tap_end
