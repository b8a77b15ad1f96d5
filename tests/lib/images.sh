# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# images.sh - real images and a real registry for quickstart, tests and benchmarks. Source it; all of it needs root.
#
#   LCM_LIB=DIR                        where this file lies (default: $srcdir/tests/lib); set it before the first call
#
#   image_python CACHE OCI TAG         Debian + python3 + an application (see below) in the OCI layout OCI, gzip layers.
#                                      CACHE (e.g. /var/cache/locum-quickstart) keeps packages and the finished image.
#   image_nasty OCI TAG [OPTION...]    everything a layer may hold (nasty.py says what), uncompressed layers
#   image_copy SRC KIND DEST           SRC and DEST: oci:DIR:TAG, dir:DIR or docker://HOST/NAME:TAG (plain http)
#                                      KIND: as-is, uncompressed, gzip, zstd or zstd:chunked. zstd:chunked is made from
#                                      any SRC, by way of an uncompressed copy. The result is checked to be of that KIND.
#                                      With IMAGES_CACHE=DIR what was compressed once is kept there.
#   image_kind REF                     prints as image_copy's KIND, or "mixed"
#   reference_unpack OCI:TAG DIR       another tool's (umoci's) unpack, in DIR/rootfs; gzip or uncompressed layers
#   registry_start DIR                 docker-registry on a free loopback port that stores in DIR; sets REGISTRY_HOST
#                                      (127.0.0.1:PORT), REGISTRY_URL, REGISTRY_PID; its log is DIR/log
#   registry_stop                      ends it; DIR stays
#
# Progress goes to standard error, one line per step with its seconds. Every function returns non-zero on failure.
# IMAGES_MIRROR and IMAGES_SUITE replace what is found in the host's apt sources.
#
# The python image: layer 1 debootstrap's minbase, layer 2 python3 and what it depends on, layer 3 /app and whiteouts.
# Env LANG=C.UTF-8 and APP=tour, WorkingDir /app, User app (1000), Cmd python3 /app/hello.py.

# Part of the name in the cache: count it up with each change of what the python image is made of.
images_recipe=2

images_say()
{
	printf '%s\n' "$*" >&2
}

images_fail()
{
	images_say "images: $*"
	return 1
}

images_step()
{
	# TEXT CMD...: run with the time it took; what it prints is shown only when it fails
	step_text=$1
	step_log=$(mktemp) || return 1
	step_from=$(date +%s%N)
	shift
	if "$@" >"$step_log" 2>&1; then
		step_ms=$((($(date +%s%N) - step_from) / 1000000))
		images_say "$(printf '%4d.%d s  %s' $((step_ms / 1000)) $((step_ms / 100 % 10)) "$step_text")"
		rm -f "$step_log"
	else
		step_status=$?
		tail -n 30 "$step_log" >&2
		rm -f "$step_log"
		images_fail "$step_text: failed with status $step_status"
	fi
}

images_need()
{
	for images_tool in "$@"; do
		command -v "$images_tool" >/dev/null || images_fail "$images_tool is not installed" || return 1
	done
}

images_lib()
{
	LCM_LIB=${LCM_LIB:-${srcdir:-.}/tests/lib}
	[ -f "$LCM_LIB/nasty.py" ] || images_fail "$LCM_LIB: not the directory of images.sh; set LCM_LIB"
}

# The first Debian mirror of the host's own release, as "URI SUITE".
images_source()
{
	# shellcheck disable=SC1091
	images_suite=${IMAGES_SUITE:-$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")}
	[ -n "$images_suite" ] || images_fail "no release name in /etc/os-release; set IMAGES_SUITE" || return 1
	# shellcheck disable=SC2016
	images_uri=${IMAGES_MIRROR:-$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
		'Created-By: Packages' 'Origin: Debian' 2>/dev/null |
		awk -v s="$images_suite" '$2 == s && $3 == "main" { print $1; exit }')}
	# before the first apt-get update nothing is known of origins
	: "${images_uri:=$(apt-get --print-uris update 2>/dev/null |
		sed -n "s|^'\(http[^']*\)/dists/$images_suite/InRelease'.*|\1|p" | head -n 1)}"
	[ -n "$images_uri" ] || images_fail "no mirror of $images_suite in the apt sources; set IMAGES_MIRROR" || return 1
	printf '%s %s\n' "${images_uri%/}" "$images_suite"
}

