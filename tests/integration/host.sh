#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a host runs locum with: metrics, units, sockets and readiness, completion, the Debian package.
# Usage: host.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin host 200 "${1:-}"
top=$(realpath "${0%/*}/../..")
build=$(realpath "$1")

metrics()
{
	curl -s --max-time 20 --unix-socket "$LOCUM_RUN/locum.sock" -D "$TAP_DIR/headers" http://locum/metrics
}

# NAME: its value of the mount
of_mount()
{
	sed -n "s/^$1{id=\"$id\",image=\"[^\"]*\"} //p" "$TAP_DIR/metrics"
}

# ---- metrics ----
it_image nasty-small zstd:chunked && it_serve && daemon_start --no-background || exit 1
tap_ok 'mount' "$LOCUM" mount "$IT_REF" "$M"
id=$(daemon_field "$M" id)
metrics >"$TAP_DIR/metrics"
tap_like 'their type is that of the text format' "$(tr -d '\r' <"$TAP_DIR/headers")" '^Content-Type: text/plain; version=0.0.4'
tap_ok 'promtool finds nothing wrong' sh -c 'promtool check metrics <"$1"' sh "$TAP_DIR/metrics"
tap_is 'one lazy mount' "$(sed -n 's/^locum_mounts{phase="lazy"} //p' "$TAP_DIR/metrics")" 1
tap_is 'its files are those that status shows' "$(of_mount locum_mount_files)" "$(daemon_field "$M" files_total)"
before=$(of_mount locum_mount_demand_fetches_total)
find "$M" -type f -size -64k | head -n 1 | xargs cat >/dev/null
metrics >"$TAP_DIR/metrics"
tap_ok 'a read counts as demand' [ "$(of_mount locum_mount_demand_fetches_total)" -gt "$before" ]
tap_ok 'the registry was asked' [ "$(sed -n 's/^locum_registry_requests_total //p' "$TAP_DIR/metrics")" -gt 0 ]
tap_is 'the dashboard shows what there is' "$(python - "$top/packaging/grafana/locum.json" "$TAP_DIR/metrics" <<-'END'
	import json, re, sys
	have = {l.split()[2] for l in open(sys.argv[2]) if l.startswith("# TYPE")}
	used = set()
	for p in json.load(open(sys.argv[1]))["panels"]:
	    for t in p["targets"]:
	        used |= set(re.findall(r"\b(?:locum|process)_[a-z_]+", t["expr"]))
	print(len(used) > 5, *sorted(used - have))
	END
)" True
tap_ok 'umount' "$LOCUM" umount "$M"
it_end
rm -rf "$LOCUM_ROOT" "$LOCUM_RUN"

# ---- readiness and sockets ----
mkdir -p "$LOCUM_RUN"
python - "$TAP_DIR/notify" "$LOCUM" daemon <<-'END' >"$TAP_DIR/said" 2>&1
	import os, signal, socket, subprocess, sys
	s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
	s.bind(sys.argv[1])
	s.settimeout(20)
	p = subprocess.Popen(sys.argv[2:], env=dict(os.environ, NOTIFY_SOCKET=sys.argv[1]), stderr=subprocess.DEVNULL)
	print(s.recv(100).decode())
	p.send_signal(signal.SIGTERM)
	print(s.recv(100).decode())
	print("status", p.wait())
END
tap_is 'the daemon says when it is ready and when it ends' "$(cat "$TAP_DIR/said")" 'READY=1
STOPPING=1
status 0'
systemd-socket-activate -l "$LOCUM_RUN/containerd.sock" -E LOCUM_RUN -E LOCUM_ROOT "$build/locum-containerd" >"$TAP_DIR/activate.log" 2>&1 &
activated=$!
tap_cleanup "tap_kill $activated"
tap_until 10 test -S "$LOCUM_RUN/containerd.sock"
printf '\0\0\0\0\0' >"$TAP_DIR/message"
tap_like 'a passed socket is served' "$(curl -s --max-time 20 --http2-prior-knowledge --unix-socket "$LOCUM_RUN/containerd.sock" -D - -o /dev/null \
	-H 'content-type: application/grpc' --data-binary "@$TAP_DIR/message" \
	http://locum/containerd.services.snapshots.v1.Snapshots/List | tr -d '\r')" '^grpc-status: 0'
