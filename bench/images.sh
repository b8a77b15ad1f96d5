#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Real images for `locum bench start`: Debian with a program each, made by debootstrap, in two layers (Debian, and what the program needs),
# pushed as zstd:chunked to a registry. Prints lines for --file.
# Usage: bench/images.sh DIR REGISTRY    DIR keeps packages and images (some 2 GB); needs root and what the tests need
set -u
LCM_LIB=${0%/*}/../tests/lib
# shellcheck source=tests/lib/images.sh
. "$LCM_LIB/images.sh"
[ $# = 2 ] || {
	sed -n 's/^# Usage: /usage: /p' "$0" >&2
	exit 2
}
dir=$1
registry=$2
suite=bookworm
mkdir -p "$dir/debs" || exit 1

base()
{
	[ ! -d "$dir/base" ] || return 0
	rm -rf --one-file-system "$dir/base.new"
	debootstrap --variant=minbase --cache-dir="$(cd "$dir" && pwd)/debs" "$suite" "$dir/base.new" >"$dir/log" 2>&1 && mv "$dir/base.new" "$dir/base"
}

# NAME PACKAGES... tar -b 1: skopeo's zstd:chunked writer drops what follows the two zero blocks at the end, and the diffID with it.
oci()
{
	name=$1
	shift
	rm -rf "$dir/$name.new" "$dir/$name.root"
	umoci init --layout "$dir/$name.new" && umoci new --image "$dir/$name.new:t" && tar -C "$dir/base" -b 1 -cf "$dir/tar" --exclude='./dev/*' . &&
		umoci raw add-layer --image "$dir/$name.new:t" "$dir/tar" && cp -a "$dir/base" "$dir/$name.root" || return 1
	touch "$dir/stamp"
	cp /etc/apt/sources.list "$dir/$name.root/etc/apt/" 2>/dev/null
	cp /etc/apt/sources.list.d/* "$dir/$name.root/etc/apt/sources.list.d/" 2>/dev/null
	cp /etc/apt/apt.conf.d/*proxy* "$dir/$name.root/etc/apt/apt.conf.d/" 2>/dev/null
	cp /etc/resolv.conf "$dir/$name.root/etc/"
	printf '#!/bin/sh\nexit 101\n' >"$dir/$name.root/usr/sbin/policy-rc.d" && chmod 755 "$dir/$name.root/usr/sbin/policy-rc.d"
	chroot "$dir/$name.root" sh -c 'apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@"' sh "$@" >"$dir/log" 2>&1 || return 1
	rm -rf "$dir/$name.root"/var/lib/apt/lists/* "$dir/$name.root"/var/cache/apt/* "$dir/$name.root/etc/resolv.conf"
	(cd "$dir/$name.root" && find . -xdev -cnewer "$dir/stamp" ! -path './dev/*' | LC_ALL=C sort) >"$dir/list"
	tar -C "$dir/$name.root" -b 1 -cf "$dir/tar" --no-recursion --verbatim-files-from -T "$dir/list" &&
		umoci raw add-layer --image "$dir/$name.new:t" "$dir/tar" && umoci gc --layout "$dir/$name.new" && mv "$dir/$name.new" "$dir/$name"
	rm -rf "$dir/$name.root" "$dir/tar"
}

# NAME COMMAND PACKAGES...
image()
{
	name=$1
	command=$2
	shift 2
	[ -d "$dir/$name" ] || oci "$name" "$@" || {
		tail -n 5 "$dir/log" >&2
		exit 1
	}
	image_copy "oci:$dir/$name:t" zstd:chunked "docker://$registry/$name:t" >&2 || exit 1
	echo "$registry/$name:t $command"
}

base || {
	tail -n 5 "$dir/log" >&2
	exit 1
}
image python '/usr/bin/python3 -c print(1)' python3
image redis '/usr/bin/redis-server --version' redis-server
image node '/usr/bin/node -p process.version' nodejs