# No padding after the two zero blocks (-b1): skopeo 1.9 leaves it out of zstd:chunked layers, and the diffID is wrong then.
# Names and times do not depend on when it was built: sorted, and nothing is newer than the release.
images_tar()
{
	# ROOT OUT ARGUMENT...
	images_root=$1
	images_out=$2
	shift 2
	tar -C "$images_root" -b1 -cf "$images_out" --format=posix --numeric-owner --xattrs --xattrs-include='*' \
		--pax-option='exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime' \
		--mtime="@$(cat "$images_work/epoch")" --clamp-mtime "$@"
}

images_bootstrap()
{
	# URI SUITE: a root with nothing in it that was not in a package
	debootstrap --variant=minbase --download-only --include=python3 --cache-dir="$images_cache/debs" \
		"$2" "$images_work/download" "$1" || return 1
	rm -rf "$images_work/download"
	mkdir -p "$images_work/root/etc/dpkg/dpkg.cfg.d" || return 1
	echo force-unsafe-io >"$images_work/root/etc/dpkg/dpkg.cfg.d/unsafe-io"
	debootstrap --variant=minbase --cache-dir="$images_cache/debs" "$2" "$images_work/root" "$1" || return 1
	images_date=$(sed -n 's/^Date: //p' "$images_work/root"/var/lib/apt/lists/*Release | head -n 1)
	date -d "$images_date" +%s >"$images_work/epoch"
}

images_clean()
{
	(
		cd "$images_work/root" || exit 1
		rm -rf var/lib/apt/lists/* var/cache/apt/*.bin var/cache/apt/archives/*.deb var/log/* var/cache/ldconfig/* \
			tmp/* run/* etc/dpkg/dpkg.cfg.d/unsafe-io var/cache/debconf/*-old var/lib/dpkg/*-old etc/machine-id
		printf 'image\n' >etc/hostname
		: >etc/resolv.conf
	)
}

images_base()
{
	images_clean || return 1
	images_tar "$images_work/root" "$images_work/base.tar" --sort=name --exclude='./dev/*' --exclude='./proc/*' \
		--exclude='./sys/*' . || return 1
	(cd "$images_work/root" && find . -xdev | LC_ALL=C sort >"$images_work/before")
}

images_python_install()
{
	# packages that were downloaded and are not in the root yet
	mkdir "$images_work/root/tmp/debs" || return 1
	for images_deb in "$images_cache"/debs/*.deb; do
		images_name=$(dpkg-deb -f "$images_deb" Package)
		chroot "$images_work/root" dpkg-query -s "$images_name" >/dev/null 2>&1 ||
			cp "$images_deb" "$images_work/root/tmp/debs/" || return 1
	done
	touch "$images_work/stamp"
	# ctime has the granularity of a timer tick
	sleep 0.05
	# in the second round what others pre-depend on is configured
	DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$images_work/root" sh -c \
		'mount -t proc proc /proc && for i in 1 2 3; do dpkg --force-unsafe-io -iE /tmp/debs/*.deb && exit; done; exit 1' ||
		return 1
	umount "$images_work/root/proc" || return 1
	images_clean
}

# What changed since the stamp, directories without their content, and whiteouts for what went.
images_python_layer()
{
	(
		cd "$images_work/root" || exit 1
		find . -xdev | LC_ALL=C sort >"$images_work/after"
		find . -xdev -cnewer "$images_work/stamp" ! -path './dev/*' ! -path './proc*' ! -path './sys/*' |
			LC_ALL=C sort >"$images_work/changed"
		mkdir "$images_work/gone"
		LC_ALL=C comm -23 "$images_work/before" "$images_work/after" | while IFS= read -r images_path; do
			mkdir -p "$images_work/gone/${images_path%/*}" &&
				: >"$images_work/gone/${images_path%/*}/.wh.${images_path##*/}"
		done
	)
	images_tar "$images_work/root" "$images_work/python.tar" --no-recursion --verbatim-files-from \
		-T "$images_work/changed" || return 1
	images_wh "$images_work/gone" "$images_work/python.tar"
}

