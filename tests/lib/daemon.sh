# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# daemon.sh - one private daemon and one misbehaving registry for an integration case. Source it after tap.sh:
#
#   daemon_begin BUILDDIR           LOCUM, LOCUM_ROOT and LOCUM_RUN below $TAP_DIR; ends everything of them at exit
#   daemon_start [OPTION...]        starts it and waits for its socket: DAEMON_PID; its log is $TAP_DIR/daemon.log
#   daemon_stop                     ends it, waits; status 1 if it did not end with 0 or a sanitizer spoke
#   daemon_kill                     SIGKILL, waits
#   daemon_holder                   prints the pid of the holder of its gates, if there is one
#   daemon_clean                    no mount, container, temporary file, half layer or mount point is left; says what is
#   daemon_nothing_here [OPTION...] drop-cache; status 0 when it leaves no layer. One that an earlier mount's transfers and jobs
#                                   still have goes with the last of them: for tap_until
#   daemon_swept                    what was removed is gone from the disk too; it may wait for a sync(2) of the disk
#   daemon_field ID KEY[.KEY]...    a field of `locum status --json ID`, named by its path; empty if there is none
#   daemon_is ID KEY VALUE          status 0 when that field has this value
#   bad_start LAYOUT [OPTION...]    tests/lib/badregistry: BAD_HOST (127.0.0.1:PORT), BAD_PID; one at a time
#   bad_stop                        ends it
#   says TEXT STATUS ERE CMD...     CMD ends with STATUS and exactly one line on stderr, "locum: ..." matching ERE
#   now_ms                          a clock
#
#   python ARG...                   the system's python3 (a shim in $PATH may be slow)
#
# Needs $srcdir or is sourced from the source tree's root.

python()
{
	if [ -x /usr/bin/python3 ]; then
		/usr/bin/python3 "$@"
	else
		python3 "$@"
	fi
}

now_ms()
{
	echo $(($(date +%s%N) / 1000000))
}

daemon_begin()
{
	[ "$(id -u)" = 0 ] || tap_skip_all 'needs root'
	for daemon_file in "$1/locum" "$1/tests/lib/badregistry" "$1/tests/lib/treecmp"; do
		[ -x "$daemon_file" ] || tap_skip_all "$daemon_file is not built"
	done
	LOCUM=$(realpath "$1/locum")
	BADREGISTRY=$(realpath "$1/tests/lib/badregistry")
	# shellcheck disable=SC2034
	TREECMP=$(realpath "$1/tests/lib/treecmp")
	LOCUM_ROOT=$TAP_DIR/root
	LOCUM_RUN=$TAP_DIR/run
	export LOCUM_ROOT LOCUM_RUN
	DAEMON_PID=
	BAD_PID=
	tap_cleanup 'bad_stop; daemon_end'
}

# The daemon may have been started by a verb: it is found by its root, which is nobody else's.
daemon_pids()
{
	for daemon_exe in /proc/[0-9]*/exe; do
		[ "$(readlink "$daemon_exe" 2>/dev/null)" = "$LOCUM" ] || continue
		daemon_proc=${daemon_exe%/exe}
		tr '\0' '\n' <"$daemon_proc/environ" 2>/dev/null | grep -qx "LOCUM_RUN=$LOCUM_RUN" && echo "${daemon_proc#/proc/}"
	done
	return 0
}

daemon_holder()
{
	for daemon_proc in /proc/[0-9]*; do
		[ "$({ tr '\0' ' ' <"$daemon_proc/cmdline"; } 2>/dev/null)" = "locum-holder $LOCUM_RUN/holder.sock " ] && echo "${daemon_proc#/proc/}"
	done
	return 0
}

daemon_end()
{
	for daemon_pid in $(daemon_holder); do
		tap_kill "$daemon_pid"
	done
	for daemon_pid in $(daemon_pids); do
		tap_kill "$daemon_pid"
	done
}

daemon_start()
{
	"$LOCUM" daemon "$@" >>"$TAP_DIR/daemon.log" 2>&1 </dev/null 9<&- &
	DAEMON_PID=$!
	tap_until 20 daemon_answers || {
		tail -n 20 "$TAP_DIR/daemon.log" >&2
		return 1
	}
}

daemon_answers()
{
	tap_gone "$DAEMON_PID" || curl -sf --max-time 5 --unix-socket "$LOCUM_RUN/locum.sock" http://locum/v1/daemon |
		grep -q "\"pid\":${DAEMON_PID}[,}]"
}

daemon_sane()
{
	! grep -E '(ERROR|WARNING): (Address|Leak|Thread)Sanitizer|runtime error:' "$TAP_DIR/daemon.log" "$LOCUM_RUN/daemon.log" 2>/dev/null >&2
}

daemon_stop()
{
	daemon_status=0
	kill -TERM "$DAEMON_PID" || return 1
	tap_until 20 tap_gone "$DAEMON_PID" || {
		echo "daemon $DAEMON_PID does not end" >&2
		kill -KILL "$DAEMON_PID"
	}
	wait "$DAEMON_PID" || daemon_status=$?
	DAEMON_PID=
	[ "$daemon_status" = 0 ] || {
		echo "the daemon ended with status $daemon_status" >&2
		tail -n 20 "$TAP_DIR/daemon.log" >&2
		return 1
	}
	daemon_sane
}

