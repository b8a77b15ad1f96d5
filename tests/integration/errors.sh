#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# errors.sh BUILDDIR - every error: one line that names the thing and the way out, its exit status, nothing left behind.
set -u
srcdir=${srcdir:-$(dirname "$0")/../..}
LCM_LIB=$srcdir/tests/lib
. "$LCM_LIB/tap.sh"
. "$LCM_LIB/images.sh"
. "$LCM_LIB/daemon.sh"

tap_begin errors 150
daemon_begin "${1:?usage: errors.sh BUILDDIR}"
IMG=$TAP_DIR/img
MNT=$TAP_DIR/mnt
mkdir "$MNT"

# like says, and nothing is left behind
refuses()
{
	says "$@" && {
		daemon_left=$(daemon_leftovers)
		[ -z "$daemon_left" ] || tap_ok "$1: nothing is left" daemon_clean
	}
}

tap_ok 'a small image' small_image "$IMG"
bad_start "$IMG/zc"
GOOD=$BAD_HOST/small:t

# ---- before there is a daemon ----
says 'unknown verb' 2 'no verb "frobnicate".*--help' "$LOCUM" frobnicate
says 'status of nothing without a daemon' 1 'no daemon answers' "$LOCUM" status nothing
tap_fails 'unknown option of a verb' 2 "$LOCUM" mount --frobnicate
tap_is 'unknown option: one line' "$(wc -l <"$TAP_DIR/err")" 1
says 'too few arguments' 2 'an image is needed.*--help' "$LOCUM" mount
says 'a number that is none' 2 'deadline' "$LOCUM" mount --deadline soon "$GOOD" "$MNT"
chmod 0755 "$TAP_DIR"
cp "$LOCUM" "$TAP_DIR/locum"
for verb in "mount $GOOD $MNT" "pull $GOOD" "status" "daemon"; do
	# shellcheck disable=SC2086
	says "not root: ${verb%% *}" 1 'root.*sudo' setpriv --reuid 65534 --regid 65534 --clear-groups "$TAP_DIR/locum" $verb
done
tap_is 'no daemon was started by all that' "$(daemon_pids)" ''

# ---- registries ----
tap_ok 'daemon' daemon_start --retries 1 --deadline 2
for verb in mount pull; do
	args=
	[ "$verb" = pull ] || args=$MNT
	# shellcheck disable=SC2086
	{
		refuses "$verb: unknown host" 1 'nowhere\.invalid.*(resolve|unknown|name)' "$LOCUM" $verb nowhere.invalid/a:t $args
		refuses "$verb: connection refused" 1 '127\.0\.0\.1:1.*(refused|connect)' "$LOCUM" $verb 127.0.0.1:1/a:t $args
		refuses "$verb: 404, tag" 1 'small:none.*(404|not in)' "$LOCUM" $verb "$BAD_HOST/small:none" $args
		refuses "$verb: malformed reference" 1 '[Uu]pper|reference|lower' "$LOCUM" $verb 'Upper/CASE:t' $args
		refuses "$verb: malformed tag" 1 'tag|reference' "$LOCUM" $verb "$BAD_HOST/small:-t-" $args
		refuses "$verb: a platform that is none" 1 'platform.*os/arch' "$LOCUM" $verb --platform linux "$GOOD" $args
		refuses "$verb: another platform" 1 's390x' "$LOCUM" $verb --platform linux/s390x "$GOOD" $args
	}
done
manifest=$(sed -n 's/.*"digest":"\(sha256:[0-9a-f]*\)".*/\1/p' "$IMG/zc/index.json")
set -- $(python "$LCM_LIB/badimage.py" layer "$IMG/gzip" 0)
bad_stop
for code in 401 403 500 429; do
	bad_start "$IMG/zc" --status "$manifest:$code"
	refuses "manifest: $code" 1 "$BAD_HOST.*$code" "$LOCUM" mount "$BAD_HOST/small:t" "$MNT"
	bad_stop
done
for code in 404 500; do
	bad_start "$IMG/gzip" --status "$1:$code"
	refuses "layer: $code" 1 "$code" "$LOCUM" pull "$BAD_HOST/small:t"
	bad_stop
done
bad_start "$IMG/gzip" --truncate "$1:5000"
refuses 'layer: the connection ends early' 1 '.' "$LOCUM" pull "$BAD_HOST/small:t"
bad_stop

