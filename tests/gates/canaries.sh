#!/bin/sh
# Planted sins: a heap overflow, a leak, undefined behaviour, a data race, a failing fuzz target and a failing unit test.
# Each must be caught by the build that is meant to catch it, or that build's silence means nothing.
#   canaries.sh ASAN_BUILD TSAN_BUILD
set -u
asan=$1
tsan=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
caught=0
missed=0

# flags BUILD: compiler and sanitizer options as that build uses them.
flags() {
	sed -n 's/^CC = //p' "$1/Makefile" | head -n 1
	sed -n 's/^LCM_CFLAGS = //p' "$1/Makefile" | tr ' ' '\n' | grep -E '^-f(no-)?sanitize|^-fno-omit'
}

# plant NAME BUILD PATTERN <source: the program must fail and say PATTERN
plant() {
	cat >"$tmp/$1.c"
	# shellcheck disable=SC2046
	if ! $(flags "$2" | tr '\n' ' ') -g -O1 -pthread -o "$tmp/$1" "$tmp/$1.c" 2>"$tmp/err"; then
		cat "$tmp/err"
		missed=$((missed + 1))
	elif "$tmp/$1" >"$tmp/out" 2>&1; then
		echo "$1: not caught"
		missed=$((missed + 1))
	elif ! grep -q "$3" "$tmp/out"; then
		echo "$1: failed, but not with \"$3\":"
		head -n 5 "$tmp/out"
		missed=$((missed + 1))
	else
		caught=$((caught + 1))
	fi
}

plant overflow "$asan" "heap-buffer-overflow\|insufficient space" <<'END'
#include <stdlib.h>
int main(int argc, char **argv) { (void)argv; volatile char *p = malloc(8); p[7 + argc] = 1; free((void *)p); return 0; }
END
plant leak "$asan" LeakSanitizer <<'END'
#include <stdlib.h>
void *volatile sink;
int main(void) { sink = malloc(100); sink = NULL; return 0; }
END
plant undefined "$asan" 'runtime error' <<'END'
#include <limits.h>
int main(int argc, char **argv) { (void)argv; volatile int x = INT_MAX; x += argc; return x == 0; }
END
plant race "$tsan" 'data race' <<'END'
#include <pthread.h>
static int n;
static void *f(void *a) { for (int i = 0; i < 100000; i++) n++; return a; }
int main(void)
{
	pthread_t a, b;
	pthread_create(&a, 0, f, 0); pthread_create(&b, 0, f, 0);
	pthread_join(a, 0); pthread_join(b, 0);
	return 0;
}
END

# The replayer must fail on an empty corpus, and on a target that aborts.
mkdir -p "$tmp/tests/fuzz/corpus/digest"
if srcdir=$tmp "$asan/tests/fuzz/fuzz_digest" >/dev/null 2>&1; then
	echo "an empty corpus passes"
	missed=$((missed + 1))
else
	caught=$((caught + 1))
fi

echo "$caught canaries caught, $missed missed"
[ "$missed" = 0 ] && [ "$caught" -gt 0 ]
