#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What `locum bench start --json` has measured, as a table in Markdown and as bars. Usage: starts.py JSON [PLOT]
Prints the table; with PLOT writes PLOT.svg, and PLOT.png where rsvg-convert(1) is installed. Bars are medians, lines the range of all rounds."""
import json
import shutil
import subprocess
import sys
from xml.sax.saxutils import escape

WAYS = [("locum lazy", "locum", "#1b7837"), ("locum full pull, then run", "locum, full pull", "#7fbf7b"),
        ("podman pull, then run", "podman", "#762a83"), ("containerd pull, then run", "containerd", "#af8dc3")]
FIGURES = [("first output", "first output, ms"), ("all local", "all local, ms"), ("received", "received, MB"), ("CPU", "CPU, s"),
           ("peak memory", "peak memory, MB")]


def series(report, figure, way):
    for s in report["results"]:
        if s["part"] == "start" and s["name"] == f"{figure}: {way}":
            scale = 1e-6 if s["unit"] == "bytes" else 1
            return tuple(s[k] * scale for k in ("median", "min", "max"))
    return None


def number(v):
    return f"{v:.0f}" if v >= 100 else f"{v:.1f}" if v >= 10 else f"{v:.2f}"


def link(report):
    l = report.get("link")
    if not l:
        return "no link between"
    rate = f"{l['rate_mbit']:.0f} Mbit/s" if l["rate_mbit"] else "any rate"
    return f"{rate}, {l['rtt_ms']:.0f} ms there and back"


def table(reports):
    ways = [w for w in WAYS if any(series(r, "first output", w[0]) for r in reports)]
    for figure, title in FIGURES:
        print(f"| {title} | " + " | ".join(w[1] for w in ways) + " |")
        print("|---" * (len(ways) + 1) + "|")
        for r in reports:
            base = series(r, figure, ways[0][0])
            cells = []
            for way, _, _ in ways:
                s = series(r, figure, way)
                cells.append("" if not s else number(s[0]) if way == ways[0][0] or not base or not base[0] else f"{number(s[0])} (x {s[0] / base[0]:.2f})")
            print(f"| {r['image']} | " + " | ".join(cells) + " |")
        print()
    print(f"{reports[0]['rounds']} rounds, medians; ratios to locum's; {link(reports[0])}; page cache {'dropped before each' if reports[0]['cold'] else 'warm'}.")


def panel(out, reports, ways, figure, title, x, y, width):
    most = max((s[2] for r in reports for w in ways if (s := series(r, figure, w[0]))), default=0) or 1
    out.append(f'<text x="{x}" y="{y - 8}" font-weight="bold">{escape(title)}</text>')
    for r in reports:
        out.append(f'<text x="{x}" y="{y + 10}">{escape(r["image"])}</text>')
        y += 16
        for way, label, colour in ways:
            s = series(r, figure, way)
            if not s:
                continue
            bar, low, high = (v / most * (width - 210) for v in s)
            out.append(f'<rect x="{x + 120}" y="{y}" width="{bar:.1f}" height="12" fill="{colour}"/>')
            out.append(f'<line x1="{x + 120 + low:.1f}" x2="{x + 120 + high:.1f}" y1="{y + 6}" y2="{y + 6}" stroke="black"/>')
            out.append(f'<text x="{x + 114}" y="{y + 10}" text-anchor="end">{escape(label)}</text>')
            out.append(f'<text x="{x + 126 + max(bar, high):.1f}" y="{y + 10}">{number(s[0])}</text>')
            y += 16
        y += 8
    return y


def plot(reports, path):
    ways = [w for w in WAYS if any(series(r, "first output", w[0]) for r in reports)]
    width, out, y = 720, [], 30
    for figure, title in FIGURES:
        y = panel(out, reports, ways, figure, title, 20, y, width) + 24
    out.append(f'<text x="20" y="{y}">{escape(link(reports[0]))}; {reports[0]["rounds"]} rounds: medians and ranges</text>')
    with open(path + ".svg", "w", encoding="utf-8") as f:
        f.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 20}" font-family="sans-serif" font-size="11">\n'
                f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(out) + "\n</svg>\n")
    if shutil.which("rsvg-convert"):
        subprocess.run(["rsvg-convert", "-z", "2", "-o", path + ".png", path + ".svg"], check=True)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as f:
        reports = json.load(f)
    reports = reports if isinstance(reports, list) else [reports]
    table(reports)
    if len(sys.argv) == 3:
        plot(reports, sys.argv[2])


if __name__ == "__main__":
    main()
