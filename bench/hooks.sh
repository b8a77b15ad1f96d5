#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the hooks add to a container's start: `crun run` of true with and without them, and the program alone beside true(1).
# Usage: bench/hooks.sh BUILDDIR [ROUNDS]; the container is on a mount of locum's, so that each hook has something to do
set -eu
build=$(realpath "${1:?usage: bench/hooks.sh BUILDDIR [ROUNDS]}")
rounds=${2:-100}
dir=$(mktemp -d /run/locum-bench-hooks.XXXXXX)
LOCUM_ROOT=$(mktemp -d /var/tmp/locum-bench-hooks.XXXXXX)
LOCUM_RUN=$dir/run
export LOCUM_ROOT LOCUM_RUN
serve=
end()
{
	"$build/locum" umount --lazy --remove bench >/dev/null 2>&1 || :
	"$build/locum" daemon --stop >/dev/null 2>&1 || :
	[ -z "$serve" ] || kill "$serve" 2>/dev/null || :
	rm -rf --one-file-system "$dir" "$LOCUM_ROOT"
}
trap end EXIT
trap 'exit 1' INT TERM

mkdir -p "$dir/tree/bin" "$dir/b" "$dir/m"
cp "$(command -v busybox)" "$dir/tree/bin/busybox" && ln -s busybox "$dir/tree/bin/true"
umoci init --layout "$dir/oci" >/dev/null 2>&1
umoci new --image "$dir/oci:t" >/dev/null 2>&1
umoci insert --image "$dir/oci:t" "$dir/tree" / >/dev/null 2>&1
"$build/locum" serve "$dir/oci" >"$dir/serve.out" 2>&1 &
serve=$!
until grep -q http:// "$dir/serve.out"; do sleep 0.05; done
host=$(sed -n 's|.*http://\([^ /]*\).*|\1|p' "$dir/serve.out" | head -n 1)
"$build/locum" mount --id bench --full "$host/bench:t" "$dir/m" >/dev/null
(cd "$dir/b" && runc spec)
jq --arg root "$dir/m" '.process.terminal = false | .process.args = ["/bin/true"] | .root = {path: $root, readonly: true} |
	.linux.namespaces |= map(select(.type != "network"))' "$dir/b/config.json" >"$dir/plain.json"
jq --arg hook "$build/locum-hook" --arg run "$LOCUM_RUN" 'def hook($s): [{path: $hook, args: ["locum-hook", "--run", $run, $s]}];
	.hooks = {createRuntime: hook("createRuntime"), poststart: hook("poststart"), poststop: hook("poststop")}' "$dir/plain.json" >"$dir/hooks.json"
unshare -m --propagation slave sh -c 'umount -l /sys/fs/cgroup/unified 2>/dev/null; exec "$@"' sh \
	/usr/bin/python3 - "$dir" "$build/locum-hook" "$rounds" <<-'END'
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
	    of["plain"].append(container("plain", i))
	    of["hooks"].append(container("hooks", i))
	    of["true"].append(run(["/bin/true"], state))
	    for stage in ("createRuntime", "poststart", "poststop"):
	        of[stage].append(run([hook, "--run", os.environ["LOCUM_RUN"], stage], state))
	median = {k: statistics.median(v) for k, v in of.items()}
	print(f"crun run, ms (median of {rounds}): without hooks {median['plain']:.2f}, with three {median['hooks']:.2f}: "
	      f"{median['hooks'] - median['plain']:+.2f} ms, x {median['hooks'] / median['plain']:.3f}")
	print("the program alone, ms: " + ", ".join(f"{k} {median[k]:.2f}" for k in ("createRuntime", "poststart", "poststop")) +
	      f"; true(1) {median['true']:.2f}")
	END
