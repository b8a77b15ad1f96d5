#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What `locum verify` costs against reading the same files from a cold page cache, and what sealing adds to a pull's processor time.
# Usage: bench/verify.sh BUILDDIR [ROUNDS]
set -u
LCM_LIB=${0%/*}/../tests/lib
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../tests/lib/itest.sh"
rounds=${2:-5}
it_begin bench-verify 3600 "${1:-}"
it_image python gzip
bad_start "$IT_OCI" && daemon_start || exit 1
cat >"$TAP_DIR/rounds.py" <<-'END'
	import os, statistics, subprocess, sys, time
	locum, image, root, pid, rounds = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])
	def run(*argv):
	    t = time.perf_counter()
	    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
	    return time.perf_counter() - t
	def cpu():
	    f = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
	    return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")
	def cold():
	    os.sync()
	    open("/proc/sys/vm/drop_caches", "w").write("3")
	def sealed():
	    return len(os.listdir(root + "/seals")) == len(os.listdir(root + "/real"))
	read, verify, pull, seal = [], [], [], []
	for i in range(rounds):
	    subprocess.run([locum, "drop-cache"], check=True, stdout=subprocess.DEVNULL)
	    before = cpu()
	    run(locum, "pull", image)
	    pulled = cpu()
	    # the benchmark waits for the daemon's last file; there is no event for who only looks
	    while not sealed():
	        time.sleep(0.01)
	    pull.append(pulled - before)
	    seal.append(cpu() - pulled)
	    for what in ("read", "verify") if i % 2 else ("verify", "read"):
	        cold()
	        if what == "read":
	            read.append(run("find", root + "/real", "-type", "f", "-exec", "cat", "{}", "+"))
	        else:
	            verify.append(run(locum, "verify"))
	m = statistics.median
	print(f"of {rounds}: verify {m(verify):.2f} s, reading all files from a cold cache {m(read):.2f} s: x {m(v / r for v, r in zip(verify, read)):.2f}")
	print(f"processor time of the daemon: pull {m(pull):.2f} s, sync and seal behind it {m(seal):.2f} s")
END
/usr/bin/python3 "$TAP_DIR/rounds.py" "$LOCUM" "$BAD_HOST/a:t" "$LOCUM_ROOT" "$(daemon_pids | head -n1)" "$rounds" || exit 1
tap_ended=1
