#!/bin/sh
# Style rules that a machine can check. First proves that each rule catches a planted sin.
set -u
cd "$(dirname "$0")/../.." || exit
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bad=0

# matches REGEX FILES...: lines that match. in_code the same, comments and strings left out.
matches() {
	regex=$1
	shift
	grep -nE "$regex" "$@" /dev/null
}

in_code() {
	regex=$1
	shift
	for f in "$@"; do
		# shellcheck disable=SC2016
		perl -0pe 's{/\*.*?\*/}{my $c = $&; $c =~ s/[^\n]//g; $c}gse; s/"(\\.|[^"\\\n])*"/""/g' "$f" | grep -nE "$regex" | sed "s|^|$f:|"
	done
}

banned='(^|[^_[:alnum:]])(sprintf|vsprintf|strcpy|strcat|strncpy|gets|alloca|system|popen|strtol|strtoul|strtoll|strtoull|atoi|atol|sleep|usleep|nanosleep)[[:space:]]*\('
reads_errno='(^|[^_.[:alnum:]>])errno([^_[:alnum:].]|$)'

# long FILES...: functions of more than 60 lines, by the kernel's brace style.
long() {
	awk 'FNR == 1 { inside = 0 }
	/^\{/ { start = FNR; inside = 1; name = prev }
	/^\}/ { if (inside && FNR - start > 60) printf "%s:%d: %d lines: %s\n", FILENAME, start, FNR - start, name; inside = 0 }
	{ if ($0 !~ /^[ \t{}]/ && $0 != "") prev = $0 }' "$@"
}

canary() {
	printf '%s\n' "$2" >"$tmp/canary.c"
	case $1 in
	banned) in_code "$banned" "$tmp/canary.c" ;;
	errno) in_code "$reads_errno" "$tmp/canary.c" | grep -v 'errno = ' ;;
	long) long "$tmp/canary.c" ;;
	spdx) grep -L 'SPDX-License-Identifier: Apache-2.0' "$tmp/canary.c" ;;
	esac | grep -q . || {
		echo "the $1 rule does not catch its canary"
		bad=1
	}
}

canary banned '	sprintf(buf, "x");'
canary errno '	return -errno;'
canary spdx 'int x;'
canary long "$(printf 'int f(void)\n{\n'; i=0; while [ $i -lt 70 ]; do echo '	x();'; i=$((i + 1)); done; echo '}')"

files=$(git ls-files '*.c' '*.h' '*.cc')
code=$(git ls-files '*.c' '*.h' '*.cc' | grep -v '^tests/\|^bench/')
n=$(printf '%s\n' "$files" | wc -l)
# shellcheck disable=SC2086,SC2046
{
	grep -L 'SPDX-License-Identifier: Apache-2.0' $files | sed 's/$/: no SPDX line/'
	in_code "$banned" $code
	in_code "$reads_errno" $(printf '%s\n' $code | grep -v '^src/base/') | grep -v 'errno = '
	long $code
	wc -l $code | awk '$2 != "total" && $1 > 700 { print $2 ": " $1 " lines: one concept each?" }'
	matches '[[:space:]]$' $files | sed 's/$/<- trailing white space/'
	matches '^.{101,}$' $code | cut -c1-120 | sed 's/$/ <- over 100 columns/'
	in_code '(^|[^A-Z])(TODO|FIXME|XXX)([^A-Z]|$)' $code
	git grep -nE '\.\./shared|/work/(main|wt|shared)|/tmp/b[-0-9]' -- . ':!tests/gates/lint.sh'
} >"$tmp/findings"
[ -s "$tmp/findings" ] && { cat "$tmp/findings"; bad=1; }

# The format is that of one version; another would differ.
if clang-format --version | grep -q 'version 14\.'; then
	# shellcheck disable=SC2086
	clang-format --dry-run -Werror $files || bad=1
	echo "$n files have the format of clang-format 14"
else
	echo "clang-format 14 is not installed: the format is not checked"
fi

scripts=$(git ls-files '*.sh' quickstart .ci/run)
printf '%s\n' "$scripts" | xargs -P "$(nproc)" -n 8 shellcheck -S warning -e SC1087,SC1091,SC2034,SC2046 || bad=1
# shellcheck disable=SC2046
codespell -q 3 $(git ls-files | grep -v '^tests/fuzz/corpus/\|^COPYING') || bad=1

echo "$n C files, $(printf '%s\n' "$scripts" | wc -l) scripts checked, $(wc -l <"$tmp/findings") findings"
[ "$bad" = 0 ] && [ "$n" -gt 0 ]
