#!/bin/bash
# Puts a file in its place in one step, so that nobody ever sees half of it. note-original.sh comes before it.
# Usage: put-file.sh PATH MODE OWNER SHA256 [SOURCE]        without SOURCE: from standard input
set -euo pipefail
path=$1 mode=$2 owner=$3 sum=$4 source=${5:-/dev/stdin}
note "$path"
mkdir -p "$(dirname "$path")" /var/cache/lab/sha256
temp=$(mktemp "$path.XXXXXX")
trap 'rm -f "$temp"' EXIT
cat "$source" >"$temp"
got=$(sha256sum <"$temp")
if [ "${got%% *}" != "$sum" ]; then
	echo "$path arrived damaged: its SHA-256 is ${got%% *}, not $sum" >&2
	exit 1
fi
chown "$owner" "$temp"
chmod "$mode" "$temp"
mv -f "$temp" "$path"
# What was just computed needn't be computed again; see file-facts.sh.
echo "$sum $(stat -c '%i %s %.Y %.Z' "$path")" >"/var/cache/lab/sha256/${path//\//%}"
