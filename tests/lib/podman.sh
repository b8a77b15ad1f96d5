# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# podman.sh - podman with a store of its own, on top of itest.sh. Source it after it_begin, then:
#
#   podman_do ARG...    podman 4.3 of Debian 12; podman_run ARG... its run, without network
#   podman5_root        Debian testing's podman, made once
#   podman5 ARG...      podman of Debian testing, with $TAP_DIR/storage5.conf
#
# $TAP_DIR/storage.conf is its configuration, to which cases append.

# podman's default limits are refused where root lacks CAP_SYS_RESOURCE
limit()
{
	sed -n "s/^Max $1  *[0-9a-z]*  *\([0-9a-z]*\) .*/\1/p" /proc/self/limits | sed 's/unlimited/4194304/'
}
files=$(limit 'open files')
procs=$(limit processes)
[ "$procs" -lt 4096 ] || procs=4096
printf '[containers]\ndefault_ulimits = ["nofile=%s:%s", "nproc=%s:%s"]\n' "$files" "$files" "$procs" "$procs" >"$TAP_DIR/containers.conf"
cat >"$TAP_DIR/storage.conf" <<-END
	[storage]
	driver = "overlay"
	graphroot = "$TAP_DIR/graph"
	runroot = "$TAP_DIR/graph-run"
END
CONTAINERS_CONF=$TAP_DIR/containers.conf
CONTAINERS_STORAGE_CONF=$TAP_DIR/storage.conf
export CONTAINERS_CONF CONTAINERS_STORAGE_CONF

podman_do()
{
	own_cgroups 60 podman --cgroup-manager=cgroupfs --events-backend=none "$@"
}

podman_run()
{
	podman_do run --network=none "$@"
}

# Debian testing's podman, in a root file system of its own: it wants a newer C library.
podman5_root()
{
	ROOT5=${IT_CACHE:-/var/cache/locum-quickstart/itest}/testing-podman
	[ ! -d "$ROOT5" ] || return 0
	tap_clock_stop
	new=$(mktemp -d "$ROOT5.XXXXXX") &&
		images_step "Debian testing's podman" debootstrap --variant=minbase --include=podman,crun,ca-certificates testing "$new/root" \
			"${IMAGES_MIRROR:-http://deb.debian.org/debian}" && mv -T "$new/root" "$ROOT5"
	status=$?
	rm -rf "$new"
	tap_clock_start
	return $status
}

# Its root is mounted over this case's directory, which it sees at the same path.
podman5()
{
	# shellcheck disable=SC2016
	PODMAN_IGNORE_CGROUPSV1_WARNING=1 own_cgroups 60 sh -c 'root=$1 dir=$2
		shift 2
		mkdir -p "$dir/root5" "$dir/upper5" "$dir/work5" "$dir/graph5"
		mount -t overlay overlay -o "lowerdir=$root,upperdir=$dir/upper5,workdir=$dir/work5" "$dir/root5" || exit
		for m in /proc /sys /dev; do mount --rbind $m "$dir/root5$m"; done
		mkdir -p "$dir/root5$dir/run" "$dir/root5$dir/graph5"
		mount --rbind "$dir/run" "$dir/root5$dir/run" && mount --bind "$dir/graph5" "$dir/root5$dir/graph5" || exit
		cp "$dir/storage5.conf" "$dir/containers.conf" "$dir/root5$dir"
		export CONTAINERS_CONF="$dir/containers.conf" CONTAINERS_STORAGE_CONF="$dir/storage5.conf"
		exec chroot "$dir/root5" podman --cgroup-manager=cgroupfs --events-backend=none "$@"' sh "$ROOT5" "$TAP_DIR" "$@"
}
