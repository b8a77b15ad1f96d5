#!/bin/sh
# What git has `make dist` packs, but for what only git's users need. Makes no tarball: the Makefile's list is compared.
# Usage: tests/gates/dist.sh BUILDDIR
set -u
build=$(cd "${1-build/release}" && pwd) || exit
cd "$(dirname "$0")/../.." || exit
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bad=0
left_out='^(\.clang-format|\.codespellrc|\.gitignore)$'

# Files and directories that are packed, as git names them.
packed() {
	# shellcheck disable=SC2016
	printf 'include Makefile\nprint-dist:\n\t@printf "%%s\\n" $(DISTFILES)\n' | make -s -C "$build" -f - print-dist |
		sed "s|^$(sed -n 's/^srcdir = //p' "$build/Makefile")/||"
}

# missing PACKED <FILES: those that are not in the list, nor below a directory of it.
missing() {
	awk 'FILENAME != "-" { has[$0] = 1; next }
	{ for (p = $0; !(p in has) && sub("/[^/]*$", "", p);) continue; if (!(p in has)) print }' "$1" -
}

packed >"$tmp/packed" || exit
git ls-files >"$tmp/files" || exit
grep -vE "$left_out" "$tmp/files" | missing "$tmp/packed" | sed 's/$/: make dist does not pack it (EXTRA_DIST of its module.am)/' >"$tmp/findings"
[ -s "$tmp/findings" ] && { cat "$tmp/findings"; bad=1; }

[ "$(printf 'tests/gates/planted.sh\ntests/lib/planted.py\nplanted\nMakefile.am\n' | missing "$tmp/packed" | tr '\n' ' ')" = 'tests/lib/planted.py planted ' ] || {
	echo "the rule does not catch its canary"
	bad=1
}
n=$(wc -l <"$tmp/files")
[ "$n" -gt 0 ] && [ -s "$tmp/packed" ] || bad=1
echo "$n files looked for among $(wc -l <"$tmp/packed") that are packed, $(wc -l <"$tmp/findings") missing"
exit $bad