# ---- images ----
damaged()
{
	# KIND SRC ERE
	python "$LCM_LIB/badimage.py" damage "$1" "$IMG/$2" "$TAP_DIR/bad"
	bad_start "$TAP_DIR/bad"
	refuses "image: $1 ($2), mount" 1 "$3" "$LOCUM" mount "$BAD_HOST/$1:t" "$MNT"
	refuses "image: $1 ($2), pull" 1 "$3" "$LOCUM" pull "$BAD_HOST/$1:t"
	bad_stop
	rm -rf "$TAP_DIR/bad"
}
damaged manifest zc 'manifest'
damaged config zc 'config'
damaged diffids zc 'diffID'
damaged arch zc 's390x.*--platform'
damaged index-arch zc 's390x|platform'
damaged media gzip 'tar\+lzma.*not supported'
damaged truncated gzip 'layer sha256'
damaged toc-garbage zc 'table of contents'
damaged toc-checksum zc 'table of contents.*digest'
damaged toc-position zc 'annotation'

# ---- mount points and ids ----
bad_start "$IMG/zc"
GOOD=$BAD_HOST/small:t
mkdir "$TAP_DIR/full" "$TAP_DIR/tmpfs"
: >"$TAP_DIR/full/file"
mount -t tmpfs -o size=8m tmpfs "$TAP_DIR/tmpfs"
refuses 'mount point missing' 1 "$TAP_DIR/none.*No such file" "$LOCUM" mount "$GOOD" "$TAP_DIR/none"
refuses 'mount point is a file' 1 "full/file.*(not a directory|Not a directory)" "$LOCUM" mount "$GOOD" "$TAP_DIR/full/file"
refuses 'mount point is not empty' 1 "full is not empty.*empty directory" "$LOCUM" mount "$GOOD" "$TAP_DIR/full"
refuses 'mount point is a mount point' 1 "tmpfs.*mount" "$LOCUM" mount "$GOOD" "$TAP_DIR/tmpfs"
refuses 'invalid id' 1 'id "a/b".*letters' "$LOCUM" mount --id a/b "$GOOD" "$MNT"
refuses 'an id that leads elsewhere' 1 'id "\.\.".*letters' "$LOCUM" mount --id .. "$GOOD" "$MNT"
says 'an empty id' 2 'id is empty' "$LOCUM" mount --id '' "$GOOD" "$MNT"
says 'umount of an unknown id' 1 'no mount "none".*locum status' "$LOCUM" umount none
tap_ok 'a mount' tap_limit 30 "$LOCUM" mount --id one "$GOOD" "$MNT"
says 'its mount point again' 1 "mnt.*(in use|mount)" "$LOCUM" mount --id two "$GOOD" "$MNT"
mkdir "$TAP_DIR/mnt2"
says 'its id again' 1 'id one is in use.*locum status' "$LOCUM" mount --id one "$GOOD" "$TAP_DIR/mnt2"
says 'a wait for what no phase is' 1 'ready, local or native' "$LOCUM" wait --for ever one
tap_ok 'native' tap_limit 30 "$LOCUM" wait --timeout 25 one
exec 8<"$MNT/etc/hostname"
says 'umount while it is in use' 1 'mnt is in use' "$LOCUM" umount one
exec 8<&-
tap_ok 'umount' "$LOCUM" umount --remove one
tap_ok 'nothing is left' daemon_clean

# ---- daemons ----
says 'a second daemon on the same run directory' 1 'already listens on .*locum\.sock.*--stop' "$LOCUM" daemon
says 'a second daemon on the same root' 1 "root.*(use|another|lock)" "$LOCUM" --run "$TAP_DIR/run2" daemon
tap_ok 'the first still answers' "$LOCUM" status

# ---- a configuration that is wrong ----
mkdir -p "$TAP_DIR/etc/locum"
printf '# comment\nfrobnicate\n' >"$TAP_DIR/etc/locum/daemon.conf"
wrong='daemon\.conf, line 2: there is no option "frobnicate" here'
# CMD...: with this configuration in /etc
cat >"$TAP_DIR/configured" <<-END
	#!/bin/sh
	exec unshare -m sh -c 'mount -t overlay overlay -o "lowerdir=$TAP_DIR/etc:/etc" /etc && exec "\$@"' sh "\$@"
