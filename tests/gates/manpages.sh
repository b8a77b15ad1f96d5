#!/bin/sh
# Every verb has a man page that says the same as its --help, and groff likes every page.
# Usage: tests/gates/manpages.sh BUILDDIR
set -u
locum=$(cd "${1-build/release}" && pwd)/locum || exit
cd "$(dirname "$0")/../.." || exit
bad=0
pages=0
options=0

sin() {
	echo "$*"
	bad=1
}

# Long options of a text, those that a --help describes (at the beginning of lines), those that a page lists below OPTIONS, and of
# those the ones that begin a paragraph of their own.
long_options() {
	grep -oE -e '(^|[^[:alnum:]-])--[a-z][a-z-]*' | grep -oE -e '--[a-z-]+' | sort -u
}

help_options() {
	grep -oE '^ +(-[[:alpha:]], )?--[a-z-]+(, --[a-z-]+)*' | long_options
}

listed_options() {
	sed 's/\\-/-/g' "$1" | sed -n '/^\.SH OPTIONS/,/^\.SH [^O]/p' | grep -E '^\.B' | long_options
}

tagged_options() {
	sed 's/\\-/-/g' "$1" | sed -n '/^\.SH OPTIONS/,/^\.SH [^O]/p' | awk '/^\.B/ && before ~ /^\.T[PQ]/; { before = $1 }' | long_options
}

# check PAGE HELP: both name the same options.
check() {
	n=0
	for o in $(printf '%s\n' "$2" | help_options); do
		n=$((n + 1))
		listed_options "$1" | grep -qxF -e "$o" || sin "$1 does not list $o"
		tagged_options "$1" | grep -qxF -e "$o" || sin "$1 has no .TP before $o"
	done
	for o in $(listed_options "$1"); do
		printf '%s\n' "$2" | help_options | grep -qxF -e "$o" || sin "$1 lists $o, --help does not"
	done
	options=$((options + n))
	pages=$((pages + 1))
}

help=$("$locum" --help) || exit
verbs=$(printf '%s\n' "$help" | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p')
[ -n "$verbs" ] || sin "locum --help lists no verb"
check man/locum.1 "$help"
for v in $verbs; do
	sed 's/\\-/-/g' man/locum.1 | grep -qxF ".BR locum-$v (1)" || sin "man/locum.1 does not name locum-$v(1)"
	if [ -r "man/locum-$v.1" ]; then
		check "man/locum-$v.1" "$("$locum" "$v" --help)"
	else
		sin "locum $v has no man page"
	fi
done
check man/locum-containerd.8 "$("${locum}-containerd" --help)"
for p in man/*.[1-8]; do
	said=$(groff -t -Tutf8 -man -ww -z "$p" 2>&1) || sin "groff fails on $p"
	[ -z "$said" ] || sin "$said"
	[ "${p%.5}" != "$p" ] && pages=$((pages + 1))
	grep -qF "$p" man/module.am || sin "$p is not in man/module.am"
done

# The rules catch what they are for.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
printf '.SH OPTIONS\n.TP\n.B \\-\\-kept\n.TP\n.B \\-\\-stray\n.SH END\n.BR unbalanced "\n' >"$tmp/locum-x.1"
[ "$(listed_options "$tmp/locum-x.1" | tr '\n' ' ')" = '--kept --stray ' ] || sin "the option rule does not see its canary"
printf '.SH OPTIONS\n.TP\n.BR \\-h ", " \\-\\-kept\nText of\n.BR \\-\\-kept .\n.B \\-\\-lost\n.SH END\n' >"$tmp/locum-y.1"
[ "$(tagged_options "$tmp/locum-y.1" | tr '\n' ' ')" = '--kept ' ] || sin "the rule of .TP does not see its canary"
[ "$(printf 'Like --zero\n      --one   as --zero\n  -t, --two-words N; not-an--option' | help_options | tr '\n' ' ')" = '--one --two-words ' ] ||
	sin "the help rule does not see its canary"
printf '.TH X 1\n.SH\n\\fZoops\n.nosuch\n' >"$tmp/bad.1"
[ -n "$(groff -t -Tutf8 -man -ww -z "$tmp/bad.1" 2>&1)" ] || sin "groff does not complain about its canary"

[ "$pages" -gt 1 ] || sin "no page was checked"
[ "$options" -gt 1 ] || sin "no option was checked"
echo "$pages pages, $options options checked"
exit $bad
