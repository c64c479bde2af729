#!/bin/bash
# Prints for each file that exists: SHA256 MODE USER:GROUP PATH, and for a symbolic link: -> TARGET PATH.
# One that doesn't exist prints nothing.
# A sum is computed once for each state of a file: it is kept under the inode, size and times, as git does.
# Usage: file-facts.sh PATH...
set -euo pipefail
cache=/var/cache/lab/sha256
mkdir -p "$cache"
for path in "$@"; do
	if [ -L "$path" ]; then
		echo "-> $(readlink "$path") $path"
		continue
	fi
	[ -f "$path" ] || continue
	state=$(stat -c '%i %s %.Y %.Z' "$path")
	kept=$cache/${path//\//%}
	sum=
	if [ -f "$kept" ] && { read -r sum state_kept; } <"$kept" && [ "$state_kept" != "$state" ]; then
		sum=
	fi
	if [ -z "$sum" ]; then
		sum=$(sha256sum <"$path")
		sum=${sum%% *}
		echo "$sum $state" >"$kept"
	fi
	echo "$sum $(stat -c '%a %U:%G' "$path") $path"
done
