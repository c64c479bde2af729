#!/bin/bash
# Makes a cache of root's, with its mark and its lock, which the user who works with it takes. The lab's first versions gave the
# directory to that user.
# Usage: root-cache.sh DIR TAGFILE TAG LOCKFILE
set -euo pipefail
dir=$1 tagfile=$2 tag=$3 lockfile=$4

install -d -o 0 -g 0 "$dir"
find "$dir" -maxdepth 1 ! -user 0 -exec chown --no-dereference 0:0 {} +
printf %s "$tag" >"$dir/$tagfile.part-root"
mv -fT "$dir/$tagfile.part-root" "$dir/$tagfile"
touch "$dir/$lockfile"
