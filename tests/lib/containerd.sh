# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# containerd.sh - a private containerd with locum as its snapshotter, on top of itest.sh. Source it, then:
#
#   ctd_begin BUILDDIR       after it_begin; ends everything of it at exit
#   ctd_version 1.6|testing  whose containerd is meant: the host's (Debian 12) or Debian testing's
#   ctd_start [cri], ctd_stop  containerd (with what Kubernetes talks to), with its state below $TAP_DIR; containers survive a stop
#   ctd_start_locum [OPTION...], ctd_stop_locum  locum-containerd
#   ctd_cri_pull REF [SOCKET [USER PASSWORD]]  as Kubernetes pulls; prints gRPC's status, and its text
#   ctd_fetch_content REF    locum-containerd fetch
#   ctd_commit KEY REF       what was written into a snapshot becomes an image on top of $IT_OCI
#   ctd ARG...               ctr, talking to it
#   ctd_pull REF             with the labels that remote snapshotters need; ctd_pull_plain REF [SNAPSHOTTER] without
#   ctd_run ARG...           ctr run
#   ctd_digest REF           the manifest's digest
#   ctd_snapshot SNAPSHOTTER OP NAME PARENT|KEY  prepare, view or commit
#   ctd_top SNAPSHOTTER      the snapshot on top
#   ctd_layers               those that are in the store
#   ctd_ended ID, ctd_no_snapshots, ctd_no_mounts, ctd_no_layers, ctd_no_daemon  for tap_until

ctd_begin()
{
	LOCUM_CONTAINERD=$(realpath "$1/locum-containerd")
	CTD_SOCK=$TAP_DIR/c.sock
	CTD_PID=
	CTD_LOCUM_PID=
	CTD_PATH=$PATH
	tap_cleanup 'ctd_end'
}

ctd_version()
{
	CTD_VERSION=$1
	CTD_PATH=$PATH
	[ "$1" = testing ] || return 0
	ctd_debs=${IT_CACHE:-/var/cache/locum-quickstart/itest}/testing-containerd
	if [ ! -d "$ctd_debs" ]; then
		tap_clock_stop
		ctd_fetch "$ctd_debs" containerd || return 1
		tap_clock_start
	fi
	CTD_PATH=$ctd_debs/root/usr/bin:$PATH
}

# DIR PACKAGE...: unpacks packages of Debian testing, as apt finds and verifies them. They are Go programs that want no
# newer C library than the host's, and runc is the host's own.
ctd_fetch()
{
	ctd_to=$1
	shift
	ctd_new=$(mktemp -d "$ctd_to.XXXXXX") || return 1
	mkdir -p "$ctd_new/lists/partial" "$ctd_new/cache/archives/partial" "$ctd_new/root" "$ctd_new/debs"
	echo "deb ${IMAGES_MIRROR:-http://deb.debian.org/debian} testing main" >"$ctd_new/sources.list"
	ctd_apt="-o Dir::Etc::SourceList=$ctd_new/sources.list -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=$ctd_new/lists
		-o Dir::Cache=$ctd_new/cache -o Dir::State::Status=/dev/null -o APT::Sandbox::User=root"
	# shellcheck disable=SC2016
	images_step "Debian testing's $*" sh -c 'o=$1; d=$2; shift 2; apt-get $o update && cd "$d/debs" && apt-get $o download "$@" &&
		for f in *.deb; do dpkg-deb -x "$f" "$d/root" || exit; done' sh "$ctd_apt" "$ctd_new" "$@" &&
		rm -rf "$ctd_new/lists" "$ctd_new/cache" "$ctd_new/debs" && mv -T "$ctd_new" "$ctd_to"
	ctd_status=$?
	rm -rf "$ctd_new"
	return "$ctd_status"
}

ctd_config()
{
	cat <<-END
		version = $ctd_schema
		root = "$TAP_DIR/c-root"
		state = "$TAP_DIR/c-state"
		disabled_plugins = [${CTD_NO_CRI:-} "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
		  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.nri.v1.nri",
		  "io.containerd.internal.v1.opt"]
		[grpc]
		  address = "$CTD_SOCK"
		[ttrpc]
		  address = "$CTD_SOCK.ttrpc"
		[proxy_plugins.locum]
		  type = "snapshot"
		  address = "$LOCUM_RUN/containerd.sock"
		  [proxy_plugins.locum.exports]
		    root = "$LOCUM_ROOT"
		    enable_remote_snapshot_annotations = "true"
	END
	[ "$CTD_VERSION" = testing ] || return 0
	cat <<-END
		[plugins."io.containerd.transfer.v1.local"]
		  [[plugins."io.containerd.transfer.v1.local".unpack_config]]
		    platform = "linux/amd64"
		    snapshotter = "locum"
	END
}