kill "$activated"
tap_until 10 tap_gone "$activated"
tap_ok 'and stays when the service ends: it is the service manager'\''s' test -S "$LOCUM_RUN/containerd.sock"
tap_ok 'the daemon that it started ends' "$LOCUM" daemon --stop

# ---- units, completion, package ----
make -s -C "$build" packaging/systemd/locum.service packaging/systemd/locum-containerd.service >/dev/null || exit 1
mkdir "$TAP_DIR/units"
for u in locum.service locum-containerd.service; do
	sed "s|^\(Exec[A-Z][a-z]*\)=[^ ]*/|\1=$build/|" "$build/packaging/systemd/$u" >"$TAP_DIR/units/$u"
done
cp "$top/packaging/systemd/locum-containerd.socket" "$TAP_DIR/units"
tap_is 'systemd understands the units' "$(cd "$TAP_DIR/units" && systemd-analyze verify --man=no --recursive-errors=no ./*.service ./*.socket 2>&1 |
	grep -i 'locum' | head -n 5)" ''
tap_like 'the snapshotter is well confined' "$(systemd-analyze security --offline=yes "$TAP_DIR/units/locum-containerd.service" 2>&1 | tail -n 1)" 'OK|SAFE'
tap_is 'systemd understands the tmpfiles' "$(systemd-tmpfiles --create --dry-run --root="$TAP_DIR/units" "$top/packaging/tmpfiles.d/locum.conf" 2>&1 | grep -i 'locum.conf:' || :)" ''

# ---- Kubernetes ----
k8s()
{
	python "$LCM_LIB/k8s.py" "$@"
}
tap_is 'the manifests are what the API takes' "$(k8s "$top"/packaging/kubernetes/*.yaml 2>&1 | grep -v ' ok$')" ''
k8s --extract ConfigMap locum install "$top/packaging/kubernetes/locum.yaml" >"$TAP_DIR/install.sh"
tap_ok 'shellcheck finds nothing in the installer' shellcheck "$TAP_DIR/install.sh"
k8s --extract ConfigMap locum nginx.conf "$top/packaging/kubernetes/locum.yaml" |
	sed "s|/tmp/|$TAP_DIR/nginx-|; s|/run/locum/locum.sock|$LOCUM_RUN/locum.sock|; s|listen 9723|listen 127.0.0.1:$((20000 + $$ % 20000))|" >"$TAP_DIR/nginx.conf"
daemon_start --no-background || exit 1
PATH=$PATH:/usr/sbin nginx -e stderr -c "$TAP_DIR/nginx.conf" -g 'daemon off;' 2>"$TAP_DIR/nginx.log" &
tap_cleanup "tap_kill $!"
proxy=http://127.0.0.1:$((20000 + $$ % 20000))
tap_ok 'the proxy answers' tap_until 10 curl -sf --max-time 5 -o "$TAP_DIR/body" "$proxy/metrics"
tap_ok 'with the metrics' grep -q '^locum_build_info' "$TAP_DIR/body"
tap_is 'and nothing else' "$(for p in /v1/mounts / /metrics/x /metricsx /v1/daemon; do curl -s -o /dev/null -w '%{http_code} ' --max-time 5 "$proxy$p"; done
	curl -s -o /dev/null -w '%{http_code}' --max-time 5 -X POST "$proxy/metrics")" '404 404 404 404 404 403'
tap_ok 'stop' daemon_stop

# ---- configuration ----
printf '# the test\nno-background\n web 0 \ndeadline 7\n' >"$TAP_DIR/daemon.conf"
daemon_start --config "$TAP_DIR/daemon.conf" --deadline 8 || exit 1
tap_like 'options stand in a file' "$(curl -s --unix-socket "$LOCUM_RUN/locum.sock" http://locum/v1/daemon | jq -r .web)" '^http://127'
tap_ok 'stop' daemon_stop
printf 'web 0\nhold soon\n' >"$TAP_DIR/daemon.conf"
says 'a wrong line is named' 2 'daemon.conf, line 2: --hold soon is not a number' "$LOCUM" daemon --config "$TAP_DIR/daemon.conf"
printf 'stop\n' >"$TAP_DIR/daemon.conf"
says 'what is for the command line only' 2 'daemon.conf, line 1: there is no option "stop" here' "$LOCUM" daemon --config "$TAP_DIR/daemon.conf"
says 'a file that is named has to be there' 1 '/no/such: no such file' "$LOCUM" daemon --config /no/such

