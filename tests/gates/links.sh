#!/bin/sh
# Every relative link of the documents leads to a file, every #anchor to a heading; tables are whole.
set -u
cd "$(dirname "$0")/../.." || exit
tmp=$(mktemp)
trap 'rm -f "$tmp" "$tmp.md"' EXIT
bad=0
links=0

# links_of FILE: targets of [text](target), code blocks left out.
links_of() {
	awk '/^```/ { code = !code; next } !code' "$1" | grep -oE '\]\([^)[:space:]]+\)' | sed 's/^](//; s/)$//'
}

# anchors_of FILE: headings as GitHub names them.
anchors_of() {
	awk '/^```/ { code = !code; next } !code && /^#+ /' "$1" | sed 's/^#* //' | tr '[:upper:]' '[:lower:]' |
		sed 's/[^[:alnum:] _-]//g; s/ /-/g'
}

# broken FILE: prints links that lead nowhere.
broken() {
	dir=$(dirname "$1")
	for l in $(links_of "$1"); do
		case $l in
		*://* | mailto:*) continue ;;
		esac
		path=${l%%#*}
		[ -z "$path" ] && to=$1 || to=$dir/$path
		[ -e "$to" ] || echo "$1: $l leads nowhere"
		case $l in
		*#*) [ -f "$to" ] && ! anchors_of "$to" | grep -qxF -e "${l#*#}" && echo "$1: $l: no such heading" ;;
		esac
	done
}

# torn FILE: prints rows that no head and line of dashes is above, or that have not as many cells.
torn() {
	awk '/^```/ { code = !code }
	code || !/^\|/ { row = 0; next }
	{ row++; line = $0; gsub(/\\\|/, "", line); n = gsub(/\|/, "", line) }
	row == 1 { head = $0; cells = n; if ((getline next_line) <= 0 || next_line !~ /^\|[-:| ]+$/) { print FILENAME ": no table: " head; row = 0 }; next }
	n != cells { print FILENAME ": not " cells - 1 " cells: " $0 }' "$1"
}

for f in $(git ls-files '*.md'); do
	{ broken "$f"; torn "$f"; } >"$tmp"
	[ -s "$tmp" ] && cat "$tmp" && bad=1
	links=$((links + $(links_of "$f" | grep -cv '://')))
done
printf '| a | b |\n|---|---|\n| c | d\\|e |\n| f |\n\n| g | h |\n\n```\n| code |\n```\n' >"$tmp.md"
[ "$(torn "$tmp.md" | cut -d: -f2- | tr -d '\n')" = ' not 2 cells: | f | no table: | g | h |' ] || {
	echo "the rule for tables does not catch its canaries"
	bad=1
}
# shellcheck disable=SC2016
printf '# A head\n[a](nowhere.md) [b](#a-head) [c](#none)\n```\n[d](code)\n```\n' >"$tmp.md"
[ "$(broken "$tmp.md" | wc -l)" = 2 ] || {
	echo "the rule does not catch its canaries"
	bad=1
}
[ "$links" -gt 0 ] || bad=1
echo "$links links checked"
exit $bad
