#!/bin/bash
# Removes what is left of one of a lab's machines, which has no process any more.
# Usage: nspawn-remove-machine.sh DIR CGROUP
set -euo pipefail
dir=$1 cgroup=$2

for lock in "$dir.lock" "$dir/boot.lock"; do
	if [ -e "$lock" ]; then flock --timeout 30 "$lock" true; fi
done
# A group can be busy for a moment after its last process is gone.
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
	group=$hierarchy/$cgroup
	for ((try = 0; try < 100; try++)); do
		[ -d "$group" ] || break
		find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || read -rt 0.05 <> <(:) || true
	done
	if [ -d "$group" ]; then
		echo "can't remove the control group $group: something is still in it" >&2
		exit 1
	fi
done
rm -rf --one-file-system -- "$dir" "$dir.part" "$dir.lock"