# Append the whiteouts of a directory tree that holds only them.
images_wh()
{
	(cd "$1" && find . -type f -name '.wh.*' | LC_ALL=C sort) >"$images_work/list"
	[ ! -s "$images_work/list" ] || tar -C "$1" -b1 -rf "$2" --format=posix --owner=0 --group=0 --numeric-owner --mode=0644 \
		--mtime="@$(cat "$images_work/epoch")" --no-recursion --verbatim-files-from -T "$images_work/list" \
		--pax-option='exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime'
}

images_app_layer()
{
	images_new=$images_work/new
	mkdir -p "$images_new/app" "$images_new/etc" "$images_new/usr/share/doc" "$images_new/usr/share" || return 1
	cp "$LCM_LIB/app/"*.py "$images_new/app/" || return 1
	cp "$images_work/root/etc/passwd" "$images_work/root/etc/group" "$images_new/etc/" || return 1
	echo 'app:x:1000:1000:app:/app:/bin/sh' >>"$images_new/etc/passwd"
	echo 'app:x:1000:' >>"$images_new/etc/group"
	# a directory that goes, one that is emptied, and files here and there
	: >"$images_new/usr/share/.wh.lintian"
	mkdir -p "$images_new/usr/share/man"
	: >"$images_new/usr/share/man/.wh..wh..opq"
	for images_path in "$images_work/root"/usr/share/doc/*/changelog.Debian.gz; do
		images_name=${images_path#"$images_work/root/"}
		mkdir -p "$images_new/${images_name%/*}"
		: >"$images_new/${images_name%/*}/.wh.changelog.Debian.gz"
	done
	find "$images_new" -exec touch -h -d "@$(cat "$images_work/epoch")" {} +
	chmod -R u=rwX,go=rX "$images_new" || return 1
	chown -R 0:0 "$images_new" || return 1
	(cd "$images_new" && find . | LC_ALL=C sort | grep -vx '\.') >"$images_work/list"
	images_tar "$images_new" "$images_work/app.tar" --no-recursion --verbatim-files-from -T "$images_work/list"
}

images_pack()
{
	# OCI TAG: the three layers with their config
	images_date=$(date -u -d "@$(cat "$images_work/epoch")" +%Y-%m-%dT%H:%M:%SZ)
	umoci init --layout "$1" && umoci new --image "$1:$2" || return 1
	for images_layer in base python app; do
		umoci raw add-layer --image "$1:$2" --history.created "$images_date" \
			--history.created_by "$images_layer" "$images_work/$images_layer.tar" || return 1
	done
	umoci config --image "$1:$2" --config.env PATH=/usr/local/bin:/usr/bin:/bin --config.env LANG=C.UTF-8 \
		--config.env APP=tour --config.workingdir /app --config.user app --config.cmd python3 \
		--config.cmd /app/hello.py --created "$images_date" --history.created "$images_date" || return 1
	umoci gc --layout "$1"
}

images_python_steps()
{
	images_step "debootstrap minbase ($2, $1)" images_bootstrap "$1" "$2" &&
		images_step 'layer 1: base' images_base &&
		images_step 'python3 and what it needs' images_python_install &&
		images_step 'layer 2: python3' images_python_layer &&
		images_step 'layer 3: application and whiteouts' images_app_layer &&
		images_step 'umoci: OCI layout with gzip layers' images_pack "$images_work/oci" python
}

# In a mount namespace of its own, so that nothing can stay mounted.
images_python_build()
{
	images_cache=$1
	images_work=$2
	images_python_steps "$3" "$4"
}

image_python()
{
	images_lib && images_need debootstrap dpkg-deb umoci skopeo tar unshare || return 1
	images_found=$(images_source) || return 1
	images_key=$1/python-${images_found##* }-$(dpkg --print-architecture)-$images_recipe-$(cat "$LCM_LIB"/app/*.py | cksum | cut -d' ' -f1)
	if [ ! -d "$images_key" ]; then
		mkdir -p "$1/debs" && images_tmp=$(mktemp -d "$1/work.XXXXXX") || return 1
		# shellcheck disable=SC2016,SC2086
		if ! LCM_LIB=$LCM_LIB unshare -m --propagation private sh -c \
			'. "$LCM_LIB/images.sh" && images_python_build "$@"' sh "$1" "$images_tmp" $images_found ||
			! mv "$images_tmp/oci" "$images_key"; then
			rm -rf --one-file-system "$images_tmp"
			return 1
		fi
		rm -rf --one-file-system "$images_tmp"
	fi
	mkdir -p "$2" || return 1
	images_step "python image to oci:$2:$3" images_skopeo copy "oci:$images_key:python" "oci:$2:$3"
}

image_nasty()
{
	images_lib && images_need python3 || return 1
	images_oci=$1
	images_tag=$2
	shift 2
	images_step "nasty image to oci:$images_oci:$images_tag $*" python3 "$LCM_LIB/nasty.py" "$@" "$images_oci" "$images_tag"
}

# skopeo remembers in /var/lib/containers/cache which blobs are compressions of which, and reuses one of another kind
# without a word. It gets an empty memory each time, in a mount namespace of its own.
images_skopeo()
{
	# shellcheck disable=SC2016
	unshare -m --propagation private sh -c \
		'mkdir -p /var/lib/containers/cache && mount -t tmpfs -o size=16m tmpfs /var/lib/containers/cache && exec skopeo "$@"' \
		sh "$@"
}

images_manifest()
{
	case $1 in
	docker://*) images_skopeo inspect --tls-verify=false --raw "$1" ;;
	*) images_skopeo inspect --raw "$1" ;;
	esac
}

images_count()
{
	# TEXT ERE: how often
	printf '%s' "$1" | grep -Eo -- "$2" | wc -l
}

image_kind()
{
	images_text=$(images_manifest "$1" | tr -d ' \n\t') || return 1
	images_text=${images_text#*\"layers\":}
	images_all=$(images_count "$images_text" '"digest":"sha256:')
	if [ "$(images_count "$images_text" 'zstd-chunked\.manifest-checksum')" -eq "$images_all" ]; then
		echo zstd:chunked
	elif [ "$(images_count "$images_text" 'tar\+zstd"')" -eq "$images_all" ]; then
		echo zstd
	elif [ "$(images_count "$images_text" 'tar[+.]gzip"')" -eq "$images_all" ]; then
		echo gzip
	elif [ "$(images_count "$images_text" '\.tar"')" -eq "$images_all" ]; then
		echo uncompressed
	else
		echo mixed
	fi
}

images_copy()
{
	# SRC DEST OPTION...
	images_src=$1
	images_dest=$2
	shift 2
	case $images_src in docker://*) set -- --src-tls-verify=false "$@" ;; esac
	case $images_dest in docker://*) set -- --dest-tls-verify=false "$@" ;; esac
	images_skopeo copy -q "$@" "$images_src" "$images_dest"
}

images_tmp()
{
	mktemp -d "${TMPDIR:-/var/tmp}/locum-images.XXXXXX"
}

# The layers as they are, also when they are not compressed.
images_as_is()
{
	case $2 in
	oci:*) images_copy "$1" "$2" --dest-oci-accept-uncompressed-layers ;;
	*) images_copy "$1" "$2" ;;
	esac
}

# SRC KIND DEST: only uncompressed layers are compressed anew, and only where the uncompressed ones are not there yet:
# else skopeo takes those. Hence by way of an empty layout.
images_recompress()
{
	images_from_kind=$(image_kind "$1") || return 1
	if [ "$images_from_kind" = "$2" ] || [ "$2" = as-is ]; then
		images_as_is "$1" "$3"
		return
	fi
	case $2:$3 in
	uncompressed:dir:*)
		images_copy "$1" "$3" --dest-decompress
		return
		;;
	*:dir:*)
		images_fail "$3: skopeo compresses a dir: copy with gzip only; use oci:"
		return
		;;
	esac
	if [ -n "${IMAGES_CACHE:-}" ]; then
		images_key=$IMAGES_CACHE/copies/$(images_manifest "$1" | sha256sum | cut -c1-64)-$(printf %s "$2" | tr : -)
		[ -d "$images_key" ] || images_new "$1" "$2" "$images_key" || return 1
		images_as_is "oci:$images_key:x" "$3"
		return
	fi
	images_dir=$(images_tmp) || return 1
	images_new "$1" "$2" "$images_dir/oci" && images_as_is "oci:$images_dir/oci:x" "$3"
	images_status=$?
	rm -rf "$images_dir"
	return "$images_status"
}

# SRC KIND OCI: the layout OCI appears with the image as tag x, whole or not at all.
images_new()
{
	mkdir -p "${3%/*}" && images_work=$(mktemp -d "${3%/*}/new.XXXXXX") || return 1
	images_convert "$1" "$2" "$images_work/oci" && mv -T "$images_work/oci" "$3"
	images_status=$?
	rm -rf "$images_work"
	return "$images_status"
}

images_convert()
{
	images_plain=$1
	if [ "$images_from_kind" != uncompressed ]; then
		images_plain=dir:$images_work/plain
		images_copy "$1" "$images_plain" --dest-decompress || return 1
	fi
	if [ "$2" = uncompressed ]; then
		images_as_is "$images_plain" "oci:$3:x"
	else
		images_copy "$images_plain" "oci:$3:x" --dest-compress-format "$2"
	fi
}

image_copy()
{
	images_need skopeo unshare || return 1
	images_step "$1 as $2 to $3" images_recompress "$1" "$2" "$3" || return 1
	[ "$2" != as-is ] || return 0
	images_kind=$(image_kind "$3") || return 1
	[ "$images_kind" = "$2" ] || images_fail "$3 is $images_kind, not $2"
}

reference_unpack()
{
	images_need umoci || return 1
	images_step "umoci unpack $1 to $2" umoci unpack --image "$1" "$2" || return 1
	# umoci takes an xattr without a value for one that is deleted; containerd and podman do not
	for images_path in "$2"/rootfs/xattrs/empty*; do
		[ ! -e "$images_path" ] || setfattr -n user.empty "$images_path" || return 1
	done
}

registry_start()
{
	images_need docker-registry || return 1
	mkdir -p "$1/data" || return 1
	cat >"$1/config.yml" <<-END || return 1
		version: 0.1
		log:
		  level: info
		storage:
		  filesystem:
		    rootdirectory: $1/data
		  delete:
		    enabled: true
		http:
		  addr: 127.0.0.1:0
	END
	OTEL_TRACES_EXPORTER=none docker-registry serve "$1/config.yml" >"$1/log" 2>&1 </dev/null &
	REGISTRY_PID=$!
	images_left=200
	while :; do
		REGISTRY_HOST=$(sed -n 's/.*msg="listening on \(127\.0\.0\.1:[0-9]*\)".*/\1/p' "$1/log")
		[ -z "$REGISTRY_HOST" ] || break
		images_left=$((images_left - 1))
		if [ "$images_left" -eq 0 ] || ! kill -0 "$REGISTRY_PID" 2>/dev/null; then
			tail -n 5 "$1/log" >&2
			images_fail "docker-registry did not start; its log is $1/log"
			return 1
		fi
		sleep 0.05
	done
	# shellcheck disable=SC2034
	REGISTRY_URL=http://$REGISTRY_HOST
}

