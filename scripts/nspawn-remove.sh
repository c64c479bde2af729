#!/bin/bash
# Removes what is left of a lab whose machines have no process any more.
# Usage: nspawn-remove.sh LABDIR NETNS BRIDGE CGROUP
set -euo pipefail
labdir=$1 netns=$2 bridge=$3 cgroup=$4

# What a run that was killed has left at work comes to its end first.
shopt -s nullglob
for lock in "$labdir"/*.lock; do
	flock --timeout 30 "$lock" true
done

# Only the lab's own, see nspawn-underlay.sh. One of an older version of this project has no mark; its bridge tells.
if [ -e "/run/netns/$netns" ]; then
	if [ -e "$labdir/netns" ]; then
		if [ "$(<"$labdir/netns")" = "$(</proc/sys/kernel/random/boot_id)" ]; then ip netns del "$netns"; fi
	elif ip -n "$netns" link show "$bridge" >/dev/null 2>&1; then
		ip netns del "$netns"
	fi
fi

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
	# The group of all labs, if this was the last.
	rmdir "$hierarchy/${cgroup%%/*}" 2>/dev/null || true
done

# The directory goes last: as long as it is there, the lab is the one to clean up.
rm -rf --one-file-system -- "$labdir"
rmdir "$(dirname "$labdir")" 2>/dev/null || true
