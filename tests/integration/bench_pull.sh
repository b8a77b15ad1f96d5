#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# locum bench pull: it runs to the end on a small gzip image, and the JSON has every figure. Times are not judged.
# Usage: bench_pull.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin bench_pull 240 "${1:-}"

# Two gzip layers of this program's own sources and documents.
make_image()
{
	umoci init --layout "$TAP_DIR/oci" && umoci new --image "$TAP_DIR/oci:t" || return 1
	for layer in tests man; do
		tar -C "$srcdir" -cf "$TAP_DIR/$layer.tar" "$layer" &&
			umoci raw add-layer --image "$TAP_DIR/oci:t" "$TAP_DIR/$layer.tar" || return 1
	done
}

keys()
{
	python - "$TAP_DIR/bench.json" <<-'END'
		import json, sys
		o = json.load(open(sys.argv[1]))
		assert o["rounds"] == 2, o["rounds"]
		lines = {s["name"]: s for s in o["results"]}
		want = ["download alone", "decompression alone", "writing alone", "floor: the longest of the three",
		        "locum pull", "peak memory of the daemon"]
		for other in "podman", "containerd":
		    if other not in o["notes"]:
		        want += [other + " pull", other + " pull, not synced"]
		    print(other, o["notes"].get(other, "was measured"))
		assert sorted(lines) == sorted(want), sorted(lines)
		for name, s in lines.items():
		    assert s["part"] == "pull" and len(s["values"]) == 2 and min(s["values"]) > 0, s
		    assert s["min"] <= s["median"] <= s["max"], s
		floor = lines["floor: the longest of the three"]["values"]
		for i in range(2):
		    assert floor[i] == max(lines[n]["values"][i] for n in want[:3]), floor
		assert lines["locum pull"]["baseline"] == "floor: the longest of the three" and lines["locum pull"]["ratio"] > 0
		for name in want[6:]:
		    assert lines[name]["baseline"] == "locum pull" and lines[name]["ratio"] > 0, lines[name]
		assert "download in" in o["notes"]["floor"], o["notes"]
	END
}

srcdir=${srcdir:-${0%/*}/../..}
tap_ok 'an image with two gzip layers' make_image || exit 1
bad_start "$TAP_DIR/oci" || exit 1
tap_ok 'bench pull' sh -c "'$LOCUM' bench --rounds 2 --warm --json --dir /var/tmp pull $BAD_HOST/x:t >'$TAP_DIR/bench.json'"
tap_ok 'every figure is there' keys
tap_diag "$(cat "$TAP_DIR/out")"
tap_is 'nothing is left' "$(find /var/tmp -maxdepth 1 -name 'locum-bench.*' -newer "$TAP_DIR/oci")" ''
bad_stop
tap_end
