#!/bin/bash
# Makes a cache of root's, with its mark and its lock, for the user who works with it: their group reads and takes locks there, and
# nobody else gets in, because the trees have programs with setuid bits that nobody updates.
# Usage: root-cache.sh DIR GROUP TAGFILE TAG LOCKFILE
set -euo pipefail
dir=$1 group=$2 tagfile=$3 tag=$4 lockfile=$5
above=$(dirname "$dir")

# Who can't list a directory can't lock it.
install -d -o 0 -g 0 -m 0711 "$above"
exec 9<"$above"
flock 9
rm -rf --one-file-system -- "$dir".old-*
# The lab's first versions gave the directory to the user. Who could write there has left who knows what, and root runs what is there.
if [ -L "$dir" ] || { [ -e "$dir" ] && users=$(find "$dir" -ignore_readdir_race -maxdepth 2 ! -user 0 -print -quit) && [ -n "$users" ]; }; then
	aside=$(mktemp --directory -- "$dir.old-XXXXXXXXXX")
	mv -T -- "$dir" "$aside/cache"
	rm -rf --one-file-system -- "$aside"
fi
install -d -o 0 -g "$group" -m 0750 "$dir"
printf %s "$tag" >"$dir/$tagfile.part-root"
mv -fT "$dir/$tagfile.part-root" "$dir/$tagfile"
touch "$dir/$lockfile"