make -s -C "$build" packaging/hooks.d/locum-createRuntime.json packaging/hooks.d/locum-poststop.json >/dev/null || exit 1
tap_is 'the hooks for podman and CRI-O are of the right stage' "$(jq -r '.stages[0] + " " + .hook.args[-1]' "$build"/packaging/hooks.d/locum-createRuntime.json)" 'createRuntime createRuntime'
PATH=$build:$PATH
tap_is 'bash completes verbs' "$(bash -c '. "$1"; COMP_WORDS=(locum um); COMP_CWORD=1; _locum; echo "${COMPREPLY[@]}"' bash "$top/packaging/completion/locum.bash")" umount
tap_is 'bash completes options of a verb' "$(bash -c '. "$1"; COMP_WORDS=(locum mount --dead); COMP_CWORD=2; _locum; echo "${COMPREPLY[@]}"' bash "$top/packaging/completion/locum.bash")" --deadline
tap_is 'fish completes verbs' "$(fish -c "source $top/packaging/completion/locum.fish; complete -C'locum um'" 2>&1 | cut -f1)" umount
tap_is 'fish completes options of a verb' "$(fish -c "source $top/packaging/completion/locum.fish; complete -C'locum mount --dead'" 2>&1 | cut -f1)" --deadline
tap_ok 'zsh can read its completion' zsh -n "$top/packaging/completion/_locum"

# WORD...: what each shell offers for the last of them, one to a line; a mount "one" is there. zsh's function is run without its system.
bash_offers()
{
	# shellcheck disable=SC2016
	bash -c '. "$1"; curl() { echo "{\"id\":\"one\"}"; }; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _locum; printf "%s\n" "${COMPREPLY[@]}"' \
		bash "$top/packaging/completion/locum.bash" "$@"
}

fish_offers()
{
	fish -c "source $top/packaging/completion/locum.fish; function curl; echo '\"id\":\"one\"'; end; complete -C'$*'" 2>&1 | cut -f1
}

zsh_offers()
{
	# shellcheck disable=SC2016
	zsh -fc 'f=$1; shift; words=("$@") CURRENT=$# PREFIX=${@[-1]}; curl() { echo "\"id\":\"one\""; }; _files() { }
		_describe() { print -l -- ${${(P)2}%%:*}; }; compadd() { if [[ $1 = -a ]]; then print -l -- ${(P)2}; else print -l -- $@; fi; }
		source $f' zsh "$top/packaging/completion/_locum" "$@"
}

# ERE WORD...: shells whose offer has no such line
lacks()
{
	lacks_line=$1
	shift
	for shell in bash fish zsh; do
		"${shell}_offers" "$@" | grep -qxE -e "$lacks_line" || echo "$shell: $lacks_line after $*"
	done
}

# all that completion has to know: verbs, their options, and which take a mount
completion()
{
	for v in $("$LOCUM" --help | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p'); do
		usage=$("$LOCUM" "$v" --help)
		lacks "$v" locum "$(printf %.1s "$v")"
		for o in $(printf '%s\n' "$usage" | sed -n 's/^ *\(-[a-z], \)\{0,1\}\(--[a-z-]*\).*/\2/p'); do
			lacks "$o" locum "$v" --
		done
		case $(printf '%s\n' "$usage" | sed -n '1,/^[^U ]/p') in
		*set\ ID*) lacks set locum "$v" s && lacks one locum "$v" set o ;;
		*ID*) lacks one locum "$v" o ;;
		esac
		looked=$((looked + 1))
	done
	[ "$looked" -gt 10 ] || echo 'no verbs'
}
looked=0
tap_ok 'what is not offered shows' [ "$(lacks nothing locum mount -- | wc -l)" = 3 ]
tap_is 'bash, fish and zsh offer every verb and option, and mounts where a verb takes one' "$(completion)" ''
tap_end
