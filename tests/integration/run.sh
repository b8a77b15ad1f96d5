#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# locum run: the image's config and the options, streams, terminal, signals and exit status.
# Usage: run.sh BUILDDIR [RUNTIME...]
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin run 150 "${1:-}"
shift
[ $# -gt 0 ] || set -- crun runc

run()
{
	tap_limit 30 "$LOCUM" run --no-tty --runtime "$runtime" "$@" 2>"$TAP_DIR/run.err"
}

# TEXT WANTED ARGUMENT...: standard output of a run
prints()
{
	text=$1
	want=$2
	shift 2
	got=$(run "$@") || tap_diag "$(cat "$TAP_DIR/run.err")"
	tap_is "$name: $text" "$got" "$want"
}

# TEXT STATUS ARGUMENT...
ends()
{
	text=$1
	want=$2
	shift 2
	run "$@" >"$TAP_DIR/run.out" </dev/null
	tap_is "$name: $text" $? "$want"
}

terminal()
{
	python - "$LOCUM" run --tty --runtime "$runtime" "$IT_REF" -- sh -c 'test -t 0 && test -t 1 && stty size && read x && echo "got $x"' <<-'END'
		import fcntl, os, pty, select, struct, sys, termios, time
		pid, fd = pty.fork()
		if pid == 0:
		    os.execv(sys.argv[1], sys.argv[1:])
		fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
		out, sent, end = b"", False, time.monotonic() + 20
		while time.monotonic() < end:
		    if select.select([fd], [], [], 0.2)[0]:
		        try:
		            data = os.read(fd, 1000)
		        except OSError:
		            break
		        if not data:
		            break
		        out += data
		    if b"33 99" in out and not sent:
		        os.write(fd, b"hello\r")
		        sent = True
		status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
		print(repr(out), status)
		sys.exit(status or not (sent and b"got hello" in out))
	END
}

# SIGNAL: reaches the container's process, whose exit status comes back
signal()
{
	: >"$TAP_DIR/run.out"
	"$LOCUM" run --no-tty --runtime "$runtime" "$IT_REF" -- \
		sh -c "trap 'exit 7' $1; echo up; while :; do sleep 0.1; done" >"$TAP_DIR/run.out" 2>"$TAP_DIR/run.err" </dev/null &
	pid=$!
	tap_until 20 grep -q up "$TAP_DIR/run.out"
	kill -"$1" "$pid"
	tap_until 10 tap_gone "$pid" || kill -KILL "$pid"
	wait "$pid"
	tap_is "$name: SIG$1 reaches the process" $? 7
}

killed()
{
	rm -f "$TAP_DIR/pid"
	"$LOCUM" run --no-tty --runtime "$runtime" --pid-file "$TAP_DIR/pid" "$IT_REF" -- sleep 100 >"$TAP_DIR/run.out" 2>&1 </dev/null &
	pid=$!
	tap_until 20 test -s "$TAP_DIR/pid"
	kill -KILL "$(cat "$TAP_DIR/pid")"
	tap_until 10 tap_gone "$pid" || kill -KILL "$pid"
	wait "$pid"
	tap_is "$name: death by a signal is 128 + its number" $? 137
}

of_runtime()
{
	prints 'Cmd, User, Env, WorkingDir of the image' 'hello from python' --entrypoint sh "$IT_REF" -c \
		'test "$(id -u):$(pwd):$APP:$LANG" = "1000:/app:tour:C.UTF-8" && python3 /app/hello.py | cut -d" " -f1-3'
	tap_like "$name: Cmd without arguments" "$(run "$IT_REF")" '^hello from python 3'
	ends 'exit status 0' 0 "$IT_REF" -- true
	ends 'exit status 42' 42 "$IT_REF" -- sh -c 'exit 42'
	ends 'a command that is not there' 125 "$IT_REF" -- /no/such/command
	killed
	signal TERM
	signal USR1
	tap_is "$name: standard input" "$(printf 'a\nb\n' | run "$IT_REF" -- wc -l)" 2
	prints '--env' 'x y|tour' -e 'A=x y' "$IT_REF" -- sh -c 'echo "$A|$APP"'
	prints '--env over the image' other -e APP=other "$IT_REF" -- sh -c 'echo "$APP"'
	prints '--workdir' /usr/lib -w /usr/lib "$IT_REF" -- pwd
	prints '--user by name' '33:33' -u www-data "$IT_REF" -- sh -c 'echo "$(id -u):$(id -g)"'
	prints '--user UID:GROUP' '5:8' -u 5:mail "$IT_REF" -- sh -c 'echo "$(id -u):$(id -g)"'
	prints '--hostname' some-host --net none --hostname some-host "$IT_REF" -- cat /proc/sys/kernel/hostname
	mkdir -p "$TAP_DIR/v" && chmod 777 "$TAP_DIR/v" && echo in >"$TAP_DIR/v/in"
	prints '--volume' in -v "$TAP_DIR/v:/mnt/vol" "$IT_REF" -- sh -c 'cat /mnt/vol/in; echo out >/mnt/vol/out'
	tap_is "$name: --volume writes" "$(cat "$TAP_DIR/v/out")" out
	prints '--volume :ro' ro -v "$TAP_DIR/v:/mnt/vol:ro" "$IT_REF" -- sh -c 'echo x 2>/dev/null >/mnt/vol/out || echo ro'
	prints '--entrypoint' 'a b' --entrypoint echo "$IT_REF" -- a b
	prints '--net none reaches nothing' no --net none "$IT_REF" -- python3 -c 'import socket
try:
    socket.create_connection(("127.0.0.1", '"$BAD_PORT"'), 2)
    print("yes")
except OSError:
    print("no")'
	prints '--ro' ro --ro -u 0 "$IT_REF" -- sh -c 'touch /usr/x 2>/dev/null || echo ro'
	tap_ok "$name: --tty" terminal
}

it_image python zstd:chunked || exit 1
it_serve && daemon_start || exit 1
for name; do
	runtime=$(command -v "$name") || {
		tap_skip "$name" 'not installed'
		continue
	}
	of_runtime
done
tap_is 'nothing is mounted after a run' "$(daemon_mounts)" ''
tap_is 'no bundle is left' "$(ls "$LOCUM_RUN/b" 2>/dev/null)" ''
tap_fails 'an unknown image' 125 "$LOCUM" run --no-tty "$BAD_HOST/x:none" -- true

name=full
tap_ok 'drop-cache' "$LOCUM" drop-cache --all
prints 'run --full' full --full "$IT_REF" -- echo full
bad_stop
it_image python gzip && it_serve || exit 1
name=gzip
tap_ok 'drop-cache' "$LOCUM" drop-cache --all
tap_like 'gzip: an image without TOC' "$(run "$IT_REF")" '^hello from python 3'
it_end
tap_end
