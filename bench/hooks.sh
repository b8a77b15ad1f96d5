#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the hooks add to a container's start: `crun run` of true with and without them, and the program alone beside true(1).
# Usage: bench/hooks.sh BUILDDIR [ROUNDS]; the container is on a mount of locum's, so that each hook has something to do
set -u
LCM_LIB=${0%/*}/../tests/lib
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../tests/lib/itest.sh"
rounds=${2:-100}
it_begin bench-hooks 3600 "${1:-}"
hook=$(realpath "$1/locum-hook")
B=$TAP_DIR/b

small_image "$TAP_DIR/img" && bad_start "$TAP_DIR/img/zc" && daemon_start && "$LOCUM" mount --full "$BAD_HOST/bench:t" "$M" >/dev/null || exit 1
mkdir "$B" && (cd "$B" && runc spec) || exit 1
jq --arg root "$M" '.process.terminal = false | .process.args = ["/bin/busybox", "true"] | .root = {path: $root, readonly: true} |
	.linux.namespaces |= map(select(.type != "network"))' "$B/config.json" >"$TAP_DIR/plain.json" &&
	jq --arg hook "$hook" --arg run "$LOCUM_RUN" 'def hook($s): [{path: $hook, args: ["locum-hook", "--run", $run, $s]}];
		.hooks = {createRuntime: hook("createRuntime"), poststart: hook("poststart"), poststop: hook("poststop")}' "$TAP_DIR/plain.json" \
		>"$TAP_DIR/hooks.json" || exit 1
cat >"$TAP_DIR/rounds.py" <<-'END'
	import json, os, shutil, statistics, subprocess, sys, time
	dir, hook, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
	state = json.dumps({"ociVersion": "1.0.2", "id": "b", "pid": os.getpid(), "status": "created", "bundle": dir + "/b"})
	def run(argv, text=None):
	    t = time.perf_counter()
	    subprocess.run(argv, input=text, text=True, check=True, stdout=subprocess.DEVNULL)
	    return (time.perf_counter() - t) * 1e3
	def container(config, i):
	    shutil.copy(f"{dir}/{config}.json", dir + "/b/config.json")
	    return run(["crun", "run", "--bundle", dir + "/b", f"bench-{config}-{i}"])
	of = {"plain": [], "hooks": [], "true": [], "createRuntime": [], "poststart": [], "poststop": []}
	for i in range(rounds):
	    for config in ("plain", "hooks") if i % 2 else ("hooks", "plain"):
	        of[config].append(container(config, i))
	    of["true"].append(run(["/bin/true"], state))
	    for stage in ("createRuntime", "poststart", "poststop"):
	        of[stage].append(run([hook, "--run", os.environ["LOCUM_RUN"], stage], state))
	median = {k: statistics.median(v) for k, v in of.items()}
	print(f"crun run, ms (median of {rounds}): without hooks {median['plain']:.2f}, with three {median['hooks']:.2f}: "
	      f"{median['hooks'] - median['plain']:+.2f} ms, x {median['hooks'] / median['plain']:.3f}")
	print("the program alone, ms: " + ", ".join(f"{k} {median[k]:.2f}" for k in ("createRuntime", "poststart", "poststop")) +
	      f"; true(1) {median['true']:.2f}")
END
own_cgroups 3600 /usr/bin/python3 "$TAP_DIR/rounds.py" "$TAP_DIR" "$hook" "$rounds" || exit 1
tap_ended=1
