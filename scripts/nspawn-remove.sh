#!/bin/bash
# Removes what is left of a lab whose machines have no process any more.
# Usage: nspawn-remove.sh LABDIR NETNS BRIDGE CGROUP PATIENCE
#   PATIENCE  seconds
set -euo pipefail
labdir=$1 netns=$2 bridge=$3 cgroup=$4 patience=$5
labs=$(dirname "$labdir")

# What a run that was killed has left at work comes to its end first.
shopt -s nullglob
for lock in "$labdir"/*.lock; do
	flock --timeout "$patience" "$lock" true && continue
	holders=
	for fd in /proc/[0-9]*/fd/*; do
		if [ "$fd" -ef "$lock" ]; then
			pid=${fd#/proc/} pid=${pid%%/*}
			holders+=" $pid ($(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | cut -c -100 || true))"
		fi
	done
	echo "$lock is still held after $patience seconds, by the process${holders:- of nobody that can be seen}; wait for its end or end it, then: go tool mage destroy" >&2
	exit 1
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

# What says whose it is goes last: as long as anything is there, the lab is the one to clean up.
find "$labdir" -mindepth 1 -maxdepth 1 ! -name owner -exec rm -rf --one-file-system -- {} +
rm -rf --one-file-system -- "$labdir"
if { exec 9<"$labs"; } 2>/dev/null; then # nspawn-claim.sh has the lock; the last of two labs that go at once may find nothing
	flock 9
	if [ "$labs" -ef /proc/self/fd/9 ]; then rmdir "$labs" 2>/dev/null || true; fi # others may have labs, or it is a mount
fi
