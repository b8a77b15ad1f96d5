#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The page of all mounts: who may look at it, and what a real browser shows.
# Usage: web.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin web 150 "${1:-}"
for tool in chromium chromedriver; do
	command -v "$tool" >/dev/null || tap_skip_all "$tool is not installed"
done

# METHOD PATH [CURL-OPTION...]: the status
tcp()
{
	method=$1
	path=$2
	shift 2
	curl -s --max-time 20 -o "$TAP_DIR/body" -w '%{http_code}' -X "$method" "$@" "${url%/}$path"
}

# PATH [CURL-OPTION...]
by_socket()
{
	path=$1
	shift
	curl -s --max-time 20 -o "$TAP_DIR/body" -w '%{http_code}' --unix-socket "$LOCUM_RUN/locum.sock" "$@" "http://locum$path"
}

says 'an address of others is refused' 1 'web address 0\.0\.0\.0:80: PORT, 127\.0\.0\.1:PORT or \[::1\]:PORT is expected' "$LOCUM" daemon --web 0.0.0.0:80
it_image nasty-small zstd:chunked && it_serve && daemon_start --no-background --web 0 || exit 1
url=$(curl -s --unix-socket "$LOCUM_RUN/locum.sock" http://locum/v1/daemon | jq -r .web)
token=$(cat "$LOCUM_RUN/web.token")
auth="Authorization: Bearer $token"
tap_like 'the daemon says where it is' "$url" '^http://127\.0\.0\.1:[0-9]+/$'
tap_is 'the token is its owner'\''s' "$(stat -c %a "$LOCUM_RUN/web.token")" 600
tap_is 'it is in no log' "$(grep -c "$token" "$TAP_DIR/daemon.log")" 0
tap_is 'the page wants no token' "$(tcp GET /)" 200
tap_is 'what is behind it does' "$(tcp GET /v1/mounts)" 401
tap_is 'and has it with one' "$(tcp GET /v1/mounts -H "$auth")" 200
tap_is 'metrics too' "$(tcp GET /metrics -H "$auth")" 200
tap_is 'nothing can be changed' "$(tcp POST /v1/daemon/stop -H "$auth")" 405
tap_is 'nor with a body' "$(tcp POST /v1/mounts -H "$auth" -d '{"image": "x"}')" 405
tap_is 'another name for the host is refused' "$(tcp GET /v1/mounts -H "$auth" -H 'Host: evil.example')" 403
tap_is 'on the socket too' "$(by_socket /v1/mounts -H 'Host: evil.example')" 403
tap_is 'the page is on the socket' "$(by_socket /)" 200
tap_ok 'as it is in the source' cmp "$TAP_DIR/body" "${0%/*}/../../src/web/index.html"
tap_like 'nothing is taken from elsewhere' "$(curl -s -D - -o /dev/null "$url")" "^Content-Security-Policy: default-src 'none'"

tap_ok 'mount' "$LOCUM" mount --id shown "$IT_REF" "$M"
odd=$(find "$M" -name '<&*' -type f | head -n 1)
tap_ok 'a file with a name that is markup is read' sh -c 'cat "$1" >/dev/null' sh "$odd"
mkdir "$TAP_DIR/browser"
HOME=$TAP_DIR/browser XDG_RUNTIME_DIR=$TAP_DIR/browser tap_limit 100 /usr/bin/python3 \
	"$LCM_LIB/webpage.py" "$LOCUM" "$url" "$token" "$IT_REF" shown "/${odd#"$M"/}" "$TAP_DIR/browser/page.png" >"$TAP_DIR/said" 2>"$TAP_DIR/err"
tap_is 'the browser ran to its end' $? 0
tap_diag "$(cat "$TAP_DIR/err")"
while read -r verdict text; do
	[ "$verdict" = ok ] && tap_result ok "$text" || tap_result 'not ok' "$text"
done <"$TAP_DIR/said"
[ -z "${WEB_SHOT:-}" ] || cp "$TAP_DIR/browser/page.png" "$WEB_SHOT"
tap_ok 'umount' "$LOCUM" umount --remove "$M"
it_end
tap_end