END
chmod +x "$TAP_DIR/configured"
says 'the daemon says where' 2 "$wrong" "$TAP_DIR/configured" "$LOCUM" --run "$TAP_DIR/run2" daemon
says 'so does a verb that would start it' 1 "did not start: /etc/locum/$wrong" "$TAP_DIR/configured" "$LOCUM" --run "$TAP_DIR/run2" images
printf '=\n' >"$TAP_DIR/etc/locum/daemon.conf"
says 'also when it is no option at all' 1 'did not start: /etc/locum/daemon\.conf: line 1: the name of an option' "$TAP_DIR/configured" "$LOCUM" --run "$TAP_DIR/run2" images
tap_ok 'help does not read it' "$TAP_DIR/configured" "$LOCUM" daemon --help
tap_ok 'nor does --stop' "$TAP_DIR/configured" "$LOCUM" daemon --stop
tap_ok 'which ends the daemon' tap_until 20 tap_gone "$DAEMON_PID"
wait "$DAEMON_PID"
tap_ok 'without it the daemon starts' daemon_start --retries 1 --deadline 2
kill -KILL "$DAEMON_PID"
wait "$DAEMON_PID" 2>/dev/null
tap_ok 'the socket is stale' test -S "$LOCUM_RUN/locum.sock"
tap_ok 'a verb starts a new daemon all the same' tap_limit 30 "$LOCUM" images
daemon_end

# ---- the state database ----
cp -a "$LOCUM_ROOT" "$TAP_DIR/saved"
rm -f "$LOCUM_ROOT"/locum.db-wal "$LOCUM_ROOT"/locum.db-shm
head -c 20000 /dev/urandom >"$LOCUM_ROOT/locum.db"
sum=$(cksum <"$LOCUM_ROOT/locum.db")
says 'damaged database' 1 'locum\.db is damaged.*Move' "$LOCUM" daemon
says 'damaged database, a verb' 1 'locum\.db is damaged.*Move' "$LOCUM" images
tap_is 'it was not touched' "$(cksum <"$LOCUM_ROOT/locum.db")" "$sum"
rm -rf --one-file-system "$LOCUM_ROOT" && cp -a "$TAP_DIR/saved" "$LOCUM_ROOT"
python -c 'import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute("PRAGMA user_version = 999"); d.commit()' "$LOCUM_ROOT/locum.db"
says 'database of a newer locum' 1 'written by a newer locum.*update' "$LOCUM" daemon
rm -rf --one-file-system "$LOCUM_ROOT" "$TAP_DIR/saved"

# ---- a full disk ----
umount "$TAP_DIR/tmpfs"
disk()
{
	truncate -s "$1" "$TAP_DIR/disk" && mkfs.ext4 -q -F -m 0 -O ^has_journal "$TAP_DIR/disk" && mkdir -p "$LOCUM_ROOT" &&
		mount -o loop "$TAP_DIR/disk" "$LOCUM_ROOT"
}
tap_ok 'a state directory of 24 MB' disk 24M
daemon_start --retries 1 --deadline 3
head -c 16M /dev/zero >"$LOCUM_ROOT/ballast"
bad_stop
bad_start "$IMG/gzip"
says 'pull on a full disk' 1 '(No space|full)' "$LOCUM" pull "$BAD_HOST/small:t"
tap_ok 'nothing is left' daemon_clean
says 'mount on a full disk, when one layer is here without a table of contents' 1 '(No space|full)' \
	"$LOCUM" mount "$BAD_HOST/small:t" "$MNT"
tap_ok 'nothing is left' daemon_clean
tap_ok 'drop the other layer' "$LOCUM" drop-cache --all
bad_stop
bad_start "$IMG/zc"
tap_ok 'lazy mount on a full disk' tap_limit 30 "$LOCUM" mount --id full "$BAD_HOST/small:t" "$MNT"
tap_ok 'small files are read' cmp "$MNT/many/9" "$IMG/rootfs/many/9"
says 'it does not become native' 1 'still lazy' "$LOCUM" wait --timeout 4 full
says 'a pull of it fails' 1 '(No space|full)' "$LOCUM" pull "$BAD_HOST/small:t"
tap_like 'status names it' "$(daemon_field full error)" '(No space|full)'
rm "$LOCUM_ROOT/ballast"
tap_ok 'room again: native' tap_limit 50 "$LOCUM" wait --timeout 45 full
tap_ok 'the tree is the reference' "$TREECMP" "$MNT" "$IMG/rootfs" --ignore-dir-times
tap_ok 'umount' "$LOCUM" umount --remove full
tap_ok 'nothing is left' daemon_clean
tap_ok 'daemon ends' daemon_stop
tap_is 'no process of ours' "$(daemon_pids)" ''
tap_end
