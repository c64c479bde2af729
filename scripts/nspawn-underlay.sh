#!/bin/bash
# Makes the underlay: a network namespace with a bridge and no way out. Run again, it makes what is missing.
# Usage: nspawn-underlay.sh LABDIR NETNS BRIDGE ADDRESS/BITS
set -euo pipefail
umask 022 # the user reads here, whose own umask sudo may pass on
labdir=$1 netns=$2 bridge=$3 address=$4

# The namespace is the lab's if it made it since this computer was booted: the mark comes first, and only where there is none.
boot=$(</proc/sys/kernel/random/boot_id)
if [ ! -e "/run/netns/$netns" ]; then
	echo "$boot" >"$labdir/netns"
	ip netns add "$netns"
elif [ -e "$labdir/netns" ] && [ "$(<"$labdir/netns")" = "$boot" ]; then
	true
elif [ -e "$labdir/netns" ] || ! ip -n "$netns" link show "$bridge" >/dev/null 2>&1; then # an older version left no mark
	echo "there is a network namespace $netns that this lab didn't make; remove it with: ip netns del $netns, or give the lab another name in lab.yaml" >&2
	exit 1
fi
if ! ip -n "$netns" link show "$bridge" >/dev/null 2>&1; then
	ip -n "$netns" link add "$bridge" type bridge
fi
ip -n "$netns" address replace "$address" dev "$bridge"
ip -n "$netns" link set lo up
ip -n "$netns" link set "$bridge" up
