#!/bin/bash
# Makes a lab's directory with its owner in it, or takes over one whose owner is gone; whole or not at all.
# Usage: nspawn-claim.sh LABDIR OWNER BEFORE
#   OWNER   what its file `owner` is to say
#   BEFORE  what it said when it was decided that the directory may be had; empty where there was none
set -euo pipefail
umask 022 # the user reads here, whose own umask sudo may pass on
labdir=$1 owner=$2 before=$3
labs=$(dirname "$labdir")

# Of two labs of one name that begin at once, one is first. Users can't list the directory, and so can't lock it.
until [ "$labs" -ef /proc/self/fd/9 ]; do # the last lab's end removes it
	install -d -m 0711 "$labs"
	{ exec 9<"$labs"; } 2>/dev/null || continue
	flock 9
done
now=
if [ -e "$labdir/owner" ]; then now=$(<"$labdir/owner"); fi
if [ "$now" = "$owner" ]; then exit; fi
if [ "$now" != "$before" ]; then
	echo "another lab has just taken $labdir: ${now%%$'\n'*}" >&2
	exit 1
fi
if [ -n "$now" ]; then
	printf '%s\n' "$owner" >"$labdir/owner.part"
	mv -T "$labdir/owner.part" "$labdir/owner"
	exit
fi
part=$labs/.$(basename "$labdir").part
rm -rf "$part"
mkdir "$part"
printf '%s\n' "$owner" >"$part/owner"
mv -T "$part" "$labdir" # over an empty directory too, over no other
