#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mirrors.sh BUILDDIR - hosts.toml and certs.d: docker-registry, nginx before it as mirrors of every kind, and mirrors that lie or break.
#
# Each case is a registry of its own, 127.0.0.N:$UP, with its own directory; all are the same docker-registry.
set -u
srcdir=${srcdir:-$(dirname "$0")/../..}
LCM_LIB=$srcdir/tests/lib
. "$LCM_LIB/tap.sh"
. "$LCM_LIB/images.sh"
. "$LCM_LIB/daemon.sh"

tap_begin mirrors 150
daemon_begin "${1:?usage: mirrors.sh BUILDDIR}"
PATH=$PATH:/usr/sbin
for tool in docker-registry nginx openssl skopeo umoci jq; do
	command -v "$tool" >/dev/null || tap_skip_all "$tool is not installed"
done
IMG=$TAP_DIR/img
MNT=$TAP_DIR/mnt
TLS=$TAP_DIR/tls
D=$TAP_DIR/certs.d
LOG=$TAP_DIR/access.log
mkdir "$MNT" "$TLS" "$D"

# NAME: a CA and, of it, a certificate for the server and one for clients
certificates()
{
	ec="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
	# shellcheck disable=SC2086
	openssl req -x509 $ec -days 2 -subj "/CN=$1" -keyout "$TLS/$1.ca.key" -out "$TLS/$1.ca" &&
		for who in server client; do
			openssl req $ec -subj "/CN=$who" -keyout "$TLS/$1.$who.key" -out "$TLS/csr" &&
				printf 'subjectAltName=IP:127.0.0.1\n' >"$TLS/ext" &&
				openssl x509 -req -in "$TLS/csr" -CA "$TLS/$1.ca" -CAkey "$TLS/$1.ca.key" -CAcreateserial -days 2 \
					-extfile "$TLS/ext" -out "$TLS/$1.$who" || return 1
		done
}

ports()
{
	python -c 'import socket, sys
s = [socket.socket() for i in range(int(sys.argv[1]))]
for x in s: x.bind(("0.0.0.0", 0))
print(*[x.getsockname()[1] for x in s])' "$1"
}

