#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# While lazy, whatever asks for metadata only is answered by the kernel: no request reaches the gate.
# Usage: quiet.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin quiet 120 "${1:-}"

requests()
{
	daemon_field "$M" gate.requests
}

missing()
{
	# SECOND: names that are nowhere, below directories that are
	python - "$M" <<-'END'
		import os, sys
		dirs = [d for d, _, _ in os.walk(sys.argv[1])]
		n = 0
		for i in range(1000):
		    try:
		        os.lstat(os.path.join(dirs[i % len(dirs)], "no-such-name-%d" % i))
		    except FileNotFoundError:
		        n += 1
		assert n == 1000, n
	END
}

everything()
{
	python - "$M" <<-'END'
		import os, stat, sys
		n = links = attrs = 0
		for d, subs, names in os.walk(sys.argv[1]):
		    for name in subs + names:
		        path = os.path.join(d, name)
		        st = os.lstat(path)
		        os.access(path, os.R_OK)
		        n += 1
		        if stat.S_ISLNK(st.st_mode):
		            os.readlink(path)
		            links += 1
		        attrs += len(os.listxattr(path, follow_symlinks=False))
		        try:
		            os.getxattr(path, "security.capability", follow_symlinks=False)
		        except OSError:
		            pass
		assert n > 5000 and links > 5, (n, links)
		print(n, "names,", links, "links,", attrs, "attributes")
	END
}

for image in python nasty; do
	it_image $image zstd:chunked && it_serve && daemon_start --no-background || exit 1
	tap_ok "$image: mount" "$LOCUM" mount "$IT_REF" "$M"
	before=$(requests)
	tap_like "$image: the counter is read" "$before" '^[0-9]+$'
	tap_ok "$image: find -xdev -ls" sh -c "find '$M' -xdev -ls >'$TAP_DIR/list'"
	tap_diag "$(wc -l <"$TAP_DIR/list") lines"
	tap_ok "$image: stat, access, readlink, xattrs of everything" everything
	tap_diag "$(cat "$TAP_DIR/out")"
	tap_ok "$image: a thousand failing lookups" missing
	tap_ok "$image: du" sh -c "du -sx --apparent-size '$M' >'$TAP_DIR/du'"
	tap_is "$image: not one request reached the gate" "$(requests)" "$before"
	tap_is "$image: lazy all the time" "$(daemon_field "$M" phase)" lazy
	# the counter can count
	tap_ok "$image: a read" sh -c "find '$M' -xdev -type f -size +0 -size -8 | head -n 3 | tr '\\n' '\\0' | xargs -0 cat >/dev/null"
	tap_ok "$image: is counted" [ "$(requests)" -gt "$before" ]
	tap_ok "$image: umount" "$LOCUM" umount "$M"
	it_end
	rm -rf "$LOCUM_ROOT" "$LOCUM_RUN"
done
tap_end