registry_stop()
{
	[ -n "${REGISTRY_PID:-}" ] || return 0
	kill "$REGISTRY_PID" 2>/dev/null || :
	wait "$REGISTRY_PID" 2>/dev/null || :
	REGISTRY_PID=
}

# ---- a small image ----
#
# small_image DIR   about 7 MB in 2 layers, made in a second: DIR/uncompressed, DIR/gzip, DIR/zstd and DIR/zc
#                   (zstd:chunked), each an OCI layout with tag t; DIR/rootfs is umoci's unpack of it.
#                   300 files below /many, /data/medium (1.5 MB, random), /data/big (9 MB, half of it zeros), /bin/busybox.

# -b 1: skopeo's zstd:chunked writer drops what follows the two zero blocks at a tar's end, and the diffID with it.
small_layers()
{
	mkdir -p "$1/base/bin" "$1/base/many" "$1/base/data" "$1/base/tmp" "$1/top/etc" "$1/top/many" || return 1
	cp "$(command -v busybox)" "$1/base/bin/busybox" && ln -s busybox "$1/base/bin/sh" || return 1
	small_i=0
	while [ "$small_i" -lt 300 ]; do
		printf 'file %d of the small image\n%s\n' "$small_i" "$PATH" >"$1/base/many/$small_i"
		small_i=$((small_i + 1))
	done
	head -c 1500000 /dev/urandom >"$1/base/data/medium" || return 1
	head -c 4500000 /dev/urandom >"$1/base/data/big" && truncate -s 9000000 "$1/base/data/big" || return 1
	ln "$1/base/many/1" "$1/base/many/1.link" && chmod 4755 "$1/base/many/2" && chown 1000:1001 "$1/base/many/3" || return 1
	echo small >"$1/top/etc/hostname"
	echo 'from the top layer' >"$1/top/many/0"
	: >"$1/top/many/.wh.299"
	chmod 1777 "$1/base/tmp"
	find "$1/base" "$1/top" -exec touch -h -d @1700000000 {} +
	for small_layer in base top; do
		tar -C "$1/$small_layer" -b 1 -cf "$1/$small_layer.tar" --format=posix --sort=name --numeric-owner \
			--pax-option='delete=atime,delete=ctime' . || return 1
	done
}

small_pack()
{
	umoci init --layout "$1/gzip" && umoci new --image "$1/gzip:t" &&
		umoci raw add-layer --image "$1/gzip:t" "$1/work/base.tar" &&
		umoci raw add-layer --image "$1/gzip:t" "$1/work/top.tar" &&
		umoci config --image "$1/gzip:t" --config.env PATH=/bin --config.cmd /bin/sh && umoci gc --layout "$1/gzip"
}

small_image()
{
	images_need umoci skopeo tar busybox || return 1
	mkdir -p "$1/work" || return 1
	images_step 'small image: two layers' small_layers "$1/work" && images_step 'small image: gzip' small_pack "$1" &&
		image_copy "oci:$1/gzip:t" uncompressed "oci:$1/uncompressed:t" &&
		image_copy "oci:$1/uncompressed:t" zstd "oci:$1/zstd:t" &&
		image_copy "oci:$1/uncompressed:t" zstd:chunked "oci:$1/zc:t" &&
		reference_unpack "$1/gzip:t" "$1/unpacked" && mv "$1/unpacked/rootfs" "$1/rootfs" && rm -rf "$1/work" "$1/unpacked"
}