# All but UP are mirrors. The log has the port that was asked, and for which registry: as host there, as ns at a mirror.
mirrors()
{
	# shellcheck disable=SC2046
	set -- $(ports 11)
	UP=$1 PRIVATE=$2 MUTUAL=$3 HEADER=$4 ABSENT=$5 BROKEN=$6 GARBAGE=$7 SLOW=$8 ONE=$9 TWO=${10} AWAY=${11}
	to="proxy_pass http://$REGISTRY_HOST; proxy_set_header Host \$http_host;"
	ssl="ssl_certificate $TLS/a.server; ssl_certificate_key $TLS/a.server.key;"
	cat >"$TAP_DIR/nginx.conf" <<-END
		daemon off; user root; pid $TAP_DIR/nginx.pid; error_log $TAP_DIR/nginx.log;
		events {}
		http { log_format l '\$server_port \$status \$http_host \$request \$ssl_client_s_dn \$http_x_sesame'; access_log $LOG l;
		client_body_temp_path $TAP_DIR/t1; proxy_temp_path $TAP_DIR/t2; fastcgi_temp_path $TAP_DIR/t3;
		uwsgi_temp_path $TAP_DIR/t4; scgi_temp_path $TAP_DIR/t5;
		server { listen 0.0.0.0:$UP; location / { $to } }
		server { listen $PRIVATE ssl; $ssl ssl_client_certificate $TLS/b.ca; ssl_verify_client optional; location / { $to } }
		server { listen $AWAY ssl; $ssl ssl_client_certificate $TLS/b.ca; ssl_verify_client optional;
			location ~ /blobs/ { return 307 https://127.0.0.1:$PRIVATE\$request_uri; } location / { $to } }
		server { listen $MUTUAL ssl; $ssl ssl_client_certificate $TLS/b.ca; ssl_verify_client on; location / { $to } }
		server { listen $HEADER; location / { if (\$http_x_sesame != open) { return 403; } $to } }
		server { listen $ABSENT; location / { return 404; } }
		server { listen $BROKEN; location / { return 500; } }
		server { listen $GARBAGE; location / { return 200 '<html>log in first</html>'; } }
		server { listen $SLOW; location / { limit_rate 2k; $to } }
		server { listen $ONE; location / { limit_rate 6m; $to } }
		server { listen $TWO; location / { limit_rate 6m; $to } }
		}
	END
	nginx -c "$TAP_DIR/nginx.conf" 2>>"$TAP_DIR/nginx.log" </dev/null &
	tap_cleanup "tap_kill $!"
	tap_until 10 curl -sf -o /dev/null "http://127.0.0.1:$UP/v2/"
}

# N TEXT: what the hosts.toml of registry N says
hosts()
{
	mkdir -p "$D/127.0.0.$1:$UP" && printf '%b' "$2" >"$D/127.0.0.$1:$UP/hosts.toml"
}

# PORT N: lines of the log for blobs and manifests of registry N
asked()
{
	grep -Ec "^$1 [0-9]+ (127\.0\.0\.$2:$UP [A-Z]+ /v2/a/|[^ ]+ [A-Z]+ /v2/a/[^ ]*ns=127\.0\.0\.$2:$UP )" "$LOG"
}

# PORT N COUNT
asked_is()
{
	[ "$(asked "$1" "$2")" = "$3" ]
}

# ERE: in the log; nginx writes a line when an answer has been sent
logged()
{
	tap_until 5 grep -Eq "$1" "$LOG"
}

# All cases have the same layers: what an earlier one still brings, from its own mirrors, is over first.
afresh()
{
	tap_until 20 daemon_nothing_here --all && : >"$LOG"
}

# N [IMAGE]: nothing is here, and all of it comes
pulled()
{
	afresh && tap_limit 40 "$LOCUM" pull "127.0.0.$1:$UP/a/${2:-zc}:t"
}

# ID N: mounted lazily, with nothing here, and all files read while it is lazy
mounted()
{
	afresh && tap_limit 30 "$LOCUM" mount --id "$1" "127.0.0.$2:$UP/a/zc:t" "$MNT" &&
		tap_limit 60 "$TREECMP" "$MNT" "$IMG/rootfs" --ignore-dir-times && "$LOCUM" umount --remove "$1"
}

# N JQ: of what locum registries says of registry N
registry()
{
	"$LOCUM" registries --json | jq -r ".[] | select(.registry == \"127.0.0.$1:$UP\") | $2"
}

tap_ok 'a small image' small_image "$IMG"
tap_ok 'a CA' certificates a
tap_ok 'and another' certificates b
tap_ok 'docker-registry' registry_start "$TAP_DIR/reg"
tap_cleanup registry_stop
for image in zc gzip zstd; do
	tap_ok "push $image" images_skopeo copy -q --dest-tls-verify=false "oci:$IMG/$image:t" "docker://$REGISTRY_HOST/a/$image:t"
done
tap_ok 'nginx as mirrors' mirrors
base=$(skopeo inspect --raw "oci:$IMG/zc:t" | jq -r '.layers[0].digest')

hosts 2 "[host.\"https://127.0.0.1:$PRIVATE\"]\nca = \"$TLS/a.ca\"\n"
hosts 3 "server = \"https://127.0.0.1:$PRIVATE\"\nca = \"$TLS/b.ca\"\n"
hosts 4 "server = \"https://127.0.0.1:$PRIVATE\"\nskip_verify = true\n"
hosts 5 "[host.\"https://127.0.0.1:$MUTUAL\"]\nca = [\"$TLS/a.ca\"]\nclient = [[\"$TLS/b.client\", \"$TLS/b.client.key\"]]\n"
hosts 6 "server = \"https://127.0.0.1:$MUTUAL\"\nca = \"$TLS/a.ca\"\n"
hosts 7 "[host.\"http://127.0.0.1:$HEADER\"]\n[host.\"http://127.0.0.1:$HEADER\".header]\nx-sesame = \"open\"\n"
hosts 8 "[host.\"http://127.0.0.1:1\"]\n[host.\"http://127.0.0.1:$ABSENT\"]\n[host.\"http://127.0.0.1:$BROKEN\"]\nheader = {x-sesame = \"open\"}\n"
hosts 9 "[host.\"http://127.0.0.1:$GARBAGE\"]\n"
hosts 10 "[host.\"http://127.0.0.1:$SLOW\"]\n"
hosts 11 "[host.\"http://127.0.0.1:$ONE\"]\ncapabilities = [\"pull\"]\n"
hosts 12 "[host.\"http://127.0.0.1:$ONE\"]\n[host.\"http://127.0.0.1:$TWO\"]\n"
hosts 13 "[host.\"http://127.0.0.1:$ONE\"]\ncapabilities = \"pull\"\n"
hosts 18 "server = \"https://127.0.0.1:$AWAY\"\nca = \"$TLS/a.ca\"\nclient = [[\"$TLS/b.client\", \"$TLS/b.client.key\"]]\n"
hosts 19 "server = \"https://127.0.0.1:$AWAY\"\nskip_verify = true\n"
mkdir "$D/127.0.0.1:$PRIVATE" && cp "$TLS/a.ca" "$D/127.0.0.1:$PRIVATE/private.crt"
tap_ok 'daemon with --hosts-dir' daemon_start --hosts-dir "$TAP_DIR/no-such-dir" --hosts-dir "$D"

tap_ok 'a mirror with a private CA' pulled 2
tap_ok 'it was told for whom' logged "^$PRIVATE .*/blobs/.*ns=127.0.0.2:$UP "
tap_is 'each time' "$(grep -vc "ns=127.0.0.2:$UP " "$LOG")" 0
tap_is 'nobody else was asked' "$(asked "$UP" 2)" 0
says 'another CA: said so' 1 'TLS certificate not trusted' "$LOCUM" pull "127.0.0.3:$UP/a/zc:t"
tap_ok 'skip_verify' pulled 4
tap_ok "certificates alone, docker's way" tap_limit 30 "$LOCUM" pull "127.0.0.1:$PRIVATE/a/gzip:t"
tap_ok 'mutual TLS' pulled 5
tap_ok 'the mirror was asked' logged "^$MUTUAL .*/blobs/.*ns=127.0.0.5:$UP "
tap_is 'nobody else was asked' "$(asked "$UP" 5)" 0
says 'mutual TLS without a certificate: refused' 1 "127.0.0.1:$MUTUAL.*client certificate" "$LOCUM" pull "127.0.0.6:$UP/a/zc:t"
tap_ok 'a host that redirects' pulled 18
tap_ok 'gets the client certificate' logged "^$AWAY .*/blobs/.*CN=client"
tap_is 'each time' "$(grep "^$AWAY " "$LOG" | grep -vc 'CN=client')" 0
tap_ok 'where it redirects to is asked' logged "^$PRIVATE .*/blobs/"
tap_is 'and does not get it' "$(grep "^$PRIVATE " "$LOG" | grep -c 'CN=client')" 0
tap_ok 'nothing is here' afresh
says 'nor is anything believed there' 1 "127.0.0.1:$PRIVATE.*not trusted" "$LOCUM" pull "127.0.0.19:$UP/a/zc:t"
tap_ok 'a header that a mirror wants' pulled 7
tap_ok 'the mirror was asked' logged "^$HEADER .*/blobs/.*ns=127.0.0.7:$UP .* open$"
tap_is 'nobody else was asked' "$(asked "$UP" 7)" 0
says 'a damaged hosts.toml' 1 "127.0.0.13:$UP/hosts.toml: line 2: host.*capabilities" "$LOCUM" pull "127.0.0.13:$UP/a/zc:t"

tap_ok 'mirrors that are down, empty and broken' pulled 8
tap_ok 'one of them was told its header' logged "^$BROKEN .* open$"
tap_ok 'others were asked' logged "^$UP .*/blobs/"
tap_is 'and not told it' "$(grep -v "^$BROKEN " "$LOG" | grep -c ' open$')" 0
tap_ok 'and in a lazy mount' mounted down 8
tap_ok 'a mirror that sends something else' mounted garbage 9
tap_ok 'a mirror that crawls' mounted slow 10
tap_is 'was asked, and left' "$(registry 10 '.hosts | map(.bytes > 0) | tostring')" '[true,true]'

tap_ok 'a mirror that does not resolve' pulled 11
tap_ok 'is asked for what has a digest' logged "^$ONE .*/blobs/.*ns=127.0.0.11:$UP "
tap_is 'the tag was asked elsewhere' "$(grep "^$ONE " "$LOG" | grep -c 'manifests/t')" 0
tap_ok 'only the tag' tap_until 5 asked_is "$UP" 11 1

share()
{
	afresh || return 1
	for image in zc gzip zstd; do
		"$LOCUM" pull "127.0.0.12:$UP/a/$image:t" &
		pids="${pids-} $!"
	done
	# shellcheck disable=SC2086
	for pid in $pids; do
		wait "$pid" || return 1
	done
}
tap_ok 'three pulls by two mirrors' share
tap_ok 'one served blobs' logged "^$ONE .*/blobs/.*ns=127.0.0.12:$UP "
tap_ok 'so did the other' logged "^$TWO .*/blobs/.*ns=127.0.0.12:$UP "
tap_is 'the registry did not' "$(asked "$UP" 12)" 0

tap_ok 'a mirror that dies in the middle' bad_start "$IMG/zc" --truncate "$base:100000"
hosts 14 "[host.\"http://$BAD_HOST\"]\n"
tap_ok 'the pull goes on' pulled 14
tap_ok 'and a lazy mount' mounted dies 14
tap_is 'both were asked' "$(registry 14 '(.hosts[0].failed > 0) and (.hosts[1].bytes > 0)')" true
bad_stop
tap_ok 'a mirror that lies' bad_start "$IMG/zc" --flip "$base:200000" --flip "$base:3000000"
hosts 15 "[host.\"http://$BAD_HOST\"]\n"
tap_ok 'the pull is right' pulled 15
tap_like 'and says who lied' "$(registry 15 '.hosts[0].last_error')" 'another digest'
hosts 16 "[host.\"http://$BAD_HOST\"]\n"
tap_ok 'a lazy mount is right' mounted lies 16
tap_like 'and says who lied' "$(registry 16 '.hosts[0].last_error')" 'another digest'
bad_stop

flipped=$(skopeo inspect --raw "oci:$IMG/gzip:t" | jq -r '.layers[0].digest')
tap_ok 'a mirror that lies about what has no table' bad_start "$IMG/gzip" --flip "$flipped:200000"
hosts 17 "[host.\"http://$BAD_HOST\"]\n"
tap_ok 'the pull is right' pulled 17 gzip
tap_like 'and says who lied' "$(registry 17 '.hosts[0].last_error')" 'another digest'
bad_stop

tap_is 'status names mirror and registry' "$(registry 2 '.hosts | map(.upstream) | tostring')" '[false,true]'
tap_like 'for people, too' "$("$LOCUM" registries)" "127.0.0.1:$PRIVATE +mirror +closed"
tap_like 'and that one is left alone' "$("$LOCUM" registries)" '127.0.0.1:1 +mirror +(open|half-open)'
tap_like 'metrics' "$(curl -s --unix-socket "$LOCUM_RUN/locum.sock" http://locum/metrics)" \
	"^locum_host_received_bytes_total\{host=\"127.0.0.1:$PRIVATE\"\} [1-9]"
tap_is 'no header in the log' "$(grep -c sesame "$TAP_DIR/daemon.log")" 0
tap_ok 'nothing is left' daemon_clean
tap_ok 'daemon ends' daemon_stop
tap_end
