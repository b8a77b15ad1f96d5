#!/bin/sh
# All gates and tests. Each gate prints how much it looked at and fails on nothing.
# Two lanes run side by side: each mounts, listens and keeps state in places of its own.
# The last line is "N passed, N failed". Called by ./quickstart test (which installs and cleans nothing else).
set -u
cd "$(dirname "$0")/.." || exit
top=$PWD
jobs=$(nproc)
results=$top/build/log/results
mkdir -p "$top/build/log" && : >"$results" || exit
LCM_TESTS_MUST_RUN=${LCM_TESTS_MUST_RUN-1}
export LCM_TESTS_MUST_RUN

# gate NAME COMMAND...: the command prints what it did; its last line is shown.
gate() {
	name=$1
	shift
	log=$top/build/log/$name.log
	start=$(date +%s)
	if ("$@") >"$log" 2>&1; then
		verdict=ok
	else
		verdict='NOT OK'
	fi
	{
		printf '%-6s %-22s %4ss  %s\n' "$verdict" "$name" $(($(date +%s) - start)) "$(tail -n 1 "$log")"
		[ "$verdict" = ok ] || tail -n "${GATE_TAIL-60}" "$log" | sed 's/^/    | /'
	} >"$log.said"
	cat "$log.said" # in one piece, whatever the other lane says
	echo "$verdict $name" >>"$results"
}

# configure_and_make DIR PROGRAMS OPTION...: of the tests' programs these alone, if any are named: each build has those that run from it.
configure_and_make() {
	dir=$1
	programs=$2
	shift 2
	[ -x configure ] || ./autogen.sh || return 1
	mkdir -p "$dir" && cd "$dir" || return 1
	[ -e Makefile ] || "$top/configure" --enable-werror "$@" || return 1
	make -j"$jobs" all 2>&1 && make -j"$jobs" check TESTS= ${programs:+"check_PROGRAMS=$programs"} 2>&1 || return 1
	echo "$(find . -name '*.o' | wc -l) objects built without a warning"
}

# unit DIR JOBS [TESTS=...]: the tests and corpora of a build, so many at once; fails when none ran.
unit() {
	cd "$1" || return 1
	at_once=$2
	shift 2
	make -j"$at_once" check "$@" 2>&1
	status=$?
	total=$(sed -n 's/^# TOTAL: *//p' test-suite.log | tail -n 1)
	skip=$(sed -n 's/^# SKIP: *//p' test-suite.log | tail -n 1)
	[ "$status" = 0 ] || { cat test-suite.log; }
	echo "${total:-0} programs, ${skip:-?} skipped, $(find . -name 'fuzz_*.log' | wc -l) corpora replayed"
	[ "$status" = 0 ] && [ "${total:-0}" -gt 0 ] && [ "${skip:-1}" = 0 ]
}

distcheck() {
	cd build/release || return 1
	# The tests have run, in three builds.
	make -j"$jobs" distcheck TESTS= check_PROGRAMS= AM_DISTCHECK_CONFIGURE_FLAGS=--enable-werror 2>&1 || return 1
	echo "$(tar tf locum-*.tar.xz | wc -l) files in $(ls locum-*.tar.xz)"
}

# A package of what is committed, and what is in it runs.
deb() {
	rm -rf build/deb && packaging/deb build/deb || return 1
	dpkg-deb -x build/deb/locum_*.deb build/deb/root || return 1
	build/deb/root/usr/bin/locum --version && build/deb/root/usr/bin/locum-containerd --version || return 1
	echo "$(find build/deb/root ! -type d | wc -l) files in $(cd build/deb && echo locum_*.deb)"
}

SAN=address,undefined
ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=0
UBSAN_OPTIONS=print_stacktrace=1
TSAN_OPTIONS="halt_on_error=1 second_deadlock_stack=1 suppressions=$top/tests/tsan.supp"
export ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS

# With threads' interleavings; without sanitizers whole matrices of images as users run them, other people's clients, and what shares
# processors and disks by time: what they go through is in the other lane's cases, too.
lane_release_and_tsan() {
	gate build-clang-tsan configure_and_make build/tsan "$helpers $threaded" CC=clang --enable-sanitizers=thread CFLAGS='-O1 -g'
	gate unit-tsan unit build/tsan 1 TESTS="$threaded" check_PROGRAMS="$helpers $threaded"
	gate takeover-tsan tests/integration/takeover.sh "$top/build/tsan"
	gate canaries tests/gates/canaries.sh build/asan build/tsan
	for name in $of_release; do
		gate "$name" "tests/integration/$name.sh" "$top/build/release"
	done
}

lane_asan() {
	(
		LCM_UNITS_OPS=60
		export LCM_UNITS_OPS
		gate unit-asan unit build/asan "$jobs"
	)
	for t in tests/integration/*.sh; do
		name=$(basename "$t" .sh)
		case " $of_release " in
		*" $name "*) ;;
		*) gate "$name" "$t" "$top/build/asan" ;;
		esac
	done
}

helpers='tests/lib/badregistry tests/lib/treecmp'
threaded=$(tests/gates/threaded.sh)
of_release='carry containerd host idle index_push matrix nbd soci trees'
gate lint tests/gates/lint.sh
gate links tests/gates/links.sh
gate build-gcc configure_and_make build/release "$helpers"
gate manpages tests/gates/manpages.sh build/release
gate dist tests/gates/dist.sh build/release
gate build-asan configure_and_make build/asan '' --enable-sanitizers=$SAN --enable-faults CFLAGS='-O1 -g'
lane_release_and_tsan &
other=$!
lane_asan
wait "$other"
gate distcheck distcheck
gate deb deb

passed=$(grep -c '^ok ' "$results")
failed=$(grep -c '^NOT OK ' "$results")
[ "$failed" = 0 ] || echo "failed: $(sed -n 's/^NOT OK //p' "$results" | tr '\n' ' ')(logs in build/log)"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
