# shellcheck shell=bash
# Marks a machine that exists already as a lab's, before anything else is done there, and keeps what of Calico's was in its kernel
# until then. calico-traces.sh comes before it.
# Usage: bash -s -- MARK
set -euo pipefail
umask 022
home=/var/lib/calico-cni-lab
mkdir -p "$home"
exec 9<"$home"
flock 9
if [ -e "$home/mark" ]; then
	if [ "$(<"$home/mark")" != "$1" ]; then
		echo "another lab's mark is in $home/mark: $(<"$home/mark")" >&2
		exit 1
	fi
	exit
fi
traces >"$home/before"
sync "$home/before"
printf '%s\n' "$1" >"$home/mark.part"
sync "$home/mark.part"
mv -fT "$home/mark.part" "$home/mark"
