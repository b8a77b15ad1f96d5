#!/bin/sh
# The unit tests that start threads, for the ThreadSanitizer build.
cd "$(dirname "$0")/../.." || exit
for t in $(grep -lE 'pthread_create|lcm_pool_new|lcm_gate_threads_new|lcm_unpack|lcm_stream_new' tests/unit/test_*.c); do
	printf '%s ' "${t%.c}"
done