# What Kubernetes' kubelet talks to; the registry is plain http.
ctd_config_cri()
{
	for ctd_host in "$BAD_HOST" ${SECRET_HOST:+"$SECRET_HOST"}; do
		mkdir -p "$TAP_DIR/certs.d/$ctd_host" "$TAP_DIR/cni"
		printf 'server = "http://%s"\n[host."http://%s"]\n' "$ctd_host" "$ctd_host" >"$TAP_DIR/certs.d/$ctd_host/hosts.toml"
	done
	if [ "$CTD_VERSION" = testing ]; then
		cat <<-END
			[plugins."io.containerd.cri.v1.images"]
			  snapshotter = "locum"
			  disable_snapshot_annotations = false
			  [plugins."io.containerd.cri.v1.images".registry]
			    config_path = "$TAP_DIR/certs.d"
			[plugins."io.containerd.cri.v1.runtime".cni]
			  conf_dir = "$TAP_DIR/cni"
		END
		return
	fi
	cat <<-END
		[plugins."io.containerd.grpc.v1.cri"]
		  enable_unprivileged_ports = false
		  [plugins."io.containerd.grpc.v1.cri".containerd]
		    snapshotter = "locum"
		    disable_snapshot_annotations = false
		  [plugins."io.containerd.grpc.v1.cri".registry]
		    config_path = "$TAP_DIR/certs.d"
		  [plugins."io.containerd.grpc.v1.cri".cni]
		    bin_dir = "$TAP_DIR/cni"
		    conf_dir = "$TAP_DIR/cni"
	END
}

# REF [SOCKET [USER PASSWORD]]: as the kubelet pulls it: PullImageRequest{image: ImageSpec{image}}; prints the status
ctd_cri_pull()
{
	python - "$1" "${3:-}" "${4:-}" >"$TAP_DIR/message" <<-'END'
		import struct, sys
		ref, user, password = [a.encode() for a in sys.argv[1:]]
		field = lambda n, value: bytes([n << 3 | 2, len(value)]) + value
		message = field(1, field(1, ref))
		if user:
		    message += field(2, field(1, user) + field(2, password))
		sys.stdout.buffer.write(b"\0" + struct.pack(">I", len(message)) + message)
	END
	curl -s --max-time 60 --http2-prior-knowledge --unix-socket "${2:-$CTD_SOCK}" -D - -o /dev/null -H 'content-type: application/grpc' -H 'te: trailers' \
		--data-binary "@$TAP_DIR/message" http://cri/runtime.v1.ImageService/PullImage | tr -d '\r' | sed -n 's/^grpc-\(status\|message\): //p'
}

ctd_answers()
{
	ctd version && ctd plugins ls | grep -q 'io.containerd.snapshotter.v1 *locum .*ok'
}

ctd_start()
{
	ctd_schema=2
	CTD_NO_CRI='"io.containerd.grpc.v1.cri",'
	[ "$CTD_VERSION" != testing ] || {
		ctd_schema=3
		CTD_NO_CRI='"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",'
	}
	[ "${1:-}" != cri ] || CTD_NO_CRI=
	{
		ctd_config
		[ "${1:-}" != cri ] || ctd_config_cri
	} >"$TAP_DIR/config.toml"
	PATH=$CTD_PATH containerd -c "$TAP_DIR/config.toml" -l debug >>"$TAP_DIR/containerd.log" 2>&1 </dev/null &
	CTD_PID=$!
	tap_until 20 ctd_answers || {
		tail -n 20 "$TAP_DIR/containerd.log" >&2
		return 1
	}
}

ctd_stop()
{
	[ -z "$CTD_PID" ] || tap_kill "$CTD_PID"
	CTD_PID=
}

ctd_start_locum()
{
	"$LOCUM_CONTAINERD" --debug "$@" >>"$TAP_DIR/locum-containerd.log" 2>&1 </dev/null &
	CTD_LOCUM_PID=$!
	tap_until 20 test -S "$LOCUM_RUN/containerd.sock" || {
		tail -n 20 "$TAP_DIR/locum-containerd.log" >&2
		return 1
	}
}

ctd_stop_locum()
{
	[ -z "$CTD_LOCUM_PID" ] || tap_kill "$CTD_LOCUM_PID"
	CTD_LOCUM_PID=
}

# Containers first: their shims outlive containerd.
ctd_end()
{
	# shellcheck disable=SC2046
	[ -z "$CTD_PID" ] || ctd tasks kill -s 9 $(ctd tasks ls -q 2>/dev/null) >/dev/null 2>&1
	ctd_stop
	ctd_stop_locum
	for ctd_shim in /proc/[0-9]*/cmdline; do
		{ tr '\0' ' ' <"$ctd_shim"; } 2>/dev/null | grep -q "containerd-shim.*$CTD_SOCK" || continue
		ctd_shim=${ctd_shim%/cmdline}
		tap_kill "${ctd_shim#/proc/}"
	done
}

