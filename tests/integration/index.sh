#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# locum index create makes a plain image lazy without mounting it; show says what there is. A store from before
# locum kept what functions read of manifests is read anew.
# Usage: index.sh BUILDDIR
set -u
# shellcheck source=tests/lib/itest.sh
. "${0%/*}/../lib/itest.sh"
it_begin index 120 "${1:-}"

# FILTER: of what show says as JSON
shown()
{
	"$LOCUM" index show --json "$IT_REF" | jq -r "$1"
}

# What schema 4 has more is taken from the store, or made what no function would say.
older()
{
	python - "$LOCUM_ROOT/locum.db" "$1" <<-'END'
		import sqlite3, sys
		db = sqlite3.connect(sys.argv[1])
		db.execute("UPDATE images SET manifest_text = ''" + (", config_json = X'7B'" if sys.argv[2] == "bad" else ""))
		db.commit()
	END
}

it_image nasty uncompressed && it_reference && it_image nasty gzip && it_serve && daemon_start --no-background || exit 1
says 'show: not in the store' 1 'is not in the store \(locum pull fetches it\)' "$LOCUM" index show "$IT_REF"
says 'show: no reference' 1 'is not letters and digits' "$LOCUM" index show 'a b'
tap_ok 'create' "$LOCUM" index create "$IT_REF"
tap_like 'create: prints a line for each layer' "$(cat "$TAP_DIR/out")" 'sha256:[0-9a-f]{12} .* entries, .* chunks, .* spans'
tap_is 'every layer has an index of our own' "$(shown '[.layers[].index.own] | unique | tostring')" '[true]'
tap_is 'every file can be brought by demand' "$(shown '[.layers[].index.files_by_pull_only] | add')" 0
tap_is 'no error' "$(shown '[.layers[].index.error] | unique | tostring')" '[null]'
tap_ok 'create again: they are there' "$LOCUM" index create "$IT_REF"
tap_ok 'drop-cache' "$LOCUM" drop-cache "$IT_REF"
tap_ok 'mount' "$LOCUM" mount "$IT_REF" "$M"
tap_is 'lazy' "$(daemon_field "$M" phase)" lazy
tap_ok 'as umoci unpacks it' tap_limit 60 "$TREECMP" "$IT_TREE" "$M"
tap_is 'state' "$(shown '[.layers[].state] | unique | tostring')" '["partial"]'
tap_ok 'umount' "$LOCUM" umount "$M"
tap_ok 'the daemon ends' daemon_stop
tap_ok 'an older store' older good
daemon_start --no-background || exit 1
tap_ok 'its images need no registry' "$LOCUM" mount --offline "$IT_REF" "$M"
tap_ok 'umount' "$LOCUM" umount "$M"
tap_ok 'the daemon ends' daemon_stop
tap_ok 'an older store, damaged' older bad
daemon_start --no-background || exit 1
tap_like 'it is named' "$(cat "$TAP_DIR/daemon.log")" 'image=.* of the store is not read: config: the JSON text ends too early'
says 'and as if it were not there' 1 'is not in the store' "$LOCUM" mount --offline "$IT_REF" "$M"
tap_ok 'the registry has it' "$LOCUM" mount "$IT_REF" "$M"
tap_ok 'as umoci unpacks it' tap_limit 60 "$TREECMP" "$IT_TREE" "$M"
tap_ok 'umount' "$LOCUM" umount "$M"
tap_ok 'drop-cache --all, with the indexes' "$LOCUM" drop-cache --all
it_end
tap_end
