#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a container writes, before and after the switch, is in its upper, survives umount and is there again on the plain
# layout; mounts are independent of each other; busy ones and foreign unmounts are told apart.
# Usage: writes.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin writes 150 "${1:-}"
M2=$TAP_DIR/m2
mkdir "$M2"

# N: every kind of change, on files that this number names
write()
{
	python - "$M" "$1" <<-'END'
		import os, sys
		os.chdir(sys.argv[1])
		n = int(sys.argv[2])
		lib = "usr/lib/python3.11/"
		files = sorted(f for f in os.listdir(lib) if f.endswith(".py"))[n * 10:]
		docs = sorted(d for d in os.listdir("usr/share/doc") if not os.path.islink("usr/share/doc/" + d))[n:]
		with open("var/created-%d" % n, "w") as f:
		    f.write("created %d\n" % n)
		with open(lib + files[0], "a") as f:
		    f.write("# appended %d\n" % n)
		os.chmod(lib + files[1], 0o600)
		os.chown(lib + files[2], 5, 6)
		os.rename(lib + files[3], lib + "renamed-%d" % n)
		os.unlink(lib + files[4])
		os.truncate(lib + files[5], 7)
		os.link(lib + files[6], lib + "linked-%d" % n)
		for d, subs, names in os.walk("usr/share/doc/" + docs[0], topdown=False):
		    for x in names:
		        os.unlink(os.path.join(d, x))
		    for x in subs:
		        os.rmdir(os.path.join(d, x))
		os.rmdir("usr/share/doc/" + docs[0])
		os.mkdir("usr/share/doc/" + docs[0])
		with open("usr/share/doc/%s/new" % docs[0], "w") as f:
		    f.write("in a directory over a whiteout\n")
		os.setxattr(lib + files[7], "user.written", b"%d" % n)
	END
}

# A copy of what is seen now, to compare with later.
keep()
{
	rm -rf "$TAP_DIR/seen" && cp -a --one-file-system "$M" "$TAP_DIR/seen"
}

same()
{
	tap_ok "$1" "$TREECMP" "$TAP_DIR/seen" "$M"
}

it_image python zstd:chunked || exit 1
it_serve && daemon_start --no-background || exit 1
tap_ok 'mount with an id' "$LOCUM" mount --id keep "$IT_REF" "$M"
upper=$LOCUM_ROOT/containers/keep/upper
tap_ok 'writes while lazy' write 1
tap_is 'lazy' "$(daemon_field keep phase)" lazy
tap_ok 'the rest is pulled' it_rest 60
tap_ok 'native' it_wait keep native 30
tap_ok 'writes after the switch' write 2
tap_is 'a new file is in the upper' "$(cat "$upper/var/created-1" "$upper/var/created-2")" 'created 1
created 2'
tap_is 'what was not written is not' "$(find "$upper/usr/lib/python3.11" -name 'z*.py' | wc -l | tr -d ' ')" 0
keep
tap_ok 'umount' "$LOCUM" umount keep
tap_is 'the upper stays' "$(cat "$upper/var/created-2")" 'created 2'
tap_ok 'mount it again by its id, plain layout' "$LOCUM" mount --id keep "$IT_REF" "$M"
tap_is 'native' "$(daemon_field keep phase)" native
same 'all writes are there again'
tap_ok 'umount' "$LOCUM" umount keep
tap_is 'run by the same id sees them' "$("$LOCUM" run --id keep -u 0 --no-tty "$IT_REF" -- cat /var/created-1 2>&1)" 'created 1'
tap_ok 'run adds' "$LOCUM" run --id keep -u 0 --no-tty "$IT_REF" -- python3 -c 'open("/var/third", "w").write("third")'
tap_is 'in the same upper' "$(cat "$upper/var/third")" third
tap_is 'run with an id keeps it mounted nowhere' "$(daemon_mounts)" ''
tap_ok 'mount once more' "$LOCUM" mount --id keep "$IT_REF" "$M"
tap_ok 'umount --remove' "$LOCUM" umount --remove keep
tap_ok 'the upper is gone' tap_until 5 [ ! -e "$LOCUM_ROOT/containers/keep" ]

tap_ok 'two mounts of one image' "$LOCUM" mount "$IT_REF" "$M"
tap_ok 'the second' "$LOCUM" mount "$IT_REF" "$M2"
echo one >"$M/var/one"
rm "$M2/usr/lib/python3.11/this.py"
tap_ok 'a write of one is not in the other' [ ! -e "$M2/var/one" ]
tap_ok 'a removal neither' [ -s "$M/usr/lib/python3.11/this.py" ]
tail -f "$M/usr/lib/python3.11/this.py" >"$TAP_DIR/tail" &
holder=$!
tap_cleanup 'kill $holder 2>/dev/null'
says 'a busy mount stays' 1 "in use|busy" "$LOCUM" umount "$M"
tap_like 'and says by whom' "$(cat "$TAP_DIR/err")" "$holder"
tap_is 'still mounted' "$(cat "$M/var/one")" one
tap_ok 'umount --lazy' "$LOCUM" umount --lazy "$M"
tap_ok 'takes it away' tap_until 5 [ ! -e "$M/var" ]
tap_kill "$holder"

umount "$M2"
tap_fails 'a foreign umount is noticed' 1 sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.2; "$1" status "$2" || exit 1; done' sh "$LOCUM" "$M2"
tap_ok 'and cleaned up after' tap_until 5 [ -z "$(ls "$LOCUM_ROOT/containers")" ]

tap_ok 'mount --ro' "$LOCUM" mount --ro "$IT_REF" "$M"
tap_fails 'cannot be written' 1 touch "$M/var/x"
tap_ok 'can be read' cat "$M/etc/passwd"
tap_is 'has no upper' "$(ls "$LOCUM_ROOT/containers")" ''
tap_ok 'umount' "$LOCUM" umount "$M"
it_end
tap_end
