# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# itest.sh - real images for the cases of the main job, on top of tap.sh, images.sh and daemon.sh. Source it, then:
#
#   it_begin NAME SECONDS BUILDDIR  tap_begin and daemon_begin; FUSE mounts from now on are this case's own
#   it_image NAME KIND              IT_OCI: an OCI layout with image python, nasty or nasty-small (2 MB instead of 70 in its
#                                   biggest file) as tag t (KIND as image_copy's), made once in
#                                   $IT_CACHE (default /var/cache/locum-quickstart/itest) and shared read-only
#   it_serve [OPTION...]            badregistry of $IT_OCI; IT_REF is the image in it
#   it_reference                    IT_TREE: umoci's unpack of $IT_OCI (gzip or uncompressed), made once
#   it_wait ID STATE SECONDS        locum wait
#   it_rest SECONDS                 pulls what is missing of $IT_REF (for daemons with --no-background)
#   it_fuse [PID]                   prints the FUSE mounts that PID sees; without it this case's that the host sees
#   it_pool NAME TYPE SIZE          a pool of storage units on a file system (xfs, btrfs, ext4) of its own: $TAP_DIR/pool/NAME;
#                                   its status is 1 without that one's mkfs
#   it_pool_fs NAME TYPE SIZE       only that file system; its image is in $IT_IMG ($TAP_DIR)
#   it_unit KEY FIELD               a field of `locum unit show --json KEY`
#   it_no_pool NAME                 it goes: nothing may be in it any more, and no loop device has a file of it
#   it_hold_units SECONDS           another process, IT_HOLDER, works on all units for so long: who wants to detach one waits
#   it_release_units                it does so no more
#   own_cgroups SECONDS CMD...      runs CMD, at most so long, without the v2 part of a hybrid cgroup tree, which runtimes refuse
#   it_end                          before tap_end: stops all in order; nothing is left and sanitizers are silent

