#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# locum index create makes a plain image lazy without mounting it; show says what there is.
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
tap_ok 'drop-cache --all, with the indexes' "$LOCUM" drop-cache --all
it_end
tap_end
