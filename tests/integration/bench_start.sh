#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# locum bench start: two images in turns behind a link, against podman and containerd: every figure is there, the link holds, and nothing
# is left. Times are not judged but by what a link allows.
# Usage: bench_start.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin bench_start 300 "${1:-}"
JSON=$TAP_DIR/bench.json

figures()
{
	python - "$JSON" <<-'END'
		import json, sys
		both = json.load(open(sys.argv[1]))
		assert len(both) == 2 and both[0]["image"] != both[1]["image"], len(both)
		for o in both:
		    assert o["rounds"] == 2 and o["link"] == {"rate_mbit": 80.0, "rtt_ms": 10.0}, o
		    others = [n for n in ("podman", "containerd") if n not in o["notes"]]
		    print(o["image"], "with", others, o["notes"])
		    whole = ["locum lazy", "locum full pull, then run"] + [n + " pull, then run" for n in others]
		    alone = "locum lazy, background off"
		    want = {f"{f}: {v}" for f in ("all local", "CPU", "peak memory", "received") for v in whole}
		    want |= {f"first output: {v}" for v in whole + [alone]} | {f"received by first output: {v}" for v in (whole[0], alone)}
		    want |= {f"files fetched by demand: {v}" for v in (whole[0], alone)} | {"files of the image"}
		    lines = {s["name"]: s for s in o["results"]}
		    assert set(lines) == want, set(lines) ^ want
		    for s in lines.values():
		        assert s["part"] == "start" and len(s["values"]) == 2 and min(s["values"]) > 0, s
		    for v in whole:
		        size, ms = (min(lines[f"{f}: {v}"]["values"]) for f in ("received", "all local"))
		        assert ms > 10 and ms > 0.9 * size * 8 / 80e6 * 1000, (v, size, ms)  # 80 Mbit/s, and a round trip at least
		    for v in whole[2:]:
		        assert lines["first output: " + v]["ratio"] > 0 and lines["first output: " + v]["baseline"] == "first output: locum lazy"
	END
}

left()
{
	find /var/tmp -maxdepth 1 -name 'locum-bench.*' -newer "$TAP_DIR/img"
	ip -o link | grep -v 'lo:' | grep locum
	find /sys/fs/cgroup -maxdepth 3 -name 'locum-bench.*' -newer "$TAP_DIR/img"
}

tap_ok 'a small image' small_image "$TAP_DIR/img" || exit 1
bad_start "$TAP_DIR/img/zc" || exit 1
printf '# two images\n\n%s /bin/busybox echo one # said\n\t%s   /bin/busybox cat /etc/hostname\n' "$BAD_HOST/one:t" "$BAD_HOST/two:t" >"$TAP_DIR/file"
tap_ok 'two images of a file, behind a link' sh -c "'$LOCUM' bench start --rounds 2 --warm --dir /var/tmp --rate 80 --rtt 10 --json --file '$TAP_DIR/file' >'$JSON'"
tap_ok 'every figure of both is there, and none is better than the link' figures
tap_diag "$(cat "$TAP_DIR/out")"
tap_ok 'as tables and plots' python bench/starts.py "$JSON" "$TAP_DIR/plot"
tap_is 'five of both images' "$(grep -c "^| $BAD_HOST" "$TAP_DIR/out")" 10
tap_ok 'the plot is SVG' python -c 'import sys, xml.dom.minidom as m; d = m.parse(sys.argv[1]); sys.exit(not (d.documentElement.tagName == "svg" and len(d.getElementsByTagName("rect")) > 8))' "$TAP_DIR/plot.svg"
tap_like 'and PNG' "$(file "$TAP_DIR/plot.png")" 'PNG image data'
tap_ok 'one image is an object, without others' sh -c "'$LOCUM' bench start --rounds 1 --warm --dir /var/tmp --with none --json '$BAD_HOST/one:t' -- /bin/busybox echo one | jq -e '(.link | not) and .notes.podman == \"left out\" and ([.results[].name] | map(test(\"podman|containerd\")) | any | not)'"
tap_ok 'a table' sh -c "'$LOCUM' bench start --rounds 1 --warm --dir /var/tmp --with none --rtt 4 '$BAD_HOST/one:t' -- /bin/busybox echo one >'$TAP_DIR/table'"
tap_like 'says what the link is' "$(cat "$TAP_DIR/table")" '^round trip of 4.0 ms$'
says 'a container that prints nothing' 1 'printed nothing' "$LOCUM" bench --with none "$BAD_HOST/one:t" -- /bin/busybox true
says 'a registry that is not there' 1 'x:t: locum lazy: .*127.0.0.1:9' "$LOCUM" bench --with none --rate 10 127.0.0.1:9/x:t -- /bin/busybox true
says 'a name that is none' 1 'registry nowhere.invalid has no IPv4 address' "$LOCUM" bench --with none --rtt 10 nowhere.invalid/x:t -- true
says 'an unknown other' 2 '--with docker: podman,containerd or none' "$LOCUM" bench --with docker "$BAD_HOST/one:t"
says 'no rate' 2 '--rate 0: 1 to' "$LOCUM" bench --rate 0 "$BAD_HOST/one:t"
says 'no file' 1 'nofile: No such file' "$LOCUM" bench --file "$TAP_DIR/nofile"
printf '#\n' >"$TAP_DIR/empty"
says 'an empty file' 1 'empty: no image is in it' "$LOCUM" bench --file "$TAP_DIR/empty"
says 'no image' 2 'an image is needed' "$LOCUM" bench
tap_is 'nothing is left' "$(left)" ''
bad_stop
tap_end