daemon_kill()
{
	kill -KILL "$DAEMON_PID" 2>/dev/null
	tap_until 10 tap_gone "$DAEMON_PID"
	wait "$DAEMON_PID" 2>/dev/null
	DAEMON_PID=
}

daemon_mounts()
{
	awk -v d="$TAP_DIR/" 'index($5, d) == 1 && $0 ~ / - (overlay|erofs|fuse[.a-z]*) / { print $5 }' /proc/self/mountinfo
}

# Sweeping goes on in the background for a moment.
daemon_clean()
{
	daemon_end_ms=$(($(now_ms) + 20000))
	while :; do
		daemon_left=$(daemon_leftovers)
		[ -n "$daemon_left" ] || return 0
		[ "$(now_ms)" -lt "$daemon_end_ms" ] || break
		sleep 0.1
	done
	printf '%s\n' "$daemon_left" >&2
	return 1
}

daemon_nothing_here()
{
	[ "$("$LOCUM" drop-cache --json "$@" | grep -Ec '"layers_(dropped|in_use)": 0,?$')" = 2 ]
}

daemon_swept()
{
	tap_until 30 daemon_trash_empty
}

daemon_trash_empty()
{
	[ -z "$(find "$LOCUM_ROOT/tmp/.trash" -mindepth 1 -maxdepth 1)" ]
}

daemon_leftovers()
{
	daemon_mounts | sed 's/^/mount /'
	for daemon_dir in "$LOCUM_ROOT/containers" "$LOCUM_ROOT/tmp" "$LOCUM_RUN/m"; do
		[ ! -d "$daemon_dir" ] || find "$daemon_dir" -mindepth 1 -maxdepth 1 ! -name .trash
	done
	ls -d "$LOCUM_ROOT"/meta/*.tmp 2>/dev/null
	[ ! -f "$LOCUM_ROOT/locum.db" ] || daemon_rows
}

# The daemon keeps its database locked: a copy is read. Every directory in real/ is a layer that it
# knows; with DAEMON_STRICT=1, one that it calls complete (a pull that was given up may be continued otherwise).
daemon_rows()
{
	rm -rf "$TAP_DIR/db" && mkdir "$TAP_DIR/db" && cp "$LOCUM_ROOT"/locum.db* "$TAP_DIR/db/" && rm -f "$TAP_DIR"/db/*-shm
	python - "$LOCUM_ROOT" "$TAP_DIR/db/locum.db" "${DAEMON_STRICT:-0}" <<-'END'
		import os, sqlite3, sys
		db = sqlite3.connect(sys.argv[2])
		known = {str(r[0]) for r in db.execute("SELECT id FROM layers WHERE state >= ?", sys.argv[3:])}
		for name in sorted(set(os.listdir(sys.argv[1] + "/real")) - known):
		    print("half layer real/" + name)
		for row in db.execute("SELECT id FROM mounts"):
		    print("mount row " + row[0])
	END
}

daemon_field()
{
	"$LOCUM" status --json "$1" | python -c '
import json, sys
v = json.load(sys.stdin)
for key in sys.argv[1].split("."):
    v = (v or {}).get(key, "")
print(v if isinstance(v, str) else json.dumps(v))' "$2"
}

daemon_is()
{
	[ "$(daemon_field "$1" "$2")" = "$3" ]
}

bad_start()
{
	bad_layout=$1
	shift
	: >"$TAP_DIR/bad.out"
	"$BADREGISTRY" "$bad_layout" "$@" >"$TAP_DIR/bad.out" 2>&1 </dev/null &
	BAD_PID=$!
	tap_until 10 grep -q '^serving' "$TAP_DIR/bad.out" || {
		cat "$TAP_DIR/bad.out" >&2
		return 1
	}
	BAD_HOST=$(sed -n 's|^serving .* on http://||p' "$TAP_DIR/bad.out")
	# the same address when it is started again with other faults
	# shellcheck disable=SC2034
	BAD_PORT=${BAD_HOST##*:}
}

bad_stop()
{
	[ -z "$BAD_PID" ] || tap_kill "$BAD_PID"
	BAD_PID=
}

says()
{
	says_text=$1
	says_status=$2
	says_ere=$3
	says_got=0
	shift 3
	tap_limit 60 "$@" >"$TAP_DIR/out" 2>"$TAP_DIR/err" </dev/null || says_got=$?
	if [ "$says_got" = "$says_status" ] && [ "$(wc -l <"$TAP_DIR/err")" = 1 ] && grep -Eq "^locum: .*($says_ere)" "$TAP_DIR/err"; then
		tap_result ok "$says_text"
		sed 's/^/#     /' "$TAP_DIR/err"
		return 0
	fi
	tap_result 'not ok' "$says_text"
	tap_diag "status $says_got (wanted $says_status), one line like: $says_ere"
	tap_output
	return 1
}