# Containers of the same name, of other runs of this, are none of our runc's business.
ctd()
{
	ctd_root=--runc-root=$TAP_DIR/runc
	for ctd_word; do
		shift
		set -- "$@" "$ctd_word"
		[ "$ctd_word" != run ] || [ -z "$ctd_root" ] || set -- "$@" "$ctd_root"
		[ "$ctd_word" != run ] || ctd_root=
	done
	PATH=$CTD_PATH timeout -k 5 60 ctr --address "$CTD_SOCK" "$@"
}

ctd_run()
{
	ctd run "$@"
}

# containerd 2 adds the labels in its transfer service, 1.6 leaves that to its client
ctd_pull()
{
	if [ "$CTD_VERSION" = testing ]; then
		ctd ${CTD_NS:+-n "$CTD_NS"} images pull --plain-http --snapshotter locum "$1"
	else
		timeout -k 5 60 ctr-remote --address "$CTD_SOCK" ${CTD_NS:+-n "$CTD_NS"} images rpull --plain-http --snapshotter locum "$1"
	fi
}

ctd_pull_plain()
{
	if [ "$CTD_VERSION" = testing ]; then
		ctd images pull --local --plain-http --snapshotter "${2:-locum}" "$1"
	else
		ctd images pull --plain-http --snapshotter "${2:-locum}" "$1"
	fi
}

ctd_fetch_content()
{
	tap_limit 60 "$LOCUM_CONTAINERD" --containerd "$CTD_SOCK" fetch "$1"
}

# DIGEST FILE LABEL=VALUE...: content that containerd's garbage collection leaves alone, if it does not come in between
ctd_ingest()
{
	ctd_content=$1
	ctd_file=$2
	shift 2
	for ctd_try in 1 2 3; do
		ctd content ingest --expected-digest "$ctd_content" "ingest-$ctd_content" <"$ctd_file" || return 1
		ctd content label "$ctd_content" containerd.io/gc.root=test "$@" >/dev/null && return 0
	done
	return 1
}

ctd_commit()
{
	ctd snapshots --snapshotter locum diff --keep --label containerd.io/gc.root=test "$1" >"$TAP_DIR/layer" || return 1
	# shellcheck disable=SC2046
	set -- "$2" $(python "$LCM_LIB/commit.py" image "$IT_OCI" "$TAP_DIR/layer" "$TAP_DIR")
	ctd_ingest "$2" "$TAP_DIR/config" && ctd_ingest "$3" "$TAP_DIR/manifest" "containerd.io/gc.ref.content.config=$2" || return 1
	python "$LCM_LIB/commit.py" create "$1" "$3" "$4" >"$TAP_DIR/message"
	tap_is "$V: an image is made of it" "$(curl -s --max-time 20 --http2-prior-knowledge --unix-socket "$CTD_SOCK" -D - -o /dev/null \
		-H 'content-type: application/grpc' -H 'te: trailers' -H 'containerd-namespace: default' --data-binary "@$TAP_DIR/message" \
		http://c/containerd.services.images.v1.Images/Create | tr -d '\r' | sed -n 's/^grpc-status: //p')" 0
}

ctd_digest()
{
	ctd images ls "name==$1" | awk 'NR == 2 { print $3 }'
}

# SNAPSHOTTER OP NAME PARENT|KEY: one that containerd's garbage collection leaves alone, if it does not come in between
ctd_snapshot()
{
	for ctd_try in 1 2 3; do
		ctd snapshots --snapshotter "$1" "$2" "$3" "$4" >/dev/null || return 1
		ctd snapshots --snapshotter "$1" label "$3" containerd.io/gc.root=test >/dev/null && return 0
	done
	return 1
}

# SNAPSHOTTER: the committed snapshot that no other has as its parent
ctd_top()
{
	ctd snapshots --snapshotter "$1" ls |
		awk '$NF == "Committed" { all[$1]; if (NF == 3) parent[$2] } END { for (s in all) if (!(s in parent)) print s }'
}

ctd_ended()
{
	! ctd tasks ls | grep -q "^$1 .*RUNNING"
}

ctd_no_snapshots()
{
	[ -z "$(ctd snapshots --snapshotter locum ls | tail -n +2)" ]
}

ctd_no_daemon()
{
	[ -z "$(daemon_pids)" ]
}

ctd_no_mounts()
{
	[ -z "$("$LOCUM" status)" ]
}

ctd_layers()
{
	find "$LOCUM_ROOT/real" "$LOCUM_ROOT/snapshots" -mindepth 1 -maxdepth 1 -name '[0-9]*'
}

ctd_no_layers()
{
	[ -z "$(ctd_layers)" ]
}