it_here=${LCM_LIB:-${0%/*}/../lib}
# shellcheck disable=SC2034
LCM_LIB=$it_here
# shellcheck source=tests/lib/tap.sh
. "$it_here/tap.sh"
# shellcheck source=tests/lib/images.sh
. "$it_here/images.sh"
# shellcheck source=tests/lib/daemon.sh
. "$it_here/daemon.sh"

it_begin()
{
	[ -x "${3:-}/locum" ] || {
		echo "Bail out! usage: $0 BUILDDIR"
		exit 1
	}
	tap_begin "$1" "$2"
	daemon_begin "$3"
	mkdir "$TAP_DIR/m"
	M=$TAP_DIR/m
}

it_image()
{
	it_cache=${IT_CACHE:-/var/cache/locum-quickstart/itest}
	it_kind=$(printf %s "$2" | tr : -)
	# shellcheck disable=SC2154 # images.sh has images_recipe
	case $1 in
	python) IT_OCI=$it_cache/python-$images_recipe-$(cat "$LCM_LIB"/app/*.py | cksum | cut -d' ' -f1)-$it_kind ;;
	nasty-small) IT_OCI=$it_cache/nasty-small-$(cksum <"$LCM_LIB/nasty.py" | cut -d' ' -f1)-$it_kind ;;
	nasty) IT_OCI=$it_cache/nasty-$(cksum <"$LCM_LIB/nasty.py" | cut -d' ' -f1)-$it_kind ;;
	esac
	[ ! -d "$IT_OCI" ] || return 0
	mkdir -p "$it_cache" && it_new=$(mktemp -d "$it_cache/new.XXXXXX") || return 1
	tap_clock_stop
	it_make "$1" "$2" && { mv -T "$it_new/oci" "$IT_OCI" 2>/dev/null || [ -d "$IT_OCI" ]; }
	it_status=$?
	rm -rf "$it_new"
	tap_clock_start
	return "$it_status"
}

it_make()
{
	if [ "$1" = python ]; then
		image_python "${it_cache%/*}" "$it_new/src" t
	elif [ "$1" = nasty-small ]; then
		image_nasty "$it_new/src" t --big 2000000
	else
		image_nasty "$it_new/src" t --big 70000000
	fi && IMAGES_CACHE='' image_copy "oci:$it_new/src:t" "$2" "oci:$it_new/oci:t"
}

it_serve()
{
	bad_start "$IT_OCI" "$@" && IT_REF=$BAD_HOST/x:t
}

it_reference()
{
	IT_TREE=$IT_OCI.unpacked/rootfs
	[ ! -d "$IT_TREE" ] || return 0
	it_new=$(mktemp -d "$IT_OCI.new.XXXXXX") || return 1
	reference_unpack "$IT_OCI:t" "$it_new/u" && mv -T "$it_new/u" "$IT_OCI.unpacked"
	it_status=$?
	rm -rf "$it_new"
	return "$it_status"
}

it_wait()
{
	tap_limit "$3" "$LOCUM" wait "$1" --for "$2"
}

it_rest()
{
	tap_limit "$1" "$LOCUM" pull "$IT_REF"
}

# Other FUSE mounts of the host are none of our business; a container has none but ours.
it_fuse()
{
	if [ $# = 0 ]; then
		awk -v d="$TAP_DIR/" '/ - fuse[.a-z]* / && (index($5, d) == 1 || / locum:/)' /proc/self/mountinfo
	else
		grep ' - fuse[.a-z]* ' "/proc/$1/mountinfo" || :
	fi
}

it_pool()
{
	command -v "mkfs.$2" >/dev/null && it_pool_fs "$@" && "$LOCUM" unit pool add "$1" "$TAP_DIR/pool/$1" >/dev/null
}

it_pool_fs()
{
	it_img=${IT_IMG:-$TAP_DIR}/$1.img
	truncate -s "$3" "$it_img" && "mkfs.$2" -q "$it_img" >/dev/null && mkdir -p "$TAP_DIR/pool/$1" &&
		mount -o loop "$it_img" "$TAP_DIR/pool/$1"
}

it_unit()
{
	"$LOCUM" unit show --json "$1" | jq -r ".$2"
}

it_no_pool()
{
	! losetup -l -n -O BACK-FILE | grep "^$TAP_DIR/pool/$1/" >&2 && "$LOCUM" unit check && "$LOCUM" unit pool remove "$1" && umount "$TAP_DIR/pool/$1" && rm "$TAP_DIR/$1.img"
}

it_hold_units()
{
	rm -f "$TAP_DIR/held" "$TAP_DIR/release"
	mkfifo "$TAP_DIR/release" || return 1
	python -c 'import fcntl, os, select, sys
f = open(sys.argv[1], "r+b")
fcntl.lockf(f, fcntl.LOCK_EX)
release = os.open(sys.argv[2], os.O_RDWR)
open(sys.argv[3], "w").close()
select.select([release], [], [], float(sys.argv[4]))' "$LOCUM_ROOT/units.lock" "$TAP_DIR/release" "$TAP_DIR/held" "$1" >/dev/null &
	# shellcheck disable=SC2034
	IT_HOLDER=$!
	tap_until 10 test -e "$TAP_DIR/held"
}

it_release_units()
{
	echo 1<>"$TAP_DIR/release"
	wait "$IT_HOLDER"
}

own_cgroups()
{
	own_seconds=$1
	shift
	# shellcheck disable=SC2016
	tap_limit "$own_seconds" unshare -m --propagation slave sh -c 'umount -l /sys/fs/cgroup/unified 2>/dev/null; exec "$@"' sh "$@"
}

it_end()
{
	tap_ok 'the daemon ends in order' daemon_stop
	bad_stop
	tap_is 'no mount, container or temporary file is left' "$(daemon_leftovers | grep -v '^half layer')" ''
}
